"""The entropy coder and the distributions that it codes symbols by."""
