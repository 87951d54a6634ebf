"""How good prediction is: against fixed blocks, and in bits against x265's predicted frames.

Clips are coded to real files at several qualities and decoded again. In each predicted frame the
codec's motion network and `fixed_block_matching` (16x16, bilinear, newest reference, the same price
of a bit) both look for motion in the very same references and warp them; no network refines what
is compared. Then x265 `medium`, low delay, codes the same frames with an intra frame of equal PSNR,
and its predicted frames' bits are read off at the PSNR of ours; so are those of its intra frame.

    python benchmarks/prediction.py [--checkpoint RUN] [--clips CLIP ...] [--qualities 13 32 50]
        [--frames 32] [--json FILE]

Figures, by clip and means over clips and qualities: `prediction_gain_db`, dB in RGB by which the
prediction is better than that of fixed blocks; `predicted_frame_rate_ratio`, bits of predicted
frames over x265's at equal PSNR in RGB, a geometric mean; `intra_frame_rate_ratio`, the same of
intra frames. `most_intra_difference_db`: how far apart
both intra frames were, at the most.
"""

import argparse
import math
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from parts.figures import report
from torch import Tensor

from codec.anchors import X265
from codec.checkpoint import load_codec
from codec.entropy.models.factorized import FactorizedEntropy
from codec.errors import CodecError
from codec.freeze import freeze
from codec.layers.frames import COLOURS
from codec.motion.baselines import STILL, FixedBlockMatching
from codec.motion.block_matching import SATD_OF_A_BIT
from codec.quality import QUALITIES, LambdaRange
from codec.references import Context, References
from codec.stream import compress, decompress
from codec.video import VideoCodec
from common.resources import keep_freed_memory
from data.io.source_clip import SourceClip, read_source
from data.sources.discovery import find_videos

CHECKPOINT = Path(__file__).parents[1] / "docs" / "results" / "corvid_s" / "corvid_s.ckpt"
CLIPS = ["sample:carphone", "sample:city"]  # what the demo is evaluated on
ANCHOR = X265(
    parameters="bframes=0:rc-lookahead=0:scenecut=0:frame-threads=1:wpp=0:pools=none",
    tunes=("psnr",),
)
INTRA_APART = 0.2  # dB between both intra frames, at the most, where a quality nearby can do it
NEARBY = sorted(range(-8, 9), key=abs)  # qualities that are tried, from the wanted one
COARSEST = 51  # QP
QP_OF_DB = 1.8  # steps of QP that a dB of PSNR takes, about


@dataclass(frozen=True)
class Coded:
    """What a real file of a clip gave.

    Attributes:
        intra, predicted: PSNR in RGB, dB: of the first frame, and the mean of the others.
        bits: of all predicted frames.
        intra_bits: of the first frame.
    """

    intra: float
    predicted: float
    bits: int
    intra_bits: int = 0

    @property
    def first(self) -> "Coded":
        """The intra frame as if it were all frames."""
        return Coded(self.intra, self.intra, self.intra_bits, self.intra_bits)


@dataclass(frozen=True)
class Measured:
    """A clip at a quality.

    Attributes:
        quality: at which it was coded.
        prediction, fixed: PSNR in RGB of our prediction and of that by fixed blocks, dB.
        ours: our file.
        x265_intra, x265_bits: of x265 at our PSNR.
        x265_intra_bits: of its intra frame at the PSNR of ours.
    """

    quality: int
    prediction: float
    fixed: float
    ours: Coded
    x265_intra: float
    x265_bits: float
    x265_intra_bits: float

    @property
    def gain(self) -> float:
        """Of the prediction over fixed blocks', dB."""
        return self.prediction - self.fixed

    @property
    def ratio(self) -> float:
        """Of our bits to x265's."""
        return self.ours.bits / self.x265_bits

    @property
    def intra_ratio(self) -> float:
        """The same of the intra frame."""
        return self.ours.intra_bits / self.x265_intra_bits


