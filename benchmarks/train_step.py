"""A training step of codec=ssf at our defaults against CompressAI's ssf2020 at its own, in one run.

Ours: channels last and the arithmetic that is fastest here (bfloat16 autocast or float32), as
train.py sets them, with its loss, clipping and AdamW. CompressAI's: float32, contiguous,
likelihoods and mean squared error, clipping, Adam, and the auxiliary loss with its own Adam, as in
its examples/train_video.py. The same clips and threads, runs interleaved, medians.

Then a step of codec=corvid_s with this tree's code and the networks of then, but for motion, and
one of corvid_s as it is now, against that of commit 08e358f (one block size, one reference), exact
networks rounding in all; each in a process of its own, steps interleaved. That needs the
repository's history: where it is not there, this is said and the figure is left out. Beside the
time by the clock stands the processor time, which other work on the machine disturbs less. Both
compute in --precision, by default in what `train.py` takes here.

Then a step of corvid_s as it is, which codes blocks, against the same with intra and residual
networks that do not (`intra=dct_hyperprior`, `residual=conditional`), and with `intra=directional`
alone, likewise.

Last, frames a second that `train.py` says itself at the end of a stage, of both trees, each as it
is by default in a run of some length (precision, processes): the same clips, frames and crops; runs
take turns.

    python benchmarks/train_step.py [--size 256] [--batch 4] [--frames 3] [--repeats 5]
        [--only ssf | corvid_s | blocks | training]
        [--precision bf16 | fp32] [--json FILE]
"""

import argparse
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from compressai.zoo import ssf2020
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from parts.figures import report
from torch import Tensor

from codec.checkpoint import build_codec
from codec.errors import CodecError
from codec.registry import build
from codec.training.distributed import WORTH_STARTING, best_precision, choose_devices
from codec.training.module import CodecTraining
from codec.training.schedule import Schedule, Stage

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
BEFORE = "08e358f"  # what corvid_s is compared with
CORVID_CLIP = 4, 8, 160  # batch, frames, pixels a side
CONDITIONAL = ["residual=conditional", "entropy=checkerboard", "skip_below=11"]
DCT_HYPERPRIOR = ["intra=dct_hyperprior", "entropy@intra_entropy=checkerboard"]
TRAININGS, TRAINED_STEPS = 3, 24  # of whole runs
PRECISIONS = {"bf16-mixed": "bf16", "32-true": "fp32"}
CLIP = 1.0  # largest norm of the gradient in CompressAI's example


def main() -> None:
    """Measure, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="pixels a side")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=("ssf", "corvid_s", "blocks", "training"), default=None)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default=None, help="of corvid_s")
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    figures = {}
    if choice.only in (None, "ssf"):
        figures |= against_compressai(choice)
    if choice.only in (None, "blocks"):
        figures |= of_blocks(choice.repeats, choice.precision)
    if choice.only not in ("ssf", "blocks"):
        with tempfile.TemporaryDirectory() as folder:
            if tree_before(Path(folder)):
                if choice.only != "training":
                    figures |= against_before(Path(folder), choice.repeats, choice.precision)
                if choice.only != "corvid_s":
                    figures |= training_against_before(Path(folder))
    report(figures, choice.json)


def against_compressai(choice: argparse.Namespace) -> dict[str, float]:
    """The step of ssf against CompressAI's."""
    torch.manual_seed(0)
    shape = (choice.batch, choice.frames, 3, choice.size, choice.size)
    print(
        f"batch {shape[0]}, {shape[1]} frames of {shape[-1]}×{shape[-2]}, "
        f"{torch.get_num_threads()} threads, AMX: {has_amx()}"
    )
    frames = torch.rand(shape)
    steps = [our_step(), peer_step()]
    runs = [[seconds(step, frames) for step in steps] for _ in range(choice.repeats + 1)][1:]
    ours, peer = (statistics.median(run[i] for run in runs) for i in range(2))
    return {
        "ssf_train_step_speedup": round(peer / ours, 2),
        "ssf_train_step_seconds": round(ours, 3),
        "compressai_train_step_seconds": round(peer, 3),
    }


def tree_before(folder: Path) -> bool:
    """Put the code of `BEFORE` into `folder`; False, and a word, where the repository does not have
    it.
    """
    archive = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, capture_output=True)
    if archive.returncode:
        why = archive.stderr.decode(errors="replace").strip()
        print(
            f"corvid_s: not compared with before, commit {BEFORE} is not in this repository ({why})"
        )
        return False
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return True


def against_before(old: Path, repeats: int, precision: str | None) -> dict[str, float]:
    """Steps of corvid_s against that of the code in `old`: with the networks of then, all but the
    motion network's, and as it is now.
    """
    codecs = (ROOT, [*CONDITIONAL, *DCT_HYPERPRIOR]), (ROOT, []), (old, [])
    ours, blocks, before = medians(repeats, precision, *codecs)
    return {
        "corvid_s_step_speedup": round(before[0] / ours[0], 2),
        "corvid_s_step_processor_speedup": round(before[1] / ours[1], 2),
        "corvid_s_blocks_step_speedup": round(before[0] / blocks[0], 2),
        "corvid_s_step_seconds": round(ours[0], 3),
        "corvid_s_step_seconds_before": round(before[0], 3),
    }


