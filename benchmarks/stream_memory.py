"""Memory of `corvid compress` and `decompress` along a video: it must not grow with the length.

    python benchmarks/stream_memory.py [--checkpoint FILE] [--sizes 320x192:2000 1920x1080:300]
        [--json FILE]

A clip is repeated to the length and given as Y4M. Figures, for each size and command: `growth_mb`,
what the process has at most after its 50th frame above what it had there; `growth_percent` of that;
`peak_mb`.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import imageio_ffmpeg
from parts.figures import report

from data.sources.discovery import find_videos

CHECKPOINT = Path(__file__).parents[1] / "docs" / "results" / "corvid_s" / "corvid_s.ckpt"
FROM = 50  # frames after which nothing more should be needed


def main() -> None:
    """Measure, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default=str(CHECKPOINT), help="file or run folder")
    parser.add_argument("--clip", default="sample:bigbuckbunny")
    parser.add_argument("--sizes", nargs="+", default=["320x192:2000", "1920x1080:300"])
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    clip = find_videos([choice.clip])[0]
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for text in choice.sizes:
            size, frames = text.split(":")
            figures |= measure(clip, size, int(frames), choice.checkpoint, Path(folder))
    report(figures, choice.json)


def measure(clip: Path, size: str, frames: int, checkpoint: str, folder: Path) -> dict[str, float]:
    """Both commands on one size."""
    source, stream, out = (folder / name for name in ("in.y4m", "a.cvd", "out.y4m"))
    repeated(clip, size, frames, source)
    given = ("--checkpoint", checkpoint)
    commands = {
        "compress": ["compress", str(source), str(stream), *given],
        "decompress": ["decompress", str(stream), str(out), *given],
    }
    figures = {}
    for name, command in commands.items():
        used = memory_along(command)
        start, most = used[FROM], max(used[FROM:])
        figures[f"{name}_{size}_growth_mb"] = round((most - start) / 1e6, 1)
        figures[f"{name}_{size}_growth_percent"] = round(100 * (most - start) / start, 2)
        figures[f"{name}_{size}_peak_mb"] = round(max(used) / 1e6)
        figures[f"{name}_{size}_frames"] = len(used)
    for file in (source, stream, out):
        file.unlink()
    return figures


def repeated(clip: Path, size: str, frames: int, target: Path) -> None:
    """The clip, over and over, in another size."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-stream_loop", "-1"]
    command += ["-i", str(clip), "-frames:v", str(frames), "-vf", f"scale={size}"]
    subprocess.run([*command, "-pix_fmt", "yuv420p", str(target)], check=True)


def memory_along(command: list[str]) -> list[int]:
    """Resident bytes after each frame of a command in a process of its own."""
    with tempfile.NamedTemporaryFile("r") as answer:
        context = multiprocessing.get_context("spawn")
        child = context.Process(target=watched, args=(command, answer.name))
        child.start()
        child.join()
        if child.exitcode:
            sys.exit(f"{' '.join(command)}: exit code {child.exitcode}")
        return json.load(answer)


def watched(command: list[str], answer: str) -> None:
    """In the other process."""
    warnings.filterwarnings("ignore")
    from codec.cli import main as corvid
    from common.progress import Progress

    used: list[int] = []
    update = Progress.update

    def updated(self: Progress, units: int = 1) -> Any:
        used.append(resident())
        return update(self, units)

    Progress.update = updated  # type: ignore[method-assign]
    corvid(command)
    Path(answer).write_text(json.dumps(used))


def resident() -> int:
    """Bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    main()
