"""Integers to bytes and back: a thin skin over compressai's rANS that takes and returns tensors."""

import torch
from torch import Tensor

from codec.entropy.laplace import CdfTables
from codec.entropy.rans import BufferedRansEncoder, RansDecoder


class PayloadWriter:
    """Collects the symbols of all components of one frame into one payload."""

    def __init__(self) -> None:
        self._encoder = BufferedRansEncoder()

    def write(self, symbols: Tensor, levels: Tensor, tables: CdfTables) -> None:
        """Append int32 `symbols`; `levels` (the same shape) selects each one's table."""
        self._encoder.encode_with_indexes(
            symbols.flatten().tolist(), levels.flatten().tolist(), tables.cdfs, tables.lengths, tables.offsets
        )

    def finish(self) -> bytes:
        """The payload; the writer starts anew."""
        payload = self._encoder.flush()
        self._encoder = BufferedRansEncoder()
        return payload


class PayloadReader:
    """Reads back what a `PayloadWriter` wrote, in the same order."""

    def __init__(self, payload: bytes) -> None:
        self._decoder = RansDecoder()
        self._decoder.set_stream(payload)

    def read(self, levels: Tensor, tables: CdfTables) -> Tensor:
        """The next symbols, int32 in the shape of `levels`."""
        symbols = self._decoder.decode_stream(levels.flatten().tolist(), tables.cdfs, tables.lengths, tables.offsets)
        return torch.tensor(symbols, dtype=torch.int32).view(levels.shape)
