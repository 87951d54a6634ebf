"""Training: the Lightning module, schedules of stages, run folders."""
