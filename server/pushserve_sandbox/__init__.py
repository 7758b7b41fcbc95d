"""Sandbox: what runs in jailed jobs; loading, checking and running other people's models.

It needs the standard library, NumPy and scikit-learn, and imports nothing of the
server, so that it can also run in an environment that a version brings along.
"""
