"""Small indexes of the tiny videos, written with pyarrow directly."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from data.index.schema import COLUMNS, VERSION
from data.index.table import INDEX_KEY
from data.io.probe import probe
from data.shards.plan import Row


def video_row(path: Path, first: int = 0, frames: int | None = None) -> Row:
    """The row of a good video, as the index command makes it."""
    found = probe(path)
    steps = set(np.diff(found.pts).tolist()) if found.pts is not None else set()
    keys = (
        []
        if found.pts is None
        else np.searchsorted(found.pts, found.key_pts[found.key_pts >= found.pts[0]]).tolist()
    )
    return {
        "path": path.name,
        "source": None,
        "first": first,
        "frames": frames or found.frames,
        "width": found.width,
        "height": found.height,
        "fps_num": found.fps.numerator,
        "fps_den": found.fps.denominator,
        "kind": "video",
        "codec": found.codec,
        "pixel_format": found.pixel_format,
        "matrix": found.color_space.matrix,
        "full_range": found.color_space.full_range,
        "colour_origin": found.color_space.origin,
        "plain": found.plain,
        "file_frames": found.frames,
        "pts_first": 0 if found.pts is None else int(found.pts[0]),
        "pts_step": steps.pop() if len(steps) == 1 else 0,
        "key_frames": keys,
        "offset": None,
        "bytes": path.stat().st_size,
        "mtime_ns": path.stat().st_mtime_ns,
        "content": xxhash.xxh3_128_hexdigest(path.read_bytes()),
        "hashes": [7],
        "motion": 1.0,
        "luma": 100.0,
        "licence": f"licence of {path.name}",
    }


def write_rows(rows: list[Row], root: Path, target: Path) -> Path:
    """An index file of some rows."""
    table = pa.Table.from_pylist(rows, schema=COLUMNS)
    pq.write_table(
        table.replace_schema_metadata(
            {INDEX_KEY: str(VERSION).encode(), b"root": str(root).encode()}
        ),
        target,
    )
    return target


@pytest.fixture
def index_in(tmp_path: Path) -> Callable[..., Path]:
    """`index_in(folder, *names)` is an index of some of its videos; a name may be a row instead."""

    def make(folder: Path, *names: str | Row) -> Path:
        rows = [video_row(folder / name) if isinstance(name, str) else name for name in names]
        return write_rows(rows, folder, tmp_path / "source.parquet")

    return make


@pytest.fixture
def index_of(videos: Path, index_in: Callable[..., Path]) -> Callable[..., Path]:
    """`index_of(*names)` is `index_in(videos, *names)`."""
    return partial(index_in, videos)


@pytest.fixture(scope="session")
def row_of(videos: Path) -> Callable[..., Row]:
    """`row_of(name, first, frames)` is a row of a part of one of `videos`."""
    return lambda name, first=0, frames=None: video_row(videos / name, first, frames)
