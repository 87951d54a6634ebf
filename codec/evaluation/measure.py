"""Score decoded frames in the chosen metrics."""

from collections.abc import Sequence

import torch
from torch import Tensor

from codec.errors import CodecError
from codec.evaluation.axes import axis_of
from codec.metrics import IDENTICAL_DB, Lpips, load_lpips, psnr
from codec.metrics.lpips import MINIMUM_SIZE

PIXELS_AT_ONCE = {"alex": 2**22, "vgg": 2**19}

Scores = dict[str, float | None]


class Measure:
    """The chosen metrics, ready to score clips.

    Args:
        metrics: names such as `psnr_rgb`, `lpips_alex`, `lpips_vgg`.
        lpips_every: LPIPS takes frames 0, n, 2n, …: 1 for every frame.
        device: where LPIPS runs.

    Raises:
        CodecError: an unknown metric, or LPIPS weights that cannot be found.
    """

    def __init__(self, metrics: Sequence[str], lpips_every: int = 1, device: str = "cpu") -> None:
        for metric in metrics:
            axis_of(metric)
        if lpips_every < 1:
            raise CodecError(f"lpips_every: {lpips_every}; give 1 for every frame, n for every n-th")
        self.metrics = list(metrics)
        self.every = lpips_every
        self.device = device
        nets = {name: name.removeprefix("lpips_") for name in metrics if name.startswith("lpips_")}
        self.lpips = {name: load_lpips(net).to(device) for name, net in nets.items()}

    def settings(self) -> dict[str, str]:
        """How every metric is computed, in words."""
        psnr_rule = f"dB per frame over R, G and B together, mean over frames; perfect frames count {IDENTICAL_DB:g} dB"
        lpips_rule = "mean over frames" + f" 0, {self.every}, {2 * self.every}, …" * (self.every > 1)
        rules = {name: f"LPIPS 0.1, {lpips_rule}, backbone: {net.origin}" for name, net in self.lpips.items()}
        return {name: f"{rules.get(name, psnr_rule)}; BD-rate over {axis_of(name).scale}" for name in self.metrics}

    def score(self, reference: Tensor, decoded: Tensor) -> tuple[Scores, list[str]]:
        """Score one clip.

        Args:
            reference: `(T, 3, H, W)` uint8 RGB.
            decoded: the same shape.

        Returns:
            A value by metric, None where the frames are too small for it; and notes on what is unusual.
        """
        scores: Scores = {}
        notes: list[str] = []
        for name in self.metrics:
            value, note = self.lpips_of(name, reference, decoded) if name in self.lpips else psnr_of(reference, decoded)
            scores[name] = value
            notes += [f"{name}: {note}"] * bool(note)
        return scores, notes

    @torch.inference_mode()
    def lpips_of(self, name: str, reference: Tensor, decoded: Tensor) -> tuple[float | None, str]:
        """LPIPS of the chosen frames, a few at a time."""
        net: Lpips = self.lpips[name]
        height, width = reference.shape[-2:]
        least = MINIMUM_SIZE[net.net]
        if min(height, width) < least:
            return None, f"frames of {width}x{height} are below the {least}x{least} it needs"
        at_once = max(1, PIXELS_AT_ONCE[net.net] // (height * width))
        pairs = zip(*(frames[:: self.every].split(at_once) for frames in (reference, decoded)), strict=True)
        distances = [net(a.to(self.device) / 255, b.to(self.device) / 255).cpu() for a, b in pairs]
        return torch.cat(distances).double().mean().item(), ""


def psnr_of(reference: Tensor, decoded: Tensor) -> tuple[float, str]:
    """Mean PSNR over frames, and how many frames were perfect."""
    frames = psnr(reference, decoded)
    perfect = int((frames == IDENTICAL_DB).sum())
    return frames.mean().item(), f"{perfect} of {len(frames)} frames are perfect, {IDENTICAL_DB:g} dB" * bool(perfect)
