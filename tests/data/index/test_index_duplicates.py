"""Duplicates among many."""

import numpy as np
import pyarrow as pa

from data.index.duplicates import duplicates
from data.index.hashing import NONE


def rows(hashes: np.ndarray, **columns: list) -> pa.Table:
    """A table of sequences that differ in everything that is not given."""
    count = len(hashes)
    usual = {
        "path": [f"{number:06d}.mp4" for number in range(count)],
        "first": [0] * count,
        "frames": [100] * count,
        "width": [64] * count,
        "height": [48] * count,
        "fps_num": [25] * count,
        "fps_den": [1] * count,
        "bytes": list(range(count, 0, -1)),
        "content": [f"{number:032x}" for number in range(count)],
    }
    listed = pa.array(hashes.tolist(), pa.list_(pa.uint64()))
    return pa.table({**usual, **columns, "hashes": listed})


def random_hashes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 1 << 63, size=(count, 8)).astype(np.uint64)


def flipped(hashes: np.ndarray, bits: int, seed: int = 1) -> np.ndarray:
    """Every hash with so many other bits."""
    rng = np.random.default_rng(seed)
    places = np.argsort(rng.random((*hashes.shape, 64)), -1)[..., :bits]
    return hashes ^ (np.uint64(1) << places.astype(np.uint64)).sum(-1, dtype=np.uint64)


def test_near_duplicates_are_found_among_thousands():
    """Catches bands that miss pairs, and strangers that are taken for them."""
    hashes = random_hashes(4000)
    hashes[3000:3500] = flipped(hashes[:500], 3)
    hashes[3500:] = flipped(hashes[500:1000], 5)
    instead, apart = duplicates(rows(hashes), 3.0)
    assert (
        instead[3000:3500].tolist() == list(range(500))
        and (instead[:3000] < 0).all()
        and (instead[3500:] < 0).all()
    )
    assert set(apart[3000:3500]) == {3.0}


def test_the_best_is_kept_in_any_order():
    """Catches a choice that depends on the order of rows, and a chain that drops its end for one
    that was dropped.
    """
    hashes = np.repeat(random_hashes(1), 4, 0)
    table = rows(hashes, width=[64, 128, 128, 64], bytes=[9, 5, 7, 9], content=["a", "b", "c", "a"])
    instead, apart = duplicates(table, 3.0)
    assert instead.tolist() == [2, 2, -1, 2] and apart[[0, 1]].tolist() == [0, 0] and apart[3] == -1
    order = [3, 1, 0, 2]
    again, _ = duplicates(table.take(pa.array(order)), 3.0)
    assert again.tolist() == [3, 3, 3, -1]


def test_what_is_no_near_duplicate():
    """Catches scenes of one file, other lengths and flat pictures thrown away, and -1 not
    heeded.
    """
    two = np.repeat(random_hashes(1), 2, 0)
    assert (duplicates(rows(two, path=["a", "a"], first=[0, 200]), 3.0)[0] < 0).all()
    assert (duplicates(rows(two, frames=[100, 120]), 3.0)[0] < 0).all()
    flat = two.copy()
    flat[:, :5] = NONE
    assert (duplicates(rows(flat), 3.0)[0] < 0).all()
    assert (duplicates(rows(two), -1)[0] < 0).all()
    assert duplicates(rows(two), 3.0)[0].tolist() == [-1, 0]


def test_twice_the_rate_is_the_same_length():
    """Catches frames compared instead of seconds."""
    two = np.repeat(random_hashes(1), 2, 0)
    assert duplicates(rows(two, frames=[100, 200], fps_num=[25, 50]), 3.0)[0].tolist() == [-1, 0]
