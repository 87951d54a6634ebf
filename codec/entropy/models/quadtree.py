"""Block motion as symbols: a quadtree of blocks, what each is predicted from, and its vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, compress

import torch
from torch import Tensor, nn

from codec.entropy.coding.categorical import BinaryModel, class_bits, code_classes
from codec.entropy.coding.laplace import LOG_STEP, SMALLEST_SCALE, LaplaceModel, limit_index
from codec.entropy.coding.prices import VECTOR_STEPS, PriceTables
from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.base import EntropyNetwork
from codec.entropy.models.hyperprior import SCALES_PER_UNIT
from codec.entropy.models.integer_layers import (
    SIXTEENTHS,
    BoundedBlock,
    Exact,
    ExactTable,
    IntegerConv,
    bounded,
    exactly,
)
from codec.entropy.models.quadtree_kernels import gather_places
from codec.entropy.models.quadtree_state import (
    CELL,
    CELLS,
    Before,
    BlockKnowledge,
    LastFrame,
    grid_of,
    inside,
    lengths,
    network_inputs,
    prediction_modes,
    used_references,
)
from codec.errors import CodecError
from codec.layers.kernels import by_kernel

__all__ = ["CELL", "CELLS", "QuadtreeEntropy", "Revise", "prediction_modes", "used_references"]
MOST_REFERENCES = 4
_START_SCALE = math.log(1.5 / SMALLEST_SCALE) / LOG_STEP / SCALES_PER_UNIT  # of vectors, for heads
# level, mode `(B, 1, h, w)`, vectors and their means `(B, 2·R, h, w)`, where there are blocks
# `(B, 1, h, w)` -> vectors
Revise = Callable[[int, Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """What stays the same while a frame is coded: see `QuadtreeEntropy.code`.

    Attributes:
        offset: `(B, width)`, what the quality adds in the network.
        later: passes whose symbols are coded when all are known, where their order is free.
    """

    component: str
    latent: Tensor | None
    size: tuple[int, int]
    quality: Tensor
    coder: SymbolCoder
    last: LastFrame
    distances: tuple[int, ...]
    revise: Revise | None
    offset: Tensor
    later: list[_Pass] = field(default_factory=list)

    @property
    def sparse(self) -> bool:
        """Compute only where something is coded: on the CPU, where asking costs nothing."""
        return by_kernel(self.last.maps)

    def wanted(self, level: int) -> Tensor | None:
        """What the latent says of each block, `(B, 2 + 2·R, h, w)`."""
        cells = CELLS[level]
        return None if self.latent is None else self.latent[..., ::cells, ::cells]


@dataclass(frozen=True, kw_only=True)
class _Places:
    """Where a network is asked: N rows of each sample, everywhere in `(B, h, w)` or in some places.

    Attributes:
        shape: `(B, h, w)`.
        slots: `(B, h, w)` int32, the number of a place that is computed, -1 elsewhere. None: all
            places are, and the next four are None, too.
        computed: `(n,)` int64, these places as numbers in B·h·w.
        answers: `(N,)` int64, which of them an answer is wanted for; the others touch them.
        neighbours: `(N, 9)` int64, the numbers of the places about these, as of `gather_places`.
        index: `(N,)` int64, these as numbers in B·h·w. All are rows of one sample.
    """

    shape: tuple[int, int, int]
    slots: Tensor | None = None
    computed: Tensor | None = None
    answers: Tensor | None = None
    neighbours: Tensor | None = None
    index: Tensor | None = None

    @classmethod
    def gathered(cls, wanted: Tensor) -> _Places:
        """Where `wanted` `(B, 1, h, w)` bool is, on the CPU."""
        shape, count = (len(wanted), wanted.shape[2], wanted.shape[3]), wanted.numel()
        slots = torch.empty(shape, dtype=torch.int32)
        numbers = torch.empty(11, count, dtype=torch.int64)
        computed, answers, neighbours = numbers[0], numbers[1], numbers[2:].view(count, 9)
        tensors = wanted[:, 0].contiguous(), slots, computed, answers, neighbours
        count, found = gather_places(*(tensor.numpy() for tensor in tensors))
        computed, answers = computed[:count], answers[:found]
        return cls(
            shape=shape,
            slots=slots,
            computed=computed,
            answers=answers,
            neighbours=neighbours[:found],
            index=computed[answers],
        )

    def rows(self, values: Tensor) -> Tensor:
        """`(B, C, h, w)` -> `(B, N, C)`."""
        if self.index is None:
            return values.permute(0, 2, 3, 1).flatten(1, 2)
        if len(values) == 1:
            return values[0].flatten(1)[:, self.index].T[None]
        return values.permute(0, 2, 3, 1).flatten(0, 2)[self.index][None]

    def map(self, rows: Tensor) -> Tensor:
        """`(B, N, C)` -> `(B, C, h, w)`, zero elsewhere."""
        if self.index is not None:
            whole = rows.new_zeros(math.prod(self.shape), rows.shape[2])
            rows = whole.index_copy_(0, self.index, rows[0])
        return rows.view(*self.shape, -1).permute(0, 3, 1, 2)

    def narrow(self, where: Tensor, params: Tensor) -> tuple[_Places, Tensor]:
        """Of some places those in `where` `(B, 1, h, w)`, and their `params` `(B, N, C)`."""
        if self.index is None:
            return self, params
        kept = where.flatten()[self.index].nonzero()[:, 0]
        return _Places(shape=self.shape, index=self.index[kept]), params[:, kept]


@dataclass(frozen=True, kw_only=True)
class _View:
    """What a pass over a level begins with.

    Attributes:
        second: which of the two passes it is.
        places: where the network is asked.
        inputs: `(·, I)`, what it sees there.
        means: `(B, 2·R, h, w)` int32, what vectors are expected to be.
        params: `(B, N, O)` what it answers, or None: it will be asked later.
    """

    second: bool
    places: _Places
    inputs: Tensor
    means: Tensor
    params: Tensor | None


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """A pass that the sending side went through without the network, as rows `(B, N, ·)`.

    Attributes:
        grid: level, height and width.
        places: where the network is asked; the rows of all that follows are those of every place.
        inputs: `(·, I)`, of the network.
        asked, split: bool, where it is said whether a block is split, and the answer; None in
            passes that do not say.
        present, mode: where there is a block of this pass, bool, and its mode, int64.
        vectors, means: int32.
    """

    grid: tuple[int, int, int]
    places: _Places
    inputs: Tensor
    asked: Tensor | None
    split: Tensor | None
    present: Tensor
    mode: Tensor
    vectors: Tensor
    means: Tensor


class BlockContext(Exact, nn.Module):
    """What is known around a block, and quality -> log-odds and scales of its symbols.

    Args:
        inputs: channels of what is known.
        width: of the network.
        decisions: outputs for modes and vectors, beside the one that says whether it is split.
    """

    def __init__(self, inputs: int, width: int, decisions: int) -> None:
        super().__init__()
        self.known = IntegerConv(inputs, width)
        self.quality = ExactTable(width, torch.zeros(width))
        self.blocks = BoundedBlock(width)
        self.heads = nn.ModuleList(IntegerConv(width, 1 + decisions, zero=True) for _ in CELLS)

    def of_quality(self, quality: Tensor) -> Tensor:
        """What quality `(B,)` adds everywhere, `(B, width)`; the same for all of a frame."""
        return self.quality(quality).flatten(1)

    @exactly
    def forward(
        self,
        known: Tensor,
        quality: Tensor,
        grids: Sequence[tuple[int, int, int]],
    ) -> Tensor:
        """Answers everywhere.

        Args:
            known: `(B, N, inputs)` integers in -127..127: places of one grid after another.
            quality: `(B, width)`, of `of_quality`.
            grids: level, height and width of each.

        Returns:
            `(B, N, 1 + decisions)` integer sixteenths.
        """
        features = bounded(self.known.by_row(known) + quality[:, None])
        features = self.blocks.by_row(features, [grid[1:] for grid in grids])
        parts = features.split([height * width for _, height, width in grids], 1)
        heads = [self.heads[level] for level, _, _ in grids]
        return torch.cat([head.by_row(part) for head, part in zip(heads, parts, strict=True)], 1)

    @exactly
    def sparsely(
        self,
        known: Tensor,
        quality: Tensor,
        levels: Sequence[int],
        places: Sequence[_Places],
    ) -> Tensor:
        """The same on the CPU for some places of grids.

        Args:
            known: `(n, inputs)`, of the places that are computed in one grid after another.
            quality: `(B, width)`, of `of_quality`.
            levels: of the grids.
            places: of each grid, N in all that want an answer.

        Returns:
            `(N, 1 + decisions)`.
        """
        if len(quality) > 1:
            samples = [some.computed // math.prod(some.shape[1:]) for some in places]
            quality = quality[torch.cat(samples)]
        answers, neighbours = _joined(places)
        features = bounded(self.known.by_row(known) + quality)
        hidden = self.blocks.expand.by_row(features, 0)
        hidden = bounded(self.blocks.spatial.by_neighbours(hidden, neighbours), 0)
        features = bounded(features[answers] + self.blocks.project.by_row(hidden))
        parts = features.split([len(some.answers) for some in places])
        heads = [self.heads[level].by_row(part) for level, part in zip(levels, parts, strict=True)]
        return torch.cat(heads) if len(heads) > 1 else heads[0]


def _joined(places: Sequence[_Places]) -> tuple[Tensor, Tensor]:
    """`answers` and `neighbours` of several grids whose computed places stand in one row."""
    if len(places) == 1:
        return places[0].answers, places[0].neighbours
    starts = [0, *accumulate(len(some.computed) for some in places)]
    pairs = list(zip(places, starts[:-1], strict=True))
    neighbours = [torch.where(some.neighbours < 0, -1, some.neighbours + at) for some, at in pairs]
    return torch.cat([some.answers + at for some, at in pairs]), torch.cat(neighbours)


class QuadtreeEntropy(Exact, EntropyNetwork):
    """Codes the dense maps of block motion: level, mode and vectors of 8×8 cells, alike in a block.

    Level by level, blocks of 64 pixels first: which are split, then for those that are not the mode
    and the vectors, in two passes over a checkerboard. A vector's mean is the vector among those
    around it (of coarser blocks, of the pass before, of the last frame) that differs least from the
    others, and the first question is whether the vector is just that: "as my neighbours" and
    "nothing moves" cost the same. Probabilities come from an exact network.

    Args:
        references: that a block may choose from, 1 to 4.
        width: of the network.

    Attributes:
        prices: what its symbols cost, for decisions at the encoder.

    Source: the quadtree and the modes are HEVC's (Sullivan et al., *Overview of the HEVC standard*,
    2012); the order of coding is after He et al., *Checkerboard context model*, CVPR 2021; the
    vector median after Astola et al., *Vector median filters*, 1990.

    Raises:
        CodecError: another number of references.
    """

    exact = True

    def __init__(self, references: int = 2, width: int = 32) -> None:
        super().__init__()
        if not 1 <= references <= MOST_REFERENCES:
            raise CodecError(f"references: {references} given; expected 1 to {MOST_REFERENCES}")
        self.channels, self.references = 2 + 2 * references, references
        self.modes = prediction_modes(references)
        self.prices = PriceTables(len(self.modes))
        self.parts = [1, len(self.modes) - 1, references, 2 * references]
        self.context = BlockContext(network_inputs(references), width, sum(self.parts[1:]))
        with torch.no_grad():
            for head in self.context.heads:
                head.bias[-2 * self.references :] = _START_SCALE
                head.bias[1:2] = 1.0  # the newest reference

    def code(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        coder: SymbolCoder,
        previous: Tensor | None = None,
        distances: tuple[int, ...] = (1,),
        revise: Revise | None = None,
        previous_quality: Tensor | None = None,
    ) -> Tensor:
        """Send or receive the maps of one frame.

        Args:
            component: bits go under `component.split`, `component.mode` and `component.vector`.
            latent: `(B, 2 + 2·R, h, w)` float32 integers on the sending side: level 0..3 (blocks of
                64 to 8), class of `prediction_modes`, and x and y of each reference in quarter
                pixels. A block that crosses the border is split.
            size: `(h, w)`, both even.
            quality: `(B,)` indices 0..63.
            coder: where it goes to or comes from.
            previous: the maps of the last frame, or None.
            distances: frames to each reference that there is now, as `References.distances`.
            revise: where the encoder may change its mind, once it is known what a vector is
                expected to be.
            previous_quality: not used: vectors have no scale that follows the quality.

        Returns:
            `(B, 2 + 2·R, h, w)` float32, the same on both sides; vectors of references that a block
            does not use are what is expected of them.
        """
        decided = torch.zeros(len(quality), self.channels, *size, device=quality.device)
        frame = _Frame(
            component=component,
            latent=latent,
            size=size,
            quality=quality,
            coder=coder,
            last=LastFrame.of(previous, decided),
            distances=distances,
            revise=revise,
            offset=self.context.of_quality(quality),
        )
        blocks = BlockKnowledge.start(frame.last)
        for level in range(len(CELLS)):
            blocks, split = self._code_level(frame, blocks, level)
            decided = blocks.decide(decided, level, blocks.exists & ~split)
            if level + 1 == len(CELLS) or frame.sparse and not split.any():
                break
            blocks = blocks.finer(split, grid_of(size, level + 1))
        if frame.later:
            self._code_later(frame)
        return decided

    def _code_level(
        self,
        frame: _Frame,
        blocks: BlockKnowledge,
        level: int,
    ) -> tuple[BlockKnowledge, Tensor]:
        """What is known after a level, and which of its blocks are split."""
        exists, finest = blocks.exists, level + 1 == len(CELLS)
        crossing = exists & ~inside(frame.size, level, exists.device)
        asked = None if finest else exists & ~crossing
        before = frame.last.at(level)
        first, second = (blocks.here(colour) for colour in (0, 1))
        view = self._look(frame, blocks, before, level, exists & first if finest else exists)
        split = None if finest else self._split(frame, view, level, asked)
        leaf = exists if finest else asked & ~split
        blocks = self._pass(frame, blocks, view, level, leaf & first, asked, split)
        view = self._look(frame, blocks, before, level, leaf & second, second=True)
        return self._pass(frame, blocks, view, level, leaf & second), exists & ~leaf

    def _look(
        self,
        frame: _Frame,
        blocks: BlockKnowledge,
        before: Before,
        level: int,
        needed: Tensor,
        second: bool = False,
    ) -> _View:
        """What a pass begins with; the network is asked where it is `needed` `(B, 1, h, w)`."""
        places = _Places(shape=(len(needed), *blocks.grid))
        places = _Places.gathered(needed) if frame.sparse else places
        count = needed.numel() if places.index is None else len(places.computed)
        means, inputs = blocks.look_around(before, level, second, self, places.slots, count)
        if not frame.coder.ordered:
            params = None
        elif places.index is None:
            grid = [(level, *blocks.grid)]
            params = self.context(
                inputs.unflatten(0, (len(needed), -1)), frame.offset, grid
            ).float()
        elif len(places.index):
            params = self.context.sparsely(inputs, frame.offset, [level], [places])[None]
        else:
            params = inputs.new_empty(1, 0, sum(self.parts))
        return _View(second=second, places=places, inputs=inputs, means=means, params=params)

    def _split(self, frame: _Frame, view: _View, level: int, asked: Tensor) -> Tensor:
        """Which of the blocks that are `asked` are split, `(B, 1, h, w)` bool."""
        wanted = None if frame.latent is None else frame.wanted(level)[:, :1] > level
        if view.params is None:
            return wanted & asked
        rows = view.places.rows
        wanted = None if wanted is None else rows(wanted)
        return view.places.map(self._code_split(frame, view.params, level, rows(asked), wanted))

    def _pass(
        self,
        frame: _Frame,
        blocks: BlockKnowledge,
        view: _View,
        level: int,
        present: Tensor,
        asked: Tensor | None = None,
        split: Tensor | None = None,
    ) -> BlockKnowledge:
        """Modes and vectors of the blocks that are `present`, and what is known then.

        Where blocks were `asked` whether they are `split`, that is kept for later, too.
        """
        mode = vectors = None
        if frame.latent is not None:
            wanted = frame.wanted(level)
            mode, vectors = wanted[:, 1:2].long(), wanted[:, 2:].int()
            if frame.revise:
                vectors = frame.revise(level, mode, vectors, view.means, present)
        if view.params is None:
            everywhere = _Places(shape=view.places.shape)
            rows = everywhere.rows
            mode = mode if len(frame.distances) > 1 else torch.zeros_like(mode)
            frame.later.append(
                _Pass(
                    grid=(level, *blocks.grid),
                    places=view.places,
                    inputs=view.inputs,
                    asked=None if asked is None else rows(asked),
                    split=None if split is None else rows(split),
                    present=rows(present),
                    mode=rows(mode),
                    vectors=rows(vectors),
                    means=rows(view.means),
                )
            )
        else:
            places, params = view.places.narrow(present, view.params)
            maps = present, mode, vectors, view.means
            rows = [None if values is None else places.rows(values) for values in maps]
            mode, vectors = map(places.map, self._code_leaves(frame, params, level, *rows))
        return blocks.take(view.second, present, mode, vectors, view.means, frame.distances)

    def _code_later(self, frame: _Frame) -> None:
        """Code what the sending side decided, all passes at once."""

        passes = frame.later

        def rows(name: str, some: list[_Pass] = passes) -> Tensor:
            return torch.cat([getattr(one, name) for one in some], 1)

        def levels(some: list[_Pass]) -> Tensor:
            return torch.cat([torch.full_like(one.mode, one.grid[0]) for one in some], 1)

        params = self._answers(frame)
        parts = params.split([one.mode.shape[1] for one in passes], 1)
        asked = [one.asked is not None for one in passes]
        of_asked = torch.cat(list(compress(parts, asked)), 1)
        some = list(compress(passes, asked))
        self._code_split(frame, of_asked, levels(some), rows("asked", some), rows("split", some))
        fields = [rows(name) for name in ("present", "mode", "vectors", "means")]
        self._code_leaves(frame, params, levels(passes), *fields)

    def _answers(self, frame: _Frame) -> Tensor:
        """What the network says of all passes together, `(B, N, O)`; zero where it is not asked."""
        passes, batch = frame.later, len(frame.quality)
        if not frame.sparse:
            inputs = torch.cat([one.inputs.unflatten(0, (batch, -1)) for one in passes], 1)
            return self.context(inputs, frame.offset, [one.grid for one in passes]).float()
        inputs = torch.cat([one.inputs for one in passes])
        levels, places = [one.grid[0] for one in passes], [one.places for one in passes]
        params = self.context.sparsely(inputs, frame.offset, levels, places).float()
        count, starts = sum(one.mode.shape[1] for one in passes), 0
        index = []
        for some in places:
            size = math.prod(some.shape[1:])
            index.append(some.index // size * count + some.index % size + starts)
            starts += size
        whole = params.new_zeros(batch * count, params.shape[1]).index_copy(
            0, torch.cat(index), params
        )
        return whole.view(batch, count, -1)

    def _code_split(
        self,
        frame: _Frame,
        params: Tensor,
        level: int | Tensor,
        asked: Tensor,
        split: Tensor | None,
    ) -> Tensor:
        """Whether blocks are split, of rows `(B, N, ·)`: `(B, N, 1)` bool."""
        split, asked = _as_maps(split), _as_maps(asked)
        model = BinaryModel(_as_maps(params[..., :1]) / SIXTEENTHS, asked)
        wanted = None if split is None else split.float()
        symbols = frame.coder.code(f"{frame.component}.split", wanted, model)
        if self.training:
            with torch.no_grad():
                entry, bits = 2 * _as_maps(level) + symbols, model.bits(symbols)
            self.prices.note("split", entry, bits, asked, frame.quality)
        return _as_rows(symbols > 0.5)

    def _code_leaves(
        self,
        frame: _Frame,
        params: Tensor,
        level: int | Tensor,
        present: Tensor,
        mode: Tensor | None,
        vectors: Tensor | None,
        means: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Modes and vectors, of rows `(B, N, ·)`: `(B, N, 1)` int64 and `(B, N, 2·R)` int32."""
        _, odds, vector_odds, scales = _as_maps(params).split(self.parts, 1)
        present, mode = _as_maps(present), _as_maps(mode)
        if len(frame.distances) > 1:
            odds = odds / SIXTEENTHS
            mode = code_classes(f"{frame.component}.mode", mode, odds, present, frame.coder)
            if self.training:
                with torch.no_grad():
                    entry = len(self.modes) * _as_maps(level) + mode
                    bits = class_bits(mode, odds)
                self.prices.note("mode", entry, bits, present, frame.quality)
        else:
            mode = torch.zeros_like(present, dtype=torch.int64)
        present = used_references(mode, self.references) & present
        vectors, means = _as_maps(vectors), _as_maps(means).float()
        vectors = self._code_vectors(frame, vectors, means, vector_odds, scales, present)
        return _as_rows(mode), _as_rows(vectors)

    def _code_vectors(
        self,
        frame: _Frame,
        wanted: Tensor | None,
        means: Tensor,
        odds: Tensor,
        scales: Tensor,
        present: Tensor,
    ) -> Tensor:
        """Vectors `(B, 2·R, 1, N)` int32 where they are `present` `(B, R, 1, N)`.

        First it is said whether they are just their means.
        """
        component = f"{frame.component}.vector"
        same = None if wanted is None else (lengths(wanted - means) == 0).float()
        choice = BinaryModel(odds / SIXTEENTHS, present)
        same = frame.coder.code(component, same, choice)
        coded = (present & (same < 0.5)).repeat_interleave(2, 1)
        index = limit_index(scales, SCALES_PER_UNIT / SIXTEENTHS)
        model = LaplaceModel(means, index, present=coded, integer=True)
        vectors = frame.coder.code(component, wanted, model)
        if self.training:
            with torch.no_grad():
                missed = (vectors - means).abs().clamp(max=VECTOR_STEPS - 1)
                of_same, of_missed = choice.bits(same), model.bits(missed)
            self.prices.note("same", same, of_same, present, frame.quality)
            self.prices.note("vector", missed, of_missed, coded, frame.quality)
        return vectors.round().int()


def _as_maps(rows: Tensor | int | None) -> Tensor | int | None:
    """Rows `(B, N, C)` as the maps `(B, C, 1, N)` that channels take."""
    return rows.mT.unsqueeze(2) if isinstance(rows, Tensor) else rows


def _as_rows(maps: Tensor) -> Tensor:
    """The inverse of `_as_maps`."""
    return maps.squeeze(2).mT
