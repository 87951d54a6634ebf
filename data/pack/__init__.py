"""Packing: sequences of an index into shards, short-GOP or as they are, with an index of what was packed."""
