"""Perceptual hashes: 64 bits of a picture that a new encode or another size hardly changes."""

from functools import cache

import cv2
import imagehash
import numpy as np
from numba import njit
from PIL import Image

SIDE = 32  # pixels of the thumbnails that are hashed
# instead of the hash of a flat picture, which would be the hash of its noise; `phash` never gives
# it
NONE = 0
FLAT = 4.0  # standard deviation of a thumbnail, luma 0..255, below which it counts as flat
SPREAD = 8  # hashes of a sequence at least, at equal distances
MOST = 64  # and at most


def thumbnail(grey: np.ndarray) -> np.ndarray:
    """uint8 `(h, w)` to uint8 `(SIDE, SIDE)`."""
    return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def phash(thumb: np.ndarray) -> int:
    """The DCT hash of a thumbnail, or `NONE` when it is flat."""
    if thumb.std() < FLAT:
        return NONE
    bits = imagehash.phash(Image.fromarray(thumb)).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hashed_frames(frames: int, fps: float) -> list[int]:
    """Numbers of the frames of a sequence that are hashed: 8, 16, 32 or 64 at equal distances, at
    most a second apart.

    Every second of 16 is one of 8: two sequences of one content are compared at `SPREAD` places,
    whatever their length.
    """
    count = SPREAD
    while count < MOST and frames / count > fps:
        count *= 2
    return [frames * place // count for place in range(count)]


@cache
def _popcounts() -> np.ndarray:
    return np.array([bin(value).count("1") for value in range(1 << 16)], np.uint8)


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Bits in which two arrays of hashes differ; uint64, any equal shapes, to uint8."""
    words = np.ascontiguousarray(first ^ second)[..., None].view(np.uint16)
    return _popcounts()[words].sum(-1, dtype=np.uint8)


@njit(nogil=True)
def nearest(hashes: np.ndarray, others: np.ndarray, within: int) -> tuple[np.ndarray, np.ndarray]:
    """For each hash the first of `others` that differs in the fewest bits.

    Args:
        hashes, others: uint64 `(N,)` and `(M,)`.
        within: a distance.

    Returns:
        int32 `(N,)` where it is in `others`, -1 when none is within the distance or the hash is
        `NONE`; uint8 `(N,)` the distance.
    """
    where = np.full(len(hashes), -1, np.int32)
    least = np.full(len(hashes), 65, np.uint8)
    for i in range(len(hashes)):
        if hashes[i] == 0:
            continue
        best = np.int64(within + 1)
        for j in range(len(others)):
            x = hashes[i] ^ others[j]
            x -= (x >> np.uint64(1)) & np.uint64(0x5555555555555555)
            x = (x & np.uint64(0x3333333333333333)) + (
                (x >> np.uint64(2)) & np.uint64(0x3333333333333333)
            )
            x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
            bits = np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))
            if bits < best:
                best, where[i], least[i] = bits, j, bits
    return where, least
