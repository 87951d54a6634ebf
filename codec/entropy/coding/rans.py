"""The entropy coder: the symbols of a frame to bytes and back, by asymmetric numeral systems.

Tensors go in and out; the kernels below are compiled by numba and work with 16-bit frequencies.

A payload is 16-bit words. The encoder goes through symbols backwards and fills the words from their
end, the decoder goes forwards. Its state stays in `LOW..2^40`; only before the first word is
written is it lower, `START` at the least, which is what the decoder arrives at when it has used
every word. So a payload costs about two bytes more than its symbols.

Beyond the reach of a table stand the escape symbol and, in nibbles of even odds, how many nibbles
come and these, lowest first.

Source: Duda, *Asymmetric numeral systems*, 2013; the range variant and its renormalisation as in
Giesen, *Interleaved entropy coders*, 2014.
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor

from codec.entropy.coding.cdf_tables import LOOKUP_BITS, PRECISION, CdfTables
from codec.errors import CodecError

Array = np.ndarray

WORD_BITS = 16
LOW = 1 << 24
START = 1 << 8
WORDS_PER_SYMBOL = 4  # at most: 16 bits of the escape symbol and nine nibbles
WORDS_FOR_STATE = 3

DONE, BAD_INDEX, BAD_SYMBOL = 0, 1, 2

_WORD = (1 << WORD_BITS) - 1
_SLOT = (1 << PRECISION) - 1
_LOOKUP_SHIFT = PRECISION - LOOKUP_BITS
_NIBBLE_BITS = 4
_MOST_NIBBLES = 8


@njit(cache=True, nogil=True)
def encode(
    symbols: Array,
    indexes: Array,
    first: Array,
    offsets: Array,
    cumulative: Array,
    words: Array,
    position: int,
    state: int,
) -> tuple[int, int, int]:
    """Put `symbols` before what is in `words[position:]` already.

    Args:
        symbols, indexes: `(n,)`, any signed integers; where an index is below 0 nothing is coded.
        first, offsets, cumulative: of `CdfTables`.
        words: `(m,)` uint16 with at least `WORDS_PER_SYMBOL * n` places before `position`.
        position, state: where the last call stopped; `len(words)` and `START` for the first.

    Returns:
        position, state, and `DONE`, or `BAD_INDEX` or `BAD_SYMBOL` where one is out of range.
    """
    for i in range(indexes.size - 1, -1, -1):
        index = indexes[i]
        if index < 0:
            continue
        if index >= offsets.size:
            return position, state, BAD_INDEX
        symbol = np.int64(symbols[i])
        if symbol < -(2**31) or symbol >= 2**31:
            return position, state, BAD_SYMBOL
        begin, escape = first[index], first[index + 1] - first[index] - 2
        entry = symbol - offsets[index]
        if entry < 0 or entry >= escape:
            raw = -2 * entry - 1 if entry < 0 else 2 * (entry - escape)
            if raw >> (_NIBBLE_BITS * _MOST_NIBBLES):
                return position, state, BAD_SYMBOL
            position, state = _encode_raw(raw, words, position, state)
            entry = escape
        start = np.int64(cumulative[begin + entry])
        frequency = np.int64(cumulative[begin + entry + 1]) - start
        if state >= LOW * frequency:
            position -= 1
            words[position] = state & _WORD
            state >>= WORD_BITS
        whole = state // frequency
        state = (whole << PRECISION) + state - whole * frequency + start
    return position, state, DONE


@njit(cache=True, nogil=True)
def _encode_raw(raw: int, words: Array, position: int, state: int) -> tuple[int, int]:
    """Put the count of `raw`'s nibbles, and these, before what is in `words`."""
    nibbles = 0
    while raw >> (_NIBBLE_BITS * nibbles):
        nibbles += 1
    for place in range(nibbles - 1, -2, -1):
        value = nibbles if place < 0 else (raw >> (_NIBBLE_BITS * place)) & 15
        if state >= LOW << (WORD_BITS - _NIBBLE_BITS):
            position -= 1
            words[position] = state & _WORD
            state >>= WORD_BITS
        state = (state << _NIBBLE_BITS) | value
    return position, state


@njit(cache=True, nogil=True)
def flush(words: Array, position: int, state: int) -> int:
    """Put the state before the words: as many as `fill` takes in again. Returns the position."""
    while state:
        position -= 1
        words[position] = state & _WORD
        state >>= WORD_BITS
    return position


@njit(cache=True, nogil=True)
def fill(words: Array, position: int, state: int) -> tuple[int, int]:
    """The state raised to `LOW` or more from `words[position:]`, or as far as there are any; with
    the new position.
    """
    while state < LOW and position < words.size:
        state = (state << WORD_BITS) | words[position]
        position += 1
    return position, state


