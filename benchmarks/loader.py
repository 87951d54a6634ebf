"""Random 7-frame clips at 448x256 from sources with a keyframe every 250 frames: our loader against
decord opening each file.

Sources are real clips, encoded by x264; they are indexed and packed by the `corvid data` commands.
The peer opens a file with `decord.VideoReader(num_threads=1)` and reads with `get_batch`, whole
frames as uint8 RGB, as ours do. As many processes as a loader would have workers here read at once,
since decord alone uses a second core that a worker does not have; one process by itself is measured
too. The same files and as many clips for all three, rounds interleaved, medians. Then the demo
codec trains on the unpacked index with one worker, and its waits for data and the worker's CPU time
are measured.

    python benchmarks/loader.py [--clips 20] [--rounds 5] [--steps 40] [--sources VIDEO ...]
        [--json FILE]
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from pathlib import Path

import numpy as np
import psutil
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from parts.figures import report
from parts.sources import encode

from codec.checkpoint import build_codec
from codec.registry import build
from codec.training.distributed import best_precision
from codec.training.module import CodecTraining
from codec.training.schedule import Schedule
from data.index.table import IndexedSequences
from data.io.readers import open_reader
from data.loading.datamodule import ClipDataModule

CONF = Path(__file__).parents[1] / "conf"
WIDTH, HEIGHT, FRAMES, LENGTH, FILES = 448, 256, 7, 500, 4
WARM = 5  # steps


def main() -> None:
    """Measure, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=20, help="of each way, process and round")
    parser.add_argument(
        "--processes", type=int, default=len(os.sched_getaffinity(0)), help="that read at once"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40, help="of training")
    parser.add_argument(
        "--sources",
        nargs="*",
        default=[None],
        help="videos; the sample clip bigbuckbunny by default",
    )
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files, index, packed = prepared(Path(folder), choice.sources)
        speeds = rates(files, index, packed, choice)
        waits = training(index, choice.steps)
    report(speeds | waits, choice.json)


def prepared(folder: Path, sources: list[str | None]) -> tuple[list[Path], Path, Path]:
    """The sources, their index, and the index of their shards."""
    (folder / "videos").mkdir()
    spread = range(0, 40 * FILES, 40)
    files = [
        encode(
            folder / "videos" / f"{n}.mp4",
            WIDTH,
            HEIGHT,
            LENGTH,
            ["-g", "250"],
            sources[n % len(sources)],
            start,
        )
        for n, start in enumerate(spread)
    ]
    keep_all = [
        "--static",
        "0",
        "--black",
        "0",
        "--duplicates",
        "-1",
    ]  # what they show does not matter here
    corvid("index", folder / "videos", "-o", folder / "index.parquet", *keep_all)
    corvid("pack", folder / "index.parquet", folder / "packed")
    return files, folder / "index.parquet", folder / "packed" / "index.parquet"


def corvid(*words: str | Path) -> None:
    """A `corvid data` command."""
    subprocess.run([sys.executable, "-m", "codec.cli", "data", *map(str, words)], check=True)


def rates(
    files: list[Path], index: Path, packed: Path, choice: argparse.Namespace
) -> dict[str, float]:
    """Frames a second of the three ways, all processes together and one alone."""
    ways = {
        "decord": (decord_clips, files),
        "unpacked": (our_clips, index),
        "packed": (our_clips, packed),
    }
    seeds = count(1)
    with ProcessPoolExecutor(choice.processes, multiprocessing.get_context("spawn")) as pool:

        def speed(name: str, processes: int) -> float:
            """Frames a second of `processes` at once, each with as many clips."""
            read, source = ways[name]
            begun = time.perf_counter()
            jobs = [pool.submit(read, source, choice.clips, next(seeds)) for _ in range(processes)]
            for job in jobs:
                job.result()
            return processes * choice.clips * FRAMES / (time.perf_counter() - begun)

        together, alone = (
            [{name: speed(name, processes) for name in ways} for _ in range(choice.rounds + 1)][1:]
            for processes in (choice.processes, 1)
        )
    for name in ways:
        told = ", ".join(f"{each[name]:.0f}" for each in together)
        single = statistics.median(each[name] for each in alone)
        print(
            f"{name}: frames/s in rounds of {choice.processes} processes {told}; alone {single:.0f}"
        )
    return {
        "packed_speedup": ratio(together, "packed"),
        "unpacked_speedup": ratio(together, "unpacked"),
        "packed_speedup_of_one_process": ratio(alone, "packed"),
        "unpacked_speedup_of_one_process": ratio(alone, "unpacked"),
        "decord_frames_a_second": round(statistics.median(each["decord"] for each in together), 1),
    }


