"""The words of pushserve as plain types. Imports nothing of ours but the signature."""
