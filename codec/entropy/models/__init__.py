"""Entropy networks: how a latent is distributed, and in which order it is coded."""
