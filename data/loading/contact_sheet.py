"""Contact sheets: clips as the network will see them, on one picture."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from data.loading.clip import Clip
from data.loading.datamodule import ClipDataModule
from data.sequences import Sequences

# pixels that a row of frames takes
WIDEST = 2400
NARROWEST = 960
# pixels
MARGIN = 30
GAP = 6
TEXT = 21
HEADING = 30
PAPER = "#fbfaf7"
INK = "#1d1d1b"
FAINT = "#6d6a63"
RULE = "#d9d5cb"


def contact_sheet(clips: list[Clip], title: str, licences: Sequence[str] = ()) -> Image.Image:
    """One row a clip, frames from left to right, each with its number; under it the clip's name,
    step, rate, matrix and licence.

    Frames are shown pixel by pixel where a row of them fits, smaller where it does not; small ones
    are enlarged by a whole factor. The heading says so.

    Args:
        clips: at least one, of any batch sizes; uint8 on the CPU.
        title: the first line is the heading, others follow smaller.
        licences: of the clips in order, counted through the batches; "" is unknown, and so are
            those that are left out.
    """
    rows = [_one(clip, number) for clip in clips for number in range(len(clip.names))]
    licences = [*licences, *[""] * (len(rows) - len(licences))]
    side = _side(rows[0].frames.shape)
    strips = [_strip(row, licence, side) for row, licence in zip(rows, licences, strict=True)]
    width = max(strip.width for strip in strips)
    scale = side[0] / rows[0].frames.shape[-1]
    scaled = [] if scale == 1 else [f"shown at {scale:.3g} times their size"]
    sheets = [_heading([*title.splitlines(), *scaled], width), *strips]
    sheet = Image.new(
        "RGB", (width + 2 * MARGIN, sum(part.height for part in sheets) + 2 * MARGIN), PAPER
    )
    top = MARGIN
    for part in sheets:
        sheet.paste(part, (MARGIN, top))
        top += part.height
    return sheet


def draw_clips(module: ClipDataModule, count: int) -> tuple[list[Clip], list[str]]:
    """The first clips that training would get from `module`, and their licences ("" where
    unknown).
    """
    module.configure(module.frames, module.crop, batch=1, batches=count)
    clips = list(module.train_dataloader())
    assert module.train_clips is not None
    sequences = module.train_clips.sequences
    order = module.train_clips.order
    return clips, [
        _licence(clip.names[0], sequences, order[sample]) for sample, clip in enumerate(clips)
    ]


def _licence(name: str, sequences: Sequences, first: int) -> str:
    """Of the sequence that a clip came from: number `first`, or the next that did not fail."""
    label = name.rpartition(":")[0]
    for step in range(len(sequences)):
        sequence = sequences[(first + step) % len(sequences)]
        if sequence.label == label:
            return sequence.licence
    return ""


def _one(clip: Clip, number: int) -> Clip:
    """Clip `number` of a batch as a batch of one."""
    matrices = clip.matrices[number : number + 1]
    return Clip(
        clip.frames[number : number + 1],
        names=[clip.names[number]],
        fps=[clip.fps[number]],
        matrices=matrices,
    )


def _side(shape: Sequence[int]) -> tuple[int, int]:
    """Width and height at which frames of `(1, T, 3, H, W)` are shown."""
    count, height, width = shape[1], *shape[-2:]
    room = (WIDEST - (count - 1) * GAP) / count
    if width > room:
        return max(1, int(room)), max(1, round(height * room / width))
    factor = max(1, min(int(room // width), round(NARROWEST / (count * width))))
    return factor * width, factor * height


def _strip(clip: Clip, licence: str, side: tuple[int, int]) -> Image.Image:
    """The frames of a batch of one, and what is said of them."""
    width, height = side
    pictures, numbers, step = clip.frames[0], *_numbers(clip.names[0])
    strip = Image.new(
        "RGB", (max(NARROWEST, len(pictures) * (width + GAP) - GAP), height + 3 * TEXT + 32), PAPER
    )
    draw = ImageDraw.Draw(strip)
    left = 0
    for picture, number in zip(pictures, numbers, strict=True):
        strip.paste(
            _picture(picture).resize(
                side, Image.Resampling.LANCZOS if width < picture.shape[-1] else 0
            ),
            (left, 0),
        )
        draw.text((left + width / 2, height + 5), str(number), FAINT, _font(TEXT - 3), anchor="ma")
        left += width + GAP
    matrix = (clip.matrices or [""])[0]
    backwards = "backwards" if len(numbers) > 1 and numbers[0] > numbers[-1] else ""
    shape = matrix.upper().replace("BT", "BT.") or "matrix unknown"
    words = [
        _every(step),
        backwards,
        f"{clip.fps[0]:.4g} frames/s",
        shape,
        f"licence: {licence or 'unknown'}",
    ]
    top = height + TEXT + 15
    name = clip.names[0].rpartition(":")[0]
    said = " · ".join(filter(None, words))
    bold = _font(TEXT, bold=True)
    name = _shortened(name, bold, strip.width * 0.45)
    draw.text((0, top), name, INK, bold)
    begin = bold.getlength(name) + 16
    draw.text((begin, top), _shortened(said, _font(TEXT), strip.width - begin), FAINT, _font(TEXT))
    return strip


def _numbers(name: str) -> tuple[list[int], int]:
    """Frame numbers and step of a clip's name, FILE:FIRST..LAST/STRIDE."""
    span, _, step = name.rpartition(":")[2].partition("/")
    first, last = (int(number) for number in span.split(".."))
    stride = int(step) if last >= first else -int(step)
    return list(range(first, last + (1 if stride > 0 else -1), stride)), abs(stride)


def _every(step: int) -> str:
    ending = (
        "th" if step % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(step % 10, "th")
    )
    return "every frame" if step == 1 else f"every {step}{ending} frame"


def _picture(frame: Tensor) -> Image.Image:
    return Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy())


def _heading(lines: list[str], width: int) -> Image.Image:
    """The title's lines over a rule."""
    fonts = [_font(HEADING, bold=True)] + [_font(TEXT)] * (len(lines) - 1)
    heights = [round(1.6 * font.size) for font in fonts]
    heading = Image.new("RGB", (width, sum(heights) + 24), PAPER)
    draw = ImageDraw.Draw(heading)
    top = 0
    for line, font, height in zip(lines, fonts, heights, strict=True):
        draw.text((0, top), _shortened(line, font, width), INK if top == 0 else FAINT, font)
        top += height
    draw.line((0, top + 6, width, top + 6), RULE)
    return heading


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """`text` with its middle left out where it is longer than `width` pixels."""
    kept = len(text)
    short = text
    while kept > 8 and font.getlength(short) > width:
        kept -= 1
        short = f"{text[: kept // 2]}…{text[-(kept - kept // 2) :]}"
    return short


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Matplotlib's own, which is there wherever Corvid is."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
