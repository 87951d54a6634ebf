"""Watches what components cost: bits that explode or vanish are said, not found after days."""

from collections import deque
from statistics import median

from codec.errors import CodecError
from codec.training.logging import bpp_of

KNOWN = 50  # logged means that tell what is usual
NEEDED = 10  # of them before anything is said
LEAST = 1e-3  # bpp, below which a component does not matter


class RateMonitor:
    """Says when a component's bpp leaves its range, once until it is back.

    Args:
        ranges: of bpp by component, for example `{motion: [0, 0.3]}`. A name stands for the sum of
            what is logged under it, as `train/bpp_motion`, and below it, as
            `train/bpp_motion.split`.
        jump: a component warns, too, where a logged mean is so many times its recent median, or
            that part of it; 0: never.

    Raises:
        CodecError: a range that is not two numbers in order, or a jump between 0 and 1.
    """

    def __init__(self, ranges: dict[str, list[float]] | None = None, jump: float = 4.0) -> None:
        for component, limits in (ranges or {}).items():
            if (
                not isinstance(limits, list | tuple)
                or len(limits) != 2
                or not limits[0] <= limits[1]
            ):
                raise CodecError(
                    f"training.bits_range.{component}: {limits} given; expected [lowest, highest] "
                    "in bpp"
                )
        if jump and jump <= 1:
            raise CodecError(
                f"training.bits_jump: {jump} given; expected a factor above 1, or 0 for never"
            )
        self.ranges, self.jump = ranges or {}, jump
        self._known: dict[str, deque[float]] = {}
        self._outside: set[str] = set()
        self._absent: set[str] = set()

    def check(self, means: dict[str, float]) -> list[str]:
        """Compare logged means, `bpp_COMPONENT` among them.

        Returns:
            Sentences about components that have just left their range, and once a stage about
            ranges
            of components that it does not code.
        """
        bpp = {
            name.removeprefix("bpp_"): value
            for name, value in means.items()
            if name.startswith("bpp_")
        }
        if not bpp:  # every update since the last row was skipped
            return []
        sums = {component: bpp_of(means, component) for component in self.ranges}
        absent = {component for component, value in sums.items() if value is None} - self._absent
        self._absent |= absent
        said = []
        if absent:
            here = ", ".join(sorted(bpp))
            names = ", ".join(sorted(absent))
            said.append(f"training.bits_range: {names} not coded in this stage, only {here}")
        bpp |= {component: value for component, value in sums.items() if value is not None}
        for component, value in bpp.items():
            reason = self._reason(component, value)
            if reason and component not in self._outside:
                said.append(f"{component} costs {value:.4f} bpp, {reason}")
            (self._outside.add if reason else self._outside.discard)(component)
            self._known.setdefault(component, deque(maxlen=KNOWN)).append(value)
        return said

    def reset(self) -> None:
        """What is usual changes: a new stage."""
        self._known.clear()
        self._outside.clear()
        self._absent.clear()

    def _reason(self, component: str, value: float) -> str:
        low, high = self.ranges.get(component, (0.0, float("inf")))
        if not low <= value <= high:
            return f"outside of its range {low} to {high}"
        known = self._known.get(component, ())
        if not self.jump or len(known) < NEEDED:
            return ""
        usual = median(known)
        if max(usual, value) < LEAST or usual / self.jump <= value <= usual * self.jump:
            return ""
        return f"{usual:.4f} were usual"
