"""Intra coders: frames that need no other frame."""
