"""File sizes of codec=ssf against CompressAI's ssf2020 with the same weights, after a short
training on real clips.

Trains from random weights, writes .cvd files, folds the gains of each quality into a CompressAI
model, and lets that compress the same frames. A figure is the largest difference of all files,
container included.

    python benchmarks/ssf_parity.py [--steps 200] [--clip sample:bikes sample:bigbuckbunny]
        [--json FILE]
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import torch
from compressai.models.video import ScaleSpaceFlow
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from parts.figures import report
from torch import Tensor

from codec.checkpoint import build_codec
from codec.entropy.models.factorized import solve_bounds
from codec.interop.compressai import to_compressai_ssf
from codec.registry import build
from codec.stream import compress
from codec.training.module import SOLVE_EVERY
from codec.video import VideoCodec
from data.io.source_clip import read_source
from data.loading.datamodule import ClipDataModule
from data.sources.discovery import find_videos

CONF = Path(__file__).parents[1] / "conf"
WHOLE = 128  # CompressAI's ssf2020 takes multiples of this alone


def main() -> None:
    """Train, compare, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--crop", type=int, default=128, help="pixels a side in training")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--clip", nargs="+", default=["sample:bikes", "sample:bigbuckbunny"])
    parser.add_argument("--frames", type=int, default=4, help="frames compared of each clip")
    parser.add_argument("--qualities", type=int, nargs="+", default=[0, 32, 63])
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    torch.manual_seed(0)
    codec = train(choice)
    differences = []
    for path in find_videos(choice.clip):
        source = read_source(path, choice.frames)
        frames = source.rgb[:, :, : source.height // WHOLE * WHOLE, : source.width // WHOLE * WHOLE]
        for quality in choice.qualities:
            ours, theirs = measure(codec, frames, quality)
            differences.append(100 * (ours - theirs) / theirs)
            print(
                f"{source.name} quality {quality}: {ours} bytes, CompressAI {theirs} "
                f"({differences[-1]:+.3f} %)"
            )
    figures = {"ssf_size_difference_percent": round(max(map(abs, differences)), 3)}
    report(figures, choice.json)


def train(choice: argparse.Namespace) -> VideoCodec:
    """`codec=ssf` after a short training from random weights, in evaluation mode."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=["codec=ssf", "name=benchmark"])
    codec = build_codec(OmegaConf.to_container(config.codec, resolve=True)).to(
        memory_format=torch.channels_last
    )
    loss = build("loss", OmegaConf.to_container(config.loss, resolve=True), "loss")
    start = time.perf_counter()
    optimizer = torch.optim.AdamW(codec.parameters(), lr=5e-4)
    data = ClipDataModule(choice.clip, frames=3, crop=choice.crop, batch=choice.batch, hold_mb=600)
    data.setup("fit")
    for step, clip in zip(range(1, choice.steps + 1), data.train_dataloader(), strict=False):
        frames, quality = clip.frames.float() / 255, torch.randint(0, 64, (len(clip.frames),))
        with torch.autocast("cpu", torch.bfloat16):
            result = loss(frames, codec(frames, quality), quality)
        optimizer.zero_grad()
        result.loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimizer.step()
        if step % SOLVE_EVERY == 0 or step == choice.steps:
            solve_bounds(codec)
            terms = {name: round(float(result.terms[name]), 3) for name in ("loss", "bpp", "psnr")}
            print(f"step {step}: {terms}, {time.perf_counter() - start:.0f} s", flush=True)
    return codec.eval()


@torch.inference_mode()
def measure(codec: VideoCodec, frames: Tensor, quality: int) -> tuple[int, int]:
    """Bytes of our file and of CompressAI's strings."""
    with tempfile.TemporaryDirectory() as folder:
        ours = compress(codec, frames, 25, quality, Path(folder) / "a.cvd").bytes
    model = ScaleSpaceFlow.from_state_dict(to_compressai_ssf(codec, quality)).eval()
    strings, _ = model.compress([frame[None].float() / 255 for frame in frames])
    return ours, sum(map(len, flat(strings)))


def flat(strings: object) -> list[bytes]:
    """All byte strings in nested lists and dictionaries."""
    if isinstance(strings, bytes):
        return [strings]
    return [
        s
        for part in (strings.values() if isinstance(strings, dict) else strings)
        for s in flat(part)
    ]


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
