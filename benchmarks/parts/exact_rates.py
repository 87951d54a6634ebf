"""What integer arithmetic costs in bits: one entropy network trained in integers, in floats, and in
floats that see more.
"""

import copy
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from parts.floating import floating
from torch import Tensor, nn

from codec.entropy.coding.symbol_coder import RateEstimator, SymbolCoder
from codec.entropy.models.checkerboard import CheckerboardEntropy
from codec.entropy.models.integer_layers import SIXTEENTHS, set_rounding
from codec.errors import CodecError
from codec.quality import QUALITIES
from codec.references import Context
from codec.video import VideoCodec
from data.io.source_clip import read_source
from data.loading.datamodule import ClipDataModule
from data.sources.discovery import find_videos

TESTED = (4, 22, 41, 59)  # qualities
KINDS = ("integers", "floats", "float context")
RATE = 4e-4  # of AdamW at the start
BATCH = 8


@dataclass(frozen=True)
class Sample:
    """What residuals are transmitted with: latents `(B, C, h, w)`, quality `(B,)`, features `(B, F,
    2·h, 2·w)`.
    """

    latent: Tensor
    previous: Tensor
    quality: Tensor
    features: Tensor


class Recorder(nn.Module):
    """Takes the place of a codec's residual entropy network and remembers what that is given, a
    `Sample` each.

    The first predicted frame after an intra frame, which has no last one, is left out.
    """

    def __init__(self, codec: VideoCodec) -> None:
        super().__init__()
        self.inner, self.samples = codec.entropy, []
        codec.entropy = self
        codec.motion.register_forward_hook(self.see)

    def see(self, motion: nn.Module, inputs: tuple[object, ...], context: Context) -> None:
        """A hook: the features that the next sample has."""
        self.features = context.features

    def code(
        self,
        component: str,
        latent: Tensor,
        size: tuple[int, int],
        quality: Tensor,
        symbol_coder: SymbolCoder,
        previous: Tensor | None = None,
        previous_quality: Tensor | None = None,
    ) -> Tensor:
        if previous is not None:
            parts = (value.split(1) for value in (latent, previous, quality, self.features))
            self.samples.extend(Sample(*each) for each in zip(*parts, strict=True))
        return self.inner.code(component, latent, size, quality, symbol_coder, previous)


class Variant(nn.Module):
    """A copy of an entropy network that can be trained, and that codes every symbol.

    Its dead zone stays as it is: that and skipped symbols trade bits for quality, where only bits
        are to be compared.

    Args:
        entropy: what is copied, weights and all.
        kind: of `KINDS`. With float context, a convolution of `features` channels at twice the
            latent's size adds to what the first step sums, before its blocks; it starts at zero.
        features: as the codec's motion network gives them.
    """

    def __init__(self, entropy: CheckerboardEntropy, kind: str, features: int) -> None:
        super().__init__()
        self.entropy = copy.deepcopy(entropy) if kind == "integers" else floating(entropy)
        self.entropy.requires_grad_(True).dead_zone.requires_grad_(False)
        set_rounding(self.entropy, kind == "integers")
        self.entropy.skip_below = 0
        self.context = None
        if kind == "float context":
            self.context = nn.Conv2d(
                features, self.entropy.first.previous.out_channels, 2, stride=2
            )
            for parameter in self.context.parameters():
                nn.init.zeros_(parameter)
            self.entropy.first.blocks.register_forward_pre_hook(
                lambda blocks, sums: sums[0] + self.seen
            )

    def forward(self, sample: Sample, hard: bool) -> tuple[Tensor, Tensor]:
        """Bits `(B,)`, estimated or `hard`, and the latent that the receiver has."""
        if self.context is not None:
            self.seen = self.context(sample.features * SIXTEENTHS)
        symbol_coder, size = RateEstimator(hard), tuple(sample.latent.shape[-2:])
        sent = self.entropy.code(
            "residual", sample.latent, size, sample.quality, symbol_coder, sample.previous
        )
        return sum(symbol_coder.take_bits().values()), sent


