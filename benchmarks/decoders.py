"""decord against PyAV as a reader of random clips: right frames, speed, memory, cut files and
forks, in one run.

"Right" is bit for bit the pictures of a sequential decode: for decord, by PyAV with swscale's RGB;
for PyAV, by `read_source` with ours. PyAV is read as training reads it, through `open_reader`;
decord is called itself, with one thread. Both open the file anew for each clip. Speed is in frames
a CPU second: reading processes fill all cores, and decord's two threads would win at once where it
is alone, and nothing where it is not. Every measurement of memory, of cut files and of forks has a
process of its own.

    python benchmarks/decoders.py [--decord-folder FOLDER] [--accesses 200] [--clips 40]
        [--json FILE]

`--decord-folder` is where another package of the import name `decord` lies, so that two can be
compared: `pip install --target FOLDER decord2`.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from parts.decoder_files import CLOSED, LARGE, make_720p, make_cases, make_cut, make_large
from parts.figures import report

from data.io.readers import open_reader
from data.io.source_clip import read_source

FRAMES, PATIENCE = 7, 60  # frames a clip, seconds before something hangs
Read = Callable[[list[int]], np.ndarray]
Answer = dict[str, Any]


def main() -> None:
    """Measure, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--decord-folder", type=Path, default=None, help="where to import decord from"
    )
    parser.add_argument(
        "--accesses", type=int, default=200, help="random accesses to each small file"
    )
    parser.add_argument(
        "--clips",
        type=int,
        default=40,
        help="random clips of each large file, and a tenth of those of 720p",
    )
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    if choice.decord_folder:
        sys.path.insert(0, str(choice.decord_folder.resolve()))
    import decord

    print(f"decord {decord.__version__}, PyAV {av.__version__}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = exactness(make_cases(folder), choice.accesses)
        figures |= faults(make_cut(folder), folder / "h264.mp4")
        figures |= memory(make_720p(folder), 10 * choice.clips)
        figures |= speed({codec: make_large(folder, codec) for codec in LARGE}, choice.clips)
    report(figures, choice.json)


def exactness(files: dict[str, Path], accesses: int) -> dict[str, float]:
    """How many random accesses of both are right, wrong, or fail."""
    shares: dict[str, list[float]] = {
        "decord_exact_percent": [],
        "decord_awkward_exact_percent": [],
        "pyav_exact_percent": [],
    }
    print(f"\n{accesses} random accesses: right, wrong, failed")
    for name, path in files.items():
        found = {
            way: apart(count_right, path, way, accesses, limit=600) for way in ("decord", "pyav")
        }
        kind = "decord_exact_percent" if name in CLOSED else "decord_awkward_exact_percent"
        shares[kind].append(100 * found["decord"].get("right", 0) / accesses)
        shares["pyav_exact_percent"].append(100 * found["pyav"].get("right", 0) / accesses)
        texts = [
            f"{way} " + ", ".join(f"{n} {what}" for what, n in counts.items())
            for way, counts in found.items()
        ]
        print(f"{name:16} {texts[0]:40} {texts[1]}")
    return {name: round(statistics.mean(values), 1) for name, values in shares.items()}


def count_right(path: Path, way: str, accesses: int) -> Answer:
    """One open reader; two accesses of three are to a single frame, the others to
    consecutive ones.
    """
    whole, rng, counts = sequential(path, way), np.random.default_rng(0), Counter()
    try:
        read = reading(path, way)
    except Exception as error:
        return {"right": 0, f"cannot open ({type(error).__name__})": accesses}
    for access in range(accesses):
        length = FRAMES if access % 3 == 0 else 1
        start = int(rng.integers(len(whole) - length + 1))
        try:
            counts[
                "right"
                if np.array_equal(
                    read([*range(start, start + length)]), whole[start : start + length]
                )
                else "wrong"
            ] += 1
        except Exception:
            counts["failed"] += 1
    return {"right": 0} | counts


def sequential(path: Path, way: str) -> np.ndarray:
    """Every frame, `(T, H, W, 3)` uint8, as `way` should give them."""
    if way == "pyav":
        return read_source(path).rgb.permute(0, 2, 3, 1).numpy()
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def reading(path: Path, way: str) -> Read:
    """A newly opened file."""
    if way == "pyav":
        reader = open_reader(path, "pyav")
        return lambda numbers: reader.read(numbers).permute(0, 2, 3, 1).numpy()
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    video = decord.VideoReader(str(path), num_threads=1)
    return lambda numbers: video.get_batch(numbers).asnumpy()


def faults(cut: dict[str, Path], good: Path) -> dict[str, float]:
    """Files cut short, read at the end that decord reports, and a reader carried across a fork."""
    print("\nfiles cut short, 100 frames promised")
    over = 0
    for name, path in cut.items():
        there = decodable(path)
        found = apart(read_end, path)
        reported = found.get("frames", 0)
        over += reported > there
        print(
            f"{name:16} {there} frames can be decoded; decord reports {reported}, the last: "
            f"{found.get('last', found)}"
        )
    forked = apart(read_after_fork, good)
    print(f"a reader opened before a fork and read after it: {forked}")
    return {
        "decord_over_reported_files": over,
        "decord_fork_hangs": int("gives" not in str(forked)),
    }


def decodable(path: Path) -> int:
    """Frames that a sequential decode gives before it ends or fails."""
    count = 0
    try:
        with av.open(str(path)) as container:
            for _ in container.decode(video=0):
                count += 1
    except av.FFmpegError:
        pass
    return count


def read_end(path: Path) -> Answer:
    """The frames that decord reports, and what comes back for the last of them."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        video = decord.VideoReader(str(path), num_threads=1)
    except Exception as error:
        return {"last": f"refused to open, {type(error).__name__}"}
    try:
        video.get_batch([len(video) - 1]).asnumpy()
    except Exception as error:
        return {"frames": len(video), "last": f"fails, {type(error).__name__}"}
    return {"frames": len(video), "last": "a picture comes"}


def read_after_fork(path: Path) -> Answer:
    """Whether the child of a fork gets a picture from its parent's reader."""
    read = reading(path, "decord")
    read([3])
    child = os.fork()
    if child == 0:
        read([9])
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return {"the child": "gives a picture" if status == 0 else f"ends with {status}"}


def memory(path: Path, clips: int) -> dict[str, float]:
    """MB that a process holds after so many random clips of a 720p file, above the same process
    before it opened anything.
    """
    print(
        f"\nMB above a process that opened nothing, over {clips} random clips of 720p: after a "
        "tenth, at the end"
    )
    figures = {}
    for name, way, anew in (
        ("decord_kept_mb", "decord", False),
        ("decord_mb", "decord", True),
        ("pyav_mb", "pyav", True),
    ):
        found = apart(hold, path, way, anew, clips, limit=3600)
        print(f"{way + (', opened anew' if anew else ', kept open'):22} {found}")
        figures[name] = found.get("end", -1)
    return figures


def hold(path: Path, way: str, anew: bool, clips: int) -> Answer:
    """Resident memory along random clips."""
    import decord  # noqa: F401
    import psutil

    process, rng = psutil.Process(), np.random.default_rng(0)
    before = process.memory_info().rss
    frames = open_reader(path, "pyav").frames
    read, sizes = reading(path, way), []
    for _ in range(clips):
        read = reading(path, way) if anew else read
        start = int(rng.integers(frames - FRAMES))
        read([*range(start, start + FRAMES)])
        sizes.append(round((process.memory_info().rss - before) / 2**20))
    return {"tenth": sizes[len(sizes) // 10], "end": sizes[-1]}


def speed(files: dict[str, Path], clips: int, rounds: int = 3) -> dict[str, float]:
    """Frames a CPU second of random clips of 448x256 with a keyframe every 250, RGB included; runs
    interleaved, medians.
    """
    print("\nframes a CPU second of random clips, 448x256, GOP 250")
    figures = {}
    for codec, path in files.items():
        rates: dict[str, list[float]] = {"decord": [], "pyav": []}
        reader = open_reader(path, "pyav")
        reader.read([0])  # compiles the conversion to RGB
        for number in range(rounds):
            starts = (
                np.random.default_rng(number).integers(reader.frames - FRAMES, size=clips).tolist()
            )
            for way in rates:
                rates[way].append(rate(path, way, starts))
        print(
            f"{codec:5} decord {statistics.median(rates['decord']):.1f}, PyAV "
            f"{statistics.median(rates['pyav']):.1f}"
        )
        ratios = [
            ours / peer if peer else 0
            for ours, peer in zip(rates["pyav"], rates["decord"], strict=True)
        ]
        figures[f"pyav_speedup_{codec}"] = round(statistics.median(ratios), 2)
    return figures


def rate(path: Path, way: str, starts: list[int]) -> float:
    """Frames a CPU second of this process and its threads; 0 when one fails."""
    began = time.process_time()
    try:
        for start in starts:
            reading(path, way)([*range(start, start + FRAMES)])
    except Exception as error:
        print(f"{path.name}: {way} fails, {str(error).splitlines()[0]}")
        return 0.0
    return len(starts) * FRAMES / (time.process_time() - began)


def apart(work: Callable[..., Answer], *arguments: object, limit: float = PATIENCE) -> Answer:
    """`work(*arguments)` in a process of its own, or word that it did not answer."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        try:
            return pool.apply_async(work, arguments).get(limit)
        except multiprocessing.TimeoutError:
            return {"no answer": f"in {limit:g} s"}


if __name__ == "__main__":
    main()
