"""The one error of the data side."""


class DataError(Exception):
    """Bad input to a reader, a data set or a writer; the message names the file or field and the remedy."""
