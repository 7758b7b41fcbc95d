"""Engines: a graph in this process, or a worker behind a socket."""
