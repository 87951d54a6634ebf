"""Cuts, stretches and hashes."""

import cv2
import numpy as np
import pytest

from data.index.hashing import NONE, SIDE, distances, hashed_frames, nearest, phash, thumbnail
from data.index.options import ScanOptions
from data.index.scenes import Analysis, FrameAnalyzer, pieces


def scene(seed: int, frames: int, shift: int = 2) -> list[np.ndarray]:
    """Pictures of a coloured pattern that moves by `shift` pixels a frame."""
    rng = np.random.default_rng(seed)
    wide = cv2.resize(
        rng.integers(0, 256, (6, 40, 3), dtype=np.uint8), (400, 60), interpolation=cv2.INTER_CUBIC
    )
    return [np.ascontiguousarray(wide[:, shift * n : shift * n + 100]) for n in range(frames)]


def analysed(pictures: list[np.ndarray]) -> Analysis:
    analyser = FrameAnalyzer()
    for picture in pictures:
        analyser.add(picture)
    return analyser.finish()


def test_cuts_are_found_at_their_frame_even_at_the_ends():
    """Catches cuts off by one, missed near the first and last frame, and missed soon after
    another.
    """
    lengths = (1, 20, 4, 30, 2)
    found = analysed(
        [picture for seed, frames in enumerate(lengths) for picture in scene(seed, frames, 1)]
    )
    assert found.cuts == (1, 21, 25, 55)
    assert len(found.luma) == len(found.motion) == len(found.thumbs) == sum(lengths)


def test_motion_is_no_cut():
    """Catches fast pans and flicker of low rates cut to bits."""
    assert analysed(scene(0, 60, shift=5)).cuts == ()


def test_luma_and_motion_are_means_over_the_picture():
    """Catches sums, other units, and the difference counted for the frame before."""
    dark, bright = np.full((8, 8, 3), 10, np.uint8), np.full((8, 8, 3), 40, np.uint8)
    found = analysed([dark, bright, bright])
    assert found.luma.tolist() == [10, 40, 40] and found.motion.tolist() == [0, 30, 0]


def made(luma: list[float], motion: list[float], cuts: tuple[int, ...] = ()) -> Analysis:
    return Analysis(
        np.float32(luma), np.float32(motion), cuts, np.zeros((len(luma), SIDE, SIDE), np.uint8)
    )


def parts(
    found: Analysis, bounds: tuple[int, int] | None = None, **options: float
) -> list[tuple[int, int, str]]:
    whole = pieces(
        found, ScanOptions(**{"min_frames": 4, **options}), bounds or (0, len(found.luma))
    )
    return [(piece.first, piece.stop, piece.reason) for piece in whole]


def test_pieces_end_at_cuts_and_short_ones_are_dropped():
    """Catches a sequence that straddles a cut, frames that are in no piece, and short pieces
    kept.
    """
    found = made([100] * 20, [5] * 20, (8, 10))
    assert parts(found) == [(0, 8, ""), (8, 10, "short"), (10, 20, "")]
    assert parts(found, (6, 15)) == [(6, 8, "short"), (8, 10, "short"), (10, 15, "")]


def test_black_and_still_stretches_are_split_off():
    """Catches them in training, and good frames beside them lost."""
    assert parts(made([100] * 6 + [2] * 5 + [100] * 6, [5] * 17)) == [
        (0, 6, ""),
        (6, 11, "black"),
        (11, 17, ""),
    ]
    assert parts(made([100] * 20, [5] * 6 + [0] * 8 + [5] * 6)) == [
        (0, 5, ""),
        (5, 14, "near-static"),
        (14, 20, ""),
    ]
    assert parts(made([2] * 2, [0] * 2)) == [(0, 2, "black")]


def test_a_black_frame_and_repeated_frames_stay():
    """Catches video of 12.5 fps in a file of 25 taken for still, and a flash that tears a sequence
    apart.
    """
    assert parts(made([100] * 16, [0, 5] * 8)) == [(0, 16, "")]
    assert parts(made([100] * 8 + [2] + [100] * 8, [5] * 17)) == [(0, 17, "")]


def test_motion_of_a_piece_leaves_out_its_cut():
    """Catches the jump at the cut counted as motion."""
    first, second = pieces(
        made([100] * 8, [0, 1, 1, 1, 90, 1, 1, 1], (4,)), ScanOptions(min_frames=4), (0, 8)
    )
    assert (first.motion, second.motion) == (1, 1)


def test_hash_survives_scaling_but_not_another_picture():
    """Catches a hash of noise, and one that everything matches."""
    one, other = (cv2.cvtColor(scene(seed, 1)[0], cv2.COLOR_BGR2GRAY) for seed in (1, 2))
    half = cv2.resize(one, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    hashes = np.array([phash(thumbnail(picture)) for picture in (one, half, other)], np.uint64)
    assert distances(hashes[:1], hashes[1:2])[0] <= 4 and distances(hashes[:1], hashes[2:])[0] > 16
    assert phash(np.full((SIDE, SIDE), 77, np.uint8)) == NONE


def test_nearest_is_what_comparing_all_gives():
    """Catches a wrong bit count, and flat pictures that match each other."""
    rng = np.random.default_rng(0)
    hashes, others = (rng.integers(1, 1 << 63, size=n).astype(np.uint64) for n in (50, 60))
    hashes[:5] = others[:5] ^ np.uint64(0b101)
    hashes[5] = others[6] = NONE
    where, bits = nearest(hashes, others, 8)
    table = distances(np.repeat(hashes[:, None], 60, 1), np.repeat(others[None], 50, 0))
    assert where[:5].tolist() == [0, 1, 2, 3, 4] and bits[:5].tolist() == [2] * 5 and where[5] == -1
    assert all((table[i].min() <= 8) == (where[i] >= 0) for i in range(6, 50))


@pytest.mark.parametrize("frames", [1, 7, 40, 250, 100_000])
def test_hashed_frames_are_in_the_sequence_and_nest(frames: int):
    """Catches frames behind the end, and lengths whose hashes cannot be compared."""
    places = hashed_frames(frames, 25)
    assert 8 <= len(places) <= 64 and max(places) < frames
    assert places[:: len(places) // 8] == [frames * place // 8 for place in range(8)]
