"""Doors: each knows one protocol, and nothing behind it does. They read calls and write answers."""
