"""BD-rate of curves with a known answer, and of curves that are hard to compare."""

import pytest

from codec.errors import CodecError
from codec.evaluation import Point, RDResult, bd_rate, compare
from codec.evaluation.bd_rate import curve

ANCHOR = [(1358.24, 34.851), (2486.44, 36.845), (4593.60, 38.615), (9487.76, 40.037)]
TEST = [(1356.24, 34.987), (2451.52, 36.970), (4469.00, 38.651), (9787.80, 40.121)]


def points(codec: str, rates: list[float], values: list[float], clip: str = "clip", **extra: object) -> list[Point]:
    """Points of a codec: sizes in bytes of one second of one frame a second, and PSNR."""
    size = {"frames": 1, "width": 64, "height": 64, "fps": 1.0}
    rest = {"encode_seconds": 0.0, "decode_seconds": 0.0, "file": "f", "extra": extra}
    return [
        Point(codec, clip, quality, **size, bytes=round(rate), metrics={"psnr_rgb": value}, **rest)
        for quality, (rate, value) in enumerate(zip(rates, values, strict=True))
    ]


def one(comparisons: list) -> object:
    """The first comparison: of the only clip."""
    return comparisons[0]


def test_published_pair_of_curves():
    """Catches rate not in logarithm, integration over rate, cubic in place of PCHIP.

    The curves are those of the bjontegaard package's README; the value by its own
    `bd_rate(rate_anchor, psnr_anchor, rate_test, psnr_test, method="pchip")`, version 1.3.0 (cubic gives -4.4205).
    """
    value, overlap = bd_rate(ANCHOR, TEST)
    assert value == pytest.approx(-4.417485350589045, abs=1e-9)
    assert overlap == pytest.approx((40.037 - 34.987) / (40.121 - 34.851))


def test_identity_is_zero_and_swapping_gives_the_reciprocal():
    """Catches anchor and test swapped, and a mean over percent in place of log rate."""
    assert bd_rate(ANCHOR, ANCHOR) == (pytest.approx(0, abs=1e-12), 1)
    there, back = bd_rate(ANCHOR, TEST)[0], bd_rate(TEST, ANCHOR)[0]
    assert there is not None and back is not None
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1, abs=1e-12)
    doubled = [(2 * rate, quality) for rate, quality in ANCHOR]
    assert bd_rate(ANCHOR, doubled)[0] == pytest.approx(100)


def test_curves_may_have_different_numbers_of_points():
    """Catches NaN or an exception where the curves differ in length (field notes, 6)."""
    exact = [(10 ** (quality / 10), quality) for quality in range(30, 42)]
    dearer = [(1.25 * 10 ** (quality / 10), quality) for quality in (31.0, 33.5, 36.0, 41.0)]
    value, overlap = bd_rate(exact, dearer)
    assert value == pytest.approx(25, abs=1e-9)
    assert overlap == pytest.approx(10 / 11)


def test_no_common_quality_gives_none_and_a_note():
    """Catches extrapolation: a number where the curves share nothing."""
    low = points("low", [100, 200, 300, 400], [20, 22, 24, 26])
    high = points("high", [500, 600, 700, 800], [30, 32, 34, 36])
    clip, mean = compare(RDResult({}, low + high), ["low"], ["high"])
    assert (clip.bd_rate_percent, clip.overlap, clip.note) == (None, 0, "no common quality")
    assert mean.bd_rate_percent is None and "1 of 1 clips have no common quality" in mean.note


def test_little_overlap_is_said():
    """Catches a BD-rate over a sliver that looks like any other."""
    wide = points("wide", [100, 200, 400, 800, 1600], [20, 25, 30, 35, 40])
    sliver = points("sliver", [300, 350, 420, 500], [30, 30.5, 31, 31.5])
    clip, mean = compare(RDResult({}, wide + sliver), ["wide"], ["sliver"])
    assert clip.overlap == pytest.approx(1.5 / 20)
    assert clip.note == "little overlap" and "little overlap on 1 of 1" in mean.note


def test_points_off_the_front_are_left_out_and_said():
    """Catches a curve that falls back, or stands still, being interpolated as if it rose; points dropped in silence."""
    bumpy = points("bumpy", [100, 200, 300, 400, 400, 800], [30, 33, 32, 35, 35, 38])
    pairs, notes = curve(bumpy, "bumpy", "clip", "psnr_rgb")
    assert [place for _, place in pairs] == [30, 33, 35, 38]
    assert notes == ["not monotone, 2 of 6 points left out"]
    straight = points("straight", [100, 200, 400, 800], [30, 33, 35, 38])
    assert one(compare(RDResult({}, bumpy + straight), ["straight"], ["bumpy"])).bd_rate_percent == pytest.approx(0)


def test_lpips_is_compared_over_its_logarithm_and_zero_left_out():
    """Catches a distance taken as if more were better, and infinity from identical frames."""
    values = [0.2, 0.1, 0.05, 0.02, 0.0]
    raw = points("a", [100, 200, 400, 800, 1600], values)
    renamed = [Point(**{**vars(p), "metrics": {"lpips_alex": p.metrics["psnr_rgb"]}}) for p in raw]
    pairs, notes = curve(renamed, "a", "clip", "lpips_alex")
    assert [place for _, place in pairs] == pytest.approx([6.9897, 10, 13.0103, 16.9897], abs=1e-4)
    assert notes == ["1 of 5 points without a finite lpips_alex, left out"]


def test_each_metric_takes_the_tuning_that_is_fair_to_it():
    """Catches x265's psycho-visual curve scored in PSNR: it would look about 10 % worse than it is."""
    tuned = points("x", [100, 200, 400, 800], [30, 33, 36, 39], tune="psnr")
    psycho = points("x", [110, 220, 440, 880], [30, 33, 36, 39], tune="default")
    ours = points("ours", [100, 200, 400, 800], [30, 33, 36, 39], tune=None)
    clip = one(compare(RDResult({}, tuned + psycho + ours), ["x"], ["ours"]))
    assert clip.bd_rate_percent == pytest.approx(0)


def test_the_mean_is_over_clips_not_over_curves():
    """Catches averaging the curves first, which reverses conclusions (arXiv 2409.08772)."""
    rates, values = [100, 200, 400, 800], [30, 33, 36, 39]
    everything = [*points("a", rates, values, "one"), *points("b", [2 * r for r in rates], values, "one")]
    everything += [*points("a", rates, values, "two"), *points("b", [r // 2 for r in rates], values, "two")]
    one_clip, two_clip, mean = compare(RDResult({}, everything), ["a"], ["b"])
    assert (one_clip.bd_rate_percent, two_clip.bd_rate_percent) == (pytest.approx(100), pytest.approx(-50))
    assert mean.clip == "mean" and mean.bd_rate_percent == pytest.approx(25)


def test_a_codec_without_points_and_an_unknown_metric_are_errors():
    """Catches a misspelt name that yields an empty table."""
    some = points("a", [100, 200], [30, 33])
    with pytest.raises(CodecError, match="no points of codec 'b'"):
        compare(RDResult({}, some), ["a"], ["b"])
    odd = [Point(**{**vars(point), "metrics": {"ssim": 1.0}}) for point in some]
    with pytest.raises(CodecError, match="choose from psnr_rgb"):
        compare(RDResult({}, odd), ["a"], ["a", "b"])
