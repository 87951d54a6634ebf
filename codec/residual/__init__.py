"""Residual networks: code what the prediction leaves."""
