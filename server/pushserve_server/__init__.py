"""Server: takes models live from Git and answers predictions over gRPC."""
