"""A process that makes training steps of corvid_s with the code it finds at a path, one for each
line it reads.

    python benchmarks/parts/codec_step.py TREE BATCH FRAMES SIZE PRECISION [OVERRIDE ...]

It uses only what both trees that `train_step` compares have. It says `seconds processor-seconds` of
each step.
"""

import sys
import time
import warnings
from pathlib import Path


def main() -> None:
    """Step whenever a line comes."""
    tree, batch, frames, size, precision = Path(sys.argv[1]), *map(int, sys.argv[2:5]), sys.argv[5]
    sys.path[0] = str(tree)
    import torch

    step = make_step(tree, torch.bfloat16 if precision == "bf16" else None, sys.argv[6:])
    torch.manual_seed(0)
    clip = moving_clip(batch, frames, size)
    for _ in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        step(clip)
        print(time.perf_counter() - start, time.process_time() - used, flush=True)


def make_step(tree: Path, lower, overrides: list[str]):
    """Forward, loss, backward, clipping and optimizer as `CodecTraining` has them, exact networks
    rounding.

    `lower` is the type that autocast computes in, or None; `overrides` are of conf/.
    """
    import torch
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from codec.checkpoint import build_codec
    from codec.entropy.models.integer_layers import set_rounding
    from codec.registry import build
    from codec.training.module import CodecTraining
    from codec.training.schedule import Schedule

    with initialize_config_dir(str(tree / "conf"), version_base="1.3"):
        config = compose("train", overrides=["codec=corvid_s", "name=benchmark", *overrides])
    plain = OmegaConf.to_container(config, resolve=True)
    codec = build_codec(plain["codec"]).train().to(memory_format=torch.channels_last)
    schedule = Schedule(plain["schedule"]["stages"])
    loss = build("loss", plain["loss"], "loss")
    module = CodecTraining(codec, loss, schedule, **plain["training"])
    set_rounding(codec, True)

    def step(clip):
        quality = torch.randint(0, 64, (len(clip),))
        with torch.autocast("cpu", lower, enabled=lower is not None):
            value = module.loss(clip, codec(clip, quality), quality).loss
        module.optimizer.zero_grad()
        value.backward()
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(codec.parameters(), module.clip_gradient)):
            module.optimizer.step()

    return step


def moving_clip(batch: int, frames: int, size: int):
    """`(B, T, 3, H, W)` in 0..1: smooth random pictures that move by a few pixels a frame, with a
    little noise.
    """
    import torch
    from torch.nn import functional as F

    border = 4 * frames
    wide = F.interpolate(torch.rand(batch, 3, 24, 24), (size + border,) * 2, mode="bicubic")
    wide = (wide + 0.1 * torch.rand(batch, 3, *wide.shape[2:])).clamp(0, 1)
    shown = [wide[..., 2 * t : 2 * t + size, 3 * t : 3 * t + size] for t in range(frames)]
    clip = torch.stack(shown, 1)
    return (clip + 0.01 * torch.randn_like(clip)).clamp(0, 1)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
