"""Integers to bytes and back: tensors in and out, the symbols of a frame in one payload."""

import numpy as np
import torch
from torch import Tensor

from codec.entropy import rans
from codec.entropy.symbols import CdfTables
from codec.errors import CodecError

_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64)
_TOO_LARGE = (
    "entropy coder: a symbol outside int32; the codec's values exploded, give an earlier checkpoint"
)
_DAMAGED = (
    "payload: damaged, or written by another codec; give the file and the checkpoint that belong "
    "together"
)


class PayloadWriter:
    """Collects the symbols of all components of one frame into one payload.

    It keeps tensors where they are and codes them when the frame is finished, so a device is waited
    for once a frame.
    """

    def __init__(self) -> None:
        self._written: list[tuple[Tensor, Tensor, CdfTables]] = []

    def write(self, symbols: Tensor, rows: Tensor, tables: CdfTables) -> None:
        """Append symbols; the order within is position by position, the channels of each.

        Args:
            symbols: `(B, C, h, w)` integers; not to be changed before the frame is finished.
            rows: the same shape, signed integers: each symbol's row of `tables`; below 0, it is not
                coded.
            tables: of the rows.

        Raises:
            CodecError: shapes differ, or something is not of integers.
        """
        if symbols.shape != rows.shape:
            raise CodecError(
                f"entropy coder: symbols {tuple(symbols.shape)} and rows {tuple(rows.shape)}; give "
                "one shape"
            )
        self._written.append((_by_position(symbols, "symbols"), _by_position(rows, "rows"), tables))

    def finish(self) -> bytes:
        """The payload, empty where nothing was coded; the writer starts anew.

        Raises:
            CodecError: a row that the tables do not have, or a symbol outside int32.
        """
        written, self._written = self._written, []
        if not written:
            return b""
        arrays = _to_arrays([part for *both, _ in written for part in both])
        position = rans.WORDS_FOR_STATE + rans.WORDS_PER_SYMBOL * sum(map(len, arrays[::2]))
        words, state = np.empty(position, np.uint16), rans.START
        for *_, tables in reversed(written):
            rows, symbols = arrays.pop(), arrays.pop()
            numbers = tables.first, tables.offsets, tables.cumulative
            position, state, fault = rans.encode(symbols, rows, *numbers, words, position, state)
            if fault:
                _refuse(fault, tables, _TOO_LARGE)
        if state != rans.START:
            position = rans.flush(words, position, state)
        return words[position:].astype("<u2", copy=False).tobytes()


class PayloadReader:
    """Reads back what a `PayloadWriter` wrote, in the same order. Any bytes give symbols or a
    CodecError.

    Raises:
        CodecError: bytes that no writer gives.
    """

    def __init__(self, payload: bytes) -> None:
        if len(payload) % 2:
            raise CodecError(
                f"payload: {len(payload)} bytes, an even number expected; the file is damaged"
            )
        self._words = np.frombuffer(payload, "<u2").astype(np.uint16, copy=False)
        self._position, self._state = rans.fill(self._words, 0, 0) if payload else (0, rans.START)
        if payload and (self._words[0] == 0 or self._state <= rans.START):
            raise CodecError(_DAMAGED)

    def read(self, rows: Tensor, tables: CdfTables) -> Tensor:
        """The next symbols.

        Args:
            rows: `(B, C, h, w)` signed integers, as they were written.
            tables: as they were written.

        Returns:
            The same shape, int32, channels last, where `rows` are; 0 where nothing is coded.

        Raises:
            CodecError: the payload does not hold them, or a row that the tables do not have.
        """
        chosen = _by_position(rows, "rows").cpu().numpy()
        symbols = np.empty(len(chosen), np.int32)
        numbers = tables.first, tables.offsets, tables.cumulative, tables.lookup
        progress = self._words, self._position, self._state
        self._position, self._state, fault = rans.decode(chosen, symbols, *numbers, *progress)
        if fault:
            _refuse(fault, tables, _DAMAGED)
        batch, channels, height, width = rows.shape
        by_position = torch.from_numpy(symbols).view(batch, height, width, channels)
        return by_position.to(rows.device).permute(0, 3, 1, 2)

    def finish(self) -> None:
        """To be called when all was read.

        Raises:
            CodecError: there is more in the payload, or less; damage shows here, unless it only
                changed by how much a symbol lies beyond its table, which is written as it is.
        """
        if self._position != len(self._words) or self._state != rans.START:
            raise CodecError(_DAMAGED)


def _by_position(values: Tensor, name: str) -> Tensor:
    """`(B, C, h, w)` integers flat, channels innermost; a view where memory has that order."""
    if values.dim() != 4 or values.dtype not in _INTEGERS:
        raise CodecError(
            f"entropy coder: {name} {values.dtype} {tuple(values.shape)}; give signed integers (B, "
            "C, h, w)"
        )
    flat = values.detach().permute(0, 2, 3, 1).flatten().contiguous()
    return flat.as_strided(
        flat.shape, (1,)
    )  # a single value may have any stride and still count as contiguous


def _to_arrays(parts: list[Tensor]) -> list[np.ndarray]:
    """Flat tensors of one device as arrays, by one transfer."""
    widest_first = sorted(
        range(len(parts)), key=lambda i: -parts[i].element_size()
    )  # so that each is aligned
    joined = torch.cat([parts[i].view(torch.uint8) for i in widest_first]).cpu()
    pieces = joined.split([parts[i].nbytes for i in widest_first])
    arrays = {
        i: piece.view(parts[i].dtype).numpy() for i, piece in zip(widest_first, pieces, strict=True)
    }
    return [arrays[i] for i in range(len(parts))]


def _refuse(fault: int, tables: CdfTables, symbols: str) -> None:
    """Raise for a row out of range, or with the message about `symbols`."""
    if fault == rans.BAD_ROW:
        raise CodecError(
            f"entropy coder: a row beyond the {len(tables.offsets)} of its tables; give the rows' "
            "own tables"
        )
    raise CodecError(symbols)
