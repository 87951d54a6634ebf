"""How truly a decoded clip changes from frame to frame: flicker is change that the source does not
have.
"""

from itertools import pairwise

import torch
from torch import Tensor

from codec.metrics.lpips import Lpips
from codec.metrics.psnr import check_pair, decibels


def temporal_difference(reference: Tensor, decoded: Tensor) -> Tensor:
    """PSNR of the frame differences: dB of the mean square of `(x_t - x_{t-1}) - (y_t - y_{t-1})`.

    An error that stays is no error here, whatever its size; the same error in one frame only counts
    twice.

    Args:
        reference: x, `(T, ...)` uint8, such as luma `(T, H, W)`.
        decoded: y, the same shape and type.

    Returns:
        `(T - 1,)` float64 in dB with a peak of 255; `IDENTICAL_DB` where the two change alike.

    Raises:
        CodecError: the two differ in shape or are not uint8.
    """
    check_pair(reference, decoded, "temporal_difference")
    errors = (a.double() - b.double() for a, b in zip(reference, decoded, strict=True))
    changes = [(after - before).flatten() for before, after in pairwise(errors)]
    return decibels(
        torch.tensor(
            [change.dot(change).item() / change.numel() for change in changes], dtype=torch.float64
        )
    )


@torch.inference_mode()
def lpips_in_time(net: Lpips, reference: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor]:
    """LPIPS of every frame, and temporal LPIPS of every frame but the first: features are computed
        once for both.

    Temporal LPIPS is `|LPIPS(x_t, x_{t-1}) - LPIPS(y_t, y_{t-1})|`: how much more or less the
    decoded clip changes than the source does.

    Args:
        net: on its device.
        reference: x, `(T, 3, H, W)` uint8, consecutive frames.
        decoded: y, the same.

    Returns:
        `(T,)` and `(T - 1,)` float64 on the CPU.

    Raises:
        CodecError: the two differ in shape or are not uint8, or the frames are smaller than the net
            can see.

    Source: Chu et al., *Learning Temporal Coherence via Self-Supervision for GAN-based Video
    Generation*, 2020: tLP.
    """
    check_pair(reference, decoded, "lpips")
    spatial, temporal, before = [], [], None
    for first, second in zip(reference.split(1), decoded.split(1), strict=True):
        images = [frame.to(net.device) / 255 for frame in (first, second)]
        net.check(*images)
        x, y = map(net.features, images)
        spatial.append(net.distance(x, y).item())
        if before is not None:
            temporal.append(
                abs(net.distance(before[0], x).item() - net.distance(before[1], y).item())
            )
        before = x, y
    return torch.tensor(spatial, dtype=torch.float64), torch.tensor(temporal, dtype=torch.float64)