def of_blocks(repeats: int, precision: str | None) -> dict[str, float]:
    """The step of corvid_s against those with networks that do not decide on blocks."""
    codecs = [], CONDITIONAL, [*CONDITIONAL, *DCT_HYPERPRIOR]
    steps = medians(repeats, precision, *((ROOT, overrides) for overrides in codecs))
    blocks, directional, neither = steps
    return {
        "block_step_ratio": round(blocks[0] / neither[0], 3),
        "block_step_processor_ratio": round(blocks[1] / neither[1], 3),
        "directional_step_ratio": round(directional[0] / neither[0], 3),
        "directional_step_processor_ratio": round(directional[1] / neither[1], 3),
    }


def medians(
    repeats: int, precision: str | None, *codecs: tuple[Path, list[str]]
) -> list[tuple[float, float]]:
    """Seconds and processor seconds of steps that take turns: of each tree, with its overrides."""
    precision = precision or PRECISIONS[best_precision({"accelerator": "cpu"})]
    with ExitStack() as opened:
        steps = [opened.enter_context(stepping(*codec, precision)) for codec in codecs]
        runs = [[step() for step in steps] for _ in range(repeats + 1)][1:]
    shape = dict(zip(("batch", "frames", "size"), CORVID_CLIP, strict=True))
    clock = [[round(step[0], 2) for step in run] for run in runs]
    threads = torch.get_num_threads()
    print(f"corvid_s: {shape}, {precision}, {threads} threads; seconds {clock}")
    columns = list(zip(*runs, strict=True))
    return [tuple(map(statistics.median, zip(*column, strict=True))) for column in columns]


def training_against_before(old: Path) -> dict[str, float]:
    """Frames a second of `train.py` against those with the code in `old`."""
    batch, frames, size = CORVID_CLIP
    long = Stage("long", WORTH_STARTING, frames, size, batch, 1e-4, 1e-4)
    processes = choose_devices({"accelerator": "cpu", "devices": "auto"}, [long])
    trees = ((ROOT, processes), (old, 1))
    runs = [[trained_frames_a_second(*tree) for tree in trees] for _ in range(TRAININGS)]
    print(f"train.py: frames/s {runs}")
    ours, before = (statistics.median(run[which] for run in runs) for which in range(2))
    return {
        "corvid_s_training_speedup": round(ours / before, 2),
        "corvid_s_training_frames_per_s": ours,
        "corvid_s_training_frames_per_s_before": before,
    }


def trained_frames_a_second(tree: Path, processes: int) -> float:
    """What a run of one stage says of its speed, with the code in `tree`."""
    batch, frames, size = CORVID_CLIP
    stage = (
        f"{{name: chains, steps: {TRAINED_STEPS}, frames: {frames}, crop: {size}, batch: {batch}, "
        "lr: 1e-4, lr_end: 1e-4"
    )
    stage += ", validate_every: 1000, rounding: true}"
    with tempfile.TemporaryDirectory() as run:
        command = [
            sys.executable,
            "train.py",
            "codec=corvid_s",
            f"schedule.stages=[{stage}]",
            f"run={run}/run",
            "wandb=disabled",
        ]
        command += [
            "data.val_clips=1",
            "data.val_frames=2",
            "data.val_crop=64",
            "trainer.accelerator=cpu",
        ]
        command += [f"trainer.devices={processes}"]
        done = subprocess.run(
            command,
            cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
        )
    speed = re.search(r"^speed: ([\d.]+) frames/s", done.stdout, re.MULTILINE)
    if not speed:
        raise CodecError(
            f"train_step: train.py of {tree} ended with {done.returncode}: {done.stderr[-500:]}"
        )
    return float(speed[1])


@contextmanager
def stepping(
    tree: Path, overrides: list[str], precision: str
) -> Iterator[Callable[[], tuple[float, float]]]:
    """A process that trains corvid_s with the code in `tree`: call it for a step's seconds and
    processor seconds.
    """
    script = ROOT / "benchmarks" / "parts" / "codec_step.py"
    command = [sys.executable, script, tree, *map(str, CORVID_CLIP), precision, *overrides]
    process = subprocess.Popen(
        command, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def step() -> tuple[float, float]:
        process.stdin.write("step\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise CodecError(
                f"train_step: the steps of {tree} ended with status {process.wait()}; its errors "
                "stand above"
            )
        seconds, processor = map(float, line.split())
        return seconds, processor

    try:
        yield step
    finally:
        process.kill()
        process.communicate()


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
    """A step as train.py makes it in the longest stage of its schedule: that stage's loss,
        optimizer and arithmetic.

    Args:
        overrides: of conf/; none: `codec=ssf`.
    """
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=["name=benchmark", *(overrides or ("codec=ssf",))])
    plain = OmegaConf.to_container(config, resolve=True)
    codec = build_codec(plain["codec"]).train().to(memory_format=torch.channels_last)
    loss, schedule = build("loss", plain["loss"], "loss"), Schedule(plain["schedule"]["stages"])
    module = CodecTraining(codec, loss, schedule, **plain["training"])
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
    optimizer = torch.optim.Adam(
        (p for n, p in names.items() if not n.endswith(".quantiles")), lr=1e-4
    )
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
        error = torch.stack(
            [
                torch.nn.functional.mse_loss(a, b)
                for a, b in zip(coded["x_hat"], pictures, strict=True)
            ]
        ).mean()
        (0.01 * 255**2 * error + sum(bits) / pixels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        sum(model.aux_loss()).backward()
        quantiles.step()

    return step


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
