"""A learned density for each channel, and the entropy network of one without a hyper-latent."""

import hashlib

import torch
from torch import Tensor, nn

from codec.entropy.coding.cdf_tables import PRECISION, CdfTables
from codec.entropy.coding.symbol_coder import SymbolCoder, SymbolModel
from codec.entropy.models.base import EntropyNetwork
from codec.errors import CodecError
from codec.layers.compressai import EntropyBottleneck, pmf_to_quantized_cdf
from codec.layers.quality import QualityGain, QualityTable

_FARTHEST = 4096  # symbols on either side of the median that tables list; beyond it is the escape
_KEPT = 64


class FactorizedDensity(EntropyBottleneck):
    """compressai's `EntropyBottleneck` without its traps.

    Quantiles are a buffer: no optimizer and no auxiliary loss knows them, `solve_bounds` finds
    them. CDF tables are made when they are needed, of the weights as they then are; they are in no
    state dict, and nothing can make them stale.

    Args:
        channels: C, a density each.

    Source: Ballé et al., *Variational image compression with a scale hyperprior*, ICLR 2018, app.
    6.1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        quantiles = self.quantiles.detach().clone()
        del self.quantiles, self._offset, self._quantized_cdf, self._cdf_length
        self.register_buffer("quantiles", quantiles)
        self._tables: dict[bytes, CdfTables] = {}
        self.solve_bounds()

    @torch.no_grad()
    def solve_bounds(self) -> None:
        """Find each density's median, and where its tails begin: symbols are counted from the one,
        tables end at the others.

        To be called every so often in training: streams are right without it, but cost more.
        Training calls it at fixed steps, never where a run happens to be validated or saved, so
        that a resumed run goes on as it would have.

        Raises:
            CodecError: weights are not finite.
        """
        for name, value in self.named_parameters():
            if not torch.isfinite(value).all():
                raise CodecError(
                    f"entropy density: {name} holds non-finite values; go back to an earlier "
                    "checkpoint"
                )
        self._update_quantiles()

    def bits(self, values: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Bits, differentiable, of the unit bin about `values` `(B, C, h, w)` where `(values -
        shift) / scale` has the density.

        Args:
            values: float32.
            scale, shift: `(B, C, 1, 1)`.
        """
        with torch.autocast(values.device.type, enabled=False):
            below, above = (
                self._cumulative((values + edge - shift) / scale) for edge in (-0.5, 0.5)
            )
            return -torch.log2(self.likelihood_lower_bound(above - below))

    def _cumulative(self, values: Tensor) -> Tensor:
        """Probability of less than `values` `(B, C, h, w)`."""
        by_channel = values.transpose(0, 1).flatten(1)[:, None]
        logits = self._logits_cumulative(by_channel, stop_gradient=False)
        return torch.sigmoid(logits).view(values.transpose(0, 1).shape).transpose(0, 1)

    @torch.no_grad()
    def tables(self, scale: Tensor, shift: Tensor) -> CdfTables:
        """The entropy coder's tables, `scale` and `shift` `(S, C)`: S·C rows, those of the first
        setting first.

        Always of float32 arithmetic on the CPU, whatever device the codec is on.
        """
        weights = torch.cat(
            [p.detach().flatten() for p in (*self.parameters(), self.quantiles, scale, shift)]
        )
        key = hashlib.blake2b(weights.cpu().numpy().tobytes()).digest()
        if key not in self._tables:
            if len(self._tables) >= _KEPT:
                self._tables.clear()
            self._tables[key] = self._make_tables(scale.cpu(), shift.cpu())
        return self._tables[key]

    def _make_tables(self, scale: Tensor, shift: Tensor) -> CdfTables:
        density = EntropyBottleneck(self.channels)
        density.load_state_dict(
            {name: value.cpu() for name, value in self.state_dict().items()}, strict=False
        )
        rows, offsets = [], []
        for s, b in zip(scale, shift, strict=True):
            low, median, high = (density.quantiles.detach()[:, 0] * s[:, None] + b[:, None]).unbind(
                1
            )
            below = (median - low).ceil().clamp(0, _FARTHEST).int()
            length = below + (high - median).ceil().clamp(0, _FARTHEST).int() + 1
            symbols = torch.arange(int(length.max())) + (median - below)[:, None]
            pmf, tails = _bins(density, symbols, length, s, b)
            for channel, count in enumerate(length.tolist()):
                rows.append(
                    pmf_to_quantized_cdf(
                        [*pmf[channel, :count].tolist(), float(tails[channel])], PRECISION
                    )
                )
            offsets += (-below).tolist()
        return CdfTables.from_rows(rows, offsets)


