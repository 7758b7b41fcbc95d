"""Models that a frontend serves: the table, the loaded versions, routing and memory."""
