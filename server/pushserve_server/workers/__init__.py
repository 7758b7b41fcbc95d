"""The worker processes of one server: planned, started, counted, restarted."""
