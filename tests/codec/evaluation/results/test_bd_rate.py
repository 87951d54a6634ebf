"""Comparisons of codecs: what is compared, refused and said, and the means over clips
and classes.
"""

from dataclasses import replace

import pytest
from made_up_results import points, result

from codec.errors import CodecError
from codec.evaluation import Comparison, Point, RDResult, compare
from codec.evaluation.results.bd_rate import mean_interval


def by_clip(rows: list[Comparison]) -> dict[str, Comparison]:
    """The rows of one pair and metric."""
    return {row.clip: row for row in rows}


def test_no_common_quality_gives_none_and_a_note():
    """Catches extrapolation: a number where the curves share nothing."""
    low = points("low", [100, 200, 300, 400], [20, 22, 24, 26])
    high = points("high", [500, 600, 700, 800], [30, 32, 34, 36])
    clip, mean = compare(RDResult({}, low + high), ["low"], ["high"])
    assert (clip.bd_rate_percent, clip.akima_percent, clip.overlap) == (None, None, 0)
    assert clip.note.startswith("no common quality") and clip.bd_quality is None
    assert mean.bd_rate_percent is None and "1 of 1 clips have no BD-rate" in mean.note


def test_under_a_quarter_of_overlap_is_refused():
    """Catches a BD-rate over a sliver of the curves, which looks like any other and means nothing;
    and its mean.
    """
    wide = points("wide", [100, 200, 400, 800, 1600], [20, 25, 30, 35, 40])
    sliver = points("sliver", [300, 350, 420, 500], [30, 30.5, 31, 31.5])
    clip, mean = compare(RDResult({}, wide + sliver), ["wide"], ["sliver"])
    assert (
        clip.overlap == pytest.approx(1.5 / 20)
        and clip.bd_rate_percent is None
        and clip.akima_percent is None
    )
    assert "refused: the curves share 8% of their quality, 25% is needed" in clip.note
    assert (
        clip.bd_quality is None and "no BD-quality: the curves share 18% of their rate" in clip.note
    )
    assert (mean.bd_rate_percent, mean.bd_quality, mean.overlap, mean.rate_overlap) == (
        None,
        None,
        None,
        None,
    )
    assert (mean.clips, mean.of_clips, mean.is_of_part) == (0, 1, False)


def test_little_overlap_is_said():
    """Catches a BD-rate over less than half of the curves without a word."""
    wide = points("wide", [100, 200, 400, 800, 1600], [20, 25, 30, 35, 40])
    part = points("part", [300, 500, 700, 900], [26, 29, 31, 34])
    clip, mean = compare(RDResult({}, wide + part), ["wide"], ["part"])
    assert clip.overlap == pytest.approx(0.4) and clip.bd_rate_percent is not None
    assert clip.note == "little overlap" and "little overlap on 1 of 1" in mean.note


def test_a_curve_that_falls_is_flagged_on_the_clip_and_in_the_mean():
    """Catches a flag that is lost on the way to the table, and an answer from points that fall
    back.
    """
    bumpy = points("bumpy", [100, 200, 300, 400, 400, 800], [30, 33, 32, 35, 35, 38])
    straight = points("straight", [100, 200, 400, 800], [30, 33, 35, 38])
    clip, mean = compare(RDResult({}, bumpy + straight), ["straight"], ["bumpy"])
    assert clip.bd_rate_percent == pytest.approx(0) and not clip.monotone and not mean.monotone
    assert (
        "bumpy: not monotone, 1 of 5" in clip.note and "not monotone on 1 of 1 clips" in mean.note
    )
    assert compare(RDResult({}, straight), [], []) == []


def test_a_codec_against_itself_is_zero():
    """Catches anything that makes HEVC differ from HEVC."""
    rows = compare(RDResult({}, points("a") + points("b")), ["a"], ["b"])
    for row in rows:
        assert row.bd_rate_percent == pytest.approx(
            0, abs=1e-12
        ) and row.akima_percent == pytest.approx(0, abs=1e-12)
        assert (
            row.bd_quality == pytest.approx(0, abs=1e-12)
            and row.overlap == row.rate_overlap == 1
            and row.monotone
        )


