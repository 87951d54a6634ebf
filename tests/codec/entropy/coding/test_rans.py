import numpy as np
import pytest
import torch
from torch import Tensor

from codec.entropy.coding.cdf_tables import CdfTables
from codec.entropy.coding.laplace import laplace_tables
from codec.entropy.coding.rans import PayloadReader, PayloadWriter
from codec.entropy.models.factorized import FactorizedDensity
from codec.entropy.models.gaussian_hyperprior import gaussian_tables
from codec.errors import CodecError

CERTAIN = CdfTables.from_rows([[0, 65535, 65536]], [0])
ESCAPES = CdfTables.from_rows(
    [[0, 1, 65536], [0, 65536]], [0, 0]
)  # nearly nothing, and nothing at all, but escapes


def all_tables() -> list[CdfTables]:
    torch.manual_seed(0)
    density = FactorizedDensity(6).tables(torch.ones(1, 6), torch.zeros(1, 6))
    return [laplace_tables(), gaussian_tables(), density, CERTAIN, ESCAPES]


def example(tables: CdfTables, seed: int, kind: torch.dtype = torch.int32) -> tuple[Tensor, Tensor]:
    """Symbols, some beyond every table, and rows, a quarter of them skipped."""
    generator = np.random.default_rng(seed)
    count = min(len(tables.offsets), 100)
    rows = generator.integers(-count // 3, count, (1, 12, 7, 9)).clip(-1)
    spread = -tables.offsets[rows.clip(0)].clip(max=-1) / 6
    symbols = np.round(generator.laplace(scale=spread)).astype(np.int32)
    symbols[0, 0, 0, :6] = [5000, -5000, 123456789, -(2**31), 2**31 - 1, 15]
    return torch.from_numpy(symbols * (rows >= 0)), torch.from_numpy(rows).to(kind)


def write(*parts: tuple[Tensor, Tensor, CdfTables]) -> bytes:
    writer = PayloadWriter()
    for part in parts:
        writer.write(*part)
    return writer.finish()


def read(payload: bytes, *parts: tuple[Tensor, CdfTables]) -> list[Tensor]:
    reader = PayloadReader(payload)
    symbols = [reader.read(*part) for part in parts]
    reader.finish()
    return symbols


def test_what_is_written_is_read():
    """Catches order across calls and tables, escapes of all sizes, row types, and symbols where
    nothing is coded.
    """
    kinds = [torch.int8, torch.int16, torch.int32, torch.int64, torch.int8]
    parts = [
        (*example(t, seed, kind), t)
        for seed, (t, kind) in enumerate(zip(all_tables(), kinds, strict=True))
    ]
    payload = write(*parts)
    for (symbols, _, _), received in zip(
        parts, read(payload, *(part[1:] for part in parts)), strict=True
    ):
        assert torch.equal(received, symbols)
        assert received.dtype == torch.int32 and received.is_contiguous(
            memory_format=torch.channels_last
        )


def test_payloads_do_not_depend_on_memory_formats():
    """Catches an order that follows the strides: the two sides lay tensors out as their networks
    like it.
    """
    tables = laplace_tables()
    symbols, rows = example(tables, 0)
    payload = write((symbols, rows, tables))
    assert payload == write(
        (symbols.contiguous(memory_format=torch.channels_last), rows.to(torch.int8), tables)
    )
    by_position = [t.permute(0, 2, 3, 1).reshape(1, -1, 1, 1) for t in (symbols, rows)]
    assert payload == write((*by_position, tables))


@pytest.mark.parametrize(
    "part", [np.s_[:, ::2], np.s_[..., :1], np.s_[:, 3:4, 2:3, 4:5], np.s_[:, :0]]
)
def test_parts_of_tensors_are_coded(part: tuple):
    """Catches strides that bytes cannot be viewed through, down to a single value, and nothing at
    all.
    """
    tables = laplace_tables()
    symbols, rows = (values[part] for values in example(tables, 0))
    assert torch.equal(*read(write((symbols, rows, tables)), (rows, tables)), symbols)


def test_a_payload_costs_what_its_symbols_cost():
    """Catches bits that no estimate knows, and a fixed cost of more than some bytes."""
    for seed, tables in enumerate(all_tables()):
        symbols, rows = example(tables, seed)
        coded = rows >= 0
        bits = float(tables.bits_of(symbols[coded], rows[coded]).double().sum())
        assert bits - 8 < 8 * len(write((symbols, rows, tables))) < 1.001 * bits + 32


def test_frames_of_nothing_are_empty_and_certain_ones_nearly():
    """Catches a fixed cost where nothing is coded: frames that stand still."""
    none, nothing = (
        torch.full((1, 4, 5, 6), -1, dtype=torch.int8),
        torch.zeros(1, 4, 5, 6, dtype=torch.int32),
    )
    assert PayloadWriter().finish() == b"" == write((nothing, none, CERTAIN))
    assert torch.equal(*read(b"", (none, CERTAIN)), nothing)
    assert len(write((nothing, torch.zeros_like(none), CERTAIN))) <= 2


def test_damage_is_noticed():
    """Catches a payload that is not read to its end, and a state that nobody looks at."""
    tables = laplace_tables()
    symbols, rows = example(tables, 0)
    payload = write(
        (symbols.clamp(-1, 1), rows, tables)
    )  # no escapes: what these write raw cannot be checked
    generator = np.random.default_rng(0)
    damaged = [payload[:end] for end in range(0, len(payload), 2)] + [
        payload + b"\0\0",
        b"\0\0" + payload,
    ]
    for place in generator.integers(0, 8 * len(payload), 300):
        flipped = bytearray(payload)
        flipped[place // 8] ^= 1 << place % 8
        damaged.append(bytes(flipped))
    for other in damaged:
        with pytest.raises(CodecError, match="damaged"):
            read(other, (rows, tables))
    with pytest.raises(CodecError, match="even number"):
        PayloadReader(payload[:-1])


def test_any_bytes_give_symbols_or_an_error():
    """Catches reads out of bounds and loops without an end: the files may be anybody's."""
    generator = np.random.default_rng(0)
    for tables in all_tables():
        _, rows = example(tables, 0)
        for length in (0, 2, 4, 6, 50, 3000):
            for fill in (generator.bytes(length), b"\0" * length, b"\xff" * length):
                try:
                    (symbols,) = read(fill, (rows, tables))
                except CodecError:
                    continue
                assert write((symbols, rows, tables)) == fill


def test_a_count_of_too_many_nibbles_is_refused():
    """Catches shifts by more than a number's bits, which are undefined."""
    row = torch.zeros(1, 1, 1, 1, dtype=torch.int8)
    for nibbles in range(9, 16):
        state = (
            256 << 4 | nibbles
        ) + 1  # the start, the count, and the escape of `ESCAPES`' first row
        with pytest.raises(CodecError, match="damaged"):
            PayloadReader(state.to_bytes(2, "little")).read(row, ESCAPES)


def test_what_cannot_be_coded_is_refused():
    """Catches reads beyond the tables, and symbols that come back as others."""
    row, one = torch.zeros(1, 1, 1, 1, dtype=torch.int32), torch.ones(1, 1, 1, 1, dtype=torch.int64)
    for bad in (one * 2**31, one * -(2**31) - 1):
        with pytest.raises(CodecError, match="outside int32"):
            write((bad, row, CERTAIN))
    with pytest.raises(CodecError, match="beyond the 1 of"):
        write((one, row + 1, CERTAIN))
    with pytest.raises(CodecError, match="beyond the 1 of"):
        PayloadReader(b"abcd").read(row + 1, CERTAIN)
    with pytest.raises(CodecError, match="give one shape"):
        write((one, row[0], CERTAIN))
    with pytest.raises(CodecError, match="indexes torch.float32"):
        write((one, row.float(), CERTAIN))


@pytest.mark.parametrize("row", [[0, 65535], [1, 65536], [0, 9, 9, 65536], [0], []])
def test_rows_that_are_no_distribution_are_refused(row: list[int]):
    """Catches symbols without a frequency: the decoder would look for them beyond the table."""
    with pytest.raises(CodecError, match="cdf tables"):
        CdfTables.from_rows([[0, 65536], row, [0, 7, 65536]], [0, 0, 0])
