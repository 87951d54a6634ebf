"""Where sequences come from: files, folders, manifests, and data sets with a name."""
