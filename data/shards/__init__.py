"""Packed data sets: sequences of an index in tar files, and where training finds them."""
