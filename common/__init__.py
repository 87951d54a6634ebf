"""What codec and data share: errors, files, locks, worker processes, the machine, progress."""
