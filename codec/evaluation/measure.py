"""Score decoded clips in the chosen metrics, frame by frame."""

import copy
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from codec import registry
from codec.anchors.coder import CodedResult
from codec.anchors.planes import Planes, rgb_to_planes
from codec.errors import CodecError
from codec.evaluation.points.cache import package_source
from codec.metrics.spec import ClipPair, Frames, spec_of
from data.io.source_clip import SourceClip


@dataclass(frozen=True)
class Scored:
    """What a coded clip was worth.

    Attributes:
        values: a figure by metric, the mean over its frames; None where it could not be computed.
        per_frame: the values of the frames that were scored, by metric, to 6 digits, those that
            could not be computed left out; None where a frame has none (the first one's change).
        notes: what is unusual, and why a value is None.
        per_frame_every: n by metric, of those that scored frames 0, n, 2n, … and not every one.
    """

    values: dict[str, float | None]
    per_frame: dict[str, Frames]
    notes: list[str]
    per_frame_every: dict[str, int]

    def of(self, metric: str) -> dict[str, Any]:
        """What is known of one metric, as JSON values."""
        return {
            "value": self.values[metric],
            "per_frame": self.per_frame.get(metric),
            "notes": [note for note in self.notes if note.startswith(f"{metric}:")],
            "every": self.per_frame_every.get(metric, 1),
        }


class Measure:
    """The chosen metrics, ready to score clips.

    Args:
        metrics: names of registered metrics.
        every: the learned metrics (LPIPS, temporal LPIPS, DISTS) take frames 0, n, 2n, …: 1 for
            every frame. The others are fast enough to take all.
        device: where networks and MS-SSIM run.

    Raises:
        CodecError: an unknown metric, or weights that cannot be found.
    """

    def __init__(self, metrics: Sequence[str], every: int = 1, device: str = "cpu") -> None:
        specs = [spec_of(metric) for metric in metrics]
        if every < 1:
            raise CodecError(
                f"every: {every}; give 1 to score every frame in the learned metrics, n for every "
                "n-th"
            )
        self.metrics = list(dict.fromkeys(metrics))
        self.every = every
        self.device = device
        loaders = dict.fromkeys(spec.load for spec in specs if spec.load)
        self.networks = {load: load().to(device) for load in loaders}

    def only(self, metrics: Sequence[str]) -> "Measure":
        """The same for some of its metrics."""
        some = copy.copy(self)
        some.metrics = [name for name in self.metrics if name in metrics]
        return some

    def settings(self) -> dict[str, str]:
        """How every metric is computed, in words."""
        return {
            name: f"{self.rule(name)}; BD-rate over {spec_of(name).scale}" for name in self.metrics
        }

    def rule(self, name: str) -> str:
        """How one metric is computed; of one from outside also a hash of its package's code."""
        spec, entry = spec_of(name), registry.find("metric", name)
        assert entry is not None  # `spec_of` has found it
        package, description = entry.package, spec.description
        if callable(description):
            description = description(self.every, self.networks[spec.load] if spec.load else None)
        if package == "codec":
            return description
        code = f"{package} {package_source(package)[:16]}"
        return f"{description or spec.title}, mean over frames, by {code}"

    def score(self, source: SourceClip, coded: CodedResult) -> Scored:
        """Score one clip.

        Args:
            source: the original.
            coded: of the same size and number of frames.
        """
        specs = {name: spec_of(name) for name in self.metrics}
        size = (source.width, source.height, source.frames, self.every)
        reasons = {name: reason for name, spec in specs.items() if (reason := spec.unfit(*size))}
        names = [name for name in self.metrics if name not in reasons]
        pair = ClipPair(
            reference=source.rgb,
            decoded=coded.decoded,
            to_planes=lambda: planes_of(source, coded),
            device=self.device,
            every=self.every,
            metrics=names,
            networks=self.networks,
        )
        found = {name: specs[name].score(name, pair) for name in names}
        means = {
            name: statistics.fmean(value for value in frames if value is not None)
            for name, frames in found.items()
        }
        notes = [f"{name}: {reason}" for name, reason in reasons.items()]
        notes += [
            f"{name}: {said}"
            for name in names
            if (note := specs[name].note) and (said := note(pair, found[name]))
        ]
        return Scored(
            values={name: means.get(name) for name in self.metrics},
            per_frame={
                name: [None if v is None else float(f"{v:.6g}") for v in found[name]]
                for name in names
            },
            notes=notes,
            per_frame_every={
                name: self.every for name in names if specs[name].sampled and self.every > 1
            },
        )


def planes_of(source: SourceClip, coded: CodedResult) -> tuple[Planes, Planes]:
    """The source's and the decoded 4:2:0 planes; what is there only in RGB is converted in the
    source's colour.
    """
    reference = source.planes or rgb_to_planes(source.rgb, source.color_space)
    return reference, coded.planes or rgb_to_planes(coded.decoded, source.color_space)
