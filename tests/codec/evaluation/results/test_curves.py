"""Bjontegaard deltas of curves with a known answer, and of curves that are hard to compare."""

import math
import random

import bjontegaard
import pytest
from made_up_results import points

from codec.errors import CodecError
from codec.evaluation import Point, bd_quality, bd_rate
from codec.evaluation.results.bd_rate import curve

ANCHOR = [(1358.24, 34.851), (2486.44, 36.845), (4593.60, 38.615), (9487.76, 40.037)]
TEST = [(1356.24, 34.987), (2451.52, 36.970), (4469.00, 38.651), (9787.80, 40.121)]

# Rates and PSNR of document JCTVC-E137, and its BD-rates, as the tests of Netflix's VMAF and of
# Android's CTS quote them.
E137 = [
    (
        [(18883.6928, 34.2911), (33905.6656, 37.247), (61279.976, 40.3953), (108048.8736, 43.6471)],
        [
            (18910.912, 34.3147),
            (33928.7472, 37.2761),
            (61299.9936, 40.4232),
            (108061.2784, 43.6768),
        ],
        -0.465215420752807,
    ),
    (
        [(1017.6184, 32.0603), (2394.488, 33.8977), (7622.7456, 35.3756), (40433.8848, 37.5761)],
        [(1017.0984, 32.0822), (2390.0944, 33.9194), (7587.0024, 35.4025), (40370.12, 37.5982)],
        -1.8779823450567612,
    ),
]


def sheet_slopes(x: list[float], y: list[float]) -> list[float]:
    """Slopes at the points, as the macro of the JCT-VC and JVET sheets has them."""
    h = [b - a for a, b in zip(x, x[1:], strict=False)]
    d = [(b - a) / step for a, b, step in zip(y, y[1:], h, strict=False)]
    inner = [
        (3 * h[i - 1] + 3 * h[i])
        / ((2 * h[i] + h[i - 1]) / d[i - 1] + (h[i] + 2 * h[i - 1]) / d[i])
        if d[i - 1] * d[i] > 0
        else 0.0
        for i in range(1, len(d))
    ]

    def end(h1: float, h2: float, d1: float, d2: float) -> float:
        slope = ((2 * h1 + h2) * d1 - h1 * d2) / (h1 + h2)
        if slope * d1 < 0:
            return 0.0
        return 3 * d1 if d1 * d2 < 0 and abs(slope) > abs(3 * d1) else slope

    return [end(h[0], h[1], d[0], d[1]), *inner, end(h[-1], h[-2], d[-1], d[-2])]


def sheet_integral(x: list[float], y: list[float], low: float, high: float) -> float:
    """Integral of the sheet's piecewise cubic over low..high."""
    slopes, total = sheet_slopes(x, y), 0.0
    for i in range(len(x) - 1):
        h, d = x[i + 1] - x[i], (y[i + 1] - y[i]) / (x[i + 1] - x[i])
        c, b = (
            (3 * d - 2 * slopes[i] - slopes[i + 1]) / h,
            (slopes[i] - 2 * d + slopes[i + 1]) / h**2,
        )
        ends = [min(max(end, x[i]), x[i + 1]) - x[i] for end in (low, high)]
        terms = [s * y[i] + s**2 * slopes[i] / 2 + s**3 * c / 3 + s**4 * b / 4 for s in ends]
        total += terms[1] - terms[0]
    return total


def sheet_bd_rate(anchor: list[tuple[float, float]], test: list[tuple[float, float]]) -> float:
    """BD-rate in percent, written from the published macro, without the package."""
    low, high = max(anchor[0][1], test[0][1]), min(anchor[-1][1], test[-1][1])
    sums = [
        sheet_integral([q for _, q in c], [math.log10(r) for r, _ in c], low, high)
        for c in (anchor, test)
    ]
    return 100 * (10 ** ((sums[1] - sums[0]) / (high - low)) - 1)


@pytest.mark.parametrize(("anchor", "test", "published"), E137)
def test_published_answers(anchor: list, test: list, published: float):
    """Catches another interpolation than that of the standards' sheets, anchor and test swapped,
    and a wrong logarithm.
    """
    assert bd_rate(anchor, test)[0] == pytest.approx(published, abs=1e-10)


def test_published_pair_of_the_package():
    """Catches rate not in logarithm, integration over rate, cubic in place of PCHIP.

    The curves are those of the bjontegaard package's README; the values by its own
    `bd_rate(rate_anchor, psnr_anchor, rate_test, psnr_test, method="pchip")`, and `method="akima"`,
    and `bd_psnr`, version 1.3.0 (cubic gives -4.4205).
    """
    value, overlap = bd_rate(ANCHOR, TEST)
    assert value == pytest.approx(-4.417485350589045, abs=1e-9)
    assert overlap == pytest.approx((40.037 - 34.987) / (40.121 - 34.851))
    reference = [[list(column) for column in zip(*c, strict=True)] for c in (ANCHOR, TEST)]
    akima = bjontegaard.bd_rate(*reference[0], *reference[1], method="akima")
    assert bd_rate(ANCHOR, TEST, "akima")[0] == pytest.approx(akima, abs=1e-12)
    assert bd_quality(ANCHOR, TEST)[0] == pytest.approx(
        bjontegaard.bd_psnr(*reference[0], *reference[1], method="pchip")
    )


