"""Shards as plain tar files in webdataset's format against litdata's chunks, the same members in
one run.

Both hold the same short-GOP clips of 50-500 KB. Each format is measured in a process of its own
with an empty home and temporary folder, so that what it leaves there can be listed. Files are in
the page cache for both. `tar` is read in the three ways there are: webdataset's own reader front to
back, `data.loading.stream.ShardStream` front to back, and one read of (offset, bytes), as the
indexed path does. litdata is read through `StreamingDataset`, from its folder and, as from an
object storage, from a "local:" store by way of its cache, which is under the home by default.
"Exact resume" is: read some batches of two through a DataLoader of so many workers, go on from the
state in a new loader, and see the batches of the uninterrupted run. Random reads take every member
once; a set of a single chunk says nothing of them, as litdata then holds it all in memory.

    pip install litdata
    python benchmarks/shard_formats.py [--clip sample:bigbuckbunny] [--members 1000] [--json FILE]
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from parts.figures import report

from data.sources.discovery import find_videos

SHARD = 64 * 2**20
LEAST, MOST = 50_000, 500_000  # bytes a member
CHOSEN, OTHER = "tar", "litdata"
ABSENT = 3


def main() -> None:
    """Measure both, print, and write JSON where wanted; exit code 3 where litdata or webdataset is
    missing.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", default="sample:bigbuckbunny")
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--measure", nargs=2, metavar=("FORMAT", "FOLDER"), help=argparse.SUPPRESS)
    choice = parser.parse_args()
    if choice.measure:
        print(json.dumps(measure(choice.measure[0], Path(choice.measure[1]), choice.repeats)))
        return
    for package in ("webdataset", "litdata"):
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed; run pip install {package}")
            sys.exit(ABSENT)
    with tempfile.TemporaryDirectory() as folder:
        members = make_members(find_videos(choice.clip)[0], choice.members, Path(folder))
        print(f"{len(members)} members, {sum(map(len, members)) / 1e6:.0f} MB")
        measured = {
            name: in_own_process(name, members, Path(folder) / name, choice.repeats)
            for name in (CHOSEN, OTHER)
        }
    show(measured, choice.json)


def make_members(clip: Path, count: int, folder: Path) -> list[bytes]:
    """`count` mp4 files of 448x256, GOP 12, cut out of `clip`; there are some 20 different ones."""
    different = []
    for number in range(24):
        file = folder / f"{number}.mp4"
        options = [
            "-vf",
            "scale=448:256",
            "-c:v",
            "libx264",
            "-g",
            "12",
            "-crf",
            "14",
            "-an",
            "-threads",
            "1",
            "-frames:v",
        ]
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(),
            "-loglevel",
            "error",
            "-y",
            "-ss",
            f"{0.1 * number:g}",
            "-i",
            str(clip),
        ]
        subprocess.run([*command, *options, str(12 + 2 * number), str(file)], check=True)
        different.append(file.read_bytes())
    fitting = [data for data in different if LEAST <= len(data) <= MOST]
    if not fitting:
        raise SystemExit(f"{clip}: no cut of it is {LEAST}..{MOST} bytes long; give another --clip")
    return [fitting[number % len(fitting)] for number in range(count)]


