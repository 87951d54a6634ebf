"""VMAF against a command on files that another writer made."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import pytest
import torch
from distorted import clip_and_distorted

from codec.anchors.planes import Planes, rgb_to_planes
from codec.errors import CodecError
from codec.evaluation.vmaf import version, vmaf
from data.io.color import ColorSpace


def planes(frames: int, width: int, height: int) -> list[Planes]:
    """A clip and what a poor codec left of it."""
    return [
        rgb_to_planes(clip, ColorSpace("bt601", False, "guessed"))
        for clip in clip_and_distorted(frames, width, height)
    ]


def write_y4m(clip: Planes, path: Path) -> Path:
    """YUV4MPEG2 by its own rules: a header, then `FRAME` before each frame's planes."""
    height, width = clip[0].shape[-2:]
    frames = [
        b"FRAME\n" + b"".join(plane[t].numpy().tobytes() for plane in clip)
        for t in range(len(clip[0]))
    ]
    path.write_bytes(
        f"YUV4MPEG2 W{width} H{height} F30:1 Ip A1:1 C420mpeg2\n".encode() + b"".join(frames)
    )
    return path


def by_command(files: Sequence[Path], model: str, log: Path) -> list[float]:
    """What libvmaf says of the first file against the second."""
    inputs = [word for file in files for word in ("-i", str(file))]
    graph = f"[0:v][1:v]libvmaf=model=version={model}:log_fmt=json:log_path={log.name}"
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-loglevel",
        "error",
        *inputs,
        "-lavfi",
        graph,
        "-f",
        "null",
        "-",
    ]
    subprocess.run(command, check=True, cwd=log.parent, capture_output=True)
    return [frame["metrics"]["vmaf"] for frame in json.loads(log.read_text())["frames"]]


@pytest.mark.parametrize(("width", "height"), [(96, 64), (75, 51)], ids=["even", "odd"])
def test_values_are_those_of_ffmpeg_on_y4m_files(width: int, height: int, tmp_path: Path):
    """Catches reference and decoded swapped, NEG's model under VMAF's name, odd sizes cut, and
    frames out of step.
    """
    reference, decoded = planes(3, width, height)
    files = [
        write_y4m(clip, tmp_path / name)
        for name, clip in (("b.y4m", decoded), ("a.y4m", reference))
    ]
    found = vmaf(reference, decoded, ["vmaf", "vmaf_neg"])
    for name, model in (("vmaf", "vmaf_v0.6.1"), ("vmaf_neg", "vmaf_v0.6.1neg")):
        assert found[name] == pytest.approx(
            by_command(files, model, tmp_path / f"{name}.json"), abs=1e-6
        )
        assert len(found[name]) == 3 and max(found[name]) < 99


def test_sharpening_gains_in_vmaf_and_not_in_neg():
    """Catches a NEG that is VMAF: it exists to give nothing for contrast that the source does not
    have.
    """
    reference, _ = planes(2, 96, 64)
    luma = ((reference[0].float() - 128) * 1.2 + 128).round().clamp(0, 255).to(torch.uint8)
    found = vmaf(reference, (luma, *reference[1:]), ["vmaf", "vmaf_neg"])
    assert found["vmaf"][-1] > found["vmaf_neg"][-1] + 1


def test_refused_planes():
    """Catches planes of different sizes scaled in silence, and frames on which libvmaf stops."""
    (small, _), (large, _) = planes(1, 48, 31), planes(1, 48, 32)
    with pytest.raises(CodecError, match="equal shapes of 32 pixels"):
        vmaf(small, small)
    with pytest.raises(CodecError, match="equal shapes"):
        vmaf(large, small)
    assert len(vmaf(large, large)["vmaf"]) == 1


def test_the_version_names_both():
    """Catches conditions without libvmaf's version, which changes scores."""
    assert (
        version().startswith("libvmaf ")
        and " in ffmpeg " in version()
        and "unknown" not in version()
    )
