"""What is in an index, in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.index.store import Stored


def counts_of(stored: Stored) -> dict[str, Any]:
    """Files, sequences, hours, GB, and what was left out by reason: `dropped` counts sequences, `rejected` whole files."""
    rows, dropped = stored.rows, stored.dropped
    files = pc.count_distinct(rows["path"]).as_py()
    whole = pc.equal(dropped["frames"], 0)
    bytes_of = rows.group_by("path").aggregate([("bytes", "max")])["bytes_max"]
    return {
        "files": len(pc.unique(pa.chunked_array([*rows["path"].chunks, *dropped["path"].chunks], pa.string()))),
        "files_used": files,
        "files_rejected": pc.sum(whole).as_py() or 0,
        "sequences": len(rows),
        "frames": pc.sum(rows["frames"]).as_py() or 0,
        "hours": float(seconds_of(rows).sum() / 3600),
        "hours_dropped": float(seconds_of(dropped.filter(pc.invert(whole))).sum() / 3600),
        "gigabytes": (pc.sum(bytes_of).as_py() or 0) / 1e9,
        "left_out": by_reason(dropped),
    }


def seconds_of(rows: pa.Table) -> np.ndarray:
    """float64, of each sequence."""
    frames, top, bottom = (rows[name].to_numpy() for name in ("frames", "fps_num", "fps_den"))
    return frames * (bottom / np.maximum(top, 1))


def clock(seconds: float) -> str:
    """Seconds in the unit that suits: "12.3 s", "4.5 min", "1,234.5 h"."""
    unit, size = next(((unit, size) for unit, size in (("h", 3600), ("min", 60)) if seconds >= 2 * size), ("s", 1))
    return f"{seconds / size:,.1f} {unit}"


def by_reason(dropped: pa.Table) -> dict[str, int]:
    """How many rows each reason has, most first."""
    counted = pc.value_counts(dropped["reason"]).to_pylist()
    return {one["values"]: one["counts"] for one in sorted(counted, key=lambda one: (-one["counts"], one["values"]))}
