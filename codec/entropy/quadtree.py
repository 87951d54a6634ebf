"""Block motion as symbols: a quadtree of blocks, what each is predicted from, and its vectors, coded from coarse to fine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.entropy.channel import Channel
from codec.entropy.decisions import BinaryModel, class_bits, code_classes
from codec.entropy.exact import SIXTEENTHS, BoundedBlock, Exact, ExactConv, ExactTable, bounded, exactly
from codec.entropy.hyper import LEVELS_PER_UNIT
from codec.entropy.laplace import LOG_STEP, SMALLEST_SCALE, LaplaceModel, limit_index
from codec.entropy.network import EntropyNetwork
from codec.entropy.prices import VECTOR_STEPS, PriceTables
from codec.entropy.quadtree_kernels import look_around
from codec.errors import CodecError
from codec.layers.bands import in_bands
from codec.layers.kernels import by_kernel

MOST_REFERENCES = 4
CELL = 8  # pixels: the smallest block, and the grid of the maps
CELLS = (8, 4, 2, 1)  # cells a side of blocks of 64, 32, 16 and 8 pixels
_NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1))  # (x, y)
_KNOWN, _TEMPORAL = 3, 2  # how much a neighbour that is coded already, and the last frame, count beside a guess
_START_SCALE = math.log(1.5 / SMALLEST_SCALE) / LOG_STEP / LEVELS_PER_UNIT  # 1.5 quarter pixels, as heads say it


def prediction_modes(references: int) -> list[tuple[int, ...]]:
    """What a block may be predicted from, by class: one reference alone, or the average of two."""
    return [(r,) for r in range(references)] + list(combinations(range(references), 2))


def used_references(mode: Tensor, references: int) -> Tensor:
    """`(B, 1, h, w)` classes of `prediction_modes` -> `(B, R, h, w)` bool: which references a block uses."""
    return _uses(references, mode.device)[mode[:, 0]].permute(0, 3, 1, 2)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # training may use it after decoding did
def _uses(references: int, device: torch.device) -> Tensor:
    """`(M + 1, R)` bool: whether a mode uses a reference; the last row is that of mode -1."""
    modes = prediction_modes(references)
    rows = [[r in used for r in range(references)] for used in [*modes, ()]]
    return torch.tensor(rows, device=device)


# level, mode `(B, 1, h, w)`, vectors and their means `(B, 2·R, h, w)`, where there are blocks `(B, 1, h, w)` -> vectors
Revise = Callable[[int, Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class BlockKnowledge:
    """What both sides know of a frame's motion on the grid of one level, while it is being coded.

    Attributes:
        vectors: `(B, 2·R, h, w)` int32, quarter pixels: coded, or as they are expected.
        known: `(B, 1, h, w)` bool: coded.
        mode: `(B, 1, h, w)` int64, -1 where it is not known.
        exists: `(B, 1, h, w)` bool: there is a block here, and it is not decided yet.
    """

    vectors: Tensor
    known: Tensor
    mode: Tensor
    exists: Tensor

    def finer(self, split: Tensor, size: tuple[int, int]) -> BlockKnowledge:
        """The same on the next grid, of `size`, where the blocks that `split` are four."""

        def enlarged(values: Tensor) -> Tensor:
            return values.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., : size[0], : size[1]]

        fields = {"vectors": self.vectors, "known": self.known, "mode": self.mode, "exists": split}
        return BlockKnowledge(**{name: enlarged(value) for name, value in fields.items()})


class BlockContext(Exact, nn.Module):
    """What is known around a block, and quality -> log-odds and scales of its symbols, in sixteenths.

    Args:
        inputs: channels of what is known.
        width: of the network.
        decisions: outputs for modes and vectors, beside the one that says whether the block is split.
    """

    def __init__(self, inputs: int, width: int, decisions: int) -> None:
        super().__init__()
        self.known = ExactConv(inputs, width)
        self.quality = ExactTable(width, torch.zeros(width))
        self.blocks = BoundedBlock(width)
        self.heads = nn.ModuleList(ExactConv(width, 1 + decisions, zero=True) for _ in CELLS)

    @exactly
    def forward(self, known: Tensor, quality: Tensor, level: Tensor) -> Tensor:
        """`(B, inputs, h, w)` whole numbers in -127..127, `(B,)`, and the number of the level -> `(B, 1 + decisions, h, w)`."""
        features = self.blocks(bounded(self.known(known) + self.quality(quality)))
        return self.heads[int(level)](features)


class QuadtreeEntropy(Exact, EntropyNetwork):
    """Codes the dense maps of block motion: level, mode and vectors of 8×8 cells, each constant within its block.

    Level by level, blocks of 64 pixels first: which are split, then for those that are not the mode and the vectors, in two
    passes over a checkerboard. A vector's mean is the vector among those around it (of coarser blocks, of the pass before, of the
    last frame) that differs least from the others, and the first question is whether the vector is just that: "as my neighbours"
    and "nothing moves" cost the same.
    Probabilities come from an exact network.

    Args:
        references: that a block may choose from, 1 to 4.
        width: of the network.

    Attributes:
        prices: what its symbols cost, for decisions at the encoder.

    Source: the quadtree and the modes are HEVC's (Sullivan et al., *Overview of the HEVC standard*, 2012); the order of coding is
    after He et al., *Checkerboard context model*, CVPR 2021; the vector median after Astola et al., *Vector median filters*, 1990.

    Raises:
        CodecError: another number of references.
    """

    exact = True

    def __init__(self, references: int = 2, width: int = 32) -> None:
        super().__init__()
        if not 1 <= references <= MOST_REFERENCES:
            raise CodecError(f"references: {references} given; expected 1 to {MOST_REFERENCES}")
        self.channels, self.references = 2 + 2 * references, references
        self.modes = prediction_modes(self.references)
        self.prices = PriceTables(len(self.modes))
        inputs = 8 * self.references + 4 + 2 * len(self.modes) + len(CELLS) + 4
        self.context = BlockContext(inputs, width, len(self.modes) - 1 + 3 * self.references)
        with torch.no_grad():
            for head in self.context.heads:
                head.bias[-2 * self.references :] = _START_SCALE
                head.bias[1:2] = 1.0  # the newest reference

    def transmit(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        channel: Channel,
        previous: Tensor | None = None,
        distances: tuple[int, ...] = (1,),
        revise: Revise | None = None,
        previous_quality: Tensor | None = None,
    ) -> Tensor:
        """Send or receive the maps of one frame.

        Args:
            component: bits go under `component.split`, `component.mode` and `component.vector`.
            latent: `(B, 2 + 2·R, h, w)` float32 integers on the sending side: level 0..3 (blocks of 64 to 8), class of
                `prediction_modes`, and x and y of each reference in quarter pixels. A block that crosses the border is split.
            size: `(h, w)`, both even.
            quality: `(B,)` indices 0..63.
            channel: where it goes to or comes from.
            previous: the maps of the last frame, or None.
            distances: frames to each reference that there is now, as `References.distances`.
            revise: where the encoder may change its mind, once it is known what a vector is expected to be.
            previous_quality: not used: vectors have no scale that follows the quality.

        Returns:
            `(B, 2 + 2·R, h, w)` float32, the same on both sides; vectors of references that a block does not use are what is
            expected of them.
        """
        last = _LastFrame.of(previous, len(quality), self.channels, size, quality.device)
        decided = torch.zeros(len(quality), self.channels, *size, device=quality.device)
        state = self._start(last, size)
        for level, cells in enumerate(CELLS):
            wanted = None if latent is None else _coarse(latent, cells)
            state, split, leaf = self._code_level(
                component, wanted, state, last, level, size, quality, channel, distances, revise
            )
            found = torch.cat([torch.full_like(state.mode, level), state.mode, state.vectors], 1).float()
            decided = torch.where(_fine(leaf, cells, size), _fine(found, cells, size), decided)
            if cells > 1:
                state = state.finer(split, _grid(size, CELLS[level + 1]))
        return decided

    def _start(self, last: _LastFrame, size: tuple[int, int]) -> BlockKnowledge:
        vectors = last.at(CELLS[0]).vectors
        nothing = torch.zeros_like(vectors[:, :1], dtype=torch.bool)
        mode = torch.full_like(nothing, -1, dtype=torch.int64)
        return BlockKnowledge(vectors=vectors, known=nothing, mode=mode, exists=~nothing)

    def _code_level(
        self,
        component: str,
        wanted: Tensor | None,
        state: BlockKnowledge,
        last: _LastFrame,
        level: int,
        size: tuple[int, int],
        quality: Tensor,
        channel: Channel,
        distances: tuple[int, ...],
        revise: Revise | None,
    ) -> tuple[BlockKnowledge, Tensor, Tensor]:
        """One level: what is known after it, which blocks are split, and which are leaves."""
        cells = CELLS[level]
        even = _checkerboard(*state.known.shape[-2:], quality.device)
        split = leaf = None
        for second in (False, True):
            means, inputs = self._look_around(state, last, level, second)
            said = self.context(inputs, quality, level).float()
            if not second:
                split = self._code_split(component, wanted, state, said, level, size, quality, channel)
                leaf = state.exists & ~split
            here = ~even if second else even
            state = self._code_leaves(
                component, wanted, state, means, said, leaf & here, here, level, quality, channel, distances, revise
            )
        return state, split, leaf

    def _code_split(
        self,
        component: str,
        wanted: Tensor | None,
        state: BlockKnowledge,
        said: Tensor,
        level: int,
        size: tuple[int, int],
        quality: Tensor,
        channel: Channel,
    ) -> Tensor:
        if CELLS[level] == 1:
            return torch.zeros_like(state.exists)
        inside = _inside(size, CELLS[level], said.device)
        split = None if wanted is None else (wanted[:, :1] > level).float()
        model = BinaryModel(said[:, :1] / SIXTEENTHS, state.exists & inside)
        symbols = channel.symbols(f"{component}.split", split, model)
        if self.training:
            self.prices.note("split", 2 * level + symbols, model.bits(symbols), model.present, quality)
        return (symbols > 0.5) | (state.exists & ~inside)

    def _code_leaves(
        self,
        component: str,
        wanted: Tensor | None,
        state: BlockKnowledge,
        means: Tensor,
        said: Tensor,
        present: Tensor,
        here: Tensor,
        level: int,
        quality: Tensor,
        channel: Channel,
        distances: tuple[int, ...],
        revise: Revise | None,
    ) -> BlockKnowledge:
        """Modes and vectors of the blocks that are `present`; `here` are the places of this pass, where means are kept."""
        _, odds, vector_odds, scales = said.split([1, len(self.modes) - 1, self.references, 2 * self.references], 1)
        mode, vectors = (None, None) if wanted is None else (wanted[:, 1:2].long(), wanted[:, 2:])
        if revise and vectors is not None:
            vectors = revise(level, mode, vectors.int(), means, present)
        if len(distances) > 1:
            mode = code_classes(f"{component}.mode", mode, odds / SIXTEENTHS, present, channel)
            if self.training:
                bits = class_bits(mode, odds / SIXTEENTHS)
                self.prices.note("mode", len(self.modes) * level + mode, bits, present, quality)
        else:
            mode = torch.zeros_like(present, dtype=torch.int64)
        used = used_references(mode, self.references)
        vectors = self._code_vectors(component, vectors, means, vector_odds, scales, used & present, quality, channel)
        vectors = torch.where(present, _completed(vectors, used, distances), means)
        return replace(
            state,
            vectors=torch.where(here, vectors, state.vectors),
            known=state.known | present,
            mode=torch.where(present, mode, state.mode),
        )

    def _code_vectors(
        self,
        component: str,
        wanted: Tensor | None,
        means: Tensor,
        odds: Tensor,
        scales: Tensor,
        present: Tensor,
        quality: Tensor,
        channel: Channel,
    ) -> Tensor:
        """Vectors `(B, 2·R, h, w)` int32 where they are `present` `(B, R, h, w)`: first whether they are just the mean."""
        means = means.float()
        same = None if wanted is None else (_lengths(wanted - means) == 0).float()
        choice = BinaryModel(odds / SIXTEENTHS, present)
        same = channel.symbols(f"{component}.vector", same, choice)
        coded = (present & (same < 0.5)).repeat_interleave(2, 1)
        index = limit_index(scales * (LEVELS_PER_UNIT / SIXTEENTHS))
        model = LaplaceModel(means, index, present=coded, integer=True)
        vectors = channel.symbols(f"{component}.vector", wanted, model)
        if self.training:
            self.prices.note("same", same, choice.bits(same), present, quality)
            missed = (vectors - means).abs().clamp(max=VECTOR_STEPS - 1)
            self.prices.note("vector", missed, model.bits(missed), coded, quality)
        return vectors.round().int()

    def _look_around(self, state: BlockKnowledge, last: _LastFrame, level: int, second: bool) -> tuple[Tensor, Tensor]:
        """Means of the vectors `(B, 2·R, h, w)` int32, and what the network sees: whole numbers in -127..127."""
        before = last.at(CELLS[level])
        flags = [float(k == level) for k in range(len(CELLS))] + [float(second), float(last.there)]
        if by_kernel(state.vectors):
            return self._look_around_by_kernel(state, before, flags, last.there)
        vectors = [state.vectors, *(_shifted(state.vectors, by) for by in _NEIGHBOURS), before.vectors]
        known = [_shifted(state.known, by) & _there(state.known, by) for by in _NEIGHBOURS]
        own, guess, neighbour, temporal = _counts(last.there)
        like = torch.zeros_like(state.mode, dtype=torch.int32)
        weights = [like + own, *(like + guess + (neighbour - guess) * flag for flag in known), like + temporal]
        means = _vector_median(torch.stack(vectors), torch.stack(weights))
        distances = torch.cat([_lengths(candidate - means) for candidate in vectors], 1).float()
        modes = [_shifted(state.mode, by) for by in _NEIGHBOURS]
        classes = range(len(self.modes))
        around = [sum((mode == k) & flag for mode, flag in zip(modes, known, strict=True)) for k in classes]
        lasting = [before.mode == k for k in classes]
        plain = torch.cat([*known, *around, *lasting, before.finest, before.mean], 1) * SIXTEENTHS
        same = torch.cat([like[:, :1] + flag * SIXTEENTHS for flag in flags], 1)
        sizes = self.companded(torch.cat([distances, means.abs().float()], 1))
        return means, torch.cat([sizes, plain.floor(), same], 1)

    def _look_around_by_kernel(
        self, state: BlockKnowledge, before: _Before, flags: list[float], temporal: bool
    ) -> tuple[Tensor, Tensor]:
        batch, _, height, width = state.vectors.shape
        means = torch.empty_like(state.vectors, memory_format=torch.contiguous_format)
        inputs = torch.empty(batch, height, width, self.context.known.in_channels)
        maps = (state.known[:, 0], state.mode[:, 0], before.vectors, before.mode[:, 0], before.finest[:, 0], before.mean[:, 0])
        arrays = [value.contiguous().numpy() for value in (state.vectors, *maps)]
        rest = np.array(flags, np.float32), len(self.modes), np.array(_counts(temporal)), means.numpy(), inputs.numpy()
        in_bands(lambda first, end: look_around(*arrays, *rest, first, end), batch * height)
        return means, inputs.permute(0, 3, 1, 2)


@dataclass(frozen=True, kw_only=True)
class _Before:
    """The last frame on the grid of a level, `(B, …, h, w)`: vectors int32, mode int64, finest and mean level float32."""

    vectors: Tensor
    mode: Tensor
    finest: Tensor
    mean: Tensor


@dataclass(frozen=True)
class _LastFrame:
    """The maps of the last frame, `(B, 2 + 2·R, h, w)`, zero where there are none."""

    maps: Tensor
    there: bool

    @classmethod
    def of(cls, maps: Tensor | None, batch: int, channels: int, size: tuple[int, int], device: torch.device) -> _LastFrame:
        if maps is None:
            return cls(torch.zeros(batch, channels, *size, device=device), False)
        return cls(maps.detach().float(), True)

    def at(self, cells: int) -> _Before:
        """On a grid of blocks: vectors and mode in the middle of each, its finest and its mean level."""
        maps = _whole_blocks(self.maps, cells)
        middle = maps[..., cells // 2 :: cells, cells // 2 :: cells]
        level = maps[:, :1]
        mode = middle[:, 1:2].long() if self.there else torch.full_like(middle[:, 1:2], -1, dtype=torch.int64)
        finest, mean = (level, level) if cells == 1 else (F.max_pool2d(level, cells), F.avg_pool2d(level, cells))
        return _Before(vectors=middle[:, 2:].int(), mode=mode, finest=finest, mean=mean)


def _counts(temporal: bool) -> tuple[int, int, int, int]:
    """How much a place's own guess, a guess beside it, a neighbour that is coded, and the last frame count."""
    return 1, 1, _KNOWN, _TEMPORAL if temporal else 0


