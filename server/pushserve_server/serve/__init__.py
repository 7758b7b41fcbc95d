"""Serving: decoded inputs, engines, and the catalogue that a frontend serves from."""
