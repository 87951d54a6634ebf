"""What a worker needs to start on an index of two million sequences, and to draw a sample besides
decoding it.

A synthetic index is written. Processes import everything and wait; then all of them at once open
the index, divide it into training and validation, and draw. Start is until the first sample; memory
is resident, over what the same process had before. First one process alone that must lay the index
out on this node ("cold"), then one that finds it laid out, then 2 ranks x 4 workers. Decoding is
left out by a reader that gives black frames.

    python benchmarks/index_scale.py [--sequences 2000000] [--draws 5000] [--json FILE]
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from parts.figures import report
from torch import Tensor

from data.index.schema import COLUMNS, VERSION
from data.index.table import IndexedSequences
from data.loading.dataset import ClipDataset
from data.loading.split import split_sequences
from data.sequences import Sequence
from data.sources.manifest import INDEX_KEY

ROWS = 65_536


class BlackReader:
    """A `Reader` that decodes nothing."""

    def __init__(self, sequence: Sequence) -> None:
        self.frames, self.fps, self.matrix = sequence.frames, float(sequence.fps), "bt709"
        self.width, self.height = 448, 256

    def read(self, indices: list[int], window: tuple[int, int, int, int]) -> Tensor:
        """Black."""
        return torch.zeros(len(indices), 3, *window[2:], dtype=torch.uint8)


def main() -> None:
    """Measure, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=2_000_000)
    parser.add_argument("--draws", type=int, default=5000, help="samples of each process")
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder  # where a node's layout of the index goes
        index = Path(folder) / "index.parquet"
        write_index(index, choice.sequences)
        print(f"{choice.sequences} sequences, {index.stat().st_size / 2**20:.0f} MiB of Parquet")
        runs = {"cold": 1, "warm": 1, "2 ranks x 4 workers": 8}
        found = {name: measured(index, count, choice.draws) for name, count in runs.items()}
    for name, rows in found.items():
        seconds, mb, median, late = (max(column) for column in zip(*rows, strict=True))
        drawing = f"a draw {median:.3f} ms, 99 of 100 within {late:.3f} ms"
        print(f"{name}, the worst process: start {seconds:.2f} s, {mb:.0f} MB; {drawing}")
    worst = [max(row[i] for rows in found.values() for row in rows) for i in range(3)]
    report(
        {
            "index_start_seconds": round(worst[0], 2),
            "index_start_mb": round(worst[1]),
            "sample_draw_ms": round(worst[2], 3),
            "index_start_seconds_8_processes": round(
                max(row[0] for row in found["2 ranks x 4 workers"]), 2
            ),
            "sample_draw_ms_8_processes": round(
                max(row[2] for row in found["2 ranks x 4 workers"]), 3
            ),
        },
        choice.json,
    )


def write_index(path: Path, sequences: int) -> None:
    """Three sequences a file, names and numbers as real ones have."""
    metadata = {INDEX_KEY: str(VERSION).encode(), b"root": b"/somewhere/videos"}
    words = dict(
        kind="video",
        codec="h264",
        pixel_format="yuv420p",
        matrix="bt709",
        colour_origin="tagged",
        licence="CC BY 4.0",
    )
    numbers = dict(
        frames=100,
        width=1280,
        height=720,
        fps_num=30000,
        fps_den=1001,
        file_frames=300,
        pts_first=0,
        pts_step=1001,
    )
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(path, COLUMNS.with_metadata(metadata), compression="zstd") as writer:
        for first in range(0, sequences, ROWS):
            rows = np.arange(first, min(first + ROWS, sequences))
            count = len(rows)
            columns = {name: pa.array([word] * count) for name, word in words.items()}
            columns |= {
                name: pa.array(np.full(count, number), COLUMNS.field(name).type)
                for name, number in numbers.items()
            }
            files = [
                f"part_{file // 1000:05d}/{file * 2654435761 % 2**40:010x}_{file:09d}.mp4"
                for file in (rows // 3).tolist()
            ]
            columns["path"] = pa.array(files)
            columns["first"] = pa.array(rows % 3 * 100, pa.int32())
            columns["bytes"] = pa.array(rng.integers(1 << 20, 1 << 24, count))
            columns["mtime_ns"] = pa.array(rng.integers(1 << 60, 1 << 61, count))
            columns["key_frames"] = pa.array(
                [[row % 3 * 100, row % 3 * 100 + 60] for row in rows], pa.list_(pa.int32())
            )
            columns["content"] = pa.array(
                [f"{number:032x}" for number in rng.integers(1 << 60, size=count)]
            )
            hashes = pa.array(rng.integers(1 << 62, size=8 * count).astype(np.uint64))
            columns["hashes"] = pa.ListArray.from_arrays(
                pa.array(8 * np.arange(count + 1), pa.int32()), hashes
            )
            columns["motion"] = columns["luma"] = pa.array(rng.random(count, np.float32))
            columns["full_range"], columns["plain"] = (
                pa.array(np.zeros(count, bool)),
                pa.array(np.ones(count, bool)),
            )
            columns["source"], columns["offset"] = (
                pa.nulls(count, pa.string()),
                pa.nulls(count, pa.int64()),
            )
            writer.write_batch(
                pa.record_batch([columns[name] for name in COLUMNS.names], schema=COLUMNS)
            )


def measured(index: Path, processes: int, draws: int) -> list[tuple[float, float, float, float]]:
    """Seconds and MB of a start, median and 99th percentile of a draw in milliseconds, of each
    process.
    """
    context = multiprocessing.get_context("spawn")
    answers, ready = context.Queue(), context.Barrier(processes)
    children = [
        context.Process(target=worker, args=(index, number, draws, ready, answers))
        for number in range(processes)
    ]
    for child in children:
        child.start()
    rows = [answers.get(timeout=600) for _ in children]
    for child in children:
        child.join()
    return rows


def worker(index: Path, number: int, draws: int, ready: Barrier, answers: Queue) -> None:
    """Everything that a reading process does but decode."""
    torch.set_num_threads(1)
    process = psutil.Process()
    ready.wait()
    before, begun = process.memory_info().rss, time.perf_counter()
    train, _ = split_sequences(IndexedSequences(index), 10)
    clips = ClipDataset(train, frames=7, crop=256, stride=3)
    clips.frame_cache.open = BlackReader
    clips[number]
    seconds, grown = time.perf_counter() - begun, process.memory_info().rss - before
    times = []
    for sample in range(number, number + 8 * draws, 8):
        begun = time.perf_counter()
        clips[sample]
        times.append(1000 * (time.perf_counter() - begun))
    answers.put((seconds, grown / 2**20, statistics.median(times), float(np.percentile(times, 99))))


if __name__ == "__main__":
    main()
