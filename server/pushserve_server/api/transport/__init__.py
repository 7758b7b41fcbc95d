"""Transport: how calls come in and answers go out: by gRPC's core, or by grpc.aio."""
