"""Random 7-frame clips at 448x256 from sources with a keyframe every 250 frames: our loader against decord opening each file.

Sources are real clips, encoded by x264; they are indexed and packed by the `corvid data` commands. The peer opens a file with
`decord.VideoReader(num_threads=1)` and reads with `get_batch`, whole frames as uint8 RGB, as ours do. One process, the same
files and as many clips for all three, rounds interleaved, medians. Then the demo codec trains on the unpacked index with one
worker, and its waits for data and the worker's CPU time are measured.

    python benchmarks/loader.py [--clips 20] [--rounds 5] [--steps 40] [--sources VIDEO ...] [--json FILE]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from parts.figures import report
from parts.sources import encode

from codec.checkpoint import build_codec
from codec.training.module import CodecTraining
from codec.training.schedule import Schedule
from data.index.table import IndexedSequences
from data.module import ClipDataModule
from data.readers import open_reader

CONF = Path(__file__).parents[1] / "conf"
WIDTH, HEIGHT, FRAMES, LENGTH, FILES = 448, 256, 7, 500, 4
WARM = 5  # steps


def main() -> None:
    """Measure, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=20, help="of each way in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40, help="of training")
    parser.add_argument("--sources", nargs="*", default=[None], help="videos; the sample clip bigbuckbunny by default")
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
        encode(folder / "videos" / f"{n}.mp4", WIDTH, HEIGHT, LENGTH, ["-g", "250"], sources[n % len(sources)], start)
        for n, start in enumerate(spread)
    ]
    keep_all = ["--static", "0", "--black", "0", "--duplicates", "-1"]  # what they show does not matter here
    corvid("index", folder / "videos", "-o", folder / "index.parquet", *keep_all)
    corvid("pack", folder / "index.parquet", folder / "packed")
    return files, folder / "index.parquet", folder / "packed" / "index.parquet"


def corvid(*words: str | Path) -> None:
    """A `corvid data` command."""
    subprocess.run([sys.executable, "-m", "codec.cli", "data", *map(str, words)], check=True)


def rates(files: list[Path], index: Path, packed: Path, choice: argparse.Namespace) -> dict[str, float]:
    """Frames a second of the three ways."""
    import decord

    lengths = {file: len(decord.VideoReader(str(file))) for file in files}
    unpacked_set, packed_set = IndexedSequences(index), IndexedSequences(packed)
    rng = np.random.default_rng(0)

    def numbers(frames: int) -> list[int]:
        start = int(rng.integers(frames - FRAMES + 1))
        return list(range(start, start + FRAMES))

    def peer() -> None:
        file = files[rng.integers(len(files))]
        decord.VideoReader(str(file), num_threads=1).get_batch(numbers(lengths[file])).asnumpy()

    def ours(sequences: IndexedSequences) -> Callable[[], None]:
        def read() -> None:
            reader = open_reader(sequences[int(rng.integers(len(sequences)))])
            reader.read(numbers(reader.frames))

        return read

    ways = {"decord": peer, "unpacked": ours(unpacked_set), "packed": ours(packed_set)}
    rounds = [{name: speed(way, choice.clips) for name, way in ways.items()} for _ in range(choice.rounds + 1)][1:]
    middle = {name: statistics.median(each[name] for each in rounds) for name in ways}
    for name, value in middle.items():
        print(f"{name}: {value:.0f} frames/s (rounds {', '.join(f'{each[name]:.0f}' for each in rounds)})")
    return {
        "packed_speedup": round(statistics.median(each["packed"] / each["decord"] for each in rounds), 2),
        "unpacked_speedup": round(statistics.median(each["unpacked"] / each["decord"] for each in rounds), 2),
        "decord_frames_a_second": round(middle["decord"], 1),
    }


def speed(read: Callable[[], None], clips: int) -> float:
    """Frames a second over `clips` clips."""
    begun = time.perf_counter()
    for _ in range(clips):
        read()
    return clips * FRAMES / (time.perf_counter() - begun)


def training(index: Path, steps: int) -> dict[str, float]:
    """Share of a training step that waits for data, and what the worker costs, at the first stage of the demo."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=["experiment=demo", "name=benchmark", "run=."])
    plain = OmegaConf.to_container(config, resolve=True)
    schedule = Schedule(plain["schedule"]["stages"])
    stage = schedule.stages[0]
    codec = build_codec(plain["codec"]).train().to(memory_format=torch.channels_last)
    module = CodecTraining(codec, instantiate(plain["loss"]), schedule, **plain["training"])
    data = ClipDataModule(index, stage.frames, stage.crop, stage.batch, workers=1)
    waits, times, costs = [], [], []
    data.configure(stage.frames, stage.crop, stage.batch, batches=steps + WARM)
    clips = iter(data.train_dataloader())
    for _ in range(steps + WARM):
        begun = time.perf_counter()
        clip = next(clips)
        waits.append(time.perf_counter() - begun)
        step(module, clip, plain["trainer"]["precision"] == "bf16-mixed")
        times.append(time.perf_counter() - begun)
        costs.append(sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children()))
    waited, took = sum(waits[WARM:]), sum(times[WARM:])
    cost = (costs[-1] - costs[WARM - 1]) / steps if costs[-1] > costs[WARM - 1] else float("nan")
    print(f"{steps} steps of {stage.batch} clips, {stage.frames} frames of {stage.crop}: {took / steps:.3f} s a step")
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
