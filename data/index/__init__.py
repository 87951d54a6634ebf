"""The index of a video collection: what `corvid data index` finds out, and how training reads
it.
"""
