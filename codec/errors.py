"""The one error of the codec side."""

from common.errors import CorvidError


class CodecError(CorvidError):
    """Bad input to a codec, a stream, a metric or an anchor; the message names what, where and the
    remedy.
    """
