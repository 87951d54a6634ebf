"""What coding a frame costs: parameters, multiplications and time, shared among the parts of the
codec by direction. The networks know nothing of it.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from codec.entropy.coding.symbol_coder import (
    SymbolCoder,
    SymbolCounter,
    SymbolDecoder,
    SymbolEncoder,
)
from codec.entropy.models.base import EntropyNetwork
from codec.errors import CodecError
from codec.freeze import freeze
from codec.quality import check_quality
from codec.references import References
from codec.video import VideoCodec

CODER, OTHER = "entropy coder", "other"
SEARCH, WARPING, BLOCKS = "motion search", "motion warping", "block decisions"
_SCALES = (64, 32, 16, 8, 4, 2)  # pixels from one random value to the next
_PAN = (3, 2)  # pixels a frame, right and down
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


class Ledger:
    """Reads a meter whenever work passes from part to part; each stretch goes to the innermost part
    at work.

    Args:
        read: the meter, for example a clock. It only rises.

    Attributes:
        spent: by part; what no part did is `other`. The sum is all that the meter rose by.
    """

    def __init__(self, read: Callable[[], float]) -> None:
        self.spent: dict[str, float] = {}
        self._read, self._at_work = read, [OTHER]
        self._last = read()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is done within goes to `name`, less what parts within it do."""
        self._book()
        self._at_work.append(name)
        try:
            yield
        finally:
            self._book()
            self._at_work.pop()

    def _book(self) -> None:
        now, name = self._read(), self._at_work[-1]
        self.spent[name] = self.spent.get(name, 0.0) + now - self._last
        self._last = now


@contextmanager
def booked(codec: VideoCodec, coder: SymbolCoder, read: Callable[[], float]) -> Iterator[Ledger]:
    """Share what `codec` and the writing or reading `coder` use up within among the codec's
    parts.

    For that while the methods at which work passes from one part to another are wrapped. Methods
    `estimate_motion` and `warp` of a motion network are parts of their own: finding motion at the
    encoder, and warping by it. So is `search` of an intra or a residual network: its decisions on
    blocks.
    """
    ledger = Ledger(read)
    with ExitStack() as wrapped:
        for owner, method, part in _doors(codec, coder):
            wrapped.enter_context(_wrapped(owner, method, ledger, part))
        with ledger.part(OTHER):
            yield ledger


def networks_of(path: str, entropy: bool) -> str:
    """The part that a module or parameter at `path` in the codec belongs to, for example `motion
    entropy`.
    """
    owner = path.split(".")[0]
    owner = "residual" if owner == "entropy" else owner
    return f"{owner} entropy" if entropy else f"{owner} networks"


def entropy_networks(codec: VideoCodec) -> dict[str, EntropyNetwork]:
    """All entropy networks of a codec by their path in it."""
    return {
        path: module for path, module in codec.named_modules() if isinstance(module, EntropyNetwork)
    }


def _doors(codec: VideoCodec, coder: SymbolCoder) -> Iterator[tuple[Any, str, str]]:
    yield codec.intra, "forward", networks_of("intra", entropy=False)
    yield codec.motion, "forward", networks_of("motion", entropy=False)
    yield codec.motion, "estimate_motion", SEARCH
    yield codec.motion, "warp", WARPING
    yield codec.residual, "code", networks_of("residual", entropy=False)
    yield codec.intra, "search", BLOCKS
    yield codec.residual, "search", BLOCKS
    for path, network in entropy_networks(codec).items():
        yield network, "code", networks_of(path, entropy=True)
    yield coder, "code", CODER
    yield coder, "finish_frame", CODER


@contextmanager
def _wrapped(owner: Any, method: str, ledger: Ledger, part: str) -> Iterator[None]:
    """Put `ledger.part(part)` about a method of one object, where it has it."""
    original = getattr(owner, method, None)
    if original is None:
        yield
        return

    @wraps(original)
    def booked_call(*args: Any, **kwargs: Any) -> Any:
        with ledger.part(part):
            return original(*args, **kwargs)

    setattr(owner, method, booked_call)
    try:
        yield
    finally:
        delattr(owner, method)


def panning_clip(frames: int, width: int, height: int) -> Tensor:
    """uint8 `(T, 3, H, W)`: texture with more in it the coarser, as pictures have, that pans; a
    little noise. Always the same.
    """
    generator = torch.Generator().manual_seed(0)
    tall, wide = height + _PAN[1] * frames, width + _PAN[0] * frames
    picture = torch.full((1, 3, tall, wide), 128.0)
    for scale in _SCALES:
        coarse = (
            torch.randn(1, 3, tall // scale + 2, wide // scale + 2, generator=generator)
            * 6
            * scale**0.4
        )
        picture += F.interpolate(coarse, size=(tall, wide), mode="bilinear", align_corners=False)
    shots = [picture[0, :, _PAN[1] * t :, _PAN[0] * t :][:, :height, :width] for t in range(frames)]
    noisy = torch.stack(shots) + torch.randn(frames, 3, height, width, generator=generator)
    return noisy.round().clamp(0, 255).to(torch.uint8)


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
    assert codec.frozen is not None
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