def compare_rates(
    codec: VideoCodec, train: list[str], test: list[str], clips: int, frames: int, steps: int
) -> dict[str, float]:
    """Train the variants, print their bits and errors, and say how they compare in percent.

    Args:
        codec: its networks stay as they are.
        train, test: clips by name.
        clips: random ones of four frames that are recorded to train on, 160 pixels a side.
        frames: coded of each of the others.
        steps: of training.

    Raises:
        CodecError: the codec's residual has another entropy network than `CheckerboardEntropy`.
    """
    if not isinstance(codec.entropy, CheckerboardEntropy):
        kind = type(codec.entropy).__name__
        raise CodecError(
            f"exact_symbols: the checkpoint's entropy network is {kind}; give one trained with "
            "entropy=checkerboard"
        )
    torch.manual_seed(0)
    samples = record(codec, random_clips(train, clips))
    features = samples[0].features.shape[1]
    variants = {kind: Variant(codec.entropy, kind, features) for kind in KINDS}
    print(
        f"rates: {steps} steps of {BATCH} of {len(samples)} predicted frames of {', '.join(train)}"
    )
    fit(variants, samples, steps)
    logs = {kind: [] for kind in KINDS}
    for path in find_videos(test):
        for quality in TESTED:
            tested = record(codec, [(read_source(path, frames).rgb[None], torch.tensor([quality]))])
            bits = measure(variants, tested, f"{path.stem}, quality {quality}")
            for kind in KINDS:
                logs[kind].append(math.log(bits[kind]))
    integers, floats, context = (sum(logs[kind]) / len(logs[kind]) for kind in KINDS)
    return {
        "integer_rate_cost_percent": round(100 * math.expm1(integers - floats), 2),
        "float_context_rate_gain_percent": round(-100 * math.expm1(context - floats), 2),
    }


def random_clips(names: list[str], count: int) -> Iterable[tuple[Tensor, Tensor]]:
    """Uint8 frames `(B, T, 3, H, W)` and random qualities `(B,)`, at least `count` clips in all."""
    batch = 4
    data = ClipDataModule(names, frames=4, crop=160, batch=batch, hold_mb=600)
    data.configure(4, 160, batch, batches=-(-count // batch))
    for clip in data.train_dataloader():
        yield clip.frames, torch.randint(0, QUALITIES, (batch,))


@torch.no_grad()
def record(codec: VideoCodec, clips: Iterable[tuple[Tensor, Tensor]]) -> list[Sample]:
    """What the residuals of the predicted frames of `clips` are transmitted with, but for the first
    of each.
    """
    watched = copy.deepcopy(codec).eval()
    recorder = Recorder(watched)
    for frames, quality in clips:
        watched(frames.float() / 255, quality, hard=True)
    return recorder.samples


def joined(samples: list[Sample]) -> Sample:
    """One batch of samples of one size."""
    return Sample(
        *(torch.cat([vars(sample)[name] for sample in samples]) for name in vars(samples[0]))
    )


def fit(variants: dict[str, Variant], samples: list[Sample], steps: int) -> None:
    """Train all on the same batches and noise, for the mean logarithm of bits: what is cheap counts
    as much as what is not.
    """
    optimizers = {
        kind: torch.optim.AdamW(variant.parameters(), lr=RATE, weight_decay=0.0)
        for kind, variant in variants.items()
    }
    shown, start = dict.fromkeys(variants, 0.0), time.perf_counter()
    for step in range(1, steps + 1):
        generator = torch.Generator().manual_seed(step)
        chosen = torch.randint(len(samples), (BATCH,), generator=generator).tolist()
        batch = joined([samples[i] for i in chosen])
        for kind, variant in variants.items():
            torch.manual_seed(step)
            bits = variant.train()(batch, hard=False)[0].log().mean()
            optimizers[kind].param_groups[0]["lr"] = RATE * (1 - (step - 1) / steps)
            optimizers[kind].zero_grad()
            bits.backward()
            nn.utils.clip_grad_norm_(variant.parameters(), 1.0)
            optimizers[kind].step()
            shown[kind] += bits.item()
        if step % 50 == 0 or step == steps:
            means = ", ".join(
                f"{kind} {total / (step % 50 or 50):.4f}" for kind, total in shown.items()
            )
            print(
                f"  step {step}, mean log of bits: {means}; {time.perf_counter() - start:.0f} s",
                flush=True,
            )
            shown = dict.fromkeys(variants, 0.0)


@torch.no_grad()
def measure(variants: dict[str, Variant], samples: list[Sample], title: str) -> dict[str, float]:
    """Hard bits of all `samples`; printed with the mean squared error of what was sent, in
    quantisation steps.
    """
    bits, errors = {}, {}
    for kind, variant in variants.items():
        coded = [variant.eval()(sample, hard=True) for sample in samples]
        bits[kind] = sum(float(each.sum()) for each, _ in coded)
        wrong = [
            float((sent - sample.latent).square().mean())
            for (_, sent), sample in zip(coded, samples, strict=True)
        ]
        errors[kind] = sum(wrong) / len(wrong)
    said = "; ".join(
        f"{kind} {bits[kind] / len(samples) / 1000:.2f} kbit, error {errors[kind]:.5f}"
        for kind in variants
    )
    print(f"  {title}, a predicted frame: {said}", flush=True)
    return bits