def main() -> None:
    """Measure, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--checkpoint",
        default=str(CHECKPOINT),
        help="file or run folder; default: the project's weights",
    )
    parser.add_argument(
        "--clips",
        nargs="+",
        default=CLIPS,
        help="files, folders, globs, sample:NAME; default %(default)s",
    )
    parser.add_argument("--qualities", nargs="+", type=int, default=[4, 22, 41, 59])
    parser.add_argument("--frames", type=int, default=32, help="of each clip; default %(default)s")
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    if choice.frames < 2:
        parser.error(f"--frames: {choice.frames} given; at least 2: one is intra")
    keep_freed_memory()
    codec = load_codec(choice.checkpoint)
    sources = (read_source(path, choice.frames) for path in find_videos(choice.clips))
    report(measure(codec, sources, choice.qualities), choice.json)


def measure(
    codec: VideoCodec,
    sources: Iterable[SourceClip],
    qualities: Sequence[int],
) -> dict[str, float]:
    """The figures; a line on each measurement is printed while they are made."""
    found: dict[str, list[Measured]] = {}
    for source in sources:
        level = intra_level(source)
        for quality in qualities:
            one = at_quality(codec, source, quality, level)
            found.setdefault(source.name, []).append(one)
            print(line(source, one), flush=True)
    every = [one for ones in found.values() for one in ones]
    by_clip = {}
    for name, ones in found.items():
        by_clip |= {f"{name}_{figure}": value for figure, value in means(ones).items()}
    apart = max(abs(one.ours.intra - one.x265_intra) for one in every)
    return by_clip | means(every) | {"most_intra_difference_db": round(apart, 3)}


def means(found: Sequence[Measured]) -> dict[str, float]:
    """The three figures of some measurements."""
    return {
        "prediction_gain_db": round(statistics.mean(one.gain for one in found), 3),
        "predicted_frame_rate_ratio": round(geometric_mean(one.ratio for one in found), 3),
        "intra_frame_rate_ratio": round(geometric_mean(one.intra_ratio for one in found), 3),
    }


def geometric_mean(values: Iterable[float]) -> float:
    """Of positive values."""
    return math.exp(statistics.mean(map(math.log, values)))


def line(source: SourceClip, one: Measured) -> str:
    """A measurement in words."""
    pixels = source.width * source.height * (source.frames - 1)
    ours, other = one.ours.bits / pixels, one.x265_bits / pixels
    return (
        f"{source.name} quality {one.quality}: "
        f"prediction {one.prediction:.2f} dB, fixed blocks {one.fixed:.2f}; "
        f"intra {one.ours.intra:.2f} dB, x265 {one.x265_intra:.2f}, ratio {one.intra_ratio:.3f}; "
        f"predicted frames {one.ours.predicted:.2f} dB, {ours:.4f} bpp, x265 {other:.4f}, "
        f"ratio {one.ratio:.3f}"
    )


def at_quality(
    codec: VideoCodec,
    source: SourceClip,
    quality: int,
    level: Callable[[int], Coded],
) -> Measured:
    """Code `source` at `quality`, or one nearby where x265 has an intra frame of equal PSNR.

    Args:
        codec: it is frozen.
        source: the clip.
        quality: 0..63.
        level: x265's intra frame by QP.

    Raises:
        CodecError: the motion network does not say what it warped, or the codec works in RGB.
    """
    with tempfile.TemporaryDirectory() as folder:
        quality, intra_qp = equal_intra_frames(codec, source, quality, level)
        compared = Predictions(freeze(codec), source)
        ours = our_file(compared.codec, source, quality, Path(folder), compared.watching)

        def encode(qp: int) -> Coded:
            return x265_file(source, intra_qp, qp, Path(folder))

        bits, intra = bits_at(ours.predicted, encode, intra_qp)
        intra_bits, _ = bits_at(ours.intra, lambda qp: level(qp).first, intra_qp)
    prediction, fixed = (statistics.mean(values) for values in zip(*compared.found, strict=True))
    return Measured(quality, prediction, fixed, ours, intra, bits, intra_bits)


def intra_level(source: SourceClip) -> Callable[[int], Coded]:
    """x265's first frame by QP; each is coded once."""
    first = first_frame(source)

    @cache
    def level(qp: int) -> Coded:
        with tempfile.TemporaryDirectory() as folder:
            return x265_file(first, qp, qp, Path(folder))

    return level


