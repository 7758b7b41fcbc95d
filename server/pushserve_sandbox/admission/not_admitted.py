"""NotAdmitted: raised where a graph may not run in a server process."""

from __future__ import annotations


class NotAdmitted(Exception):
    """The text says what the graph needs, so that "it needs …" and "…" alone can be read."""
