"""Processes: each module here makes the objects of one process and starts it."""
