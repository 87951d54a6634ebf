"""The training loss: bits, squared error and LPIPS."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codec.errors import CodecError
from codec.metrics.lpips import load_lpips
from codec.quality import log_interpolate
from codec.video import CodedClip


@dataclass
class LossTerms:
    """The scalar to minimise, and what it is made of (detached, by name) to log."""

    loss: Tensor
    terms: dict[str, Tensor]


class RateDistortionLoss(nn.Module):
    """`bpp + lambda · (mse · 255² · MSE + lpips · LPIPS + prediction · 255² · MSE of the prediction)`, averaged.

    Lambda is log-interpolated over quality. As losses differ by two orders of magnitude between quality 0 and 63, each
    sample is divided by `lambda ** balance`, relative to the middle of the range, so that all qualities are heard.

    Args:
        lambda_low, lambda_high: lambda at quality 0 and 63.
        mse, lpips: weights of the distortions. One unit of LPIPS counts as much as an MSE of `lpips` in 255² units.
        prediction: weight of the squared error of what the motion network predicted, in the same units as `mse`.
        lpips_net: `alex` or `vgg`.
        lpips_backbone: see `codec.metrics.lpips`; None searches.
        balance: 0 leaves samples as they are, 1 makes distortions equal.
        frame_weights: weights of the distortion of frames, repeated over the clip; None: all equal.
    """

    def __init__(
        self,
        lambda_low: float = 0.003,
        lambda_high: float = 0.4,
        mse: float = 1.0,
        lpips: float = 0.0,
        prediction: float = 0.0,
        lpips_net: str = "alex",
        lpips_backbone: str | None = None,
        balance: float = 0.5,
        frame_weights: list[float] | None = None,
    ) -> None:
        super().__init__()
        if not 0 < lambda_low <= lambda_high:
            raise CodecError(f"loss.lambda_low, lambda_high: {lambda_low}, {lambda_high}; expected 0 < low <= high")
        self.lambda_low, self.lambda_high, self.balance = lambda_low, lambda_high, balance
        self.frame_weights = frame_weights or [1.0]
        self.start, self.backbone = {"mse": mse, "lpips": lpips, "prediction": prediction}, (lpips_net, lpips_backbone)
        self.perceptual = None
        self.weigh()

    def weigh(self, **weights: float) -> None:
        """Set the weights of the distortions; those not given are as they were at the start.

        Raises:
            CodecError: an unknown term, a negative weight, or all zero; LPIPS wanted and its backbone not found.
        """
        values = self.start | weights
        if unknown := set(values) - set(self.start):
            raise CodecError(f"loss: unknown terms {sorted(unknown)}; known are {sorted(self.start)}")
        if min(values.values()) < 0 or not any(values.values()):
            raise CodecError(f"loss: weights {values}; expected at least 0, one of them above")
        self.mse, self.lpips, self.prediction = values["mse"], values["lpips"], values["prediction"]
        if self.lpips and self.perceptual is None:
            self.perceptual = load_lpips(*self.backbone)

    def forward(self, frames: Tensor, coded: CodedClip, quality: Tensor) -> LossTerms:
        """Loss of `coded` against `frames` `(B, T, 3, H, W)` in 0..1, coded at `quality` `(B,)`."""
        batch, length = frames.shape[:2]
        weights = torch.tensor([self.frame_weights[t % len(self.frame_weights)] for t in range(length)]).to(frames)
        mse = (frames - coded.frames).square().mean((2, 3, 4))
        distortion = self.mse * 255**2 * mse
        psnr = -10 * mse.clamp(min=1e-10).log10()
        intra = torch.tensor(coded.intra, device=frames.device)
        terms = {"bpp": coded.bpp.mean(), "psnr": psnr.mean(), "psnr_intra": psnr[:, intra].mean()}
        if not all(coded.intra):
            terms["psnr_predicted"] = psnr[:, ~intra].mean()
        if self.lpips:
            with torch.autocast(frames.device.type, enabled=False):
                lpips = self.perceptual(frames.flatten(0, 1), coded.frames.float().flatten(0, 1)).view(batch, length)
            distortion = distortion + self.lpips * lpips
            terms["lpips"] = lpips.mean()
        if self.prediction:
            missed = (frames - coded.predictions).square().mean((2, 3, 4)) * ~intra
            distortion = distortion + self.prediction * 255**2 * missed
        lambdas = log_interpolate(self.lambda_low, self.lambda_high, quality)
        middle = (self.lambda_low * self.lambda_high) ** 0.5
        loss = coded.bpp.mean(1) + lambdas * (distortion * weights).mean(1)
        loss = (loss * (middle / lambdas) ** self.balance).mean()
        pixels = frames.shape[-1] * frames.shape[-2]
        terms |= {f"bpp_{name}": value.mean() / pixels for name, value in coded.bits.items()}
        return LossTerms(loss, {"loss": loss.detach()} | {name: value.detach() for name, value in terms.items()})
