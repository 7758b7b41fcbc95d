"""Version of all distributions made of this tree: their builds read it here."""

__version__ = "0.1.0"
