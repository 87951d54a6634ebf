"""Figures: panels, what is written over and under them, and that nothing lies on anything else."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from report_results import CLIPS, result

from codec.evaluation import Comparison, RDResult, compare
from codec.report import rd_figure
from codec.report.figures import complexity_figure, legend_columns

SIZE = "frames of 64x48 are below the 161x161 it needs"


@pytest.fixture(scope="module")
def comparisons() -> list[Comparison]:
    return compare(result(), ["x265"], ["ours"])


def panels_of(figure: Figure) -> dict[str, Axes]:
    """Panels by title."""
    return {axes.get_title(loc="left"): axes for axes in figure.axes if axes.lines}


def without(metric: str, clip: str) -> RDResult:
    """The made-up result with a clip that is too small for a metric."""
    points = [
        replace(
            p, metrics=p.metrics | {metric: None}, extra=p.extra | {"notes": [f"{metric}: {SIZE}"]}
        )
        if p.clip == clip
        else p
        for p in result().points
    ]
    return replace(result(), points=points)


def many(codecs: int) -> RDResult:
    """The made-up result with further codecs of long names."""
    names = [f"a_codec_of_ours_with_memory_{number}" for number in range(codecs)]
    more = [replace(p, codec=name) for name in names for p in result().points if p.codec == "ours"]
    return replace(result(), points=[*result().points, *more])


def test_the_mean_and_a_panel_a_clip_with_better_up(comparisons: list[Comparison]):
    """Catches LPIPS drawn upside down, the wrong tuning's curve, points without a value, and a
    missing panel.
    """
    for metric, drawn in (("psnr_rgb", [4, 4]), ("lpips_alex", [3, 4])):
        panels = panels_of(rd_figure(result(), comparisons, metric))
        assert list(panels) == ["mean of 2 clips", *CLIPS]
        for axes in panels.values():
            assert [len(line.get_xdata()) for line in axes.lines] == drawn
            assert "better ↑" in axes.get_ylabel() and axes.get_xscale() == "log"
            line = axes.lines[-1]
            heights = axes.transData.transform(
                np.column_stack([line.get_xdata(), line.get_ydata()])
            )[:, 1]
            assert (np.diff(heights) > 0).all()
        rate = min(result().points, key=lambda point: point.bytes).bpp * (
            1 if metric == "psnr_rgb" else 1.1
        )
        assert panels[CLIPS[0]].lines[1].get_xdata()[0] == pytest.approx(rate, rel=1e-3)


def test_the_mean_is_geometric_in_rate_and_on_the_axis_of_the_metric():
    """Catches a mean of bits, which the dearest clip rules, a mean of distances as they are, and a
    codec that lacks a clip.
    """
    dearer = [
        replace(p, bytes=4 * p.bytes, metrics={"lpips_alex": 0.01})
        if p.clip == CLIPS[1]
        else replace(p, metrics={"lpips_alex": 0.04})
        for p in result().points
    ]
    panels = panels_of(rd_figure(RDResult({}, dearer), [], "lpips_alex"))
    mean, first = panels["mean of 2 clips"].lines[0], panels[CLIPS[0]].lines[0]
    assert mean.get_xdata() == pytest.approx([2 * rate for rate in first.get_xdata()])
    assert mean.get_ydata() == pytest.approx([0.02] * len(first.get_xdata()))
    fewer = [p for p in dearer if (p.codec, p.clip) != ("ours", CLIPS[1])]
    axes = panels_of(rd_figure(RDResult({}, fewer), [], "lpips_alex"))["mean of 2 clips"]
    assert [len(line.get_xdata()) for line in axes.lines] == [0, 4]


def test_the_bd_rate_is_written_over_its_panel_and_the_mean_says_of_how_many(
    comparisons: list[Comparison],
):
    """Catches a figure that says another number than the table, and a mean of one clip that passes
    for one of two.
    """
    panels = panels_of(rd_figure(result(), comparisons, "psnr_rgb"))
    texts = {name: axes.texts[0].get_text().splitlines() for name, axes in panels.items()}
    assert texts["one_1"][0].split() == ["BD-rate", "(overlap)", "vs", "x265"]
    assert texts["one_1"][1].split(maxsplit=1) == ["ours", "+50.0 % (100 %)"]
    partly = [replace(row, clips=1) if row.is_mean else row for row in comparisons]
    mean = panels_of(rd_figure(result(), partly, "psnr_rgb"))["mean of 2 clips"]
    assert mean.texts[0].get_text().endswith("+50.0 % (1 of 2 clips)")


def test_a_clip_without_a_value_is_named_in_place_of_an_empty_panel():
    """Catches an empty panel with matplotlib's warnings, and a clip that is gone without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lacking = without("lpips_alex", CLIPS[1])
        figure = rd_figure(lacking, compare(lacking, ["x265"], ["ours"]), "lpips_alex")
        assert list(panels_of(figure)) == [CLIPS[0]] and len(figure.axes) == 1
        assert figure.get_supxlabel() == f"Not on one_1: {SIZE}."
        single = replace(lacking, points=[p for p in lacking.points if p.clip == CLIPS[1]])
        assert (
            not panels_of(nothing := rd_figure(single, [], "lpips_alex"))
            and "Not on one_1" in nothing.get_supxlabel()
        )


