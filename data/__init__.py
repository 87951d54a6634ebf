"""From files to clips; knows nothing of `codec`."""