def equal_intra_frames(
    codec: VideoCodec,
    source: SourceClip,
    quality: int,
    level: Callable[[int], Coded],
) -> tuple[int, int]:
    """The quality nearest to `quality`, and x265's QP, whose first frames have equal PSNRs.

    Where no quality nearby has one within `INTRA_APART`, those that are least apart.
    """
    tried = []
    for nearby in (quality + step for step in NEARBY if 0 <= quality + step < QUALITIES):
        with tempfile.TemporaryDirectory() as folder:
            wanted = our_file(codec, first_frame(source), nearby, Path(folder)).intra
        qp = nearest(wanted, lambda qp: level(qp).intra)
        tried.append((abs(level(qp).intra - wanted), nearby, qp))
        if tried[-1][0] <= INTRA_APART:
            return nearby, qp
    return min(tried)[1:]


def nearest(wanted: float, level: Callable[[int], float]) -> int:
    """The QP whose PSNR `level(qp)`, which falls with it, is nearest to `wanted`."""
    low, high = 0, COARSEST
    while low < high:  # the first QP that is not above
        middle = (low + high) // 2
        low, high = (low, middle) if level(middle) <= wanted else (middle + 1, high)
    return min(max(low - 1, 0), low, key=lambda qp: abs(level(qp) - wanted))


def bits_at(wanted: float, encode: Callable[[int], Coded], start: int) -> tuple[float, float]:
    """Bits of predicted frames at the PSNR `wanted`, and the PSNR of the intra frame.

    Between the two neighbouring QPs whose PSNRs lie about `wanted` the logarithm of the bits is a
    straight line over the PSNR; outside of x265's range it goes on as at the end.
    """
    made: dict[int, Coded] = {}

    def coded(qp: int) -> Coded:
        if qp not in made:
            made[qp] = encode(qp)
        return made[qp]

    qp = start
    while True:
        above = coded(qp).predicted - wanted
        step = round(above * QP_OF_DB) or (1 if above > 0 else -1)
        target = min(max(qp + step, 0), COARSEST)
        fine = max((k for k, one in made.items() if one.predicted >= wanted), default=None)
        coarse = min((k for k, one in made.items() if one.predicted < wanted), default=None)
        if fine is not None and coarse is not None:
            if coarse - fine <= 1:
                break
            target = min(max(target, fine + 1), coarse - 1)
        elif target == qp:  # the end of the range: its last two
            fine, coarse = (0, 1) if qp == 0 else (COARSEST - 1, COARSEST)
            break
        qp = target
    first, second = coded(fine), coded(coarse)
    apart = first.predicted - second.predicted  # 0 where both only repeat the intra frame
    share = (wanted - second.predicted) / apart if apart else 1.0
    return math.exp(share * math.log(first.bits) + (1 - share) * math.log(second.bits)), first.intra


