"""Duplicates: sequences of one content, found among millions without comparing all with all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from data.index.hashing import NONE, SPREAD, distances

BANDS = (
    (0, 22),
    (21, 22),
    (42, 22),
)  # first bit and bits of each part of a hash that near duplicates may share
CLOSE = 8  # rows of equal key that each other one is compared with
LEAST = 4  # hashes that two sequences must both have
DURATION = 0.1  # share by which the durations of near duplicates may differ
PORTION = 1 << 20  # pairs compared at once
COLUMNS = ["path", "first", "frames", "width", "height", "fps_num", "fps_den", "bytes", "content"]


def duplicates(rows: pa.Table, bits: float) -> tuple[np.ndarray, np.ndarray]:
    """Which rows repeat another that is kept.

    Equal content is a file with the same bytes. Near duplicates last equally long (within a tenth),
    come from other files, and their hashes at `SPREAD` equal places differ by at most `bits` of 64
    on average. Only rows that share 22 neighbouring bits of a hash at a place are compared, and of
    many that share them each with the first `CLOSE`. The kept one has the most pixels, then bytes,
    then the first path.

    Args:
        rows: of an index.
        bits: see above; below 0 only equal content counts.

    Returns:
        int64 `(N,)` the number of the row that is kept instead, -1 for rows that are kept; float32
        `(N,)` the bits, -1 for equal bytes.
    """
    table = rows.select(COLUMNS).to_pandas()
    table["pixels"] = table["width"].astype(np.int64) * table["height"]
    order = table.sort_values(
        ["pixels", "bytes", "path", "first"], ascending=[False, False, True, True]
    ).index.to_numpy()
    instead = _equal(table, order)
    apart = np.full(len(table), -1, np.float32)
    if bits >= 0:
        left = order[instead[order] < 0]
        taken = np.zeros(len(left), bool)
        for better, worse, distance in _near(table.loc[left], hashes_at_places(rows)[left], bits):
            if (
                not taken[better] and not taken[worse]
            ):  # pairs come in the order of `worse`, so what is better is settled
                taken[worse] = True
                instead[left[worse]], apart[left[worse]] = left[better], distance
    gone = np.flatnonzero(instead >= 0)
    further = instead[instead[gone]]  # what is kept instead may itself have gone, once
    instead[gone[further >= 0]] = further[further >= 0]
    return instead, apart


def _equal(table: pd.DataFrame, order: np.ndarray) -> np.ndarray:
    """Of each row, the best one of equal content, or -1; `order` has the best first."""
    groups = (
        table.loc[order].groupby(["content", "first", "frames"], sort=False).ngroup().to_numpy()
    )
    _, firsts = np.unique(groups, return_index=True)
    best = order[firsts[groups]]
    instead = np.full(len(table), -1)
    instead[order] = np.where(best == order, -1, best)
    return instead


def hashes_at_places(rows: pa.Table) -> np.ndarray:
    """uint64 `(N, SPREAD)`, the hashes that all sequences have."""
    column = rows["hashes"].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    lengths = column.value_lengths().to_numpy(False)
    starts = column.offsets.to_numpy()[: len(lengths)]
    places = starts[:, None] + lengths[:, None] * np.arange(SPREAD) // SPREAD
    return column.values.to_numpy()[places]


def _near(table: pd.DataFrame, hashes: np.ndarray, bits: float) -> list[tuple[int, int, float]]:
    """Pairs (better, worse, mean bits) of near duplicates, by `worse`; rows come best first."""
    seconds = (table["frames"] * table["fps_den"] / table["fps_num"]).to_numpy()
    file = pd.factorize(table["path"])[0]
    found: list[pd.DataFrame] = []
    for place in range(SPREAD):
        for start, count in BANDS:
            keys = (hashes[:, place] >> np.uint64(start)) & np.uint64((1 << count) - 1)
            usable = np.flatnonzero(hashes[:, place] != NONE)
            better, worse = _sharing(keys[usable], usable)
            long = np.maximum(seconds[better], seconds[worse])
            fit = (file[better] != file[worse]) & (
                np.abs(seconds[better] - seconds[worse]) <= DURATION * long
            )
            better = better[fit]
            worse = worse[fit]
            parts = np.array_split(np.arange(len(better)), len(better) // PORTION + 1)
            mean = np.concatenate(
                [_mean_distance(hashes[better[part]], hashes[worse[part]]) for part in parts]
            )
            near = mean <= bits
            found.append(
                pd.DataFrame({"better": better[near], "worse": worse[near], "bits": mean[near]})
            )
    pairs = (
        pd.concat(found)
        .drop_duplicates(["better", "worse"])
        .sort_values(["worse", "bits", "better"])
    )
    return list(pairs.itertuples(index=False, name=None))


def _sharing(keys: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of `numbers` (ascending) whose keys are equal: each with the first `CLOSE` of its
    key.
    """
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    numbers = numbers[order]
    begins = (
        np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]) if len(keys) else np.zeros(0, np.int64)
    )
    begin = np.repeat(begins, np.diff(np.r_[begins, len(keys)]))
    place = np.arange(len(keys))
    fits = [np.flatnonzero(place > begin + step) for step in range(CLOSE)]
    better = np.concatenate([numbers[begin[fit] + step] for step, fit in enumerate(fits)])
    return better, numbers[np.concatenate(fits)]


def _mean_distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """float32 mean over places at which both have a hash; infinite where these are fewer than
    `LEAST`.
    """
    both = (first != NONE) & (second != NONE)
    count = both.sum(1)
    total = (distances(first, second) * both).sum(1, dtype=np.float32)
    return np.where(count >= LEAST, total / np.maximum(count, 1), np.inf).astype(np.float32)