@pytest.mark.parametrize("codecs", [0, 6])
def test_nothing_lies_on_anything_else(codecs: int):
    """Catches titles over BD-rates, a legend in uneven columns, and text that is cut at the edge of
    the picture.
    """
    made = many(codecs)
    figure = rd_figure(
        made,
        compare(made, ["x265"], [name for name in made.codecs() if name != "x265"]),
        "psnr_rgb",
    )
    renderer = FigureCanvasAgg(figure).get_renderer()
    legend = figure.legends[0].get_window_extent(renderer)
    for axes in panels_of(figure).values():
        title, rates = (
            axes._left_title.get_window_extent(renderer),
            axes.texts[0].get_window_extent(renderer),
        )
        assert not title.overlaps(rates) and not rates.overlaps(axes.get_window_extent(renderer))
        assert not title.overlaps(legend) and rates.x1 < figure.bbox.x1
        assert (
            axes.get_window_extent(renderer).height > 2 * figure.dpi
        )  # curves keep their place below many lines
    assert legend.x1 < figure.bbox.x1 and legend.y1 < figure.bbox.y1
    lefts = {round(text.get_window_extent(renderer).x0) for text in figure.legends[0].get_texts()}
    assert len(lefts) == (4 if codecs else 2)
    assert [
        legend_columns(["a_name_of_16_let"] * count, width)
        for count, width in ((5, 8), (5, 12), (3, 3))
    ] == [3, 5, 1]


def test_numbers_over_a_panel_stand_below_each_other_and_further_anchors_are_named():
    """Catches lines that grow with names and anchors until they leave their panel."""
    made = many(5)
    names = [name for name in made.codecs() if name != "x265"]
    rows = compare(made, ["x265"], names)
    rows += [replace(row, anchor="another_anchor_of_long_name") for row in rows]
    lines = panels_of(rd_figure(made, rows, "psnr_rgb"))["one_1"].texts[0].get_text().splitlines()
    assert (
        len({line.index("+50.0 %") for line in lines[1:-1]}) == 1 and len(lines) == len(names) + 2
    )
    assert lines[-1] == "vs another_anchor_of_long_name: in bd_rate.md"


def test_complexity_is_a_grid_that_says_what_was_counted(comparisons: list[Comparison]):
    """Catches eight panels in one column, kMAC without its frame and size, and a mean over a part
    of the clips unmarked.
    """
    eight = [
        replace(row, metric=name)
        for name in EIGHT
        for row in comparisons
        if row.metric == "psnr_rgb"
    ]
    eight = [
        replace(row, clips=1) if row.is_mean and row.metric == "vmaf" else row for row in eight
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = complexity_figure(measured(), eight)
    panels = panels_of(figure)
    assert (
        len(panels) == 8
        and len({round(axes.get_position().x0, 2) for axes in panels.values()}) == 3
    )
    width, height = figure.get_size_inches()
    assert width < 10 and height < width
    assert "kMAC per pixel of a predicted frame of 64x48." in figure.get_supxlabel()
    assert {
        name: [text.get_text() for text in axes.texts]
        for name, axes in panels.items()
        if axes.texts
    } == {"VMAF": ["1 of 2 clips"]}


EIGHT = (
    "psnr_yuv",
    "psnr_rgb",
    "ms_ssim",
    "lpips_alex",
    "vmaf",
    "vmaf_neg",
    "temporal_difference",
    "temporal_lpips",
)


def measured() -> RDResult:
    """The made-up result with what its costs were measured on."""
    codecs = dict(result().conditions["codecs"])
    where = {"size": "64x48", "threads": 1, "frames": 6, "machine": "CPU"}
    codecs["ours"] = {"complexity": codecs["ours"]["complexity"] | where}
    return replace(result(), conditions=result().conditions | {"codecs": codecs})
