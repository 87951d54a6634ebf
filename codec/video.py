"""The video codec: an intra coder, and a motion, a residual and an entropy network for predicted
frames.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from codec.entropy.coding.symbol_coder import RateEstimator, SymbolCoder
from codec.entropy.models.base import EntropyNetwork
from codec.entropy.models.integer_layers import rounded_once
from codec.entropy.noise import ClipNoise
from codec.errors import CodecError
from codec.intra.base import IntraNetwork
from codec.layers.frames import COLOURS, check_size, pad_frames, padded
from codec.layers.quality import computed_once
from codec.motion.base import MotionNetwork
from codec.precision import check_precision
from codec.quality import LambdaRange, QualityPattern, check_qualities
from codec.references import MOST_REFERENCES, CodedFrame, Context, Reference, References
from codec.residual.base import ResidualCoder


@dataclass
class CodedClip:
    """What coding a clip gave.

    Attributes:
        frames: `(B, T, 3, H, W)` float32 RGB reconstructions, not clamped in training.
        bits: by component, `(B, T)` each.
        predict: makes `predictions`.
        intra: which of the T frames are intra.
        quality: `(B, T)` integer index 0..63 that each frame was coded at.
        lambdas: what lambda is at which quality.
        first: index of the first of the frames in its clip.
        references: what the frames after the last one may be predicted from; None where nothing can
            follow.
        warped_uncoded: as `predictions`, by the motion as it was estimated, not as it was coded;
            None where no network estimates.
    """

    frames: Tensor
    bits: dict[str, Tensor]
    predict: Callable[[], Tensor | None]
    intra: tuple[bool, ...]
    quality: Tensor
    lambdas: LambdaRange = LambdaRange()
    first: int = 0
    references: References | None = None
    warped_uncoded: Tensor | None = None

    @cached_property
    def predictions(self) -> Tensor:
        """`(B, T, 3, H, W)` what frames were predicted to be; intra frames' reconstructions in
        their place. Made when it is first asked for.
        """
        predictions = self.predict()
        assert predictions is not None  # every predicted frame has one
        return predictions

    @property
    def total_bits(self) -> Tensor:
        """`(B, T)` over all components."""
        return torch.stack(list(self.bits.values())).sum(0)

    @property
    def bpp(self) -> Tensor:
        """`(B, T)` bits a pixel of the original size."""
        return self.total_bits / (self.frames.shape[-1] * self.frames.shape[-2])


@dataclass(frozen=True)
class FrozenAs:
    """What a codec was frozen from and to: `model_hash` of its source, and the precision of its
    networks.
    """

    model: str
    precision: str


class VideoCodec(nn.Module):
    """Composes the four networks. There is one path; the coder says whether it trains, writes or
    reads.

    Args:
        intra: codes the first frame.
        motion, residual, entropy: code the others.
        colours: `ycc` (luma and colour differences, BT.709) or `rgb`: what the networks see. None:
            what they are made for (their attribute `made_for`), `rgb` where none says.
        precision: what the networks of predicted frames compute streams in: of
            `codec.precision.PRECISIONS`, or `auto`, what is fastest on the machine that encodes.
            Training has its own.
        references: decoded frames that a frame may be predicted from, 1 to 4; networks made for one
            use the newest.
        lambda_low, lambda_high: lambda at quality 0 and 63, for training and for decisions at the
            encoder (`LambdaRange`).
        quality_offsets: fields of `QualityPattern`, for example `{intra: 4, predicted: [-4, -4, -4,
            3]}`; None: all frames have the quality of their clip.

    Attributes:
        config: nested plain dictionary that the codec was built from
            (`codec.checkpoint.build_codec`), or None.
        frozen: what it was frozen from and to (`codec.freeze`), or None: it can be trained.
        stored_names: of parameters that had another name in the file they came from.

    Raises:
        CodecError: networks do not fit each other: in channels of latents or features, or in
            colours.
    """

    def __init__(
        self,
        intra: IntraNetwork,
        motion: MotionNetwork,
        residual: ResidualCoder,
        entropy: EntropyNetwork,
        colours: str | None = None,
        precision: str = "fp32",
        references: int = 1,
        lambda_low: float = 0.003,
        lambda_high: float = 0.4,
        quality_offsets: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= references <= MOST_REFERENCES:
            raise CodecError(
                f"codec.references: {references} given; expected 1 to {MOST_REFERENCES}"
            )
        self.references, self.lambdas = references, LambdaRange(lambda_low, lambda_high)
        self.quality_pattern = QualityPattern.of(quality_offsets)
        self.config: dict[str, Any] | None = None
        self.frozen: FrozenAs | None = None
        self.stored_names: dict[str, str] = {}
        self.precision = check_precision(precision)
        given = {"intra": intra, "motion": motion, "residual": residual, "entropy": entropy}
        for part, network in given.items():
            if not isinstance(network, nn.Module):
                what = f"codec.{part}: a {type(network).__name__} given"
                raise CodecError(f"{what}; a network expected")
        residual.prepare_entropy(entropy)
        self.intra, self.motion, self.residual, self.entropy = intra, motion, residual, entropy
        check_features({"intra": intra, "motion": motion, "residual": residual})
        self.colours = COLOURS[choose_colours(self, colours)]
        self.block = max(residual.latent_stride, intra.latent_stride)

    @property
    def exact(self) -> bool:
        """Whether all entropy networks are: a stream then decodes on every machine."""
        return all(module.exact for module in self.modules() if isinstance(module, EntropyNetwork))

    def forward(
        self,
        frames: Tensor,
        quality: Tensor,
        hard: bool = False,
        intra_period: int = -1,
        before: CodedClip | None = None,
        noise: ClipNoise | None = None,
        checkpointing: bool = False,
    ) -> CodedClip:
        """Code a clip, or the next frames of one, through an estimating coder, as training and
        quick validation do.

        Args:
            frames: `(B, T, 3, H, W)` RGB in 0..1.
            quality: `(B,)` integer indices 0..63.
            hard: round symbols and table choices as a stream would.
            intra_period: frames from one intra frame to the next; -1: only the first is intra.
            before: what coding the frames before gave; `frames` follow them. Gradients flow into
                its references.
            noise: of the training proxy; None: from torch's global generator.
            checkpointing: compute each frame's activations again in the backward pass instead of
                keeping them.

        Returns:
            Reconstructions and bits.

        Raises:
            CodecError: shapes do not fit, there is no frame, frames are smaller than 16×16, or a
                quality is not in 0..63.
        """
        if (
            frames.dim() != 5
            or frames.shape[2] != 3
            or not frames.shape[1]
            or quality.shape != frames.shape[:1]
        ):
            raise CodecError(
                "frames (B, T, 3, H, W), T at least 1, and quality (B,) expected: "
                f"{tuple(frames.shape)} and "
                f"{tuple(quality.shape)} came"
            )
        check_qualities(quality)
        height, width = frames.shape[-2:]
        size = (height, width)
        first = before.first + before.frames.shape[1] if before else 0
        references = before.references if before else None
        coded: list[CodedFrame] = []
        spent: list[dict[str, Tensor]] = []
        positions = [since_intra(first + t, intra_period) for t in range(frames.shape[1])]
        qualities = self.quality_pattern.by_frame(quality, positions)
        # what is computed again must not find what was kept
        with rounded_once(self), nullcontext() if checkpointing else computed_once(self):
            for t, (position, own) in enumerate(zip(positions, qualities, strict=True)):
                known = references if position else None
                estimate = self._estimate
                if checkpointing:
                    estimate = partial(checkpoint, self._estimate, use_reentrant=False)
                frame, bits = estimate(frames[:, t], known, size, own, hard, noise, first + t)
                references = frame.references
                coded.append(frame)
                spent.append(bits)
        return self._coded_clip(coded, spent, size, first)

    def _estimate(
        self,
        frame: Tensor,
        references: References | None,
        size: tuple[int, int],
        quality: Tensor,
        hard: bool,
        noise: ClipNoise | None,
        time: int,
    ) -> tuple[CodedFrame, dict[str, Tensor]]:
        """One frame and its bits by component; the same again when it is computed again."""
        coder = RateEstimator(hard, None if noise is None else noise.frame(time))
        return self.code_frame(frame, references, size, quality, coder, time), coder.take_bits()

    def _coded_clip(
        self,
        coded: list[CodedFrame],
        spent: list[dict[str, Tensor]],
        size: tuple[int, int],
        first: int,
    ) -> CodedClip:
        """Frames one after another, and the bits of each by component, as one clip."""
        decoded = [frame.reference.frame for frame in coded]
        intra = tuple(frame.reference.intra for frame in coded)

        def pictures(values: list[Tensor | None]) -> Tensor | None:
            """Of predicted frames; the reconstruction of intra frames. All in one conversion."""
            chosen = [
                own if alone else value
                for value, alone, own in zip(values, intra, decoded, strict=True)
            ]
            known = [one for one in chosen if one is not None]
            return self.picture(torch.stack(known, 1), size) if len(known) == len(chosen) else None

        zero = torch.zeros(len(decoded[0]), device=decoded[0].device)
        names = dict.fromkeys(name for bits in spent for name in bits)
        return CodedClip(
            frames=self.picture(torch.stack(decoded, 1), size),
            bits={name: torch.stack([bits.get(name, zero) for bits in spent], 1) for name in names},
            predict=lambda: pictures([frame.prediction for frame in coded]),
            intra=intra,
            quality=torch.stack(
                [own for frame in coded if (own := frame.reference.quality) is not None], 1
            ),
            lambdas=self.lambdas,
            first=first,
            references=coded[-1].references,
            warped_uncoded=pictures([frame.warped_uncoded for frame in coded]),
        )

    def code_frame(
        self,
        frame: Tensor | None,
        references: References | None,
        size: tuple[int, int],
        quality: Tensor,
        coder: SymbolCoder,
        time: int | None = None,
    ) -> CodedFrame:
        """Code one frame through any coder.

        Args:
            frame: `(B, 3, H, W)` RGB in 0..1; None on the receiving side.
            references: what it is predicted from; None makes an intra frame.
            size: `(H, W)` of the original.
            quality: `(B,)` indices 0..63 of this frame.
            coder: sends or receives.
            time: display time of the frame, in frames; None: the frame after the newest reference,
                0 for an intra frame.

        Returns:
            The frame, and the references of the frame after it; `output` makes the picture of it.

        Raises:
            CodecError: the frame is smaller than 16×16.
        """
        check_size(*size)
        if frame is not None:
            frame = pad_frames(self.colours.from_rgb(frame.float()), self.block)
        context = None
        if references is None:
            reference = self.intra(
                frame, (padded(size[0], self.block), padded(size[1], self.block)), quality, coder
            )
            time = time or 0
        else:
            references = references if time is None else replace(references, time=time)
            time = references.time
            context, reference = self.code_predicted(frame, references, quality, coder)
        reference = replace(
            reference,
            frame=self.colours.limit(reference.frame),
            quality=quality,
            time=time,
            intra=context is None,
        )
        buffer = References(frames=(reference,), time=time + 1)
        return CodedFrame(
            reference=reference,
            references=references.push(reference, self.references) if references else buffer,
            prediction=context.prediction if context else None,
            warped_uncoded=context.warped_uncoded if context else None,
        )

    def code_predicted(
        self, frame: Tensor | None, references: References, quality: Tensor, coder: SymbolCoder
    ) -> tuple[Context, Reference]:
        """Code one padded frame (in the codec's colours) that is predicted from `references`."""
        context = self.motion(frame, references, quality, coder)
        given = frame, context, references.newest, quality, coder, self.entropy
        latent, reconstruction, features = self.residual.code(*given)
        return context, Reference(
            frame=reconstruction, features=features, latent=latent, motion=context.motion
        )

    def output(self, reference: Reference, size: tuple[int, int]) -> Tensor:
        """The picture of a decoded frame: RGB `(B, 3, H, W)` float32, cropped to the
        original size.
        """
        return self.picture(reference.frame, size)

    def picture(self, frame: Tensor, size: tuple[int, int]) -> Tensor:
        """RGB `(…, 3, H, W)` float32 of padded frames in the codec's colours, cropped to the
        original size.
        """
        return self.colours.to_rgb(frame[..., : size[0], : size[1]])


def since_intra(t: int, intra_period: int) -> int:
    """Frames from the last intra frame to `t`: with a period above 0 every so many frames are
    intra, else the first.
    """
    return t % intra_period if intra_period > 0 else t


def is_intra(t: int, intra_period: int) -> bool:
    """Whether frame `t` is intra."""
    return since_intra(t, intra_period) == 0


def check_features(networks: dict[str, IntraNetwork | MotionNetwork | ResidualCoder]) -> None:
    """Raise CodecError where networks that exchange features, and say how many, are made for
    different numbers of them.
    """
    given = {name: network.features for name, network in networks.items()}
    widths = {name: width for name, width in given.items() if width is not None}
    if len(set(widths.values())) > 1:
        listed = ", ".join(f"{name}.features: {width}" for name, width in widths.items())
        raise CodecError(f"{listed}; make them equal (width=… sets all)")


def choose_colours(codec: nn.Module, wanted: str | None) -> str:
    """The colours that a codec's networks can work in, of `COLOURS`.

    Raises:
        CodecError: unknown colours, or networks made for others.
    """
    every = (getattr(module, "made_for", None) for module in codec.modules())
    made_for = {str(made) for made in every if made}
    chosen = wanted or (min(made_for) if made_for else "rgb")
    if chosen not in COLOURS:
        raise CodecError(f"codec.colours: {chosen!r} given; choose from {', '.join(COLOURS)}")
    if made_for - {chosen}:
        raise CodecError(
            f"codec.colours: {chosen}, but networks are made for {', '.join(sorted(made_for))}; "
            "choose other networks"
        )
    return chosen