def test_each_metric_takes_the_tuning_that_is_fair_to_it():
    """Catches x265's psycho-visual curve scored in PSNR: it would look about 10 % worse
    than it is.
    """
    tuned = points("x", [100, 200, 400, 800], [30, 33, 36, 39], tune="psnr")
    psycho = points("x", [110, 220, 440, 880], [30, 33, 36, 39], tune="default")
    ours = points("ours", [100, 200, 400, 800], [30, 33, 36, 39], tune=None)
    clip, _ = compare(RDResult({}, tuned + psycho + ours), ["x"], ["ours"])
    assert clip.bd_rate_percent == pytest.approx(0)


def test_the_mean_is_over_clips_not_over_curves():
    """Catches averaging the curves first, which reverses conclusions (arXiv 2409.08772)."""
    rates, values = [100, 200, 400, 800], [30, 33, 36, 39]
    everything = [
        *points("a", rates, values, "one"),
        *points("b", [2 * r for r in rates], values, "one"),
    ]
    everything += [
        *points("a", rates, values, "two"),
        *points("b", [r // 2 for r in rates], values, "two"),
    ]
    one_clip, two_clip, mean = compare(RDResult({}, everything), ["a"], ["b"])
    assert (one_clip.bd_rate_percent, two_clip.bd_rate_percent) == (
        pytest.approx(100),
        pytest.approx(-50),
    )
    assert mean.clip == "mean" and mean.bd_rate_percent == pytest.approx(25) and mean.clips == 2
    assert mean.bd_quality == pytest.approx(0, abs=1e-9)  # one clip 3 dB lower, one 3 dB higher
    assert (mean.low, mean.high) == (None, None)  # of two clips no interval can be told


def test_a_mean_is_over_the_clips_that_have_a_bd_rate_and_knows_of_how_many():
    """Catches BD-rate, BD-quality and overlap of a mean row that are over different clips, and a
    part that passes for all.
    """
    wide, rates = [20, 25, 30, 35, 40], [100, 200, 400, 800, 1600]
    everything = [
        *points("a", rates, wide, "one"),
        *points("b", [2 * rate for rate in rates], wide, "one"),
    ]
    everything += [
        *points("a", rates, wide, "two"),
        *points("b", rates[:4], [30, 30.5, 31, 31.5], "two"),
    ]
    one, two, mean = compare(RDResult({}, everything), ["a"], ["b"])
    assert two.bd_rate_percent is None and two.bd_quality is not None and two.overlap < 0.25
    for name in ("bd_rate_percent", "akima_percent", "bd_quality", "overlap", "rate_overlap"):
        assert getattr(mean, name) == getattr(one, name), name
    assert (mean.clips, mean.of_clips, mean.is_of_part) == (1, 2, True) and not one.is_of_part
    assert "1 of 2 clips have no BD-rate" in mean.note


def test_a_mean_bd_quality_is_not_over_fewer_clips_than_its_bd_rate():
    """Catches a BD-quality of one clip beside a BD-rate of two."""
    everything = [*points("a", clip="one"), *points("b", clip="one"), *points("a", clip="two")]
    everything += points(
        "b", [16 * rate for rate in (100, 200, 400, 800)], [30.0, 33.0, 36.0, 39.0], "two"
    )
    one, two, mean = compare(RDResult({}, everything), ["a"], ["b"])
    assert two.bd_rate_percent is not None and one.bd_quality is not None and two.bd_quality is None
    assert (
        mean.clips == 2
        and mean.bd_quality is None
        and "no BD-quality: 1 of 2 clips have none" in mean.note
    )


def test_classes_have_their_means_and_every_clip_counts_the_same_in_the_whole():
    """Catches a class mean over other clips, and a whole that is the mean of class means."""
    dearer = {"b1": 1.1, "b2": 1.3, "b3": 1.4, "d1": 2.0}
    clips = {name: {"class": name[0].upper()} for name in dearer}
    everything = [
        p for name in dearer for p in points("a", [1000 * 2**i for i in range(4)], clip=name)
    ]
    everything += [
        p
        for name, cost in dearer.items()
        for p in points("x", [1000 * cost * 2**i for i in range(4)], clip=name)
    ]
    rows = by_clip(compare(RDResult({"clips": clips}, everything), ["a"], ["x"]))
    assert list(rows) == [*dearer, "mean B", "mean D", "mean"]
    assert (
        rows["mean B"].bd_rate_percent == pytest.approx((10 + 30 + 40) / 3, rel=1e-3)
        and rows["mean B"].clips == 3
    )
    assert rows["mean D"].bd_rate_percent == pytest.approx(100) and rows["mean D"].low is None
    assert rows["mean"].bd_rate_percent == pytest.approx((10 + 30 + 40 + 100) / 4, rel=1e-3)
    assert [name for name, row in rows.items() if row.is_mean] == ["mean B", "mean D", "mean"]
    assert rows["mean"].low < rows["mean"].bd_rate_percent < rows["mean"].high


def test_the_interval_is_that_of_the_mean_and_always_the_same():
    """Catches an interval of the clips in place of their mean, one that changes from run to run,
    and one of two clips.
    """
    values = [-10.0, -12.0, -8.0, -11.0, -9.0, -10.0, -30.0]
    low, high = mean_interval(values)
    assert (low, high) == mean_interval(values) and min(values) < low < sum(
        values
    ) / 7 < high < max(values)
    spread = (sum((v - sum(values) / 7) ** 2 for v in values) / 7) ** 0.5 / 7**0.5
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.15)  # about normal
    assert mean_interval([5.0, 5.0, 5.0]) == (5, 5) and mean_interval(values[:2]) is None


def test_other_intra_periods_are_said():
    """Catches a comparison of all-intra with predicted frames that looks like any other."""
    made = result(
        "a", "b", clips=("one",), codecs={"a": {"intra_period": -1}, "b": {"intra_period": 32}}
    )
    assert "intra periods differ: a -1, b 32" in compare(made, ["a"], ["b"])[-1].note


def test_a_codec_without_points_and_an_unknown_metric_are_errors():
    """Catches a misspelt name that yields an empty table, and a clip that an interrupted run did
    not reach.
    """
    some = points("a", [100, 200], [30, 33])
    with pytest.raises(CodecError, match="no points of codec 'b'"):
        compare(RDResult({}, some), ["a"], ["b"])
    with pytest.raises(CodecError, match="no points of codec 'b' on clip 'other'"):
        compare(RDResult({}, points("a") + points("a", clip="other") + points("b")), ["a"], ["b"])
    odd = [Point(**{**vars(point), "metrics": {"sharpness": 1.0}}) for point in some]
    with pytest.raises(CodecError, match="choose from psnr_rgb"):
        compare(RDResult({}, odd), ["a"], ["a", "b"])


def test_an_imported_codec_is_compared_on_what_it_has_and_says_what_it_is():
    """Catches published numbers that pass for measured ones, and a result that cannot be shown
    beside them.
    """
    theirs = points("ssf (imported)", [150, 300, 600, 1200], clip="one", imported="compressai")
    both = [*points("a", clip="one"), *points("a", clip="two"), *theirs]
    clip, mean = compare(RDResult({}, both), ["a"], ["ssf (imported)"])
    assert clip.clip == "one" and clip.bd_rate_percent == pytest.approx(50)
    assert (mean.clips, mean.of_clips, mean.is_of_part) == (1, 2, True)
    assert (
        "imported from compressai, not measured here" in clip.note
        and "1 of 2 clips lack psnr_rgb" in mean.note
    )
    elsewhere = [*points("a", clip="two"), *theirs]
    (only,) = compare(RDResult({}, elsewhere), ["a"], ["ssf (imported)"])
    assert only.clip == "mean" and only.bd_rate_percent is None and only.clips == 0
    scored = [
        replace(p, metrics={**p.metrics, "lpips_alex": 0.1 / (1 + p.quality)})
        for p in points("a", clip="one")
    ]
    rows = compare(RDResult({}, [*scored, *theirs]), ["a"], ["ssf (imported)"])
    assert [row.clip for row in rows if row.metric == "lpips_alex"] == ["mean"]
