"""Blocks that the networks share."""
