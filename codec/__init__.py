"""Corvid's codec side: networks, entropy coding, streams, losses, training, evaluation."""

__version__ = "0.1.0"
