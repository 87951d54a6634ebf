"""The axes of BD-rate."""

import math

import pytest

from codec.errors import CodecError
from codec.evaluation.metric_specs import AXES, axis_of


@pytest.mark.parametrize(
    ("metric", "value", "place"),
    [
        ("psnr_yuv", 37.5, 37.5),
        ("vmaf", 90.0, 90.0),
        ("lpips_vgg", 0.01, 20.0),
        ("dists", 0.1, 10.0),
        ("ms_ssim", 0.99, 20.0),
    ],
)
def test_places(metric: str, value: float, place: float):
    """Catches MS-SSIM integrated as it is, distances that fall with quality, and dB transformed
    twice.
    """
    axis = AXES[metric]
    assert axis.place(value) == pytest.approx(place) and axis.value(place) == pytest.approx(value)


@pytest.mark.parametrize("metric", [name for name, axis in AXES.items() if axis.best is not None])
def test_a_perfect_clip_has_no_place(metric: str):
    """Catches a ValueError of the logarithm where codec and source are equal."""
    assert AXES[metric].place(AXES[metric].best) == math.inf


def test_places_rise_with_quality():
    """Catches a similarity treated as a distance."""
    assert AXES["ms_ssim"].place(0.99) > AXES["ms_ssim"].place(0.9) and not AXES["ms_ssim"].distance
    assert (
        AXES["lpips_alex"].place(0.01) > AXES["lpips_alex"].place(0.1)
        and AXES["lpips_alex"].distance
    )


def test_an_unknown_metric_lists_the_known():
    """Catches a KeyError hours later."""
    with pytest.raises(CodecError, match="'ssim' is not known; choose from psnr_rgb, psnr_y"):
        axis_of("ssim")
