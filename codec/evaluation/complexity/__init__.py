"""What coding costs: operations, time and memory."""