def test_it_is_the_sheet_of_the_standards():
    """Catches a change of the package away from the JCT-VC sheet, with curves of 3 to 8 points and
    unequal lengths.
    """
    draw = random.Random(0)
    for lengths in ((4, 4), (3, 6), (8, 5), (6, 6)):
        pair = []
        for count in lengths:
            steps = [draw.uniform(0.5, 2.5) for _ in range(count)]
            pair.append(
                [(draw.uniform(90, 110) * 2**i, 30 + sum(steps[: i + 1])) for i in range(count)]
            )
        assert bd_rate(*pair)[0] == pytest.approx(sheet_bd_rate(*pair), abs=1e-9)


@pytest.mark.parametrize("method", ["pchip", "akima"])
def test_identity_is_zero_and_swapping_gives_the_reciprocal(method: str):
    """Catches anchor and test swapped, and a mean over percent in place of log rate."""
    assert bd_rate(ANCHOR, ANCHOR, method) == (pytest.approx(0, abs=1e-12), 1)
    there, back = bd_rate(ANCHOR, TEST, method)[0], bd_rate(TEST, ANCHOR, method)[0]
    assert there is not None and back is not None
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1, abs=1e-12)
    doubled = [(2 * rate, quality) for rate, quality in ANCHOR]
    assert bd_rate(ANCHOR, doubled, method)[0] == pytest.approx(100)
    up, down = bd_quality(ANCHOR, TEST, method)[0], bd_quality(TEST, ANCHOR, method)[0]
    assert up == pytest.approx(-down) and up > 0


def test_curves_may_have_different_numbers_of_points():
    """Catches NaN or an exception where the curves differ in length (field notes, 6), in both
    interpolations.
    """
    exact = [(10 ** (quality / 10), quality) for quality in range(30, 42)]
    dearer = [(1.25 * 10 ** (quality / 10), quality) for quality in (31.0, 33.5, 36.0, 41.0)]
    for method in ("pchip", "akima"):
        value, overlap = bd_rate(exact, dearer, method)
        assert value == pytest.approx(25, abs=1e-9)
        assert overlap == pytest.approx(10 / 11)
        assert bd_quality(exact, dearer, method)[0] == pytest.approx(-10 * math.log10(1.25))
    assert bd_rate(exact, dearer[:2], "akima")[0] == pytest.approx(25, abs=1e-9)


def test_one_point_is_no_curve():
    """Catches a delta from a single point, or an exception of the package."""
    assert bd_rate(ANCHOR[:1], TEST) == (None, 0) and bd_quality(ANCHOR, []) == (None, 0)


def test_points_off_the_front_are_left_out_and_said():
    """Catches a curve that falls back, or stands still, being interpolated as if it rose; points
    dropped in silence.
    """
    bumpy = curve(
        points("bumpy", [100, 200, 300, 400, 400, 800], [30, 33, 32, 35, 35, 38]),
        "bumpy",
        "clip",
        "psnr_rgb",
    )
    assert [place for _, place in bumpy.pairs] == [30, 33, 35, 38]
    twice = "1 of 6 points equal to another in rate and psnr_rgb, counted once"
    assert bumpy.notes == [twice, "not monotone, 1 of 5 points left out"] and not bumpy.monotone


def test_lpips_is_compared_over_its_logarithm_and_zero_left_out():
    """Catches a distance taken as if more were better, and infinity from identical frames."""
    raw = points("a", [100, 200, 400, 800, 1600], [0.2, 0.1, 0.05, 0.02, 0.0])
    renamed = [Point(**{**vars(p), "metrics": {"lpips_alex": p.metrics["psnr_rgb"]}}) for p in raw]
    found = curve(renamed, "a", "clip", "lpips_alex")
    assert [place for _, place in found.pairs] == pytest.approx(
        [6.9897, 10, 13.0103, 16.9897], abs=1e-4
    )
    assert found.notes == ["1 of 5 points without a finite lpips_alex, left out"] and found.monotone


def test_a_rate_of_zero_is_an_error():
    """Catches NaN out of a hand-made curve."""
    with pytest.raises(CodecError, match="rates above 0"):
        bd_rate([(0.0, 30.0), (2.0, 33.0), (3.0, 36.0)], TEST)


def test_equal_points_are_no_fall():
    """Catches two qualities that give the same file, as at the end of a range, called "not
    monotone".
    """
    points = [
        point_at(quality, rate, 30.0 + rate)
        for quality, rate in enumerate((1000, 1000, 2000, 3000))
    ]
    found = curve(points, "a", "clip", "psnr_rgb")
    assert found.monotone and len(found.pairs) == 3
    assert found.notes == ["1 of 4 points equal to another in rate and psnr_rgb, counted once"]


def point_at(quality: int, size: int, decibels: float) -> Point:
    """A point of a codec `a`."""
    return Point(
        codec="a",
        clip="clip",
        quality=quality,
        frames=1,
        width=64,
        height=64,
        fps=25.0,
        bytes=size,
        metrics={"psnr_rgb": decibels / 100},
        encode_seconds=0.0,
        decode_seconds=0.0,
        file="",
    )
