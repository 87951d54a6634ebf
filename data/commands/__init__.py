"""The `corvid data` commands, a module each."""
