"""Points of an evaluation: what each one is, who makes it, and where it is kept."""