def in_own_process(name: str, members: list[bytes], folder: Path, repeats: int) -> dict[str, float]:
    """Write the set, then measure it in a process whose home, caches and temporary files go to an
    empty folder.
    """
    began = time.perf_counter()
    WRITERS[name](members, folder / "set")
    seconds = time.perf_counter() - began
    home = folder / "home"
    home.mkdir()
    before = listed(folder)
    command = [
        sys.executable,
        __file__,
        "--repeats",
        str(repeats),
        "--measure",
        name,
        str(folder / "set"),
    ]
    environment = {
        **os.environ,
        "HOME": str(home),
        "TMPDIR": str(home),
        "XDG_CACHE_HOME": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    seen: set[str] = set()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        while process.poll() is None:  # its output is small and waits
            seen |= listed(folder)
            time.sleep(0.2)
        said = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{name}: measuring failed")
    left = sorted(listed(folder) - before)
    locks = sum(file.endswith(".lock") for file in seen)
    print(f"{name}: {locks} lock files while reading, {len(left)} files left behind {left[:2]}")
    written = {"write_per_s": len(members) / seconds, "locks": locks, "files_left": len(left)}
    return json.loads(said.splitlines()[-1]) | written


def listed(folder: Path) -> set[str]:
    """Files under a folder, some of which may vanish meanwhile."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def write_tar(members: list[bytes], folder: Path) -> None:
    from webdataset import TarWriter

    folder.mkdir(parents=True)
    per_shard = max(1, int(SHARD / np.mean([len(data) for data in members])))
    for first in range(0, len(members), per_shard):
        with TarWriter(
            str(folder / f"shard-{first // per_shard:06d}.tar"), encoder=False, mtime=0
        ) as writer:
            for number, data in enumerate(members[first : first + per_shard], first):
                writer.write({"__key__": f"{number:08d}", "json": b'{"frames": 12}', "mp4": data})


def write_litdata(members: list[bytes], folder: Path) -> None:
    from litdata.streaming.cache import Cache

    folder.mkdir(parents=True)
    cache = Cache(str(folder), chunk_bytes=SHARD)
    for number, data in enumerate(members):
        cache[number] = {"mp4": data, "json": '{"frames": 12}'}
    cache.done()
    cache.merge()


WRITERS = {CHOSEN: write_tar, OTHER: write_litdata}


def measure(name: str, folder: Path, repeats: int) -> dict[str, float]:
    """Every figure of one format, in a process that has imported torch and decord only."""
    import decord
    import psutil
    import torch.utils.data  # noqa: F401

    me = psutil.Process()
    memory, began = me.memory_full_info().uss, time.perf_counter()
    importlib.import_module("webdataset" if name == CHOSEN else "litdata")
    figures = {
        "import_ms": 1e3 * (time.perf_counter() - began),
        "import_mb": (me.memory_full_info().uss - memory) / 2**20,
    }
    from parts import shard_readers

    ways = shard_readers.tar_ways(folder) if name == CHOSEN else shard_readers.litdata_ways(folder)
    for way, read in ways.sequential.items():
        figures[f"{way}_per_s"] = rate(lambda read=read: touched(read()), repeats)
    picks = [int(pick) for pick in np.random.default_rng(0).permutation(ways.length)]
    figures["random_per_s"] = rate(lambda: touched(map(ways.member, picks)), repeats)
    figures["memory_mb"] = (me.memory_full_info().uss - memory) / 2**20

    def decode() -> int:
        for data, _ in zip(next(iter(ways.sequential.values()))(), range(60), strict=False):
            decord.VideoReader(shard_readers.as_file(data), num_threads=1).get_batch(range(7))
        return 60

    figures["decoded_per_s"] = rate(decode, repeats)
    return figures | {f"resume_exact_{way}": exact for way, exact in ways.resumes().items()}


def touched(members: Iterable[bytes]) -> int:
    """How many; a byte of each page is looked at."""
    return sum(np.frombuffer(data, np.uint8)[::4096].max() >= 0 for data in members)


def rate(work: Callable[[], int], repeats: int) -> float:
    """Members a second, the median; the first run warms up."""
    rates = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        rates.append(work() / (time.perf_counter() - began))
    return statistics.median(rates[1:])


def show(measured: dict[str, dict[str, float]], file: Path | None) -> None:
    """A table of both, then one line a figure."""
    names = list(dict.fromkeys(name for figures in measured.values() for name in figures))
    print(f"{'':28}" + "".join(f"{format_:>12}" for format_ in measured))
    for name in names:
        cells = (
            f"{figures[name]:12.1f}" if name in figures else f"{'-':>12}"
            for figures in measured.values()
        )
        print(f"{name:28}" + "".join(cells))
    tar, lit = measured[CHOSEN], measured[OTHER]
    report(
        {
            "shard_sequential_speedup": round(tar["stream_per_s"] / lit["sequential_per_s"], 2),
            "shard_webdataset_speedup": round(tar["webdataset_per_s"] / lit["sequential_per_s"], 2),
            "shard_random_speedup": round(tar["random_per_s"] / lit["random_per_s"], 2),
            "shard_decoded_speedup": round(tar["decoded_per_s"] / lit["decoded_per_s"], 2),
            "shard_lock_files": tar["locks"],
            "litdata_lock_files": lit["locks"],
            "litdata_files_left": lit["files_left"],
            "shard_memory_mb": round(tar["memory_mb"], 1),
            "litdata_memory_mb": round(lit["memory_mb"], 1),
            "litdata_import_ms": round(lit["import_ms"], 1),
            "litdata_import_mb": round(lit["import_mb"], 1),
        },
        file,
    )


if __name__ == "__main__":
    main()
