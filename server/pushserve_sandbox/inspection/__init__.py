"""Inspection: finds a model's signature; its columns, their types, and what it accepts."""
