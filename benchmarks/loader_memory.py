"""Resident memory of workers over thousands of random clips from four 720p files, against decord
readers that stay open.

Memory is each worker's, over that of a process that imported the same and opened nothing; workers
are spawned, so that they share nothing with this process. The peer keeps one `decord.VideoReader` a
file open, as scripts do, and reads the same clips.

    python benchmarks/loader_memory.py [--clips 10000] [--workers 2] [--peer 1000]
        [--reader auto] [--json FILE]
"""

import argparse
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
from parts.figures import report
from parts.sources import encode
from tqdm import tqdm

from data.loading.dataloader import ClipLoader
from data.loading.dataset import ClipDataset
from data.loading.samplers import ClipBatchSampler
from data.sequences import Sequence

FRAMES, BATCH, WARM = 7, 10, 0.1  # the share of clips that warms up
MB = 2**20


def main() -> None:
    """Measure, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--peer", type=int, default=1000, help="clips that the peer reads")
    parser.add_argument("--reader", default="auto", help="auto, decord or pyav")
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = [
            encode(Path(folder) / f"{n}.mp4", 1280, 720, 240, ["-g", "48"], start=30 * n)
            for n in range(4)
        ]
        idle = in_process(nothing, files, 0)[-1]
        print(f"a process that imported everything: {idle:.0f} MB")
        ours, seconds = workers_memory(files, choice)
        peer = in_process(open_decord_readers, files, choice.peer)
    warm = ours[int(len(ours) * WARM) :]
    tenth = max(1, len(warm) // 10)
    start, end = warm[:tenth].mean(0), warm[-tenth:].mean(0)
    each = f"MB of each worker after warm-up {start.round()}, at the end {end.round()}"
    print(f"ours: {choice.clips} clips in {seconds:.0f} s, {each}")
    ends = (
        f"{peer[len(peer) // 10]:.0f} MB after a tenth, {peer[-1]:.0f} MB after {choice.peer} clips"
    )
    print(f"decord readers that stay open: {ends}")
    report(
        {
            "rss_growth_percent": round(100 * float((end / start).max() - 1), 1),
            "rss_mb_over_idle": round(float(warm.max()) - idle),
            "peer_rss_mb_over_idle": round(peer[-1] - idle),
            "clips": choice.clips,
        },
        choice.json,
    )


def workers_memory(files: list[Path], choice: argparse.Namespace) -> tuple[np.ndarray, float]:
    """MB of each worker after every batch, `(batches, workers)`, and the seconds that all took."""
    clips = ClipDataset(
        [Sequence(file) for file in files], FRAMES, 256, stride=3, reader=choice.reader
    )
    batches = ClipBatchSampler(0, choice.clips // BATCH, BATCH)
    rows, begun = [], time.perf_counter()
    for _ in tqdm(
        ClipLoader(clips, batches, choice.workers, start_method="spawn"), unit="batch", disable=None
    ):
        processes = [clips.quarantine.read_by(worker)[0] for worker in range(choice.workers)]
        if min(processes) > 0:
            rows.append([psutil.Process(process).memory_info().rss / MB for process in processes])
    return np.array(rows), time.perf_counter() - begun


def in_process(work: object, files: list[Path], clips: int) -> list[float]:
    """MB of a spawned process along its work."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=work, args=(there, files, clips))
    child.start()
    sizes = here.recv()
    child.join()
    return sizes


def nothing(answer: Connection, files: list[Path], clips: int) -> None:
    """Import what a worker imports, decord too."""
    import decord  # noqa: F401

    answer.send([psutil.Process().memory_info().rss / MB])


def open_decord_readers(answer: Connection, files: list[Path], clips: int) -> None:
    """Random clips from readers that are opened once."""
    import decord

    readers = [decord.VideoReader(str(file), num_threads=1) for file in files]
    rng, process, sizes = np.random.default_rng(0), psutil.Process(), []
    for _ in tqdm(range(clips), unit="clip", disable=None):
        reader = readers[rng.integers(len(readers))]
        start = int(rng.integers(len(reader) - FRAMES))
        reader.get_batch(list(range(start, start + FRAMES))).asnumpy()
        sizes.append(process.memory_info().rss / MB)
    answer.send(sizes)


if __name__ == "__main__":
    main()
