"""Results: RD points in a file, put together, exchanged with others, and compared."""
