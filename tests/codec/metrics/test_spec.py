"""The metrics' own declarations, and their axes of BD-rate."""

import math

import pytest

from codec import registry
from codec.errors import CodecError
from codec.metrics import MetricSpec, spec_of

SPECS = {name: spec_of(name) for name in registry.names_of("metric")}


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
    spec = SPECS[metric]
    assert spec.place(value) == pytest.approx(place) and spec.value(place) == pytest.approx(value)


@pytest.mark.parametrize("metric", [name for name, spec in SPECS.items() if spec.best is not None])
def test_a_perfect_clip_has_no_place(metric: str):
    """Catches a ValueError of the logarithm where codec and source are equal."""
    assert SPECS[metric].place(SPECS[metric].best) == math.inf


def test_every_name_of_ours_is_a_spec():
    """Catches a name in the registry without its declaration, or two with one title."""
    assert len({spec.title for spec in SPECS.values()}) == len(SPECS) == 13
    assert all(isinstance(spec, MetricSpec) for spec in SPECS.values())


def test_places_rise_with_quality():
    """Catches a similarity treated as a distance."""
    assert (
        SPECS["ms_ssim"].place(0.99) > SPECS["ms_ssim"].place(0.9) and not SPECS["ms_ssim"].distance
    )
    assert (
        SPECS["lpips_alex"].place(0.01) > SPECS["lpips_alex"].place(0.1)
        and SPECS["lpips_alex"].distance
    )


def test_an_unknown_metric_lists_the_known():
    """Catches a KeyError hours later."""
    with pytest.raises(CodecError, match="'ssim' is not known; choose from psnr_rgb, psnr_y"):
        spec_of("ssim")
