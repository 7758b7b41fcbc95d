"""Domain: records, states and rules as plain types, without database or gRPC."""
