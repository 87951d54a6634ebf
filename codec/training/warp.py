"""How well motion alone predicts, for stages whose loss looks at it."""

from torch import Tensor, nn

from codec.video import CodedClip

WARP = "warp_psnr"


def with_warp(
    terms: dict[str, Tensor], loss: nn.Module, frames: Tensor, coded: CodedClip
) -> dict[str, Tensor]:
    """The terms, with the PSNR of the prediction (dB) where the loss weighs the prediction or the
    motion's estimate.

    Where the estimate is weighed it is that of the estimate: what motion, not yet coded, would
    predict. Without a predicted frame there is none.

    Args:
        terms: that the loss gave, by name.
        loss: with the weights of the stage, `prediction` and `estimate`; one that has neither
            weighs neither.
        frames: `(B, T, 3, H, W)` RGB in 0..1.
        coded: what coding them gave.
    """
    estimate, prediction = (getattr(loss, name, 0.0) for name in ("estimate", "prediction"))
    predicted = [t for t, intra in enumerate(coded.intra) if not intra]
    if not (estimate or prediction) or not predicted:
        return terms
    pictures = coded.warped_uncoded if estimate else coded.predictions
    missed = (frames[:, predicted] - pictures[:, predicted].detach()).square().mean((2, 3, 4))
    return terms | {WARP: -10 * missed.clamp(min=1e-10).log10().mean()}
