"""The one error of the codec side."""


class CodecError(Exception):
    """Bad input to a codec, a stream, a metric or an anchor; the message names what, where and the
    remedy.
    """
