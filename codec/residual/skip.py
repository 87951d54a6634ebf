"""The skip gate: static content for which nothing is coded stays as it is."""

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.references import Context


def skip_gate(latent: Tensor, context: Context) -> Tensor | None:
    """Where a reconstruction is let through: where something moves or something was coded.
        Elsewhere the last frame stays.

    Without it the networks' corrections add up, frame after frame, where nothing happens: that
    drifts or costs bits. The gate costs no bits: both sides know what it is made of, the
    transmitted motion and the latent. Expected values alone, which are below half a step where no
    symbol is coded, do not open it.

    Args:
        latent: `(B, C, h, w)` transmitted, in quantisation steps.
        context: with `warped` and `motion_mask` `(B, 1, h', w')`; without them there is nothing to
            keep.

    Returns:
        `(B, 1, h, w)` in 0..1, or None: nothing to keep.
    """
    if context.warped is None or context.motion_mask is None:
        return None
    coded = (2 * latent.abs().amax(1, keepdim=True) - 1).clamp(0, 1)
    moving = F.adaptive_max_pool2d(context.motion_mask, coded.shape[-2:])
    return F.max_pool2d(torch.maximum(coded, moving.to(coded)), 3, stride=1, padding=1)
