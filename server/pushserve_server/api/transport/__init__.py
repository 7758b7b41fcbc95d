"""Transport: calls taken from gRPC's core."""
