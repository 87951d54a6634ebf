"""What the name of a headerless YUV file says of its frames, as UVG, MCL-JCV, the HEVC classes and
ffmpeg users write it.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

SIZE = re.compile(r"(\d{2,5})x(\d{2,5})(?:p(\d+(?:\.\d+)?)?)?")  # 1920x1080, 1280x720p, 1280x720p30
RATE = re.compile(r"(\d+(?:\.\d+)?)(?:fps|hz)")
PIXELS = re.compile(r"(?:yuv)?(420|422|444)(?:p(\d+)?(le|be)?)?")  # 420, yuv444, yuv420p10le
DEPTH = re.compile(r"(\d+)(?:b|bits?|bpp)")
BARE_RATES = (
    "15",
    "20",
    "24",
    "25",
    "30",
    "48",
    "50",
    "60",
    "100",
    "120",
    "23.976",
    "23.98",
    "29.97",
    "59.94",
    "119.88",
)
TIMES_1000 = (24, 30, 48, 60, 120)  # of NTSC, over 1001


@dataclass(frozen=True)
class YuvName:
    """What a name says; None is nothing. `pixel_format` is ffmpeg's name, perhaps one that is not
    supported.
    """

    width: int | None
    height: int | None
    fps: Fraction | None
    pixel_format: str | None


def read_name(stem: str) -> YuvName:
    """Read a name without its suffix, `Beauty_1920x1080_120fps_420_8bit_YUV` for instance.

    A number behind the size is the frame rate if it is a usual one (others may count frames) or
    ends in "fps" or "Hz". Chroma is 4:2:0 and samples have 8 bits unless the name says another;
    None when it says two.
    """
    size = None
    rates = []
    chromas = set()
    depths = set()
    order = "le"
    for word in re.split(r"[_\-\s]+", stem.lower()):
        if size is None and (match := SIZE.fullmatch(word)):
            size = match
            rates += [match[3]] if match[3] else []
        elif match := RATE.fullmatch(word):
            rates.append(match[1])
        elif match := PIXELS.fullmatch(word):
            chromas.add(match[1])
            depths |= {int(match[2])} if match[2] else set()
            order = match[3] or order
        elif match := DEPTH.fullmatch(word):
            depths.add(int(match[1]))
        elif size is not None and word in BARE_RATES:
            rates.append(word)
    return YuvName(
        width=int(size[1]) if size else None,
        height=int(size[2]) if size else None,
        fps=exact_rate(rates[0]) if rates else None,
        pixel_format=_pixel_format(chromas or {"420"}, depths or {8}, order),
    )


def exact_rate(text: str | float) -> Fraction:
    """Frames per second from "30000/1001", "30000:1001", "25" or 29.97; rounded NTSC rates are put
    right.

    Raises:
        ValueError: no number, or not above 0.
    """
    try:
        rate = Fraction(str(text).strip().replace(":", "/"))
    except ZeroDivisionError as error:
        raise ValueError(f"{text} divides by 0") from error
    if rate <= 0:
        raise ValueError(f"{text} is not above 0")
    for whole in TIMES_1000:
        exact = Fraction(whole * 1000, 1001)
        if abs(rate / exact - 1) < 2e-4:
            return exact
    return rate.limit_denominator(100_000)


def _pixel_format(chromas: set[str], depths: set[int], order: str) -> str | None:
    if len(chromas) > 1 or len(depths) > 1:
        return None
    (chroma,), (depth,) = chromas, depths
    return f"yuv{chroma}p" if depth == 8 else f"yuv{chroma}p{depth}{order}"
