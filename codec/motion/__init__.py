"""Motion networks: predict a frame from what has been decoded."""
