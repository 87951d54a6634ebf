"""Integers to bytes and back: a thin skin over compressai's rANS that takes and returns tensors."""

import torch
from torch import Tensor

from codec.entropy.rans import BufferedRansEncoder, RansDecoder
from codec.entropy.symbols import CdfTables


class PayloadWriter:
    """Collects the symbols of all components of one frame into one payload."""

    def __init__(self) -> None:
        self._encoder = BufferedRansEncoder()

    def write(self, symbols: Tensor, rows: Tensor, tables: CdfTables) -> None:
        """Append int32 `symbols`; `rows` (the same shape) selects each one's row of `tables`."""
        self._encoder.encode_with_indexes(
            symbols.flatten().tolist(), rows.flatten().tolist(), tables.cdfs, tables.lengths, tables.offsets
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

    def read(self, rows: Tensor, tables: CdfTables) -> Tensor:
        """The next symbols, int32 in the shape of `rows`."""
        symbols = self._decoder.decode_stream(rows.flatten().tolist(), tables.cdfs, tables.lengths, tables.offsets)
        return torch.tensor(symbols, dtype=torch.int32).view(rows.shape)
