"""VMAF of planes, by the libvmaf in ffmpeg."""

import functools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from codec.anchors import ffmpeg
from codec.anchors.planes import Planes, to_bytes
from codec.errors import CodecError
from codec.metrics.spec import PLANES_RULE, ClipPair, MetricSpec

MODELS = {"vmaf": "vmaf_v0.6.1", "vmaf_neg": "vmaf_v0.6.1neg"}
SMALLEST_SIDE = 32


def vmaf(
    reference: Planes, decoded: Planes, names: Sequence[str] = ("vmaf",)
) -> dict[str, list[float]]:
    """Every frame's VMAF at the clip's own size, 0..100.

    Args:
        reference, decoded: uint8 Y `(T, H, W)`, U and V `(T, ceil(H/2), ceil(W/2))`; only Y counts.
        names: of `MODELS`, all computed in one run.

    Returns:
        `T` values by name.

    Raises:
        CodecError: the planes differ in shape, a side is below 32 (libvmaf refuses 16, and its four
            dyadic scales need two samples), or ffmpeg failed.

    Source: Li et al., *Toward a Practical Perceptual Video Quality Metric*, Netflix, 2016; NEG:
    Netflix, 2020.
    """
    shapes = [tuple(plane.shape) for plane in (*reference, *decoded)]
    frames, height, width = shapes[0]
    if shapes[:3] != shapes[3:] or min(height, width) < SMALLEST_SIDE:
        raise CodecError(
            f"vmaf: planes are {shapes}; give equal shapes of {SMALLEST_SIDE} pixels a side or more"
        )
    models = "|".join(rf"version={MODELS[name]}\:name={name}" for name in names)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("decoded.yuv", "reference.yuv")]
        for file, planes in zip(files, (decoded, reference), strict=True):
            file.write_bytes(to_bytes(planes))
        log = run(files, f"{width}x{height}", models)
    found = [[frame["metrics"][name] for frame in log["frames"]] for name in names]
    if any(len(values) != frames for values in found):
        raise CodecError(f"vmaf: libvmaf scored {len(found[0])} of {frames} frames")
    return dict(zip(names, found, strict=True))


def run(files: Sequence[Path], size: str, models: str) -> dict[str, Any]:
    """The log of libvmaf: the first file is scored against the second."""
    inputs = [
        word
        for file in files
        for word in ("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", size, "-i", str(file))
    ]
    options = (
        f"model='{models}':n_threads={torch.get_num_threads()}:log_fmt=json:log_path=/dev/stdout"
    )
    done = ffmpeg.run(
        ["-loglevel", "error", *inputs, "-lavfi", f"[0:v][1:v]libvmaf={options}", "-f", "null", "-"]
    )
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError as error:
        said = done.stderr.decode(errors="replace").strip()
        raise CodecError(
            f"vmaf: libvmaf left no log ({error}): {said}; use the ffmpeg of imageio-ffmpeg"
        ) from error


@functools.cache
def version() -> str:
    """Of libvmaf and ffmpeg, such as `libvmaf 86da14d in ffmpeg n9.0.2-17-g2a571b6068`."""
    grey = torch.full((1, 64, 64), 128, dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "grey.yuv"
        file.write_bytes(to_bytes((grey, grey[:, ::2, ::2], grey[:, ::2, ::2])))
        log = run([file, file], "64x64", f"version={MODELS['vmaf']}")
    return f"libvmaf {log.get('version', 'unknown')} in ffmpeg {ffmpeg.version()}"


def vmaf_of(pair: ClipPair) -> dict[str, list[float]]:
    """VMAF by every model that is asked for, in one run."""
    names = [name for name in MODELS if name in pair.metrics]
    return pair.shared("vmaf", lambda: vmaf(*pair.planes, names))


def vmaf_spec(title: str, name: str) -> MetricSpec:
    """VMAF by one of `MODELS`."""
    return MetricSpec(
        title,
        lambda pair: vmaf_of(pair)[name],
        unit="points",
        tuning="default",
        description=lambda every, network: (
            f"{MODELS[name]} by {version()} at the clip's size, mean over frames; {PLANES_RULE}"
        ),
        smallest_side=SMALLEST_SIDE,
        takes="pair",
    )


VMAF = vmaf_spec("VMAF", "vmaf")
VMAF_NEG = vmaf_spec("VMAF NEG", "vmaf_neg")
