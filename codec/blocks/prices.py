"""What an encoder expects intra blocks to cost: tables by quality, learned from what their symbols
were and cost.
"""

from __future__ import annotations

import torch
from torch import Tensor

from codec.blocks.intra_blocks import SearchPrices
from codec.blocks.tables import CELL, CHROMA, LUMA_COEFFICIENTS, MODES, UNIT, channel_places
from codec.entropy.coding.prices import LearnedTables

GAINS = (0.06, 0.25, 0.6, 1.2, 2.5, 5.0)  # of a block's scales over the mean ones
_GAIN_BITS = (1.5, 2.5, 2.5, 2.5, 3.0, 4.0)
_SAME_MODE, _SAME_TWICE = 2.2, 1.2  # bits of the mode of a neighbour, and of the mode of both
_SMALLEST, _LARGEST = 1e-4, 1e4


class BlockPriceTables(LearnedTables):
    """Mean magnitudes of levels, and bits of modes and sizes, by quality.

    Args:
        steps: `(KNOTS,)` luma's quantisation steps, in 8-bit levels.
        chroma_step: chroma's over luma's.
        share: of the magnitudes that intra prediction leaves.

    Attributes:
        unit: `(KNOTS, 256)` mean magnitude of the levels of a block of 16; cell: `(KNOTS, 64)` of
            8; chroma: `(KNOTS, 2, 64)`.
        mode: `(KNOTS, 2, 35)` bits of a mode at 16 and at 8.
        kind: `(KNOTS, 6)` bits of chroma's classes. size: `(KNOTS, 2)` of one block and of four.
    """

    unit: Tensor
    cell: Tensor
    chroma: Tensor
    mode: Tensor
    kind: Tensor
    size: Tensor

    def __init__(self, steps: Tensor, chroma_step: float, share: float = 1.0) -> None:
        mode = torch.full((MODES,), 5.5)
        mode[[0, 1, 10, 26]] = torch.tensor([2.3, 3.3, 4.0, 4.0])
        start = {
            "unit": torch.zeros(LUMA_COEFFICIENTS),
            "cell": torch.zeros(CELL * CELL),
            "chroma": torch.zeros(2, CHROMA * CHROMA),
            "mode": mode.expand(2, -1),
            "kind": torch.tensor([1.6, 1.6, 2.5, 3.5, 4.0, 4.0]),
            "size": torch.ones(2),
        }
        super().__init__(start, _SMALLEST, _LARGEST)
        steps = steps.view(-1, 1) / share
        self.unit.copy_(_expected(UNIT, 28.0) / steps)
        self.cell.copy_(_expected(CELL, 22.0) / steps)
        self.chroma.copy_(
            (_expected(CHROMA, 7.0) / steps / chroma_step)[:, None].expand_as(self.chroma)
        )

    def magnitudes(self) -> tuple[Tensor, Tensor]:
        """Mean magnitudes of the latent's channels, `(KNOTS, C)` each, where a unit is one block
        and where it is four.
        """
        whole, cells, colours = (torch.from_numpy(places) for places in channel_places())
        one = self.unit.new_empty(len(self.unit), whole.numel() + colours.numel())
        one[:, colours.flatten()] = self.chroma.flatten(1)
        four = one.clone()
        one[:, whole] = self.unit
        for places in cells:
            four[:, places] = self.cell
        return one, four

    def search_prices(self, quality: Tensor) -> SearchPrices:
        """What `search_blocks` takes, at `quality` `(B,)`; on the CPU."""
        tables = {
            name: values.cpu() for name, values in self.at(quality.to(self.unit.device)).items()
        }
        same = torch.tensor([_SAME_MODE, _SAME_TWICE]).expand(len(quality), 2, 2)
        return SearchPrices(
            unit=_level_prices(tables["unit"]),
            cell=_level_prices(tables["cell"]),
            chroma=torch.stack([_level_prices(values) for values in tables["chroma"].unbind(1)], 1),
            mode=torch.cat([tables["mode"], same], 2),
            kind=tables["kind"],
            size=tables["size"],
        )

    def note_levels(
        self, levels: Tensor, split: Tensor, quality: Tensor, present: Tensor | None = None
    ) -> None:
        """Count the magnitudes of levels towards the next `update`; on the CPU.

        Args:
            levels: `(B, C, h, w)`.
            split: `(B, 1, h, w)` bool, where a unit is four blocks.
            quality: `(B,)`.
            present: `(B, 1, h, w)` bool, which units count; None: all.
        """
        whole, cells, colours = (torch.from_numpy(places) for places in channel_places())
        sizes = levels.abs().float()
        counted = torch.ones_like(split) if present is None else present
        device = self.unit.device

        def note(kind: str, places: Tensor, present: Tensor, start: int = 0) -> None:
            entry = (
                (torch.arange(len(places)) + start)
                .view(1, -1, 1, 1)
                .expand(len(sizes), -1, *sizes.shape[2:])
            )
            self.note(
                kind,
                entry.to(device),
                values=sizes[:, places].to(device),
                present=present.expand_as(entry).to(device),
                quality=quality.to(device),
            )

        note("unit", whole, counted & ~split)
        for part in cells:
            note("cell", part, counted & split)
        for number, part in enumerate(colours):
            note("chroma", part, counted, number * CHROMA * CHROMA)


def _expected(side: int, first: float) -> Tensor:
    """Mean magnitudes `(side²,)` of what prediction leaves, in 8-bit levels; guessed, training says
    better.
    """
    v, u = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return (first / (1 + (v + u) * (16 / side) / 4) ** 1.5).flatten()


def _level_prices(magnitude: Tensor) -> Tensor:
    """Bits `(B, GAINS, 3, n)` of 0, of ±1 and of each further level, where levels have mean
    magnitudes `(B, n)`.
    """
    gains = torch.tensor(GAINS).view(1, -1, 1)
    mean = (magnitude[:, None] * gains).clamp(1e-6, 1e3).double()
    decay = 1 / (2 * torch.asinh(1 / (2 * mean)))  # the scale
    outside = torch.exp(-1 / (2 * decay))
    log = torch.tensor(2.0, dtype=torch.float64).log()
    zero = -torch.log1p(-outside) / log
    more = 1 / decay / log
    one = 1 + 1 / (2 * decay) / log - torch.log1p(-torch.exp(-1 / decay)) / log
    prices = torch.stack([zero, one, more], 2)
    prices[:, :, :2, 0] += torch.tensor(_GAIN_BITS, dtype=torch.float64).view(1, -1, 1)
    return prices.float()
