"""How sequences are packed."""

from dataclasses import dataclass

from data.errors import DataError, check_at_least


@dataclass(frozen=True)
class PackOptions:
    """How sequences become members of shards.

    Attributes:
        crf: of x264, 0..51; 12 is hard to tell from the source.
        gop: frames from keyframe to keyframe at most.
        short_side: pixels that the shorter side is scaled down to, even; None keeps the size.
        longest: frames of a member at most; longer sequences are divided evenly. None does not
            divide.
        copy: store files as they are instead.
        shard_mb: MiB after which a shard ends.
        least_psnr: dB, mean over frames of the luma's against the source; a member below is
            rejected.
        seed: of the order, in which sources are mixed but the sequences of one source stay
            together.
    """

    crf: int = 12
    gop: int = 12
    short_side: int | None = None
    longest: int | None = None
    copy: bool = False
    shard_mb: int = 384
    least_psnr: float = 36.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(0, crf=self.crf, seed=self.seed)
        check_at_least(
            1,
            gop=self.gop,
            longest=1 if self.longest is None else self.longest,
            shard_mb=self.shard_mb,
        )
        if self.crf > 51:
            raise DataError(f"crf={self.crf}; give 0 to 51")
        if self.short_side is not None and (self.short_side < 16 or self.short_side % 2):
            raise DataError(f"short_side={self.short_side}; give an even number of pixels from 16")
        if self.copy and (self.short_side or self.longest):
            raise DataError("copy stores files as they are; leave out short_side and longest")
