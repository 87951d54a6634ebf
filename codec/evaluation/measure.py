"""Score decoded clips in the chosen metrics, frame by frame."""

import copy
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from codec import registry
from codec.anchors.coder import CodedResult
from codec.anchors.planes import Planes, rgb_to_planes
from codec.errors import CodecError
from codec.evaluation import vmaf
from codec.evaluation.metric_specs import axis_of, spec_of
from codec.evaluation.points.cache import package_source
from codec.metrics import (
    IDENTICAL_DB,
    Lpips,
    dists,
    load_dists,
    load_lpips,
    lpips,
    lpips_in_time,
    ms_ssim,
    psnr,
    psnr_611,
    temporal_difference,
)
from codec.metrics.fidelity import MS_SSIM_SIDE as MS_SSIM_SIDE
from data.io.source_clip import SourceClip

PLANES = ("psnr_y", "psnr_u", "psnr_v")
LEARNED = {"lpips_alex": "alex", "lpips_vgg": "vgg", "dists": "dists", "temporal_lpips": "alex"}
DECIBELS = ("psnr_rgb", *PLANES, "temporal_difference")
TEMPORAL = ("temporal_difference", "temporal_lpips")
SMALLEST_SIDES = {
    "ms_ssim": MS_SSIM_SIDE,
    "lpips_alex": lpips.MINIMUM_SIZE["alex"],
    "lpips_vgg": lpips.MINIMUM_SIZE["vgg"],
    "dists": dists.SMALLEST_SIDE,
    "vmaf": vmaf.SMALLEST_SIDE,
    "vmaf_neg": vmaf.SMALLEST_SIDE,
    "temporal_lpips": lpips.MINIMUM_SIZE["alex"],
}
DB = f"dB per frame, mean over frames; perfect frames count {IDENTICAL_DB:g} dB"
PLANES_RULE = (
    "4:2:0 planes, the source's own (else made from its RGB) against the decoder's own (else made "
    "from its RGB)"
)

