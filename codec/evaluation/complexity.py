"""What coding a frame costs: parameters, multiplications and time, by part of the codec and
direction.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from codec.entropy.coding.symbol_coder import (
    SymbolCoder,
    SymbolCounter,
    SymbolDecoder,
    SymbolEncoder,
)
from codec.errors import CodecError
from codec.evaluation.ledger import (
    BLOCKS,
    CODER,
    OTHER,
    SEARCH,
    WARPING,
    booked,
    entropy_networks,
    networks_of,
)
from codec.freeze import freeze
from codec.quality import check_quality
from codec.references import References
from codec.video import VideoCodec

FRAMES = 3  # an intra frame, a predicted one, and the predicted one that is measured
_NETWORKS = [
    "intra networks",
    "intra entropy",
    SEARCH,
    "motion networks",
    WARPING,
    "motion entropy",
]
_ORDER = [BLOCKS, *_NETWORKS, "residual networks", "residual entropy", CODER, OTHER]


@dataclass(frozen=True)
class Cost:
    """Thousands of multiply-accumulates a pixel of the original size, and milliseconds."""

    kmac_per_pixel: float
    milliseconds: float


@dataclass(frozen=True)
class FrameComplexity:
    """One frame.

    Attributes:
        encoding, decoding: cost by part of the codec. What encoding reconstructs with is part of
            encoding.
        coded, skipped: symbols by component, as `SymbolCounter` counts them.
    """

    encoding: dict[str, Cost]
    decoding: dict[str, Cost]
    coded: dict[str, int]
    skipped: dict[str, int]


@dataclass(frozen=True)
class Complexity:
    """What `measure_complexity` found.

    Attributes:
        width, height: original size in pixels.
        quality, precision, threads, repeats: how it was run; `repeats` 0: not timed, all
            milliseconds 0.
        parameters: by part of the codec; parts without any are left out.
        intra, predicted: the two kinds of frame.
    """

    width: int
    height: int
    quality: int
    precision: str
    threads: int
    repeats: int
    parameters: dict[str, int]
    intra: FrameComplexity
    predicted: FrameComplexity


def total(costs: dict[str, Cost]) -> Cost:
    """The sum over parts."""
    return Cost(
        sum(c.kmac_per_pixel for c in costs.values()), sum(c.milliseconds for c in costs.values())
    )


def parts_of(frame: FrameComplexity) -> list[str]:
    """Parts that take part in a frame, in the order of a table."""
    return sorted(
        frame.encoding | frame.decoding,
        key=lambda part: _ORDER.index(part) if part in _ORDER else len(_ORDER),
    )


def header_line(complexity: Complexity) -> str:
    """The line that a codec's config file carries; tests compare it with what is counted."""
    million = sum(complexity.parameters.values()) / 1e6
    encoding, decoding = (
        total(c).kmac_per_pixel
        for c in (complexity.predicted.encoding, complexity.predicted.decoding)
    )
    return (
        f"# Parameters: {million:.2f} M; encoding {encoding:.1f} kMAC/pixel, decoding "
        f"{decoding:.1f} kMAC/pixel "
        f"(predicted frame, {complexity.width}x{complexity.height})"
    )


def count_parameters(codec: VideoCodec) -> dict[str, int]:
    """Trained values by part of the codec."""
    entropy = tuple(f"{path}." for path in entropy_networks(codec))
    counts: dict[str, int] = {}
    for path, parameter in codec.named_parameters():
        part = networks_of(path, entropy=path.startswith(entropy))
        counts[part] = counts.get(part, 0) + parameter.numel()
    return counts


