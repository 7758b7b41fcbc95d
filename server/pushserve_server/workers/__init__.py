"""Workers: the worker processes of one server, planned, started, measured, restarted."""
