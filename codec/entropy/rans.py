"""The kernels of the entropy coder: asymmetric numeral systems over 16-bit frequencies, in numba.

A payload is 16-bit words. The encoder goes through symbols backwards and fills the words from their
end, the decoder goes forwards. Its state stays in `LOW..2^40`; only before the first word is
written is it lower, `START` at the least, which is what the decoder arrives at when it has used
every word. So a payload costs about two bytes more than its symbols.

Beyond a row's reach stand the escape symbol and, in nibbles of even odds, how many nibbles come and
these, lowest first.

Source: Duda, *Asymmetric numeral systems*, 2013; the range variant and its renormalisation as in
Giesen, *Interleaved entropy coders*, 2014.
"""

import numpy as np
from numba import njit

Array = np.ndarray

PRECISION = 16  # bits of frequencies
LOOKUP_BITS = 8  # leading bits of a slot by which `decode` finds where to look for its symbol
WORD_BITS = 16
LOW = 1 << 24
START = 1 << 8
WORDS_PER_SYMBOL = 4  # at most: 16 bits of the escape symbol and nine nibbles
WORDS_FOR_STATE = 3

DONE, BAD_ROW, BAD_SYMBOL = 0, 1, 2

_WORD = (1 << WORD_BITS) - 1
_SLOT = (1 << PRECISION) - 1
_LOOKUP_SHIFT = PRECISION - LOOKUP_BITS
_NIBBLE_BITS = 4
_MOST_NIBBLES = 8


@njit(cache=True, nogil=True)
def encode(
    symbols: Array,
    rows: Array,
    first: Array,
    offsets: Array,
    cumulative: Array,
    words: Array,
    position: int,
    state: int,
) -> tuple[int, int, int]:
    """Put `symbols` before what is in `words[position:]` already.

    Args:
        symbols, rows: `(n,)`, any signed integers; where a row is below 0 nothing is coded.
        first, offsets, cumulative: of `CdfTables`.
        words: `(m,)` uint16 with at least `WORDS_PER_SYMBOL * n` places before `position`.
        position, state: where the last call stopped; `len(words)` and `START` for the first.

    Returns:
        position, state, and `DONE`, or `BAD_ROW` or `BAD_SYMBOL` where one is out of range.
    """
    for i in range(rows.size - 1, -1, -1):
        row = rows[i]
        if row < 0:
            continue
        if row >= offsets.size:
            return position, state, BAD_ROW
        symbol = np.int64(symbols[i])
        if symbol < -(2**31) or symbol >= 2**31:
            return position, state, BAD_SYMBOL
        begin, escape = first[row], first[row + 1] - first[row] - 2
        entry = symbol - offsets[row]
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
    rows: Array,
    symbols: Array,
    first: Array,
    offsets: Array,
    cumulative: Array,
    lookup: Array,
    words: Array,
    position: int,
    state: int,
) -> tuple[int, int, int]:
    """Take as many symbols from `words` as there are `rows` of 0 or more.

    Args:
        rows: `(n,)`, any signed integers.
        symbols: `(n,)` int32, filled; 0 where nothing is coded.
        first, offsets, cumulative, lookup: of `CdfTables`.
        words: `(m,)` uint16.
        position, state: where the last call stopped.

    Returns:
        position, state, and `DONE`, `BAD_ROW`, or `BAD_SYMBOL` where the payload says what no
        encoder does.
    """
    for i in range(rows.size):
        row = rows[i]
        if row < 0:
            symbols[i] = 0
            continue
        if row >= offsets.size:
            return position, state, BAD_ROW
        slot = state & _SLOT
        place = first[row] + lookup[row, slot >> _LOOKUP_SHIFT]
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
        symbol = place - first[row] + offsets[row]
        if place + 2 == first[row + 1]:
            position, state, beyond = _decode_raw(words, position, state)
            symbol = offsets[row] - (beyond + 1) // 2 if beyond & 1 else symbol + beyond // 2
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
