"""Losses: rate, distortion and perception, weighted by config."""
