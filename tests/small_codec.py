"""A codec small enough for tests, and moving pictures to code with it."""

from fractions import Fraction
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from codec.checkpoint import build_codec
from codec.stream import Packet, StreamHeader, write_stream
from codec.video import VideoCodec

CONF = Path(__file__).parents[1] / "conf"
FPS = Fraction(30000, 1001)


def composed(*overrides: str) -> dict:
    """The config of train.py with `overrides`, resolved and plain, without Hydra's own part."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=["name=test", *overrides])
    return OmegaConf.to_container(config, resolve=True)


def small_config(*overrides: str) -> dict:
    """The config of a codec that is quick to run."""
    return composed("width=16", *overrides)["codec"]


def build(*overrides: str) -> VideoCodec:
    """A small codec, weights drawn from seed 0, its zero-started layers shaken so that every path
    matters.
    """
    torch.manual_seed(0)
    codec = build_codec(small_config(*overrides))
    with torch.no_grad():
        for parameter in codec.parameters():
            if not parameter.any():
                parameter.normal_(std=0.01)
    return codec.eval()


def moving_clip(frames: int, height: int, width: int) -> Tensor:
    """uint8 `(T, 3, H, W)`: smooth shapes that pan by a few pixels a frame, with a little noise."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(height)[:, None] / 9
    x = torch.arange(width + 8 * frames)[None] / 7
    wide = (
        torch.stack(
            [torch.sin(x + 0.5 * y), torch.cos(0.7 * x - y), torch.sin(0.3 * x) * torch.cos(y)]
        )
        * 90
        + 128
    )
    shots = torch.stack([wide[..., 3 * t : 3 * t + width] for t in range(frames)])
    return (shots + 3 * torch.randn(shots.shape, generator=generator)).clamp(0, 255).to(torch.uint8)


def write_payloads(path: Path, header: StreamHeader, payloads: list[bytes], quality: int) -> None:
    """A stream of these payloads, the first one intra, whose frames nobody has seen."""
    packets = [
        Packet(payload=payload, quality=quality, intra=t == 0, time=t)
        for t, payload in enumerate(payloads)
    ]
    write_stream(path, header, packets, reconstruction=0)
