"""The gRPC side: the only room that knows grpc and the stubs."""
