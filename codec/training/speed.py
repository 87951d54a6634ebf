"""Speed: what a stretch of training made of its time and its device, in one line that says what to
change first.
"""

from dataclasses import dataclass

from codec.training.clock import CHECKPOINTS, DATA, LOGGING, OTHER, STEP, VALIDATION

MOST_WAIT, MOST_IDLE, MOST_VALIDATION = 0.05, 0.10, 0.25  # of the wall time
FULL, ROOMY = 0.90, 0.50  # of the memory
LOW_MFU = 0.10  # of what the device can
_REMEDIES = {
    CHECKPOINTS: "raise checkpoint_every, or write them to a faster disk",
    LOGGING: "raise training.log_every, or wandb=offline",
    OTHER: "Lightning's own work between steps: larger batches",
}


@dataclass(frozen=True)
class Speed:
    """Of one process, but for the frames.

    Attributes:
        frames_per_s: frames of all processes, by wall time.
        shares: of the wall time, by part (`PartClock`); they add up to 1.
        operations_per_s: of convolutions and matrix products, while a step runs; 0 when not known.
        peak: operations a second that the device can.
        memory, memory_total: bytes, the most that was held and what there is.
        device: its name.
        gpu: whether it is one.
        workers: reading processes.
        first_wait: share of the wall time spent waiting for a stage's first batch, which is part of
            the wait for data.
    """

    frames_per_s: float
    shares: dict[str, float]
    operations_per_s: float
    peak: float
    memory: int
    memory_total: int
    device: str
    gpu: bool
    workers: int = 0
    first_wait: float = 0.0

    @property
    def data_wait(self) -> float:
        """Share of the wall time spent waiting for a batch."""
        return self.shares.get(DATA, 0.0)

    @property
    def idle(self) -> float:
        """Share of the wall time in which neither a step nor a validation ran."""
        return sum(share for part, share in self.shares.items() if part not in (STEP, VALIDATION))

    @property
    def mfu(self) -> float:
        """Share of the peak that steps reach; what activation checkpointing computes twice counts
        twice.
        """
        return self.operations_per_s / self.peak if self.peak else 0.0

    def numbers(self) -> dict[str, float]:
        """For logs; shares are 0..1."""
        found = {
            "frames_per_s": self.frames_per_s,
            "data_wait": self.data_wait,
            "idle": self.idle,
            "memory_mb": self.memory / 1e6,
        }
        if self.mfu:
            found["mfu"] = self.mfu
        return {f"speed/{name}": round(value, 4) for name, value in found.items()}


def summary(speed: Speed) -> str:
    """One line: the figures, and `advice` where there is some."""
    share = (
        f"{speed.mfu:.1%} of what this {speed.device} can "
        f"({_of_peak(speed.operations_per_s, speed.peak)}), "
    )
    figures = (
        f"speed: {speed.frames_per_s:.1f} frames/s, {share if speed.mfu else ''}data wait "
        f"{speed.data_wait:.1%}, "
        f"idle {speed.idle:.1%}, {speed.memory / 1e9:.1f} GB"
    )
    said = advice(speed)
    return f"{figures}; {said}" if said else figures


def advice(speed: Speed) -> str:
    """What to change first; "" where nothing stands out."""
    if speed.data_wait > MOST_WAIT:
        if speed.data_wait - speed.first_wait <= MOST_WAIT:
            return (
                f"workers start and open clips for {speed.first_wait:.1%} of the time: longer "
                "stages, or less data.hold_mb"
            )
        how = (
            "data.workers=1 or more"
            if speed.workers == 0
            else f"more data.workers than {speed.workers}"
        )
        return f"steps wait for data: {how}, or pack the clips (corvid data pack)"
    if speed.idle > MOST_IDLE:
        rest = {
            part: share
            for part, share in speed.shares.items()
            if part not in (STEP, VALIDATION, DATA)
        }
        part, share = max(rest.items(), key=lambda item: item[1])
        return (
            f"{part} takes {share:.1%} of the time: {_REMEDIES.get(part, 'look at that callback')}"
        )
    filled = speed.memory / speed.memory_total
    if filled > FULL:
        return f"memory is {filled:.0%} full: a smaller batch or activation checkpointing"
    if speed.shares.get(VALIDATION, 0.0) > MOST_VALIDATION:
        return (
            f"validation takes {speed.shares[VALIDATION]:.1%} of the time: raise the stage's "
            "validate_every"
        )
    if 0 < speed.mfu < LOW_MFU and filled < ROOMY:
        return "the device is hardly used: a larger batch"
    if 0 < speed.mfu < LOW_MFU and speed.gpu:  # on CPUs it was measured to gain nothing
        return "the device is hardly used: training.compile=true"
    return ""


def _of_peak(operations: float, peak: float) -> str:
    """Both in the peak's unit, to three digits at most."""
    units = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))
    factor, prefix = next((unit for unit in units if peak >= unit[0]), units[-1])
    return f"{operations / factor:.3g} of {peak / factor:.3g} {prefix}FLOP/s"
