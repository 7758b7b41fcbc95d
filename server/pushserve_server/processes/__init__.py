"""Composition roots: each module here is one process of the server."""
