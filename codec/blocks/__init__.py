"""Blocks of pixels as a standard codec has them: decided on, coded as integers, rebuilt."""
