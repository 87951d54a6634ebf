"""The error that every error of ours is: something a user can put right."""


class CorvidError(Exception):
    """Bad input, or a machine that cannot do what was asked; the message names what, where and the
    remedy. `CodecError` and `DataError` are of this kind, by package.
    """