class Predictions:
    """Compares what a frozen codec's motion network warps with what fixed blocks would have.

    Attributes:
        codec: the codec.
        found: of each predicted frame coded by `watching`, PSNR in RGB of both, dB.
    """

    def __init__(self, codec: VideoCodec, source: SourceClip) -> None:
        if codec.colours != COLOURS["ycc"]:
            raise CodecError("prediction: this codec works in RGB; fixed blocks need luma")
        self.codec, self.size = codec, (source.height, source.width)
        self.frames = iter(source.rgb[1:].float())
        self.fixed = fixed_blocks(codec.lambdas)
        self.found: list[tuple[float, float]] = []

    def watching(self) -> torch.utils.hooks.RemovableHandle:
        """Look at every predicted frame from now on, until it is removed."""
        return self.codec.motion.register_forward_hook(self._compare)

    def _compare(self, network: torch.nn.Module, given: tuple, context: Context) -> None:
        frame, references, quality, _ = given
        if context.warped is None:
            raise CodecError(f"prediction: {type(network).__name__} warps nothing to compare")
        source = next(self.frames)
        pictures = context.warped, self.fixed_prediction(frame, references, quality)
        shown = (self.codec.picture(picture.float(), self.size)[0] for picture in pictures)
        self.found.append(tuple(psnr(255 * one.clamp(0, 1).cpu(), source) for one in shown))

    def fixed_prediction(self, frame: Tensor, references: References, quality: Tensor) -> Tensor:
        """`(B, 3, H, W)`: the newest reference, moved by vectors rounded as in a stream."""
        newest, fineness = references.newest, self.fixed.fineness(quality)
        field = self.fixed.estimate_motion(frame, newest.frame, quality).round() / fineness
        moving = (field.abs() >= STILL).any(1, keepdim=True)
        return self.fixed.warp(field * moving, newest.frame.float(), newest.features.float())[0]


def fixed_blocks(lambdas: LambdaRange) -> FixedBlockMatching:
    """Fixed blocks, untrained, whose search pays for a bit what `block_matching` pays."""
    cheapest, dearest = (SATD_OF_A_BIT / value**0.5 for value in (lambdas.high, lambdas.low))
    return FixedBlockMatching(8, FactorizedEntropy(2), cheapest=cheapest, dearest=dearest).eval()


def our_file(
    codec: VideoCodec,
    source: SourceClip,
    quality: int,
    folder: Path,
    watching: Callable[[], torch.utils.hooks.RemovableHandle] | None = None,
) -> Coded:
    """Write a file, read it back; `watching` is on while it is written."""
    file = folder / "ours.cvd"
    watch = watching() if watching else None
    try:
        written = compress(codec, source.rgb, source.fps, quality, file)
    finally:
        if watch:
            watch.remove()
    return scored(decompress(file, codec).frames, source, written.frame_bytes)


def x265_file(source: SourceClip, intra_qp: int, qp: int, folder: Path) -> Coded:
    """Write a file with x265, read it back: one I frame at `intra_qp`, then P frames at `qp`."""
    ratio = 2 ** ((qp - intra_qp) / 6)  # x265 takes 6 log2(ipratio) off for intra frames
    coder = replace(ANCHOR, parameters=f"{ANCHOR.parameters}:ipratio={ratio:.8f}")
    coded = coder.code(source, qp, "psnr", folder)
    if coded.extra["frame_types"] != "I" + "P" * (source.frames - 1):
        kinds = coded.extra["frame_types"]
        raise CodecError(f"x265: {source.name} became {kinds}; one I and P frames were wanted")
    return scored(coded.decoded, source, coded.frame_bytes)


def scored(decoded: Tensor, source: SourceClip, frame_bytes: Sequence[int]) -> Coded:
    """PSNR and bits of what a file was decoded to."""
    pairs = zip(decoded, source.rgb, strict=True)
    values = [psnr(ours.float(), own.float()) for ours, own in pairs]
    predicted = statistics.mean(values[1:] or values)
    return Coded(values[0], predicted, 8 * sum(frame_bytes[1:]), 8 * frame_bytes[0])


def first_frame(source: SourceClip) -> SourceClip:
    """The clip's first frame alone."""
    planes = source.planes and tuple(plane[:1] for plane in source.planes)
    return replace(source, frames=1, rgb=source.rgb[:1], planes=planes)


def psnr(first: Tensor, second: Tensor) -> float:
    """dB between frames in 8-bit levels, of any float type; 99 at the most."""
    return min(99.0, 10 * math.log10(255**2 / max(float((first - second).square().mean()), 1e-9)))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
