"""Codecs that are evaluated beside the standard ones: ours, and those of CompressAI's zoo."""
