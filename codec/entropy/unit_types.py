"""Types and prediction modes of the units of predicted frames as symbols."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.entropy.channel import Channel
from codec.entropy.decisions import ClassTree, code_tree
from codec.entropy.intra_modes import (
    CodedFrameMaps,
    IntraModeEntropy,
    ModeContext,
    Note,
    flat_rows,
)
from codec.entropy.places import all_places
from codec.layers.kernels import on_cpu

_TREE = ((0, (1, 2)), (3, 4))  # inter or intra; coded or not; the transform's size
TYPES = 5
ENERGY_BOUNDS = (0, 2, 8, 32)  # sums of magnitudes of the last frame's levels in a unit: 5 classes
_ENERGIES, _MOTIONS = 1 + len(ENERGY_BOUNDS) + 1, 8
CONTEXTS = _ENERGIES + _MOTIONS


class UnitTypeEntropy(IntraModeEntropy):
    """Codes the maps of `codec.blocks.units`: as those of intra frames, with types for sizes.

    A type is coded in one of two passes over a checkerboard; its network sees the types around it,
    how much was coded there in the last frame, and the size and movement of the motion block.
    Modes and classes of chroma are coded for intra units alone.

    Args:
        kinds: classes of chroma's prediction.
        width: of the networks.
    """

    def __init__(self, kinds: int, width: int = 48) -> None:
        super().__init__(kinds, width)
        self.size = ModeContext(4 * TYPES + CONTEXTS + 1, width, [TYPES - 1])
        tree = ClassTree.of(_TREE)
        for part in ("nodes", "turns", "children"):
            self.register_buffer(f"types_{part}", getattr(tree, part), persistent=False)
        with torch.no_grad():
            start = torch.tensor([0.6, 0.2, 0.15, 0.03, 0.02])
            self.size.heads[0].bias.copy_(tree.log_odds_of(start))

    def transmit(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        channel: Channel,
        previous: Tensor | None = None,
        previous_quality: Tensor | None = None,
        note: Note | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """Send or receive the maps of a frame.

        Args:
            component: bits go under `component.type`, `component.mode` and `component.chroma`.
            latent: `(B, 6, h, w)` integers of any type on the sending side.
            size: `(h, w)` in units.
            quality: `(B,)` indices 0..63.
            channel: where they go to or come from.
            previous, previous_quality: not used.
            note: is told what symbols cost, where that is learned.
            context: `(B·h·w, 2)` as `unit_context` makes it.

        Returns:
            `(B, 6, h, w)` float32, the same on both sides.
        """
        given = {"component": component, "latent": latent, "quality": quality, "channel": channel}
        frame = CodedFrameMaps(**given, **({} if note is None else {"note": note}))
        types = self._code_types(frame, size, context)
        intra = types >= TYPES - 2
        modes, kinds = types.new_zeros(len(types), 4, *size), torch.zeros_like(types)
        if not on_cpu(types) or intra.any():
            modes, kinds = self._code_prediction(frame, (types == TYPES - 1).long(), intra)
        return torch.cat([types, modes, kinds], 1).float()

    def _code_types(self, frame: CodedFrameMaps, size: tuple[int, int], context: Tensor) -> Tensor:
        """`(B, 1, h, w)` int64."""
        quality, batch = frame.quality, len(frame.quality)
        found = torch.full((batch, 1, *size), -1, dtype=torch.int64, device=quality.device)
        tree = self.tree("types")
        last = torch.full_like(found, 4 * TYPES + CONTEXTS + 1)
        for colour in (0, 1):
            around = F.pad(found, (1, 1, 1, 1), value=-1)
            sides = around[..., 1:-1, :-2], around[..., 1:-1, 2:]
            ends = around[..., :-2, 1:-1], around[..., 2:, 1:-1]
            near = [
                torch.where(side < 0, 0, side + 1 + TYPES * k)
                for k, side in enumerate((*sides, *ends))
            ]
            near = flat_rows(torch.cat([*near, last * colour], 1))
            here = all_places(batch, *size, colour, quality.device)
            known = torch.cat([near, torch.where(context > 0, context + 4 * TYPES, 0)], 1)
            odds = self.size(known, quality, [0], here)[0][:, None]
            sent, named = frame.wanted([0], here), f"{frame.component}.type"
            types, bits = code_tree(named, sent, odds, here.mask, tree, frame.channel)
            frame.note("type", types, bits, here.mask)
            found = here.put(found, types)
        return found


def unit_context(
    previous: Tensor | None,
    blocks: Tensor | None,
    moving: Tensor | None,
    size: tuple[int, int],
    batch: int,
    device: torch.device,
) -> Tensor:
    """What is known about units before they are coded, the same on both sides.

    Args:
        previous: `(B, C, h, w)` levels of the last frame, or None.
        blocks: `(B, 1, 2·h, 2·w)` int64, sizes 0..3 of motion blocks, or None.
        moving: `(B, 1, 2·h, 2·w)`, 1 where a block moves, 0 elsewhere, or None.
        size: `(h, w)`.
        batch, device: of the result.

    Returns:
        `(B·h·w, 2)` int64, numbers 1..`CONTEXTS` of what is known, as of `ExactFlags`, 0 where
        nothing is.
    """
    nothing = torch.zeros(batch, 1, *size, dtype=torch.int64, device=device)
    energy, motion = nothing + 1, nothing
    if previous is not None:
        total = previous.detach().abs().sum(1, keepdim=True)
        energy = 2 + sum((total > bound).long() for bound in ENERGY_BOUNDS)
    if blocks is not None:
        moves = 0 if moving is None else (moving[..., ::2, ::2] > 0).long()
        motion = _ENERGIES + 1 + 2 * blocks[..., ::2, ::2] + moves
    return flat_rows(torch.cat([energy, motion], 1))
