"""What training ends with when it is asked to stop; apart from the rest, as it can be imported at once."""

TRY_AGAIN = 75  # exit status (EX_TEMPFAIL): the same command goes on


class Stopped(BaseException):
    """Training was asked to stop and did, at the end of a step; it says by what. Whoever starts runs exits with `TRY_AGAIN`."""
