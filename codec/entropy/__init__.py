"""Entropy networks and the entropy coder: latents <-> bits."""
