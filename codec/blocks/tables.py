"""Constants of intra blocks: HEVC's prediction directions and integer transforms, and where a
coefficient lies in the latent.
"""

from decimal import Context, Decimal, localcontext
from functools import cache

import numpy as np

from codec.layers.dct import kept_coefficients

UNIT, CELL, CHROMA = (
    16,
    8,
    8,
)  # sides of a unit, of its smallest luma block, and of its blocks of chroma
MODES = 35
PLANAR, DC, HORIZONTAL, VERTICAL = 0, 1, 10, 26
DERIVED, LINEAR = 0, 1  # classes of chroma prediction, and after them the modes of `CHROMA_MODES`
CHROMA_MODES = (PLANAR, DC, HORIZONTAL, VERTICAL)
CHROMA_CLASSES = 2 + len(CHROMA_MODES)
LUMA_COEFFICIENTS, CHROMA_COEFFICIENTS = UNIT**2, CHROMA**2
CHANNELS = LUMA_COEFFICIENTS + 2 * CHROMA_COEFFICIENTS

# Pixels are 10-bit integers: four to an 8-bit level, so that rounding them costs nothing.
PIXELS_PER_LEVEL = 4
MIDDLE, LARGEST = 512, 1023
STEP_PARTS = 16  # quantisation steps are counted in sixteenths of a pixel

# Of ITU-T H.265, table 8-5, for modes 2 to 34, and table 8-6, for modes 11 to 25.
_ANGLES = (32, 26, 21, 17, 13, 9, 5, 2, 0, -2, -5, -9, -13, -17, -21, -26)
ANGLES = (0, 0, *_ANGLES, -32, *_ANGLES[:0:-1], 32)
_INVERSE = (-4096, -1638, -910, -630, -482, -390, -315)
INVERSE_ANGLES = dict(zip(range(11, 26), (*_INVERSE, -256, *_INVERSE[::-1]), strict=True))
_SMOOTHED_BEYOND = {8: 7, 16: 1}  # table 8-4: directions this far from horizontal and vertical
_COSINES = (64, 90, 89, 87, 83, 80, 75, 70, 64, 57, 50, 43, 36, 25, 18, 9, 0)


@cache
def integer_dct(side: int) -> np.ndarray:
    """HEVC's transform matrix of 8 or 16, `(side, side)` int32: row k is 64 √side times the k-th
    basis function, about.

    Source: ITU-T H.265, 8.6.4.2.
    """
    made = np.empty((side, side), np.int32)
    for k in range(side):
        for n in range(side):
            angle = k * (2 * n + 1) * (16 // side) % 64
            angle = min(angle, 64 - angle)
            made[k, n] = _COSINES[angle] if angle <= 16 else -_COSINES[32 - angle]
    return made


@cache
def float_dct(side: int) -> np.ndarray:
    """The same, orthonormal, float32: for an encoder, which may round as it likes."""
    matrix = integer_dct(side).astype(np.float64)
    return (matrix / np.sqrt((matrix**2).sum(1, keepdims=True))).astype(np.float32)


@cache
def smoothed_modes(side: int) -> np.ndarray:
    """Which modes see smoothed neighbours in luma, `(35,)` bool (ITU-T H.265, 8.4.4.2.3)."""
    apart = [min(abs(mode - HORIZONTAL), abs(mode - VERTICAL)) for mode in range(MODES)]
    wanted = np.array(apart) > _SMOOTHED_BEYOND[side]
    wanted[PLANAR], wanted[DC] = True, False
    return wanted


@cache
def directions(side: int, smoothed: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which two neighbours each pixel of a block is predicted from, by direction, and by how many
    32nds of the second.

    Neighbours are numbered from the lowest below left (0) over the corner (2·side) to the last
    above right (4·side); smoothed ones follow.

    Args:
        side: of the block, 8 or 16.
        smoothed: take smoothed neighbours where `smoothed_modes` says so, as for luma.

    Returns:
        Three of `(35, side²)` int32; zeros for planar and DC.

    Source: ITU-T H.265, 8.4.4.2.6.
    """
    shape = MODES, side, side
    first, second, part = (np.zeros(shape, np.int32) for _ in range(3))
    corner = 2 * side
    for mode in range(2, MODES):
        angle, vertical = ANGLES[mode], mode >= 18
        along = (
            1 if vertical else -1
        )  # from the corner, the way of the neighbours that are predicted from

        def place(k: int, mode: int = mode, along: int = along) -> int:
            """The number of the reference sample k, of which sample 0 is the corner."""
            if k >= 0:
                return corner + along * k
            return corner - along * ((k * INVERSE_ANGLES[mode] + 128) >> 8)

        for y in range(side):
            for x in range(side):
                step, line = (y, x) if vertical else (x, y)
                whole, rest = (step + 1) * angle >> 5, (step + 1) * angle & 31
                first[mode, y, x] = place(line + whole + 1)
                second[mode, y, x] = place(line + whole + 2) if rest else first[mode, y, x]
                part[mode, y, x] = rest
    if smoothed:
        for table in (first, second):
            table[2:][smoothed_modes(side)[2:]] += neighbours(side)
    flat = (MODES, side**2)
    return first.reshape(flat), second.reshape(flat), part.reshape(flat)


def neighbours(side: int) -> int:
    """How many pixels a block is predicted from."""
    return 4 * side + 1


@cache
def channel_places() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The channel of the latent that holds each coefficient.

    A channel is one frequency, and each half of the channels holds all of them
    (`kept_coefficients`): coefficient (v, u) of the 8×8 block (i, j) of a unit lies where (2v + i,
    2u + j) of a 16×16 block does.

    Returns:
        Of a 16×16 block `(256,)`, of four 8×8 blocks `(4, 64)`, and of chroma `(2, 64)`, all int64.
    """
    number = {kept: channel for channel, kept in enumerate(kept_coefficients(UNIT, UNIT, CHROMA))}
    whole = [number[0, v, u] for v in range(UNIT) for u in range(UNIT)]
    cells = [
        [number[0, 2 * v + i, 2 * u + j] for v in range(CELL) for u in range(CELL)]
        for i in (0, 1)
        for j in (0, 1)
    ]
    chroma = [[number[c, v, u] for v in range(CHROMA) for u in range(CHROMA)] for c in (1, 2)]
    return np.array(whole), np.array(cells), np.array(chroma)


def step_table(coarsest: float, finest: float, qualities: int) -> np.ndarray:
    """Quantisation steps by quality, `(qualities,)` int32 in sixteenths of a pixel: the same
    integers on every machine.

    Args:
        coarsest, finest: at the lowest and at the highest quality, in 8-bit levels; between them
            evenly in the logarithm.
    """
    with localcontext(Context(prec=40)):
        low, high = (Decimal(str(value)).ln() for value in (coarsest, finest))
        steps = [(low + (high - low) * k / (qualities - 1)).exp() for k in range(qualities)]
        return np.array([round(step * STEP_PARTS * PIXELS_PER_LEVEL) for step in steps], np.int32)