Frames = list[float | None]


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
        metrics: names of `AXES`, or of metrics that a package from outside registers.
        every: the learned metrics (LPIPS, temporal LPIPS, DISTS) take frames 0, n, 2n, …: 1 for
            every frame. The others are fast enough to take all.
        device: where networks and MS-SSIM run.

    Raises:
        CodecError: an unknown metric, or weights that cannot be found.
    """

    def __init__(self, metrics: Sequence[str], every: int = 1, device: str = "cpu") -> None:
        for metric in metrics:
            axis_of(metric)
        if every < 1:
            raise CodecError(
                f"every: {every}; give 1 to score every frame in the learned metrics, n for every "
                "n-th"
            )
        self.metrics = list(dict.fromkeys(metrics))
        self.every = every
        self.device = device
        nets = dict.fromkeys(LEARNED[name] for name in self.metrics if name in LEARNED)
        self.nets = {
            net: (load_dists() if net == "dists" else load_lpips(net)).to(device) for net in nets
        }

    def only(self, metrics: Sequence[str]) -> "Measure":
        """The same for some of its metrics."""
        some = copy.copy(self)
        some.metrics = [name for name in self.metrics if name in metrics]
        return some

    def settings(self) -> dict[str, str]:
        """How every metric is computed, in words."""
        return {
            name: f"{self.rule(name)}; BD-rate over {axis_of(name).scale}" for name in self.metrics
        }

    def rule(self, name: str) -> str:
        """How one metric is computed; of one from outside also a hash of its package's code."""
        if spec := spec_of(name):
            entry = registry.find("metric", name)
            assert entry is not None  # `spec_of` has found it
            package = entry.package
            code = f"{package} {package_source(package)[:16]}"
            return f"{spec.description or spec.title}, mean over frames, by {code}"
        if name in LEARNED:
            what = {
                "dists": "DISTS",
                "temporal_lpips": "|LPIPS(x_t, x_t-1) - LPIPS(y_t, y_t-1)| of LPIPS 0.1",
            }
            taken = "mean over frames" + f" 0, {self.every}, {2 * self.every}, …" * (self.every > 1)
            return (
                f"{what.get(name, 'LPIPS 0.1')}, {taken}, backbone: "
                f"{self.nets[LEARNED[name]].origin}"
            )
        if name in vmaf.MODELS:
            return (
                f"{vmaf.MODELS[name]} by {vmaf.version()} at the clip's size, mean over frames; "
                f"{PLANES_RULE}"
            )
        if name == "temporal_difference":
            return f"PSNR of (x_t - x_t-1) - (y_t - y_t-1) of luma; {DB}; {PLANES_RULE}"
        rules = {
            "psnr_rgb": f"over R, G and B together; {DB}",
            "ms_ssim": f"pytorch-msssim {version('pytorch-msssim')}, five scales, mean over R, G "
            "and B, then over frames",
            "psnr_yuv": f"(6 Y + U + V) / 8 of the planes' dB; {DB}; {PLANES_RULE}",
        }
        return rules.get(name, f"{DB}; {PLANES_RULE}")

    def score(self, source: SourceClip, coded: CodedResult) -> Scored:
        """Score one clip.

        Args:
            source: the original.
            coded: of the same size and number of frames.
        """
        reasons = {name: reason for name in self.metrics if (reason := self.unfit(name, source))}
        names = [name for name in self.metrics if name not in reasons]
        found, notes = self.of_planes(names, source, coded)
        found |= self.of_outside(names, source.rgb, coded.decoded)
        found |= self.of_rgb(names, source.rgb, coded.decoded) | self.of_nets(
            names, source.rgb, coded.decoded
        )
        means = {
            name: statistics.fmean(v for v in frames if v is not None)
            for name, frames in found.items()
        }
        notes += [
            f"{name}: {note}"
            for name in names
            if name in DECIBELS and (note := perfect_frames(found[name]))
        ]
        return Scored(
            values={name: means.get(name) for name in self.metrics},
            per_frame={
                name: [None if v is None else float(f"{v:.6g}") for v in found[name]]
                for name in names
            },
            notes=[f"{name}: {reason}" for name, reason in reasons.items()] + notes,
            per_frame_every={
                name: self.every for name in names if name in LEARNED and self.every > 1
            },
        )

    def unfit(self, name: str, source: SourceClip) -> str:
        """Why a metric cannot score a clip; empty when it can."""
        spec = spec_of(name)
        least = spec.smallest_side if spec else SMALLEST_SIDES.get(name, 1)
        if min(source.height, source.width) < least:
            return (
                f"frames of {source.width}x{source.height} are below the {least}x{least} it needs"
            )
        if name in TEMPORAL and source.frames < 2:
            return "one frame, it has no change to score"
        if name == "temporal_lpips" and source.frames <= self.every:
            return (
                f"of {source.frames} frames only the first is scored (every {self.every}), it has "
                "no change to score"
            )
        return ""

    def of_planes(
        self, names: Sequence[str], source: SourceClip, coded: CodedResult
    ) -> tuple[dict[str, Frames], list[str]]:
        """The metrics on 4:2:0 planes, and how often a perfect plane raised one of them."""
        asked = [
            name
            for name in names
            if name in (*PLANES, "psnr_yuv", "temporal_difference", *vmaf.MODELS)
        ]
        if not asked:
            return {}, []
        reference, decoded = planes_of(source, coded)
        found: dict[str, Frames] = {}
        notes = []
        if {*PLANES, "psnr_yuv"} & {*asked}:
            planes = [psnr(a, b) for a, b in zip(reference, decoded, strict=True)]
            found = {name: frames.tolist() for name, frames in zip(PLANES, planes, strict=True)}
            found["psnr_yuv"] = psnr_611(*planes).tolist()
            raised = int((torch.stack(planes) == IDENTICAL_DB).any(dim=0).sum())
            if raised and "psnr_yuv" in asked:
                notes.append(
                    f"psnr_yuv: {raised} of {source.frames} frames have a perfect plane, "
                    f"{IDENTICAL_DB:g} dB"
                )
        if "temporal_difference" in asked:
            found["temporal_difference"] = [
                None,
                *temporal_difference(reference[0], decoded[0]).tolist(),
            ]
        models = [name for name in asked if name in vmaf.MODELS]
        if models:
            scores = vmaf.vmaf(reference, decoded, models)
            found |= {name: [*frames] for name, frames in scores.items()}
        return {name: found[name] for name in asked}, notes

    def of_outside(
        self,
        names: Sequence[str],
        reference: Tensor,
        decoded: Tensor,
    ) -> dict[str, Frames]:
        """The metrics that packages from outside register."""
        specs = {name: spec for name in names if (spec := spec_of(name))}
        return {name: [*spec.score(name, reference, decoded)] for name, spec in specs.items()}

    def of_rgb(self, names: Sequence[str], reference: Tensor, decoded: Tensor) -> dict[str, Frames]:
        """The metrics on RGB without a network."""
        found: dict[str, Frames] = {}
        if "psnr_rgb" in names:
            found["psnr_rgb"] = psnr(reference, decoded).tolist()
        if "ms_ssim" in names:
            found["ms_ssim"] = ms_ssim(reference.to(self.device), decoded.to(self.device)).tolist()
        return found

    def of_nets(
        self, names: Sequence[str], reference: Tensor, decoded: Tensor
    ) -> dict[str, Frames]:
        """The learned metrics of the chosen frames."""
        found: dict[str, Frames] = {}
        if "temporal_lpips" in names:
            net = self.nets["alex"]
            assert isinstance(net, Lpips)
            both = in_time(net, reference, decoded, self.every)
            found = {
                name: frames
                for name, frames in zip(("lpips_alex", "temporal_lpips"), both, strict=True)
                if name in names
            }
        for name in names:
            if name in LEARNED and name not in found:
                found[name] = one_by_one(
                    self.nets[LEARNED[name]],
                    reference[:: self.every],
                    decoded[:: self.every],
                    self.device,
                )
        return found


