"""The gRPC side: the only package that knows grpc and the stubs."""