def ratio(rounds: list[dict[str, float]], name: str) -> float:
    """Median over rounds of a way's speed over decord's."""
    return round(statistics.median(each[name] / each["decord"] for each in rounds), 2)


def decord_clips(files: list[Path], clips: int, seed: int) -> None:
    """Random clips, each from a reader that is opened for it."""
    import decord

    rng = np.random.default_rng(seed)
    for _ in range(clips):
        start = int(rng.integers(LENGTH - FRAMES + 1))
        video = decord.VideoReader(str(files[rng.integers(len(files))]), num_threads=1)
        video.get_batch(list(range(start, start + FRAMES))).asnumpy()


def our_clips(index: Path, clips: int, seed: int) -> None:
    """Random clips of random sequences of an index, each opened anew."""
    sequences, rng = IndexedSequences(index), np.random.default_rng(seed)
    for _ in range(clips):
        reader = open_reader(sequences[int(rng.integers(len(sequences)))])
        start = int(rng.integers(reader.frames - FRAMES + 1))
        reader.read(list(range(start, start + FRAMES)))


def training(index: Path, steps: int) -> dict[str, float]:
    """Share of a training step that waits for data, and what the worker costs, at the first stage
    of the demo.
    """
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=["experiment=demo", "name=benchmark", "run=."])
    plain = OmegaConf.to_container(config, resolve=True)
    schedule = Schedule(plain["schedule"]["stages"])
    stage = schedule.stages[0]
    codec = build_codec(plain["codec"]).train().to(memory_format=torch.channels_last)
    loss = build("loss", plain["loss"], "loss")
    module = CodecTraining(codec, loss, schedule, **plain["training"])
    data = ClipDataModule(index, stage.frames, stage.crop, stage.batch, workers=1)
    waits, times, costs = [], [], []
    data.configure(stage.frames, stage.crop, stage.batch, batches=steps + WARM)
    clips = iter(data.train_dataloader())
    for _ in range(steps + WARM):
        begun = time.perf_counter()
        clip = next(clips)
        waits.append(time.perf_counter() - begun)
        step(module, clip, best_precision(plain["trainer"]) == "bf16-mixed")
        times.append(time.perf_counter() - begun)
        costs.append(sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children()))
    waited, took = sum(waits[WARM:]), sum(times[WARM:])
    cost = (costs[-1] - costs[WARM - 1]) / steps if costs[-1] > costs[WARM - 1] else float("nan")
    print(
        f"{steps} steps of {stage.batch} clips, {stage.frames} frames of {stage.crop}: "
        f"{took / steps:.3f} s a step"
    )
    return {
        "wait_percent": round(100 * waited / took, 2),
        "step_seconds": round(took / steps, 3),
        "loader_cpu_seconds_a_step": round(cost, 4),
    }


def step(module: CodecTraining, clip: object, bf16: bool) -> None:
    """One step as train.py makes it."""
    frames = clip.frames.float() / 255
    quality = torch.randint(0, 64, (len(frames),))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        value = module.loss(frames, module.codec(frames, quality), quality).loss
    module.optimizer.zero_grad()
    value.backward()
    torch.nn.utils.clip_grad_norm_(module.codec.parameters(), module.clip_gradient)
    module.optimizer.step()


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
