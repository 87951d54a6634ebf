"""The video codec: an intra coder, and a motion, a residual and an entropy network for predicted frames."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from codec.entropy.channel import Channel, EstimateChannel
from codec.entropy.network import EntropyNetwork, check_channels
from codec.entropy.noise import ClipNoise
from codec.errors import CodecError
from codec.intra.network import IntraNetwork
from codec.layers.frames import COLOURS, check_size, pad_frames, padded
from codec.motion.network import MotionNetwork
from codec.precision import check_precision
from codec.quality import check_qualities
from codec.residual.network import ResidualNetwork
from codec.state import ReferenceState


@dataclass
class CodedClip:
    """What coding a clip gave.

    Attributes:
        frames: `(B, T, 3, H, W)` float32 RGB reconstructions, not clamped in training.
        bits: by component, `(B, T)` each.
        predictions: `(B, T, 3, H, W)` what frames were predicted to be; intra frames' reconstructions in their place.
        estimates: as predictions, by the motion as it was estimated, not as it was coded; None where no network estimates.
        intra: which of the T frames are intra.
        first: index of the first of the frames in its clip.
        state: what the last frame left, for the frames after it; None where nothing can follow.
    """

    frames: Tensor
    bits: dict[str, Tensor]
    predictions: Tensor
    intra: tuple[bool, ...]
    first: int = 0
    state: ReferenceState | None = None
    estimates: Tensor | None = None

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
    """What a codec was frozen from and to: `model_hash` of its source, and the precision of its networks."""

    model: str
    precision: str


class VideoCodec(nn.Module):
    """Composes the four networks. There is one path; the channel says whether it trains, writes or reads.

    Args:
        intra: codes the first frame.
        motion, residual, entropy: code the others.
        colours: `ycc` (luma and colour differences, BT.709) or `rgb`: what the networks see. None: what they are made for
            (their attribute `made_for`), `rgb` where none says.
        precision: what the networks of predicted frames compute streams in: of `codec.precision.PRECISIONS`, or `auto`, what is
            fastest on the machine that encodes. Training has its own.

    Attributes:
        config: nested plain dictionary that the codec was built from (`codec.checkpoint.build_codec`), or None.
        frozen: what it was frozen from and to (`codec.freeze`), or None: it can be trained.

    Raises:
        CodecError: networks do not fit each other: in channels of latents or features, or in colours.
    """

    def __init__(
        self,
        intra: IntraNetwork,
        motion: MotionNetwork,
        residual: ResidualNetwork,
        entropy: EntropyNetwork,
        colours: str | None = None,
        precision: str = "fp32",
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] | None = None
        self.frozen: FrozenAs | None = None
        self.precision = check_precision(precision)
        check_channels("entropy", entropy, residual.latent_channels)
        self.intra, self.motion, self.residual, self.entropy = intra, motion, residual, entropy
        check_features({"intra": intra, "motion": motion, "residual": residual})
        self.colours = COLOURS[choose_colours(self, colours)]
        self.block = max(residual.latent_stride, intra.latent_stride)
        magnitude = residual.typical_magnitude(predicted=True)
        if magnitude is not None:
            entropy.start_from(magnitude)

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
        """Code a clip, or the next frames of one, through an estimating channel, as training and quick validation do.

        Args:
            frames: `(B, T, 3, H, W)` RGB in 0..1.
            quality: `(B,)` integer indices 0..63.
            hard: round symbols and table choices as a stream would.
            intra_period: frames from one intra frame to the next; -1: only the first is intra.
            before: what coding the frames before gave; `frames` follow them. Gradients flow into its state.
            noise: of the training proxy; None: from torch's global generator.
            checkpointing: compute each frame's activations again in the backward pass instead of keeping them.

        Returns:
            Reconstructions and bits.

        Raises:
            CodecError: shapes do not fit, there is no frame, frames are smaller than 16×16, or a quality is not in 0..63.
        """
        if frames.dim() != 5 or frames.shape[2] != 3 or not frames.shape[1] or quality.shape != frames.shape[:1]:
            raise CodecError(
                f"frames (B, T, 3, H, W), T at least 1, and quality (B,) expected: {tuple(frames.shape)} and "
                f"{tuple(quality.shape)} came"
            )
        check_qualities(quality)
        size, first = frames.shape[-2:], before.first + before.frames.shape[1] if before else 0
        state, outputs, predictions, estimates, bits, kinds = before and before.state, [], [], [], {}, []
        for t in range(frames.shape[1]):
            intra = is_intra(first + t, intra_period)
            given = (frames[:, t], None if intra else state, size, quality, hard, noise, first + t)
            state, spent = checkpoint(self._estimate, *given, use_reentrant=False) if checkpointing else self._estimate(*given)
            outputs.append(self.output(state, size))
            predictions.append(outputs[-1] if intra else self.picture(state.prediction, size))
            if intra or state.estimate is not None:
                estimates.append(outputs[-1] if intra else self.picture(state.estimate, size))
            kinds.append(intra)
            for component, value in spent.items():
                bits.setdefault(component, {})[t] = value
        zero = torch.zeros(len(frames), device=frames.device)
        by_frame = {name: torch.stack([row.get(t, zero) for t in range(frames.shape[1])], 1) for name, row in bits.items()}
        estimated = torch.stack(estimates, 1) if len(estimates) == len(outputs) else None
        coded, predicted = torch.stack(outputs, 1), torch.stack(predictions, 1)
        return CodedClip(coded, by_frame, predicted, tuple(kinds), first, state, estimated)

    def _estimate(
        self,
        frame: Tensor,
        state: ReferenceState | None,
        size: tuple[int, int],
        quality: Tensor,
        hard: bool,
        noise: ClipNoise | None,
        number: int,
    ) -> tuple[ReferenceState, dict[str, Tensor]]:
        """One frame and its bits by component; the same again when it is computed again."""
        channel = EstimateChannel(hard, noise and noise.frame(number))
        return self.code_frame(frame, state, size, quality, channel), channel.take_bits()

    def code_frame(
        self,
        frame: Tensor | None,
        state: ReferenceState | None,
        size: tuple[int, int],
        quality: Tensor,
        channel: Channel,
    ) -> ReferenceState:
        """Code one frame through any channel.

        Args:
            frame: `(B, 3, H, W)` RGB in 0..1; None on the receiving side.
            state: what the last frame left; None makes an intra frame.
            size: `(H, W)` of the original.
            quality: `(B,)` indices 0..63.
            channel: sends or receives.

        Returns:
            The state after the frame; `output` makes the picture of it.

        Raises:
            CodecError: the frame is smaller than 16×16.
        """
        check_size(*size)
        if frame is not None:
            frame = pad_frames(self.colours.from_rgb(frame.float()), self.block)
        if state is None:
            state = self.intra(frame, (padded(size[0], self.block), padded(size[1], self.block)), quality, channel)
        else:
            state = self.code_predicted(frame, state, quality, channel)
        state.frame = self.colours.limit(state.frame)
        return state

    def code_predicted(self, frame: Tensor | None, state: ReferenceState, quality: Tensor, channel: Channel) -> ReferenceState:
        """Code one padded frame (in the codec's colours) that is predicted from `state`."""
        context = self.motion(frame, state, quality, channel)
        latent = self.residual.analyse(frame, context, quality) if channel.sends else None
        stride = self.residual.latent_stride
        size = (state.frame.shape[-2] // stride, state.frame.shape[-1] // stride)
        latent = self.entropy.transmit("residual", latent, size, quality, channel, state.symbols)
        reconstruction, features = self.residual.synthesise(latent, context, quality)
        return ReferenceState(reconstruction, features, latent, context.motion, context.prediction, context.estimate)

    def output(self, state: ReferenceState, size: tuple[int, int]) -> Tensor:
        """The picture in a state: RGB `(B, 3, H, W)` float32, cropped to the original size."""
        return self.picture(state.frame, size)

    def picture(self, frame: Tensor, size: tuple[int, int]) -> Tensor:
        """RGB `(B, 3, H, W)` float32 of a padded frame in the codec's colours, cropped to the original size."""
        return self.colours.to_rgb(frame[..., : size[0], : size[1]])


def is_intra(t: int, intra_period: int) -> bool:
    """Whether frame `t` is intra: the first, and with a period above 0 every so many frames."""
    return t == 0 or (intra_period > 0 and t % intra_period == 0)


def check_features(networks: dict[str, nn.Module]) -> None:
    """Raise CodecError where networks that exchange features, and say how many, are made for different numbers of them."""
    widths = {name: network.features for name, network in networks.items() if hasattr(network, "features")}
    if len(set(widths.values())) > 1:
        said = ", ".join(f"{name}.features: {width}" for name, width in widths.items())
        raise CodecError(f"{said}; make them equal (width=… sets all)")


def choose_colours(codec: nn.Module, wanted: str | None) -> str:
    """The colours that a codec's networks can work in, of `COLOURS`.

    Raises:
        CodecError: unknown colours, or networks made for others.
    """
    made_for = {module.made_for for module in codec.modules() if getattr(module, "made_for", None)}
    chosen = wanted or (min(made_for) if made_for else "rgb")
    if chosen not in COLOURS:
        raise CodecError(f"codec.colours: {chosen!r} given; choose from {', '.join(COLOURS)}")
    if made_for - {chosen}:
        raise CodecError(
            f"codec.colours: {chosen}, but networks are made for {', '.join(sorted(made_for))}; choose other networks"
        )
    return chosen
