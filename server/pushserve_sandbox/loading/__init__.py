"""Loading an artifact or a predict.py, and saying why that failed."""
