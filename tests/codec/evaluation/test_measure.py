"""Metrics put together: which frames, which planes, and what is null."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from distorted import clip_and_distorted
from torch import Tensor

from codec import registry
from codec.anchors.coder import CodedResult
from codec.anchors.planes import rgb_to_planes
from codec.errors import CodecError
from codec.evaluation.measure import Measure, Scored
from codec.metrics import load_lpips, psnr, spec_of, temporal_difference
from data.io.color import ColorSpace, planes_to_rgb
from data.io.source_clip import SourceClip

COLOUR = ColorSpace("bt709", False, "tagged")
SPECS = {name: spec_of(name) for name in registry.names_of("metric")}
FAST = [name for name in SPECS if name not in ("lpips_vgg", "dists")]


def source(rgb: Tensor, planes: bool = True) -> SourceClip:
    """A clip with 4:2:0 planes, or one that was RGB from the start."""
    own = rgb_to_planes(rgb, COLOUR) if planes else None
    shown = planes_to_rgb(*own, COLOUR) if own else rgb
    return SourceClip(
        "clip",
        Path("clip.y4m"),
        Fraction(25),
        rgb.shape[3],
        rgb.shape[2],
        len(rgb),
        own,
        shown,
        COLOUR,
    )


def coded(rgb: Tensor, planes: bool = True) -> CodedResult:
    """What a codec left, with its planes or only as RGB."""
    own = rgb_to_planes(rgb, COLOUR) if planes else None
    return CodedResult(
        Path("clip.bin"), 1, planes_to_rgb(*own, COLOUR) if own else rgb, 0.0, 0.0, planes=own
    )


@pytest.fixture(scope="module")
def measure() -> Measure:
    """All metrics, the learned ones of every second frame."""
    return Measure(list(SPECS), every=2)


@pytest.fixture(scope="module")
def everything(measure: Measure) -> tuple[SourceClip, CodedResult, Scored]:
    """A clip of odd sides, coded and scored."""
    clip, distorted = clip_and_distorted(4, 171, 163)
    pair = source(clip), coded(distorted)
    return *pair, measure.score(*pair)


def test_every_metric_has_its_frames_and_their_mean(
    everything: tuple[SourceClip, CodedResult, Scored],
):
    """Catches a metric without a value, frames that are not those that were asked for, and a mean
    that is not theirs.
    """
    scored = everything[2]
    assert list(scored.values) == list(SPECS) and scored.notes == []
    learned = ("lpips_alex", "lpips_vgg", "dists", "temporal_lpips")
    assert scored.per_frame_every == dict.fromkeys(learned, 2)
    for name, frames in scored.per_frame.items():
        assert len(frames) == (2 if name in learned else 4)
        assert [value is None for value in frames] == [
            name.startswith("temporal"),
            *[False] * (len(frames) - 1),
        ]
        own = [value for value in frames if value is not None]
        assert scored.values[name] == pytest.approx(sum(own) / len(own), rel=1e-5)


def test_values_come_from_the_planes_and_frames_they_say(
    everything: tuple[SourceClip, CodedResult, Scored],
):
    """Catches planes made through RGB where there are real ones, luma mixed up with chroma, and the
    wrong every n-th.
    """
    clip, result, scored = everything
    assert clip.planes is not None and result.planes is not None
    for name, first, second in zip(
        ("psnr_y", "psnr_u", "psnr_v"), clip.planes, result.planes, strict=True
    ):
        assert scored.per_frame[name] == pytest.approx(psnr(first, second).tolist(), rel=1e-5)
    y, u, v = (scored.values[f"psnr_{name}"] for name in "yuv")
    assert scored.values["psnr_yuv"] == pytest.approx((6 * y + u + v) / 8)
    change = temporal_difference(clip.planes[0], result.planes[0]).tolist()
    assert scored.per_frame["temporal_difference"][1:] == pytest.approx(change, rel=1e-5)
    net, x, y = load_lpips("alex"), clip.rgb / 255, result.decoded / 255
    with torch.inference_mode():
        assert scored.per_frame["lpips_alex"] == pytest.approx(
            net(x[::2], y[::2]).tolist(), rel=1e-4
        )
        change = abs(net(x[2:3], x[1:2]) - net(y[2:3], y[1:2])).item()
        assert scored.per_frame["temporal_lpips"][1] == pytest.approx(change, abs=1e-6)


def test_rgb_is_converted_in_the_colour_of_the_source():
    """Catches BT.601 for a BT.709 source, full range for limited, and a codec without planes that
    is not scored.
    """
    clip, distorted = clip_and_distorted(2, 48, 40)
    measure = Measure(["psnr_y", "psnr_u", "psnr_v", "vmaf"])
    through_rgb = measure.score(
        source(clip), dataclasses.replace(coded(distorted), planes=None, decoded=distorted)
    )
    assert through_rgb == measure.score(source(clip), coded(distorted))
    both = measure.score(source(clip, planes=False), coded(distorted, planes=False))
    assert both == measure.score(source(clip), coded(distorted))


def test_what_cannot_be_measured_is_null_with_a_reason(measure: Measure):
    """Catches a crash on tiny frames or one frame, and a null that nobody can explain."""
    clip, distorted = clip_and_distorted(1, 24, 15)
    scored = measure.score(source(clip), coded(distorted))
    null = [name for name, value in scored.values.items() if value is None]
    assert null == [
        "ms_ssim",
        "lpips_alex",
        "lpips_vgg",
        "dists",
        "vmaf",
        "vmaf_neg",
        "temporal_difference",
        "temporal_lpips",
    ]
    assert [note.split(":")[0] for note in scored.notes] == null and set(scored.per_frame) == set(
        SPECS
    ) - set(null)
    for note in (
        "ms_ssim: frames of 24x15 are below the 161x161 it needs",
        "temporal_difference: one frame, it has no change",
    ):
        assert any(line.startswith(note) for line in scored.notes)
    clip, distorted = clip_and_distorted(2, 40, 40)
    scored = Measure(["temporal_lpips", "temporal_difference"], every=2).score(
        source(clip), coded(distorted)
    )
    assert scored.values["temporal_lpips"] is None and "every 2" in scored.notes[0]
    assert scored.values["temporal_difference"] is not None


def test_perfect_frames_are_said():
    """Catches infinity in rd.json, a mean that 100 dB raised in silence, and VMAF's own 100 taken
    for one.
    """
    clip, _ = clip_and_distorted(3, 170, 162)
    same = source(clip)
    scored = Measure(FAST).score(
        same, CodedResult(Path("a"), 1, same.rgb, 0.0, 0.0, planes=same.planes)
    )
    perfect = {name: SPECS[name].best for name in FAST if SPECS[name].best is not None}
    decibels = {name for name in FAST if SPECS[name].unit == "dB"}
    assert {name: scored.values[name] for name in perfect} == perfect
    assert {scored.values[name] for name in decibels} == {100}
    assert {note.split(":")[0] for note in scored.notes} == decibels
    assert "temporal_difference: 2 of 2 frames are perfect or nearly so, 100 dB" in scored.notes


def test_a_perfect_chroma_plane_in_6_to_1_to_1_is_said():
    """Catches grey clips whose chroma lifts PSNR 6:1:1 by 100 dB in silence."""
    clip, distorted = (
        frames[:, :1].expand(-1, 3, -1, -1).contiguous() for frames in clip_and_distorted(2, 32, 32)
    )
    scored = Measure(["psnr_yuv"]).score(source(clip), coded(distorted))
    assert scored.notes == ["psnr_yuv: 2 of 2 frames have a perfect plane, 100 dB"]


def test_rules_say_how_and_over_which_axis(measure: Measure):
    """Catches conditions without versions, backbones, the chosen frames or the axis; and a metric
    without a rule.
    """
    rules = measure.settings()
    assert list(rules) == list(SPECS) and all("BD-rate over" in rule for rule in rules.values())
    assert (
        "sha256" in rules["lpips_alex"]
        and "0, 2, 4" in rules["temporal_lpips"]
        and "DISTS_pytorch" in rules["dists"]
    )
    assert (
        "vmaf_v0.6.1neg by libvmaf" in rules["vmaf_neg"]
        and "-10 log10(1 - MS-SSIM RGB)" in rules["ms_ssim"]
    )
    assert rules["ms_ssim"].startswith("pytorch-msssim 1.")
    assert "the source's own" in rules["psnr_yuv"] and "the source's own" not in rules["psnr_rgb"]


def test_refused_choices_are_refused_before_any_work():
    """Catches an evaluation of hours that ends in a KeyError."""
    with pytest.raises(CodecError, match="'ssim' is not known; choose from psnr_rgb"):
        Measure(["psnr_rgb", "ssim"])
    with pytest.raises(CodecError, match="every: 0"):
        Measure(["psnr_rgb"], every=0)