@njit(cache=True, nogil=True)
def decode(
    indexes: Array,
    symbols: Array,
    first: Array,
    offsets: Array,
    cumulative: Array,
    lookup: Array,
    words: Array,
    position: int,
    state: int,
) -> tuple[int, int, int]:
    """Take as many symbols from `words` as there are `indexes` of 0 or more.

    Args:
        indexes: `(n,)`, any signed integers.
        symbols: `(n,)` int32, filled; 0 where nothing is coded.
        first, offsets, cumulative, lookup: of `CdfTables`.
        words: `(m,)` uint16.
        position, state: where the last call stopped.

    Returns:
        position, state, and `DONE`, `BAD_INDEX`, or `BAD_SYMBOL` where the payload says what no
        encoder does.
    """
    for i in range(indexes.size):
        index = indexes[i]
        if index < 0:
            symbols[i] = 0
            continue
        if index >= offsets.size:
            return position, state, BAD_INDEX
        slot = state & _SLOT
        place = first[index] + lookup[index, slot >> _LOOKUP_SHIFT]
        while cumulative[place + 1] <= slot:
            place += 1
        start = np.int64(cumulative[place])
        state = (np.int64(cumulative[place + 1]) - start) * (state >> PRECISION) + slot - start
        if state < LOW:
            if position < words.size:
                state = (state << WORD_BITS) | words[position]
                position += 1
            elif state < START:
                return position, state, BAD_SYMBOL
        symbol = place - first[index] + offsets[index]
        if place + 2 == first[index + 1]:
            position, state, beyond = _decode_raw(words, position, state)
            symbol = offsets[index] - (beyond + 1) // 2 if beyond & 1 else symbol + beyond // 2
            if beyond < 0 or symbol < -(2**31) or symbol >= 2**31:
                return position, state, BAD_SYMBOL
        symbols[i] = symbol
    return position, state, DONE


@njit(cache=True, nogil=True)
def _decode_raw(words: Array, position: int, state: int) -> tuple[int, int, int]:
    """What `_encode_raw` put there: position, state, and the value, -1 where it counts other
    nibbles.
    """
    raw, nibbles, place = 0, 0, -1
    while place < nibbles:
        value = state & 15
        position, state = fill(words, position, state >> _NIBBLE_BITS)
        if place < 0:
            nibbles = value
            if nibbles > _MOST_NIBBLES:
                return position, state, -1
        else:
            raw |= value << (_NIBBLE_BITS * place)
        place += 1
    if nibbles and not raw >> (_NIBBLE_BITS * (nibbles - 1)):
        return position, state, -1
    return position, state, raw


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

    def write(self, symbols: Tensor, indexes: Tensor, tables: CdfTables) -> None:
        """Append symbols; the order within is position by position, the channels of each.

        Args:
            symbols: `(B, C, h, w)` integers; not to be changed before the frame is finished.
            indexes: the same shape, signed integers: which of `tables` codes each symbol; below 0,
                it is not coded.
            tables: that the indexes count in.

        Raises:
            CodecError: shapes differ, or something is not of integers.
        """
        if symbols.shape != indexes.shape:
            raise CodecError(
                f"entropy coder: symbols {tuple(symbols.shape)} and indexes "
                f"{tuple(indexes.shape)}; give one shape"
            )
        self._written.append(
            (_by_position(symbols, "symbols"), _by_position(indexes, "indexes"), tables)
        )

    def finish(self) -> bytes:
        """The payload, empty where nothing was coded; the writer starts anew.

        Raises:
            CodecError: an index that the tables do not have, or a symbol outside int32.
        """
        written, self._written = self._written, []
        if not written:
            return b""
        arrays = _to_arrays([part for *both, _ in written for part in both])
        position = WORDS_FOR_STATE + WORDS_PER_SYMBOL * sum(map(len, arrays[::2]))
        words, state = np.empty(position, np.uint16), START
        for *_, tables in reversed(written):
            indexes, symbols = arrays.pop(), arrays.pop()
            numbers = tables.first, tables.offsets, tables.cumulative
            position, state, fault = encode(symbols, indexes, *numbers, words, position, state)
            if fault:
                _refuse(fault, tables, _TOO_LARGE)
        if state != START:
            position = flush(words, position, state)
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
        self._position, self._state = fill(self._words, 0, 0) if payload else (0, START)
        if payload and (self._words[0] == 0 or self._state <= START):
            raise CodecError(_DAMAGED)

    def read(self, indexes: Tensor, tables: CdfTables) -> Tensor:
        """The next symbols.

        Args:
            indexes: `(B, C, h, w)` signed integers, as they were written.
            tables: as they were written.

        Returns:
            The same shape, int32, channels last, where `indexes` are; 0 where nothing is coded.

        Raises:
            CodecError: the payload does not hold them, or an index that the tables do not have.
        """
        chosen = _by_position(indexes, "indexes").cpu().numpy()
        symbols = np.empty(len(chosen), np.int32)
        numbers = tables.first, tables.offsets, tables.cumulative, tables.lookup
        progress = self._words, self._position, self._state
        self._position, self._state, fault = decode(chosen, symbols, *numbers, *progress)
        if fault:
            _refuse(fault, tables, _DAMAGED)
        batch, channels, height, width = indexes.shape
        by_position = torch.from_numpy(symbols).view(batch, height, width, channels)
        return by_position.to(indexes.device).permute(0, 3, 1, 2)

    def finish(self) -> None:
        """To be called when all was read.

        Raises:
            CodecError: there is more in the payload, or less; damage shows here, unless it only
                changed by how much a symbol lies beyond its table, which is written as it is.
        """
        if self._position != len(self._words) or self._state != START:
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
    """Raise for an index out of range, or with the message about `symbols`."""
    if fault == BAD_INDEX:
        raise CodecError(
            f"entropy coder: an index beyond the {len(tables.offsets)} of its tables; give the "
            "tables that it counts in"
        )
    raise CodecError(symbols)
