"""Access: who may do what: certificates, tokens, and which method needs which scope. No gRPC."""
