"""What codec and data share: errors, whole files, the resources of a machine, progress, jobs."""
