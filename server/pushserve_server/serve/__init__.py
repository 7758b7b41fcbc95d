"""Serving without gRPC: decoded inputs, engines, and the models that a frontend serves."""