@torch.inference_mode()
def measure_complexity(
    codec: VideoCodec,
    frames: Tensor,
    quality: int = 32,
    repeats: int = 3,
    precision: str | None = None,
) -> Complexity:
    """Code an intra and a predicted frame as a stream is coded, with torch's present number of
    threads.

    Multiply-accumulates are counted while the codec really writes and reads: convolutions,
    transposed ones, and matrix products (those that torch's `FlopCounterMode` knows, at two
    operations each). Warping, block search, activations and other element-wise work and the entropy
    coder have none; they show in the milliseconds, which are medians. Nor has the 3×3 layer of
    `QuadtreeEntropy` where a kernel computes it: a tenth of what that network needs. It is computed
    only where there are blocks, so its count depends on the content.

    Args:
        codec: it is frozen.
        frames: uint8 `(3, 3, H, W)` RGB; the first is the intra frame, the last the predicted one.
        quality: 0..63.
        repeats: timed runs after the counted one; 0: only count.
        precision: as `freeze` takes it.

    Raises:
        CodecError: quality, repeats or frames out of range.
    """
    check_quality(quality)
    if frames.dtype != torch.uint8 or frames.shape[:2] != (FRAMES, 3) or frames.dim() != 4:
        raise CodecError(
            f"complexity: frames uint8 ({FRAMES}, 3, H, W) expected; {frames.dtype} "
            f"{tuple(frames.shape)} came"
        )
    if repeats < 0:
        raise CodecError(f"repeats: {repeats} given; expected at least 0")
    parameters, codec = count_parameters(codec), freeze(codec, precision)
    device, size = next(codec.parameters()).device, (frames.shape[-2], frames.shape[-1])
    index = torch.tensor([quality], device=device)
    first, second, third = frames[:, None].to(device).float() / 255
    references = codec.code_frame(first, None, size, index, SymbolEncoder()).references
    references = codec.code_frame(second, references, size, index, SymbolEncoder()).references
    intra = _Frame(codec, first, None, index).measure(repeats)
    predicted = _Frame(codec, third, references, index).measure(repeats)
    how = (quality, codec.frozen.precision, torch.get_num_threads(), repeats)
    return Complexity(size[1], size[0], *how, parameters, intra, predicted)


@dataclass(frozen=True)
class _Frame:
    """One frame to code again and again: `pixels` `(1, 3, H, W)` in 0..1, and what it is predicted
    from.
    """

    codec: VideoCodec
    pixels: Tensor
    references: References | None
    quality: Tensor

    def measure(self, repeats: int) -> FrameComplexity:
        writer = SymbolEncoder()
        with FlopCounterMode(display=False) as counter:
            counting = SymbolCounter(writer)
            encoding, payload = self.encode(writer, counting, counter.get_total_flops)
            decoding = self.decode(payload, counter.get_total_flops)
        encoded, decoded = [], []
        for _ in range(repeats):
            writer = SymbolEncoder()
            encoded.append(self.encode(writer, writer, time.perf_counter)[0])
            decoded.append(self.decode(payload, time.perf_counter))
        both = (self.costs(encoding, encoded), self.costs(decoding, decoded))
        return FrameComplexity(*both, dict(counting.coded), dict(counting.skipped))

    def encode(
        self, writer: SymbolEncoder, coder: SymbolCoder, read: Callable[[], float]
    ) -> tuple[dict[str, float], bytes]:
        """What each part used up, and the payload; `coder` is `writer` or leads to it."""
        with booked(self.codec, writer, read) as ledger:
            self.codec.code_frame(self.pixels, self.references, self.size, self.quality, coder)
            payload = writer.finish_frame()
        return ledger.spent, payload

    def decode(self, payload: bytes, read: Callable[[], float]) -> dict[str, float]:
        """What each part used up until there is a picture."""
        reader = SymbolDecoder(payload)
        with booked(self.codec, reader, read) as ledger:
            coded = self.codec.code_frame(None, self.references, self.size, self.quality, reader)
            self.codec.output(coded.reference, self.size)
        return ledger.spent

    def costs(
        self, operations: dict[str, float], seconds: list[dict[str, float]]
    ) -> dict[str, Cost]:
        pixels = self.size[0] * self.size[1]
        found = {}
        for part, count in operations.items():
            taken = 1000 * statistics.median(run[part] for run in seconds) if seconds else 0.0
            found[part] = Cost(count / 2 / pixels / 1000, taken)
        return found

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[-2], self.pixels.shape[-1]
