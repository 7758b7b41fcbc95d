"""Supervision: guards, back-off, heartbeats; starting again what ends or hangs."""
