"""The temporal metrics against their formulas."""

import numpy as np
import pytest
import torch
from distorted import clip_and_distorted

from codec.errors import CodecError
from codec.metrics import load_lpips, lpips_in_time, psnr, temporal_difference


def test_difference_of_frame_differences_is_the_formula():
    """Catches wrap-around of uint8 differences, another order of the frames, and a mean over frames
    before the logarithm.
    """
    first, second = (clip[:, 0] for clip in clip_and_distorted(4, 37, 29))
    x, y = first.numpy().astype(float), second.numpy().astype(float)
    errors = ((np.diff(x, axis=0) - np.diff(y, axis=0)) ** 2).mean(axis=(1, 2))
    np.testing.assert_allclose(
        temporal_difference(first, second).numpy(), 10 * np.log10(255**2 / errors), rtol=1e-12
    )


def test_an_error_that_stays_is_not_flicker():
    """Catches a metric that is PSNR under another name: a constant error is perfect here, and
    flicker is worse than PSNR.
    """
    clip = torch.full((3, 8, 8), 100, dtype=torch.uint8)
    assert temporal_difference(clip, clip + 20).tolist() == [100, 100]
    flickering = clip.clone()
    flickering[1] += 20
    assert (temporal_difference(clip, flickering) == psnr(clip, flickering)[1]).all()


def test_temporal_lpips_is_the_formula():
    """Catches source and decoded mixed up in a pair, the order of frames, and features kept from
    the wrong frame.
    """
    net = load_lpips("alex")
    first, second = clip_and_distorted(4, 48, 40)
    x, y = first / 255, second / 255
    spatial, temporal = lpips_in_time(net, first, second)
    with torch.inference_mode():
        np.testing.assert_allclose(spatial, net(x, y), rtol=1e-5)
        np.testing.assert_allclose(
            temporal, (net(x[1:], x[:-1]) - net(y[1:], y[:-1])).abs(), atol=1e-6
        )
    assert temporal.shape == (3,) and temporal.min() > 1e-4


def test_one_frame_has_no_change():
    """Catches an error or a made-up figure for a clip of one frame."""
    clip, distorted = clip_and_distorted(1, 40, 40)
    assert temporal_difference(clip, distorted).shape == (0,)
    spatial, temporal = lpips_in_time(load_lpips("alex"), clip, distorted)
    assert spatial.shape == (1,) and temporal.shape == (0,)


def test_refused_inputs():
    """Catches clips of different lengths compared as far as the shorter goes."""
    clip = torch.zeros(3, 3, 40, 40, dtype=torch.uint8)
    with pytest.raises(CodecError, match="one shape"):
        temporal_difference(clip, clip[:2])
    with pytest.raises(CodecError, match="one shape"):
        lpips_in_time(load_lpips("alex"), clip, clip[:2])
    with pytest.raises(CodecError, match="at least 31 pixels"):
        lpips_in_time(load_lpips("alex"), clip[..., :30], clip[..., :30])
