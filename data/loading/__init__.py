"""Clips for training and validation: data sets, their order, and loaders that outlive their
workers.
"""
