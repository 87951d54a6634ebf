"""Means of a loss's terms over steps, parts of batches and processes."""

from collections.abc import Mapping

import torch
from torch import Tensor

from codec.training.processes import gather
from codec.training.warp import WARP
from codec.video import CodedClip

FRAMES = "frames"


class TermMeans:
    """Adds up terms with the number of frames that each is a mean of; nothing waits for a device
    before `take`.
    """

    def __init__(self) -> None:
        self._sums: dict[str, list[tuple[Tensor, int]]] = {}
        self._noted: list[tuple[str, Tensor, int]] = []
        self._restored: dict[str, tuple[float, int]] = {}

    def note(self, terms: dict[str, Tensor], coded: CodedClip) -> None:
        """Note the terms, means over samples and frames, that the loss gave for `coded`; they count
        once an update does.
        """
        intra, samples = sum(coded.intra), len(coded.frames)
        predicted = len(coded.intra) - intra
        counts = {"psnr_intra": intra, "psnr_predicted": predicted, WARP: predicted}
        self._noted.append((FRAMES, torch.ones(()), samples * len(coded.intra)))
        for name, value in terms.items():
            self._noted.append((name, value, samples * counts.get(name, len(coded.intra))))

    def settle(self, updated: bool) -> None:
        """Add what was noted, or forget it where the update was skipped."""
        for name, value, count in self._noted if updated else ():
            self._sums.setdefault(name, []).append((value, count))
        self._noted = []

    def take(self) -> dict[str, float]:
        """Means over all processes since the last call; every process must call it.

        Bits of components are means over all frames, those too that a component does not code.
        """
        mine = self.state()
        self._sums, self._restored = {}, {}
        everyone = gather(mine)
        names = dict.fromkeys(name for part in everyone for name in part)  # in order
        pairs = {name: [part[name] for part in everyone if name in part] for name in names}
        sums = {name: tuple(map(sum, zip(*found, strict=True))) for name, found in pairs.items()}
        frames = sums.pop(FRAMES, (0.0, 0))[1]
        return {
            name: value / (frames if name.startswith("bpp_") else count)
            for name, (value, count) in sums.items()
        }

    def state(self) -> dict[str, tuple[float, int]]:
        """Sums and counts so far, of this process, for a checkpoint."""
        names = dict.fromkeys([*self._restored, *self._sums])
        return {
            name: _added(self._sums.get(name, []), *self._restored.get(name, (0.0, 0)))
            for name in names
        }

    def restore(self, state: dict[str, tuple[float, int]]) -> None:
        """Go on from a `state`."""
        self._sums, self._restored = {}, dict(state)


def bpp_of(terms: Mapping[str, float], component: str) -> float | None:
    """Bits a pixel of a component and of all below it, or None where there is no such component.

    Args:
        terms: means, `bpp_COMPONENT` among them.
        component: for example `motion`, which is the sum of `motion.split`, `motion.vector`, …
    """
    names = f"bpp_{component}", f"bpp_{component}."
    found = [
        value for name, value in terms.items() if name == names[0] or name.startswith(names[1])
    ]
    return sum(found) if found else None


def _added(values: list[tuple[Tensor, int]], total: float, frames: int) -> tuple[float, int]:
    for value, count in values:
        total += float(value) * count
    return total, frames + sum(count for _, count in values)
