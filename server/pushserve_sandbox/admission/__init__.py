"""Admission of graphs into server processes: of those whose sizes are proved to follow the rows.

`admit.admit` is the whole of it. Whatever these rules do not know is not admitted, and runs in
a sandboxed worker: an operator is let in by being in `operators.py`, never by being left out
somewhere. docs/decisions/0017-graphs-in-server-processes.md has the reasons.
"""
