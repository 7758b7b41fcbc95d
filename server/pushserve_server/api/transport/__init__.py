"""The transport: calls taken from gRPC's core."""