def _bins(
    density: EntropyBottleneck, symbols: Tensor, length: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """Probabilities of the unit bins about `symbols` `(C, n)`, and `(C,)` of what lies outside the
    first `length`.
    """
    edges = [((symbols + edge - shift[:, None]) / scale[:, None])[:, None] for edge in (-0.5, 0.5)]
    lower, upper = (density._logits_cumulative(edge, stop_gradient=True)[:, 0] for edge in edges)
    last = upper.gather(1, length[:, None].long() - 1)[:, 0]
    return torch.sigmoid(upper) - torch.sigmoid(lower), torch.sigmoid(lower[:, 0]) + torch.sigmoid(
        -last
    )


class FactorizedModel(SymbolModel):
    """Symbols distributed by a `FactorizedDensity`, stretched and moved.

    Args:
        density: of C channels.
        shape: `(B, C, h, w)` of the symbols.
        scale, shift: `(B, C, 1, 1)`, or None for the density as it is.
    """

    def __init__(
        self,
        density: FactorizedDensity,
        shape: tuple[int, int, int, int],
        scale: Tensor | None = None,
        shift: Tensor | None = None,
    ) -> None:
        median = density.quantiles[:, :, 1:2].view(1, -1, 1, 1)
        self.density, self.shape = density, shape
        self.scale = torch.ones_like(median).expand(shape[0], -1, 1, 1) if scale is None else scale
        self.shift = torch.zeros_like(median).expand(shape[0], -1, 1, 1) if shift is None else shift
        self.means = (median * self.scale + self.shift).expand(shape)

    def bits(self, centred: Tensor) -> Tensor:
        return self.density.bits(centred + self.means, self.scale, self.shift)

    def _settings(self) -> tuple[Tensor, Tensor]:
        """The different `(scale, shift)` of a batch, `(S, 2C)`, and which of them each
        sample has.
        """
        return (
            torch.cat([self.scale, self.shift], 1)
            .detach()
            .flatten(1)
            .unique(dim=0, return_inverse=True)
        )

    @property
    def indexes(self) -> Tensor:
        _, setting = self._settings()
        channels = self.shape[1]
        index = setting[:, None] * channels + torch.arange(channels, device=setting.device)
        return index.int()[:, :, None, None].expand(self.shape)

    @property
    def tables(self) -> CdfTables:
        settings, _ = self._settings()
        return self.density.tables(*settings.chunk(2, 1))


def solve_bounds(codec: nn.Module) -> None:
    """`FactorizedDensity.solve_bounds` of every density in a codec."""
    for module in codec.modules():
        if isinstance(module, FactorizedDensity):
            module.solve_bounds()


_MAGNITUDE = 14.7  # mean magnitude of what a density of compressai's `init_scale` 10 starts with
# Expected of latents before training: most symbols zero, or untrained motion would cost the most of
# all.
_START = 0.2


class FactorizedEntropy(EntropyNetwork):
    """A learned density for each channel, whatever the place in the frame.

    The one density serves all qualities: its width and place are learned per quality.

    Args:
        channels: C of the latent.
        scale: what the density, about 15 wide in compressai's initialisation, starts stretched by;
            1 leaves it as it is.

    Source: Ballé et al., *End-to-end optimized image compression*, ICLR 2017; DVC codes its motion
    so (Lu et al., CVPR 2019).
    """

    def __init__(self, channels: int, scale: float = _START / _MAGNITUDE) -> None:
        super().__init__()
        self.channels = channels
        self.density = FactorizedDensity(channels)
        self.scale = QualityGain(channels, torch.full((channels,), scale).log())
        self.shift = QualityTable(channels, torch.zeros(channels))

    def start_from(self, magnitude: Tensor) -> None:
        with torch.no_grad():
            self.scale.start.copy_((magnitude / _MAGNITUDE).log())

    def code(
        self,
        component: str,
        latent: Tensor | None,
        size: tuple[int, int],
        quality: Tensor,
        coder: SymbolCoder,
        previous: Tensor | None = None,
        previous_quality: Tensor | None = None,
    ) -> Tensor:
        shape = (len(quality), self.channels, *size)
        model = FactorizedModel(self.density, shape, self.scale(quality), self.shift(quality))
        return coder.code(component, latent, model)
