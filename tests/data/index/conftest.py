"""A small collection with cuts, black, a still, a copy, a re-encode and a bad file."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from data.index import build, pool
from data.index.options import ScanOptions

MOVING = "testsrc2=size=128x72:rate=25"
ZOOM = "mandelbrot=size=128x72:rate=25"
CELLS = "life=size=128x72:rate=25:mold=10:ratio=0.3:death_color=#402010:life_color=#80ffff:seed=3"
BLACK = "color=black:size=128x72:rate=25"
STILL = "smptebars=size=128x72:rate=25"
LOSSY = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20", "-g", "30"]


def joined(*parts: tuple[str, int]) -> list[str]:
    """ffmpeg's arguments for sources one behind the other, each with its number of frames."""
    graphs = [
        f"{graph},trim=end_frame={frames},setsar=1,format=yuv420p[{i}]"
        for i, (graph, frames) in enumerate(parts)
    ]
    names = "".join(f"[{i}]" for i in range(len(parts)))
    return ["-filter_complex", ";".join(graphs) + f";{names}concat=n={len(parts)}"]


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., bytes]) -> Path:
    """`cut.mp4` (see `index_files.CUT`), `zoom.mp4` of 40 frames, `sub/zoom_copy.mp4`,
    `zoom_small.mkv`, `bad.mp4`.
    """
    folder = tmp_path_factory.mktemp("collection") / "videos"
    (folder / "sub").mkdir(parents=True)
    parts = [(MOVING, 30), (ZOOM, 30), (BLACK, 30), (CELLS, 30), (STILL, 30)]
    ffmpeg(*joined(*parts), *LOSSY, folder / "cut.mp4")
    ffmpeg(
        "-f", "lavfi", "-i", f"{ZOOM}:start_scale=1", "-frames:v", "40", *LOSSY, folder / "zoom.mp4"
    )
    shutil.copy(folder / "zoom.mp4", folder / "sub" / "zoom_copy.mp4")
    ffmpeg(
        "-i",
        folder / "zoom.mp4",
        "-vf",
        "scale=64:36",
        *LOSSY,
        "-crf",
        "32",
        folder / "zoom_small.mkv",
    )
    (folder / "bad.mp4").write_text("no video\n" * 99)
    return folder


@pytest.fixture
def own(tmp_path: Path, collection: Path) -> Path:
    """A copy of the collection that a test may change."""
    return Path(shutil.copytree(collection, tmp_path / "videos"))


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are scanned; all is done in this process, and no report is drawn."""
    names: list[str] = []

    def scan_here(sources: list, options: ScanOptions, workers: int, keep: Callable) -> None:
        for source in sources:
            names.append(source.name)
            keep(pool.scan(source, options))

    monkeypatch.setattr(build, "scan_all", scan_here)
    monkeypatch.setattr(build, "write_report", lambda stored, output: None)
    return names
