"""Means of a loss's terms over steps, parts of batches and processes."""

from torch import Tensor

from codec.training.processes import gather
from codec.video import CodedClip


class TermMeans:
    """Adds up terms with the number of frames that each is a mean of; nothing waits for a device before `take`."""

    def __init__(self) -> None:
        self._sums: dict[str, list[tuple[Tensor, int]]] = {}
        self._noted: list[tuple[str, Tensor, int]] = []

    def note(self, terms: dict[str, Tensor], coded: CodedClip) -> None:
        """Note the terms, means over samples and frames, that the loss gave for `coded`; they count once an update does."""
        intra, samples = sum(coded.intra), len(coded.frames)
        counts = {"psnr_intra": intra, "psnr_predicted": len(coded.intra) - intra}
        for name, value in terms.items():
            self._noted.append((name, value, samples * counts.get(name, len(coded.intra))))

    def settle(self, updated: bool) -> None:
        """Add what was noted, or forget it where the update was skipped."""
        for name, value, count in self._noted if updated else ():
            self._sums.setdefault(name, []).append((value, count))
        self._noted = []

    def take(self) -> dict[str, float]:
        """Means over all processes since the last call; every process must call it."""
        mine = {name: _added(values) for name, values in self._sums.items()}
        self._sums = {}
        everyone = gather(mine)
        names = dict.fromkeys(name for part in everyone for name in part)  # in order
        pairs = {name: [part[name] for part in everyone if name in part] for name in names}
        return {name: sum(value for value, _ in found) / sum(count for _, count in found) for name, found in pairs.items()}


def _added(values: list[tuple[Tensor, int]]) -> tuple[float, int]:
    return float(sum(value.double() * count for value, count in values)), sum(count for _, count in values)
