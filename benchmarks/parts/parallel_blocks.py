"""Intra frames of 8×8 blocks in groups, each predicted at once from the groups before it.

What `benchmarks/parallel_intra.py` sets against `intra=directional`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor, nn

from codec.blocks.intra_blocks import to_frame, to_pixels
from codec.entropy.coding.laplace import SCALES, LaplaceModel, laplace_bits
from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.hyperprior import SCALES_PER_UNIT
from codec.entropy.models.integer_layers import SIXTEENTHS
from codec.entropy.models.levels import LevelEntropy
from codec.intra.base import IntraNetwork
from codec.intra.directional import LoopFilter
from codec.layers.assemble import add_patches
from codec.layers.blocks import patches_of
from codec.layers.dct import dct_matrix
from codec.layers.quality import QualityGain, QualityTable, step_ladder
from codec.quality import LambdaRange
from codec.references import Reference

UNIT, CELL, CHROMA = 16, 8, 4  # sides of a unit, of a luma block, and of a chroma block
LUMA, VALUES = CELL**2, CELL**2 + 2 * CHROMA**2  # of a block
CHANNELS = 4 * VALUES
DISTANCES = (4, 2, 1)  # blocks between a block and those that it is predicted from, group by group
CLASSES = 1 + 2 * len(DISTANCES)  # groups
_CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_SIDES = ((-1, 0), (0, -1), (0, 1), (1, 0))
_UNIT_OF_WEIGHTS = 0.1  # in which the linear predictor's distance from its start is learned
_PIXELS = 255 * 4  # 10-bit pixels over values in -0.5..0.5

# residual `(B, N, n)` of some blocks `(N,)`, of values `start`.. of each, from their prediction
Residual = Callable[[Tensor, slice, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Group:
    """Blocks that are coded at once.

    Attributes:
        own: `(N,)` their numbers, row by row.
        around: `(N, 4)` numbers of those that they are predicted from; one too many where there is
            none.
        there: `(N, 4)` bool.
    """

    own: Tensor
    around: Tensor
    there: Tensor


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def groups_of(tall: int, wide: int, device: torch.device) -> list[Group]:
    """The groups of a frame of so many blocks: a lattice of every eighth block, then lattices of
    half the distance, their new blocks with four corners first and those with four sides after.
    """
    rows, columns = torch.meshgrid(torch.arange(tall), torch.arange(wide), indexing="ij")
    far = 2 * DISTANCES[0]
    made = [_group((rows % far == 0) & (columns % far == 0), (), 1, tall, wide)]
    for apart in DISTANCES:
        down, across = (place % (2 * apart) == apart for place in (rows, columns))
        on = (rows % apart == 0) & (columns % apart == 0)
        made.append(_group(on & down & across, _CORNERS, apart, tall, wide))
        made.append(_group(on & (down ^ across), _SIDES, apart, tall, wide))
    return [Group(*(part.to(device) for part in vars(group).values())) for group in made]


def _group(chosen: Tensor, offsets: Sequence, apart: int, tall: int, wide: int) -> Group:
    own = chosen.flatten().nonzero().flatten()
    place = torch.stack([own // wide, own % wide], 1)[:, None]
    around = place + apart * torch.tensor(offsets, dtype=torch.int64).view(1, -1, 2)
    there = ((around >= 0) & (around < torch.tensor([tall, wide]))).all(-1)
    return Group(
        own, torch.where(there, around[..., 0] * wide + around[..., 1], tall * wide), there
    )


class BlockPredictor(nn.Module):
    """Four blocks around -> a block: a linear map that starts as an interpolation of what lies
    nearest, and beside it a small network that starts at zero.

    Args:
        offsets: of the four, in `apart` blocks.
        apart: distance.
        chroma: predict chroma, and see the block's own luma, too.
        width: hidden units.
    """

    def __init__(self, offsets: Sequence, apart: int, chroma: bool, width: int) -> None:
        super().__init__()
        self.chroma = chroma
        outputs = VALUES - LUMA if chroma else LUMA
        inputs = 4 * VALUES + (LUMA if chroma else 0)
        self.register_buffer(
            "start", interpolation(offsets, apart, chroma, inputs), persistent=False
        )
        self.moved = nn.Parameter(torch.zeros(outputs, inputs))
        self.first = nn.Linear(inputs + 4, width)
        self.quality = QualityTable(width, torch.zeros(width))
        self.second = nn.Linear(width, width)
        self.head = nn.Linear(width, outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self, around: Tensor, there: Tensor, quality: Tensor, luma: Tensor | None
    ) -> Tensor:
        """Blocks `(B, N, 4, VALUES)`, which of them `there` are `(N, 4)`, quality `(B,)`, and for
        chroma the luma `(B, N, 64)` -> `(B, N, 64)`, or chroma's `(B, N, 32)`.
        """
        there = there.to(around)
        means = plane_means(around, there)
        seen = ((around - means.unsqueeze(2)) * there[..., None]).flatten(2)
        if self.chroma:
            seen = torch.cat([seen, luma - means[..., :LUMA]], 2)
        given = torch.cat([4 * seen, there.expand(len(seen), -1, -1)], 2)
        hidden = nn.functional.gelu(self.first(given) + self.quality(quality).flatten(1)[:, None])
        learned = self.head(nn.functional.gelu(self.second(hidden)))
        linear = seen @ (self.start + _UNIT_OF_WEIGHTS * self.moved).T
        return (means[..., LUMA:] if self.chroma else means[..., :LUMA]) + linear + 0.1 * learned


def plane_means(around: Tensor, there: Tensor) -> Tensor:
    """`(B, N, VALUES)`: the mean of each plane over the blocks that are there."""
    share = there / there.sum(1, keepdim=True).clamp(min=1)
    mean = (around * share[..., None]).sum(2)
    planes = mean.split([LUMA, CHROMA**2, CHROMA**2], 2)
    return torch.cat([plane.mean(2, keepdim=True).expand_as(plane) for plane in planes], 2)


def interpolation(offsets: Sequence, apart: int, chroma: bool, inputs: int) -> Tensor:
    """`(outputs, inputs)`: of each neighbour the nearest pixel, or its mean where it is not
    adjacent, weighed by the inverse of the distance.
    """
    side = CHROMA if chroma else CELL
    planes = ((LUMA, 0), (LUMA + side**2, side**2)) if chroma else ((0, 0),)
    made = torch.zeros(2 * side**2 if chroma else side**2, inputs)
    for y in range(side):
        for x in range(side):
            near = []
            for row, column in offsets:
                top, left = row * apart * side, column * apart * side
                v, u = min(max(y, top), top + side - 1), min(max(x, left), left + side - 1)
                near.append(((v - top) * side + u - left, ((v - y) ** 2 + (u - x) ** 2) ** -0.5))
            total = sum(weight for _, weight in near)
            for k, (place, weight) in enumerate(near):
                for first, output in planes:
                    row = made[output + y * side + x]
                    start = k * VALUES + first
                    if apart == 1:
                        row[start + place] = weight / total
                    else:
                        row[start : start + side**2] = weight / total / side**2
    return made


class GradientEstimator(SymbolCoder):
    """A rate estimator through which bits of levels have gradients to what these were rounded
    from; values are those of the levels.

    Args:
        coder: where symbols go.
        coefficients: the values before they were rounded, group by group.
    """

    def __init__(self, coder: SymbolCoder, coefficients: Iterator[Tensor]) -> None:
        self.coder = coder
        self.coefficients = coefficients
        self.ordered = coder.ordered

    def code(self, component: str, latent: Tensor | None, model: LaplaceModel) -> Tensor:
        if getattr(model, "integer", False):
            coefficients = next(self.coefficients).reshape(latent.shape)
            given = vars(model) | {"coefficients": coefficients}
            model = _Smoothed(**given)
        return self.coder.code(component, latent, model)


@dataclass
class _Smoothed(LaplaceModel):
    """Bits of levels with the gradient of bits of the coefficients with noise."""

    coefficients: Tensor | None = None

    def bits(self, centred: Tensor) -> Tensor:
        noisy = self.coefficients + torch.rand_like(centred) - 0.5
        smooth = laplace_bits(noisy, self.scale_index.detach())
        return laplace_bits(centred, self.scale_index) + (smooth - smooth.detach())


def parallel_entropy(groups: Sequence[int], **settings: int) -> LevelEntropy:
    """The network for the levels, the lowest frequencies of all blocks first, as
    `codec.intra.directional.level_entropy`.
    """
    frequencies = _frequencies().repeat(4)
    channels = sorted(range(CHANNELS), key=lambda k: (float(frequencies[k]), k % VALUES, k))
    ends = [0, *accumulate(groups), CHANNELS]
    parts = [channels[first:end] for first, end in zip(ends[:-1], ends[1:], strict=True)]
    return LevelEntropy(CHANNELS, parts, **settings)


def _frequencies() -> Tensor:
    """Of the values of a block, `(VALUES,)`, in half periods over 16 pixels."""

    def plane(side: int) -> Tensor:
        return 2 * (torch.arange(side)[:, None] + torch.arange(side)).flatten()

    return torch.cat([plane(CELL), plane(CHROMA), plane(CHROMA)]).float()


class ParallelIntra(IntraNetwork):
    """Luma blocks of 8 and chroma blocks of 4 in seven groups, each predicted by small networks
    from decoded blocks around it, with a fixed DCT.

    The encoder goes through the groups twice, outside of training as in it: levels by rate and
    distortion, first by the entropy network's tables and then by what it says. All symbols of a
    frame come before its pixels. Prediction, entropy network and filter are trained together:
    levels that are not zero pass gradients straight through.

    Args:
        features, entropy, depth, lambda_low, lambda_high, step, chroma_step: as of
            `DirectionalIntra`.
        width: of the predicting networks.
    """

    latent_stride, made_for = UNIT, "ycc"

    def __init__(
        self,
        features: int,
        entropy: LevelEntropy,
        depth: int = 3,
        lambda_low: float = 0.003,
        lambda_high: float = 0.4,
        step: float = 3.3,
        chroma_step: float = 0.5,
        width: int = 192,
        component: str = "intra",
    ) -> None:
        super().__init__()
        self.features, self.entropy, self.component = features, entropy, component
        self.lambdas, self.step = LambdaRange(lambda_low, lambda_high), step
        kinds = [(offsets, apart) for apart in DISTANCES for offsets in (_CORNERS, _SIDES)]
        self.luma = nn.ModuleList(BlockPredictor(*kind, False, width) for kind in kinds)
        self.chroma = nn.ModuleList(BlockPredictor(*kind, True, width) for kind in kinds)
        self.filter = LoopFilter(features, CHANNELS + 1, depth)
        coarsest, finest = (step / value**0.5 for value in (lambda_low, lambda_high))
        ladder = step_ladder(coarsest, finest)
        self.correction_gain = QualityGain(1, ladder.log())
        matrices = [dct_matrix(side) for side in (CELL, CHROMA)]
        luma, chroma = (torch.kron(matrix, matrix) for matrix in matrices)
        self.register_buffer(
            "dct", torch.block_diag(luma, chroma, chroma).float(), persistent=False
        )
        scale = torch.cat([torch.ones(LUMA), torch.full((VALUES - LUMA,), chroma_step)])
        self.register_buffer("relative_steps", scale, persistent=False)
        positions = torch.arange(SCALES).float()
        bits = [laplace_bits(torch.full_like(positions, k), positions) for k in (0, 1, 2)]
        prices = torch.stack([bits[0], bits[1], bits[2] - bits[1]], 1)
        self.register_buffer("ladder", prices, persistent=False)
        expected = torch.cat([torch.full((LUMA,), 22.0), torch.full((VALUES - LUMA,), 7.0)])
        expected = expected / (1 + _frequencies() / 4) ** 1.5 / scale / 255
        entropy.start_from((expected / ladder).repeat(1, 4))

    def forward(
        self,
        frame: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        coder: SymbolCoder,
    ) -> Reference:
        cells, units = [tuple(side // by for side in size) for by in (CELL, UNIT)]
        groups = groups_of(*cells, quality.device)
        known = self.known_of(groups, cells, len(quality))
        split = torch.ones(len(quality), 1, *units, dtype=torch.bool, device=quality.device)
        levels = coded = None
        if coder.encodes:
            coded = self.decide(frame, groups, cells, quality, known, split)
            levels = to_units(coded.levels, cells)
            if self.training:
                raw = to_units(coded.coefficients, cells).index_select(1, self.entropy.order)
                coder = GradientEstimator(coder, iter(raw.split(self.entropy.sizes, 1)))
        given = self.component, levels, units, quality, coder
        levels = self.entropy.code(*given, known=known, split=split)
        blocks = coded.blocks if coded and self.training else None
        if blocks is None:  # both sides alike
            blocks = self.rebuild(levels, groups, cells, quality)
        rebuilt = to_picture(blocks, cells)
        learned, features = self.filter(torch.cat([levels, split.float()], 1), rebuilt, quality)
        frame = add_patches(rebuilt, learned, self.correction_gain(quality))
        return Reference(frame=frame, features=features)

    def decide(
        self,
        frame: Tensor,
        groups: list[Group],
        cells: tuple[int, int],
        quality: Tensor,
        known: Tensor,
        split: Tensor,
    ) -> _Coded:
        """Choose levels twice: by tables, and by what the network makes of the first ones."""
        source, steps = self.blocks_of(frame), self.steps(quality)
        with torch.no_grad():
            base = self.entropy.divided(quality) * (SCALES_PER_UNIT / SIXTEENTHS)
            base = base.round().clamp(0, SCALES - 1).long()
            base = base.expand(-1, -1, *split.shape[2:])
            first = _Coded(source, self, steps, from_units(base, cells))
            self.go_through(groups, cells, quality, first)
            levels = to_units(first.levels, cells)
            positions = self.entropy.scales(levels, quality, known, split)[:, 1].long()
        second = _Coded(source, self, steps, from_units(positions, cells))
        second.blocks = self.go_through(groups, cells, quality, second)
        return second

    def rebuild(
        self,
        levels: Tensor,
        groups: list[Group],
        cells: tuple[int, int],
        quality: Tensor,
    ) -> Tensor:
        """Levels `(B, C, h, w)` -> blocks `(B, N, VALUES)`."""
        values = from_units(levels, cells) * self.steps(quality)

        def residual(own: Tensor, part: slice, predicted: Tensor) -> Tensor:
            return values[:, own, part] @ self.dct[part, part]

        return self.go_through(groups, cells, quality, residual)

    def go_through(
        self,
        groups: list[Group],
        cells: tuple[int, int],
        quality: Tensor,
        residual: Residual,
    ) -> Tensor:
        """Predict and rebuild group by group: blocks `(B, N, VALUES)`."""
        luma, chroma = slice(0, LUMA), slice(LUMA, VALUES)
        count = cells[0] * cells[1]
        blocks = self.dct.new_zeros(len(quality), count + 1, VALUES)
        for number, group in enumerate(groups):
            if not len(group.own):
                continue
            around, networks = blocks[:, group.around], None
            if number:
                networks = self.luma[number - 1], self.chroma[number - 1]
            made = blocks.new_zeros(len(quality), len(group.own), LUMA)
            if networks:
                made = networks[0](around, group.there, quality, None)
            made = (made + residual(group.own, luma, made)).clamp(-0.5, 0.5)
            small = blocks.new_zeros(len(quality), len(group.own), VALUES - LUMA)
            if networks:
                small = networks[1](around, group.there, quality, made)
            small = (small + residual(group.own, chroma, small)).clamp(-0.5, 0.5)
            blocks = blocks.index_copy(1, group.own, torch.cat([made, small], 2))
        return blocks[:, :count]

    def steps(self, quality: Tensor) -> Tensor:
        """Quantisation steps `(B, 1, VALUES)` of values in -0.5..0.5."""
        step = self.step / self.lambdas.at(quality).sqrt() / 255
        return step.view(-1, 1, 1) * self.relative_steps

    @torch.no_grad()
    def blocks_of(self, frame: Tensor) -> Tensor:
        """`(B, 3, H, W)` -> `(B, N, VALUES)`, chroma of half the size."""
        luma, chroma = (plane.float() / _PIXELS - 0.5 for plane in to_pixels(frame.float()))
        parts = patches_of(luma[:, None], CELL), patches_of(chroma, CHROMA)
        return torch.cat(parts, 3).flatten(1, 2)

    def known_of(self, groups: list[Group], cells: tuple[int, int], batch: int) -> Tensor:
        """`(B·h·w, 1)`: which group the first block of each unit is in, from 1 on."""
        number = torch.cat([torch.full_like(group.own, k + 1) for k, group in enumerate(groups)])
        own = torch.cat([group.own for group in groups])
        number = torch.zeros_like(number).index_copy(0, own, number).view(cells)
        return number[0::2, 0::2].flatten().repeat(batch)[:, None]


class _Coded:
    """The residual of an encoder, and what it was made of: `levels` and `coefficients` before they
    were rounded, `(B, N, VALUES)` each, and `blocks` as they are rebuilt.
    """

    def __init__(
        self, source: Tensor, network: ParallelIntra, steps: Tensor, positions: Tensor
    ) -> None:
        self.source, self.network, self.steps, self.positions = source, network, steps, positions
        self.bit = 1 / network.step**2  # squared steps that a bit may cost
        self.levels, self.coefficients = torch.zeros_like(source), torch.zeros_like(source)
        self.blocks: Tensor | None = None

    def __call__(self, own: Tensor, part: slice, predicted: Tensor) -> Tensor:
        dct, steps = self.network.dct[part, part], self.steps[..., part]
        values = (self.source[:, own, part] - predicted) @ dct.T / steps
        prices = self.network.ladder[self.positions[:, own, part]]
        levels = quantise(values.detach(), prices, self.bit)
        self.levels = self._put(self.levels, own, part, levels)
        self.coefficients = self._put(self.coefficients, own, part, values)
        straight = torch.where(levels == 0, 0.0, values + (levels - values).detach())
        return straight * steps @ dct

    @staticmethod
    def _put(whole: Tensor, own: Tensor, part: slice, values: Tensor) -> Tensor:
        filled = whole[..., part].index_copy(1, own, values)
        return torch.cat([whole[..., : part.start], filled, whole[..., part.stop :]], -1)


def quantise(values: Tensor, prices: Tensor, bit: float) -> Tensor:
    """The nearest level, the one nearer to zero or zero, whatever costs least.

    Args:
        values: in quantisation steps, any shape.
        prices: `(…, 3)` bits of 0, of ±1 and of each further level.
        bit: squared steps that a bit may cost.
    """
    size = values.abs()
    upper = (size + 0.5).floor()
    choices = [upper, (upper - 1).clamp(min=0), torch.zeros_like(upper)]
    costs = []
    for level in choices:
        bits = torch.where(level > 0, prices[..., 1] + (level - 1) * prices[..., 2], prices[..., 0])
        costs.append((size - level).square() + bit * bits)
    best = torch.stack(costs).argmin(0, keepdim=True)
    return torch.stack(choices).gather(0, best)[0] * values.sign()


def to_units(blocks: Tensor, cells: tuple[int, int]) -> Tensor:
    """Blocks `(B, N, VALUES)` -> `(B, 4·VALUES, h, w)`, a place a unit of 16×16 pixels."""
    grid = blocks.view(len(blocks), cells[0] // 2, 2, cells[1] // 2, 2, -1)
    return grid.permute(0, 2, 4, 5, 1, 3).flatten(1, 3)


def from_units(maps: Tensor, cells: tuple[int, int]) -> Tensor:
    """The inverse of `to_units`."""
    grid = maps.unflatten(1, (2, 2, VALUES)).permute(0, 4, 1, 5, 2, 3)
    return grid.reshape(len(maps), cells[0] * cells[1], VALUES)


def to_picture(blocks: Tensor, cells: tuple[int, int]) -> Tensor:
    """Blocks `(B, N, VALUES)` -> `(B, 3, H, W)`, chroma enlarged."""

    def plane(values: Tensor, side: int) -> Tensor:
        grid = values.view(len(values), *cells, side, side).transpose(2, 3)
        return grid.reshape(len(values), cells[0] * side, cells[1] * side)

    luma, *chroma = ((blocks + 0.5) * _PIXELS).split([LUMA, CHROMA**2, CHROMA**2], 2)
    return to_frame(plane(luma, CELL), torch.stack([plane(one, CHROMA) for one in chroma], 1))
