"""The training loss: bits, squared error and LPIPS."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codec.errors import CodecError
from codec.metrics.lpips import Lpips, load_lpips
from codec.video import CodedClip


@dataclass
class LossTerms:
    """The scalar to minimise, and what it is made of (detached, by name) to log."""

    loss: Tensor
    terms: dict[str, Tensor]


class RateDistortionLoss(nn.Module):
    """`bpp + lambda · (mse · 255² · MSE + lpips · LPIPS + prediction · 255² · MSE of the
    prediction)`, averaged; `estimate` weighs the motion estimate as `prediction` the prediction.

    Lambda is the codec's (`codec.quality.LambdaRange`) at each frame's own quality. As losses
    differ by two orders of magnitude between quality 0 and 63, each sample is divided by `lambda **
    balance` at the clip's quality, relative to the middle of the range, so that all qualities are
    heard.

    Args:
        mse, lpips: weights of the distortions. One unit of LPIPS counts as much as an MSE of
            `lpips` in 255² units.
        prediction: weight of the squared error of what the motion network predicted, in the same
            units as `mse`.
        estimate: the same of what its motion, not yet coded, would predict; for networks that learn
            to estimate motion.
        lpips_net: `alex` or `vgg`.
        lpips_backbone: see `codec.metrics.lpips`; None searches.
        balance: 0 leaves samples as they are, 1 makes distortions equal.
        frame_weights: weights of the distortion by frame of the clip, repeated; None: all equal.
            DCVC's hierarchical quality is `[0.52, 1.33, 0.52, 0.83, 0.52, 0.83, 0.52, 0.83]`: its
            levels 0, 1, 2 at frames 0 1 0 2 0 2 0 2, counted from the intra frame.
    """

    def __init__(
        self,
        mse: float = 1.0,
        lpips: float = 0.0,
        prediction: float = 0.0,
        estimate: float = 0.0,
        lpips_net: str = "alex",
        lpips_backbone: str | None = None,
        balance: float = 0.5,
        frame_weights: list[float] | None = None,
    ) -> None:
        super().__init__()
        self.balance = balance
        self.start = {"mse": mse, "lpips": lpips, "prediction": prediction, "estimate": estimate}
        self.backbone = (lpips_net, lpips_backbone)
        self.start_frame_weights = frame_weights or [1.0]
        self.perceptual: Lpips | None = None
        self.set_weights()

    def set_weights(self, frame_weights: list[float] | None = None, **weights: float) -> None:
        """Set the weights of frames and of the distortions; those not given are as they were at the
        start.

        Raises:
            CodecError: an unknown term, a negative weight, or all zero; LPIPS wanted and its
                backbone not found.
        """
        self.frame_weights = frame_weights or self.start_frame_weights
        values = self.start | weights
        if unknown := set(values) - set(self.start):
            raise CodecError(
                f"loss: unknown terms {sorted(unknown)}; known are {sorted(self.start)}"
            )
        if min(values.values()) < 0 or not any(values.values()):
            raise CodecError(f"loss: weights {values}; expected at least 0, one of them above")
        self.mse, self.lpips, self.prediction, self.estimate = (values[name] for name in self.start)
        if self.lpips and self.perceptual is None:
            self.perceptual = load_lpips(*self.backbone)

    def forward(self, frames: Tensor, coded: CodedClip, quality: Tensor) -> LossTerms:
        """Loss of `coded` against `frames` `(B, T, 3, H, W)` in 0..1, coded at `quality` `(B,)`; a
        mean over frames.
        """
        batch, length = frames.shape[:2]
        weights = torch.tensor([self._weight(coded.first + t) for t in range(length)]).to(frames)
        mse = _SquaredError.apply(frames, coded.frames)
        distortion = self.mse * 255**2 * mse
        psnr = -10 * mse.clamp(min=1e-10).log10()
        intra = torch.tensor(coded.intra, device=frames.device)
        kinds = {"psnr_intra": intra, "psnr_predicted": ~intra}
        terms = {"bpp": coded.bpp.mean(), "psnr": psnr.mean()}
        there = {"psnr_intra": sum(coded.intra), "psnr_predicted": length - sum(coded.intra)}
        terms |= {
            name: (psnr * kinds[name]).sum() / (batch * count)
            for name, count in there.items()
            if count
        }
        if self.lpips:
            assert self.perceptual is not None  # `weigh` loads it with the first weight above 0
            with torch.autocast(frames.device.type, enabled=False):
                lpips = self.perceptual(
                    frames.flatten(0, 1), coded.frames.float().flatten(0, 1)
                ).view(batch, length)
            distortion = distortion + self.lpips * lpips
            terms["lpips"] = lpips.mean()
        if self.prediction:
            distortion = distortion + self.prediction * _missed(frames, coded.predictions, intra)
        if self.estimate:
            if coded.warped_uncoded is None:
                raise CodecError(
                    "loss.estimate: this codec's motion network estimates no motion before it "
                    "codes it; set it to 0"
                )
            distortion = distortion + self.estimate * _missed(frames, coded.warped_uncoded, intra)
        lambdas = coded.lambdas
        loss = coded.bpp.mean(1) + (lambdas.at(coded.quality) * distortion * weights).mean(1)
        loss = (loss * (lambdas.middle / lambdas.at(quality)) ** self.balance).mean()
        pixels = frames.shape[-1] * frames.shape[-2]
        terms |= {f"bpp_{name}": value.mean() / pixels for name, value in coded.bits.items()}
        return LossTerms(
            loss, {"loss": loss.detach()} | {name: value.detach() for name, value in terms.items()}
        )

    def _weight(self, frame: int) -> float:
        """Of the distortion of a frame, counted from the clip's first."""
        return self.frame_weights[frame % len(self.frame_weights)]


def _missed(frames: Tensor, pictures: Tensor, intra: Tensor) -> Tensor:
    """`(B, T)` squared error in 255² units, none for intra frames."""
    return 255**2 * _SquaredError.apply(frames, pictures) * ~intra


class _SquaredError(torch.autograd.Function):
    """`(B, T)` mean squared differences of `(B, T, 3, H, W)`; each pixel is seen once."""

    @staticmethod
    def forward(ctx, wanted: Tensor, found: Tensor) -> Tensor:
        missed = found - wanted
        ctx.save_for_backward(missed)
        return torch.linalg.vector_norm(missed, dim=(2, 3, 4)).square() / missed[0, 0].numel()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (missed,) = ctx.saved_tensors
        of_found = missed * (gradient * (2 / missed[0, 0].numel()))[..., None, None, None]
        wanted = ctx.needs_input_grad
        return -of_found if wanted[0] else None, of_found if wanted[1] else None
