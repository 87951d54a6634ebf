"""The index of a video collection: what `corvid data index` finds out, and how training reads it."""

KEY = b"corvid.index"  # in the Parquet file's metadata, says that it is an index