def _vector_median(vectors: Tensor, weights: Tensor) -> Tensor:
    """Of N vectors a place and reference, the one whose summed weighted distance to the others is least; ties go to the first.

    `vectors` `(N, B, 2·R, h, w)` int32, `weights` `(N, B, 1, h, w)` int32 -> `(B, 2·R, h, w)` int32.
    """
    pairs = vectors.unflatten(2, (-1, 2))
    distance = [((pairs - one).abs().sum(3) * weights).sum(0) for one in pairs]
    key = torch.stack([total * len(distance) + n for n, total in enumerate(distance)])
    least = key.argmin(0)[None, :, :, None].expand(1, *pairs.shape[1:])
    return pairs.gather(0, least)[0].flatten(1, 2)


def _completed(vectors: Tensor, used: Tensor, distances: tuple[int, ...]) -> Tensor:
    """Where a reference is not used, the vector of the first one that is, scaled by how far the references lie."""
    parts, flags = vectors.unflatten(1, (-1, 2)).unbind(1), used.split(1, 1)
    count = len(distances)
    scaled = list(parts)
    for source in reversed(range(count)):  # the first that is used counts in the end
        for r in range(count):
            if r != source:
                guess = _rescaled(parts[source], distances[r], distances[source])
                scaled[r] = torch.where(flags[source] & ~flags[r], guess, scaled[r])
    return torch.stack(scaled, 1).flatten(1, 2)