def planes_of(source: SourceClip, coded: CodedResult) -> tuple[Planes, Planes]:
    """The source's and the decoded 4:2:0 planes; what is there only in RGB is converted in the
    source's colour.
    """
    reference = source.planes or rgb_to_planes(source.rgb, source.color_space)
    return reference, coded.planes or rgb_to_planes(coded.decoded, source.color_space)


@torch.inference_mode()
def one_by_one(net: nn.Module, reference: Tensor, decoded: Tensor, device: str) -> Frames:
    """A network's distance of every frame; one at a time, which on a CPU is as fast as many and
    needs least memory.
    """
    pairs = zip(reference.split(1), decoded.split(1), strict=True)
    return [net(a.to(device) / 255, b.to(device) / 255).item() for a, b in pairs]


def in_time(net: Lpips, reference: Tensor, decoded: Tensor, every: int) -> tuple[Frames, Frames]:
    """LPIPS and temporal LPIPS of every n-th frame; the first has no temporal one."""
    if every == 1:
        spatial, temporal = lpips_in_time(net, reference, decoded)
        return spatial.tolist(), [None, *temporal.tolist()]
    runs = [slice(max(t - 1, 0), t + 1) for t in range(0, len(reference), every)]
    both = [lpips_in_time(net, reference[run], decoded[run]) for run in runs]
    return [spatial[-1].item() for spatial, _ in both], [
        None,
        *(temporal.item() for _, temporal in both[1:]),
    ]


def perfect_frames(frames: Frames) -> str:
    """How many frames without error count 100 dB; empty when none does."""
    scored = [value for value in frames if value is not None]
    perfect = scored.count(IDENTICAL_DB)
    return (
        f"{perfect} of {len(scored)} frames are perfect or nearly so, {IDENTICAL_DB:g} dB"
        * bool(perfect)
    )
