"""A linear block transform that starts as a DCT: the codec works before it is trained."""

import math

import torch
from torch import Tensor, nn

from codec.errors import CodecError
from codec.layers.blocks import Network, patches_of
from codec.layers.quality import Once

_UNIT = 0.02


def dct_matrix(size: int) -> Tensor:
    """Orthonormal DCT-II, `(size, size)` float64: row k is the k-th basis function."""
    n = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(math.pi / size * (n[None] + 0.5) * n[:, None]) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis


def kept_coefficients(block: int, luma: int, chroma: int) -> list[tuple[int, int, int]]:
    """`(component, row, column)` of the kept DCT coefficients: the `luma²` and twice `chroma²`
    lowest.

    Every other one by frequency, then the others: entropy networks that code half of the channels
        first get all frequencies.
    """
    kept = [(0, v, u) for v in range(luma) for u in range(luma)]
    kept += [(c, v, u) for c in (1, 2) for v in range(chroma) for u in range(chroma)]
    if max(luma, chroma) > block:
        raise ValueError(
            f"kept_coefficients: {luma} or {chroma} coefficients a side, the block has {block}"
        )
    kept.sort(key=lambda k: (k[1] + k[2], k))
    return kept[0::2] + kept[1::2]


def block_dct_basis(block: int, luma: int, chroma: int) -> Tensor:
    """Basis images `(C, 3, block, block)` float32, orthonormal, of the coefficients that
    `kept_coefficients` lists.
    """
    rows = dct_matrix(block)
    basis = torch.zeros(luma**2 + 2 * chroma**2, 3, block, block, dtype=torch.float64)
    for i, (component, v, u) in enumerate(kept_coefficients(block, luma, chroma)):
        basis[i, component] = rows[v][:, None] * rows[u][None]
    return basis.float()


class BlockTransform(Once, Network):
    """Linear analysis and synthesis of blocks, trainable, initialised with a DCT pair (or at
    random, for comparison).

    It is computed in float32 unless its codec is frozen to something else (intra coders are not).
    What is learned is the distance to the start in a small unit: at the networks' learning rate
    fifty steps would turn a DCT into noise.

    Args:
        block: side of a block in pixels.
        luma, chroma: coefficients kept a side; `luma² + 2·chroma²` channels. Half as many for
            chroma suits 4:2:0 sources.
        start: `dct` or `random`.
    """

    start: Tensor

    def __init__(
        self, block: int = 16, luma: int = 16, chroma: int = 8, start: str = "dct"
    ) -> None:
        super().__init__()
        basis = block_dct_basis(block, luma, chroma)
        if start == "random":
            basis = nn.init.orthogonal_(torch.empty(basis.shape[0], basis[0].numel())).view_as(
                basis
            )
        elif start != "dct":
            raise CodecError(f"transform.start: {start!r} given; expected 'dct' or 'random'")
        self.block, self.luma, self.chroma = block, luma, chroma
        self.channels = basis.shape[0]
        self.register_buffer("start", basis)
        self.forward_moved = nn.Parameter(torch.zeros_like(basis))
        self.inverse_moved = nn.Parameter(torch.zeros_like(basis))

    def compile_for(self, backend: str) -> None:
        """Nothing: a transform is one product."""

    def analyse(self, pixels: Tensor) -> Tensor:
        """`(B, 3, H, W)` with H and W multiples of the block -> `(B, C, H / block, W / block)`,
        float32.
        """
        with torch.autocast(pixels.device.type, enabled=False):
            basis = self._basis(self.forward_moved)
            coefficients = patches_of(self.cast(pixels.float()), self.block) @ self.cast(basis).T
        return coefficients.permute(0, 3, 1, 2).float()

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """`(B, C, h, w)` -> patches `(B, 3·block², h, w)` for `codec.layers.assemble`, channels
        last.
        """
        with torch.autocast(coefficients.device.type, enabled=False):
            basis = self._basis(self.inverse_moved)
            blocks = self.cast(coefficients.float()).permute(0, 2, 3, 1) @ self.cast(basis)
        return blocks.permute(0, 3, 1, 2)

    def _basis(self, moved: nn.Parameter) -> Tensor:
        """`(C, 3·block²)`."""
        return self.once(lambda: (self.start + _UNIT * moved).flatten(1), moved)


def typical_magnitude(block: int, luma: int, chroma: int, predicted: bool) -> Tensor:
    """Mean absolute coefficient `(C,)` to expect in natural video, frames in -0.5..0.5: where an
    entropy network starts.

    The power laws were fitted by eye to 16×16 DCTs of 20 real clips; training moves on from there.
    """
    magnitudes = []
    for component, v, u in kept_coefficients(block, luma, chroma):
        frequency = 16 / block * (v + u)
        if predicted:
            magnitudes.append((0.06 if component == 0 else 0.015) / (1 + frequency / 3) ** 1.6)
        elif v + u == 0:
            magnitudes.append(2.5 if component == 0 else 0.75)
        else:
            magnitudes.append(0.4 * frequency**-1.35 if component == 0 else 0.065 * frequency**-1.5)
    return torch.tensor(magnitudes) * block / 16
