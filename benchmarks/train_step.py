"""A training step of codec=ssf at our defaults against CompressAI's ssf2020 at its own, in one run.

Ours: channels last and the arithmetic that is fastest here (bfloat16 autocast or float32), as train.py sets them, with its
loss, clipping and AdamW. CompressAI's: float32, contiguous, likelihoods and mean squared error, clipping, Adam, and the
auxiliary loss with its own Adam, as in its examples/train_video.py. The same clips and threads, runs interleaved, medians.

    python benchmarks/train_step.py [--size 256] [--batch 4] [--frames 3] [--repeats 5] [--json FILE]
"""

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from compressai.zoo import ssf2020
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from parts.figures import report
from torch import Tensor

from codec.checkpoint import build_codec
from codec.training.module import CodecTraining
from codec.training.precision import best_precision
from codec.training.schedule import Schedule

CONF = Path(__file__).parents[1] / "conf"
CLIP = 1.0  # largest norm of the gradient in CompressAI's example


def main() -> None:
    """Measure, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="pixels a side")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    torch.manual_seed(0)
    shape = (choice.batch, choice.frames, 3, choice.size, choice.size)
    print(f"batch {shape[0]}, {shape[1]} frames of {shape[-1]}×{shape[-2]}, {torch.get_num_threads()} threads, AMX: {has_amx()}")
    frames = torch.rand(shape)
    steps = [our_step(), peer_step()]
    runs = [[seconds(step, frames) for step in steps] for _ in range(choice.repeats + 1)][1:]
    ours, peer = (statistics.median(run[i] for run in runs) for i in range(2))
    figures = {
        "ssf_train_step_speedup": round(peer / ours, 2),
        "ssf_train_step_seconds": round(ours, 3),
        "compressai_train_step_seconds": round(peer, 3),
    }
    report(figures, choice.json)


def has_amx() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in AMX tiles."""
    info = Path("/proc/cpuinfo")
    return info.is_file() and "amx_bf16" in info.read_text()


def seconds(step: Callable[[Tensor], None], frames: Tensor) -> float:
    """What one step takes."""
    start = time.perf_counter()
    step(frames)
    return time.perf_counter() - start


def our_step(*overrides: str) -> Callable[[Tensor], None]:
    """A step as train.py makes it in the longest stage of its schedule: that stage's loss, optimizer and arithmetic.

    Args:
        overrides: of conf/; none: `codec=ssf`.
    """
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=["name=benchmark", *(overrides or ("codec=ssf",))])
    plain = OmegaConf.to_container(config, resolve=True)
    codec = build_codec(plain["codec"]).train().to(memory_format=torch.channels_last)
    module = CodecTraining(codec, instantiate(plain["loss"]), Schedule(plain["schedule"]["stages"]), **plain["training"])
    stages = module.schedule.stages
    module.begin_stage(stages.index(max(stages, key=lambda stage: stage.steps)))
    lower = (module.stage.precision or best_precision(plain["trainer"])) == "bf16-mixed"

    def step(frames: Tensor) -> None:
        quality = torch.randint(0, 64, (len(frames),))
        with torch.autocast("cpu", torch.bfloat16, enabled=lower):
            value = module.loss(frames, codec(frames, quality), quality).loss
        module.optimizer.zero_grad()
        if torch.isfinite(value):
            value.backward()
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(codec.parameters(), module.clip_gradient)):
            module.optimizer.step()

    return step


def peer_step() -> Callable[[Tensor], None]:
    """A step as CompressAI's example makes it."""
    model = ssf2020(4).train()
    names = dict(model.named_parameters())
    optimizer = torch.optim.Adam((p for n, p in names.items() if not n.endswith(".quantiles")), lr=1e-4)
    quantiles = torch.optim.Adam((p for n, p in names.items() if n.endswith(".quantiles")), lr=1e-3)

    def step(frames: Tensor) -> None:
        optimizer.zero_grad()
        quantiles.zero_grad()
        pictures = list(frames.unbind(1))
        coded = model(pictures)
        pixels = frames.shape[0] * frames.shape[-1] * frames.shape[-2] * len(pictures)
        bits = [
            value.log().sum() / -math.log(2)
            for frame in coded["likelihoods"]
            for kind in frame.values()
            for value in kind.values()
        ]
        error = torch.stack([torch.nn.functional.mse_loss(a, b) for a, b in zip(coded["x_hat"], pictures, strict=True)]).mean()
        (0.01 * 255**2 * error + sum(bits) / pixels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        sum(model.aux_loss()).backward()
        quantiles.step()

    return step


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