def _rescaled(vectors: Tensor, wanted: int, given: int) -> Tensor:
    """Integer `vectors` over `given` frames as they are over `wanted` frames, rounded to the nearest."""
    wanted, given = (wanted, given) if given > 0 else (-wanted, -given)
    return torch.div(2 * wanted * vectors + given, 2 * given, rounding_mode="floor")


def _lengths(vectors: Tensor) -> Tensor:
    """`(B, 2·R, h, w)` -> `(B, R, h, w)`: |x| + |y|."""
    return vectors.abs().unflatten(1, (-1, 2)).sum(2)


def _shifted(values: Tensor, by: tuple[int, int]) -> Tensor:
    """The value of the neighbour at `by` (x, y); the place's own at the border."""
    x, y = by
    height, width = values.shape[-2:]
    rows = torch.arange(height, device=values.device).add(y).clamp(0, height - 1)
    columns = torch.arange(width, device=values.device).add(x).clamp(0, width - 1)
    return values.index_select(-2, rows).index_select(-1, columns)


def _there(like: Tensor, by: tuple[int, int]) -> Tensor:
    """`(1, 1, h, w)` bool: the neighbour at `by` lies in the frame."""
    height, width = like.shape[-2:]
    rows, columns = torch.arange(height, device=like.device) + by[1], torch.arange(width, device=like.device) + by[0]
    return (((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None])[None, None]


def _checkerboard(height: int, width: int, device: torch.device) -> Tensor:
    rows, columns = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)[None]
    return ((rows + columns) % 2 == 0)[None, None]


def _grid(size: tuple[int, int], cells: int) -> tuple[int, int]:
    return -(-size[0] // cells), -(-size[1] // cells)


def _inside(size: tuple[int, int], cells: int, device: torch.device) -> Tensor:
    """`(1, 1, h, w)` bool: the block does not cross the border of maps of `size`."""
    height, width = _grid(size, cells)
    rows = (torch.arange(height, device=device) + 1) * cells <= size[0]
    columns = (torch.arange(width, device=device) + 1) * cells <= size[1]
    return (rows[:, None] & columns[None])[None, None]


def _whole_blocks(maps: Tensor, cells: int) -> Tensor:
    height, width = maps.shape[-2:]
    return F.pad(maps, (0, -width % cells, 0, -height % cells), mode="replicate")


def _coarse(maps: Tensor, cells: int) -> Tensor:
    """What the maps say in the first cell of every block."""
    return maps[..., ::cells, ::cells]


def _fine(values: Tensor, cells: int, size: tuple[int, int]) -> Tensor:
    """Blocks' values in each of their cells."""
    return values.repeat_interleave(cells, 2).repeat_interleave(cells, 3)[..., : size[0], : size[1]]
