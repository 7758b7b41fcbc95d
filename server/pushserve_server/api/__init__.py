"""gRPC: methods, messages, statuses and health; the only folder that knows grpc and the stubs."""
