"""What the networks code their latents through: estimating bits, writing symbols, or reading them.

The codec has one path; only the coder differs between training, encoding and decoding. Both ends of
a coder know how the symbols are distributed: a `SymbolModel` says it.
"""

from abc import ABC, abstractmethod
from collections import Counter

import torch
from torch import Tensor

from codec.entropy.coding.cdf_tables import CdfTables
from codec.entropy.coding.rans import PayloadReader, PayloadWriter
from codec.entropy.noise import FrameNoise
from codec.layers.compressai import quantize_ste


class SymbolModel(ABC):
    """How one set of symbols, `round(latent - means)`, is distributed.

    Attributes:
        means: `(B, C, h, w)` float32.
        integer: the latent is one of integers that were decided (as motion vectors are), and so are
            the means. In training they are taken as they are: no noise stands for their rounding,
            and what is not `coded` costs nothing and passes no gradient. Otherwise it is a
            network's answer, which is rounded.
    """

    means: Tensor
    integer: bool = False

    @abstractmethod
    def bits(self, centred: Tensor) -> Tensor:
        """Bits, differentiable, of the unit bin about `centred` latents (means taken away), of the
        same shape.
        """

    def estimate(self, latent: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """A proxy for coding a latent that is no decision, in training.

        Args:
            latent: `(B, C, h, w)`.
            noise: of the same shape, in 0..1.

        Returns:
            What the receiving side has, `(B, C, h, w)`, whose gradients pass through the rounding;
            and the bits `(B,)` of the latent with the noise about it.
        """
        centred = latent.float() - self.means
        rounded = quantize_ste(centred)
        if self.coded is not None:  # gradients pass all the same, or what is left out would stay so
            rounded = rounded - (rounded * ~self.coded).detach()
        return rounded + self.means, self.bits(centred + noise - 0.5).flatten(1).sum(1)

    @property
    def coded(self) -> Tensor | None:
        """`(B, C, h, w)` bool: where there is a symbol; elsewhere a value is its mean. None:
        everywhere.
        """
        return None

    @property
    @abstractmethod
    def indexes(self) -> Tensor:
        """`(B, C, h, w)` signed integers: which row of `tables` codes each symbol; below 0, none
        does, and it is 0.
        """

    @property
    @abstractmethod
    def tables(self) -> CdfTables:
        """What the entropy coder uses."""


class SymbolCoder(ABC):
    """The sending or receiving end of a stream of symbols.

    Attributes:
        encodes: it has the latents.
        estimates: bits are estimated from distributions, as in training: no stream is made.
        ordered: symbols are read in the order in which they are written. Where they are not, a
            network may give at once what is known at once.
    """

    encodes: bool = True
    estimates: bool = False
    ordered: bool = True

    @abstractmethod
    def code(self, component: str, latent: Tensor | None, model: SymbolModel) -> Tensor:
        """Code one set of symbols.

        Args:
            component: whose bits these are, for example `residual` or `motion.hyper`.
            latent: `(B, C, h, w)` on the sending side, None on the receiving side.
            model: the distribution that both sides know.

        Returns:
            `(B, C, h, w)`, y_hat: symbols plus means, what the receiving side has.
        """

    def random(self, like: Tensor) -> Tensor | None:
        """Random numbers in 0..1 of the shape of `like` `(B, ...)` for an encoder that tries what
        it would not choose, in training; None elsewhere: it does its best.
        """
        return None


class RateEstimator(SymbolCoder):
    """Adds up `-log2 p` by component, `(B,)` each in `bits`; takes and gives batches.

    Args:
        hard: round as a `SymbolEncoder` would and count what the coder would spend; else a training
            proxy: bits of the latent with uniform noise, values rounded with a straight-through
            gradient. Where the stream has no symbol the value is the mean here too, but the proxy
            counts its bits: that tells networks to expect what they leave out.
        noise: where the proxy's noise comes from; None: torch's global generator.

    Source: Minnen and Singh, *Channel-wise autoregressive entropy models*, 2020, sec. 3.3 (noise
    for rate, rounding for reconstruction).
    """

    estimates = True
    ordered = False

    def __init__(self, hard: bool = False, noise: FrameNoise | None = None) -> None:
        self.hard, self.noise = hard, noise
        self.bits: dict[str, Tensor] = {}

    def code(self, component: str, latent: Tensor | None, model: SymbolModel) -> Tensor:
        assert latent is not None  # it has what it estimates
        if model.integer:
            return self._decided(component, latent.float() - model.means, model)
        if not self.hard:
            noise = self.noise.like(latent) if self.noise else torch.rand_like(latent)
            values, bits = model.estimate(latent, noise)
            self._spend(component, bits)
            return values
        symbols, indexes = torch.round(latent.float() - model.means), model.indexes
        bits = model.tables.bits_of(symbols, indexes.clamp(min=0))
        self._spend(component, torch.where(indexes >= 0, bits, 0))
        return torch.where(indexes >= 0, symbols, 0) + model.means

    def _decided(self, component: str, symbols: Tensor, model: SymbolModel) -> Tensor:
        """As `symbols`, where these are integers already: only what is coded counts."""
        symbols = symbols.detach()
        if model.coded is not None:
            symbols = torch.where(model.coded, symbols, 0)
        bits = (
            model.tables.bits_of(symbols, model.indexes.clamp(min=0))
            if self.hard
            else model.bits(symbols)
        )
        self._spend(component, bits if model.coded is None else torch.where(model.coded, bits, 0))
        return symbols + model.means

    def _spend(self, component: str, bits: Tensor) -> None:
        """Add bits `(B, …)`."""
        total = bits if bits.dim() == 1 else bits.flatten(1).sum(1)
        self.bits[component] = self.bits[component] + total if component in self.bits else total

    def random(self, like: Tensor) -> Tensor | None:
        if self.hard:
            return None
        return self.noise.like(like) if self.noise else torch.rand_like(like)

    def take_bits(self) -> dict[str, Tensor]:
        """The bits since the last call, by component."""
        taken, self.bits = self.bits, {}
        return taken


class SymbolRounder(SymbolCoder):
    """Rounds as a stream does and counts nothing, for an encoder that asks what would be coded."""

    ordered = False

    def code(self, component: str, latent: Tensor | None, model: SymbolModel) -> Tensor:
        assert latent is not None  # it rounds what it has
        symbols = torch.round(latent.float() - model.means)
        if model.coded is not None:
            symbols = torch.where(model.coded, symbols, 0)
        return symbols + model.means


class SymbolEncoder(SymbolCoder):
    """Rounds, and writes the symbols of a frame into one payload. One sample at a time."""

    def __init__(self) -> None:
        self._writer = PayloadWriter()

    def code(self, component: str, latent: Tensor | None, model: SymbolModel) -> Tensor:
        assert latent is not None  # it writes what it has
        symbols = torch.round(latent.float() - model.means)
        if model.coded is not None:
            symbols = torch.where(model.coded, symbols, 0)
        self._writer.write(
            symbols.long(), model.indexes, model.tables
        )  # what int32 does not hold is refused, not wrapped
        return symbols + model.means

    def finish_frame(self) -> bytes:
        """The payload of the frame."""
        return self._writer.finish()


class SymbolDecoder(SymbolCoder):
    """Reads the symbols of one frame from its payload."""

    encodes = False

    def __init__(self, payload: bytes) -> None:
        self._reader = PayloadReader(payload)

    def code(self, component: str, latent: Tensor | None, model: SymbolModel) -> Tensor:
        return self._reader.read(model.indexes, model.tables).to(model.means) + model.means

    def finish_frame(self) -> None:
        """Raise CodecError unless the payload ends here."""
        self._reader.finish()


class SymbolCounter(SymbolCoder):
    """Any coder, with its symbols counted.

    Args:
        inner: the coder that does the work.

    Attributes:
        coded: by component, symbols that the entropy coder codes: those that a row of the tables is
            chosen for.
        skipped: by component, values that both sides have without a symbol.
    """

    def __init__(self, inner: SymbolCoder) -> None:
        self.inner = inner
        self.encodes, self.estimates, self.ordered = inner.encodes, inner.estimates, inner.ordered
        self.coded: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def code(self, component: str, latent: Tensor | None, model: SymbolModel) -> Tensor:
        y_hat = self.inner.code(component, latent, model)
        coded = int((model.indexes >= 0).sum())
        self.coded[component] += coded
        self.skipped[component] += y_hat.numel() - coded
        return y_hat

    def random(self, like: Tensor) -> Tensor | None:
        return self.inner.random(like)
