"""SAD and SATD of 8-bit blocks as vector instructions, for numba kernels.

Written in LLVM's portable vectors of 16-bit integers, since numba widens small integers to 64 bits
and loses the vectors. Blocks are given by address and stride in bytes.
"""

from collections.abc import Callable

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_ROWS = 8
_LONG = ir.IntType(64)


def _load_rows(builder: ir.IRBuilder, address: ir.Value, stride: ir.Value, width: int) -> list:
    """Eight rows of `width` bytes as vectors of 16-bit integers."""
    rows = []
    pointer_type = ir.VectorType(ir.IntType(8), width).as_pointer()
    for row in range(_ROWS):
        offset = builder.mul(stride, ir.Constant(_LONG, row))
        pointer = builder.inttoptr(builder.add(address, offset), pointer_type)
        bytes_of_row = builder.load(pointer, align=1)
        rows.append(builder.zext(bytes_of_row, ir.VectorType(ir.IntType(16), width)))
    return rows


def _absolute(builder: ir.IRBuilder, vector: ir.Value) -> ir.Value:
    kind = ir.FunctionType(vector.type, [vector.type, ir.IntType(1)])
    name = f"llvm.abs.v{vector.type.count}i16"
    absolute = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(absolute, [vector, ir.Constant(ir.IntType(1), 0)])


def _larger(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    kind = ir.FunctionType(a.type, [a.type, a.type])
    larger = cgutils.get_or_insert_function(builder.module, kind, f"llvm.umax.v{a.type.count}i16")
    return builder.call(larger, [a, b])


def _sum(builder: ir.IRBuilder, vectors: list) -> ir.Value:
    """The sum of all elements, each sum over the vectors below 65536."""
    total = vectors[0]
    for vector in vectors[1:]:
        total = builder.add(total, vector)
    wide = ir.VectorType(ir.IntType(32), total.type.count)
    kind = ir.FunctionType(ir.IntType(32), [wide])
    name = f"llvm.vector.reduce.add.v{wide.count}i32"
    reduce = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.zext(builder.call(reduce, [builder.zext(total, wide)]), _LONG)


def _half_sum_of_hadamard(builder: ir.IRBuilder, rows: list) -> ir.Value:
    """Half the sum of the absolute coefficients of each 8x8 Hadamard transform, not normalised.

    Columns first, then rows, which interleaving two vectors brings beside one another; the last
    step is |a + b| + |a - b| = 2 max(|a|, |b|).
    """
    for distance in (4, 2, 1):
        for first in (row for row in range(_ROWS) if not row & distance):
            a, b = rows[first], rows[first + distance]
            rows[first], rows[first + distance] = builder.add(a, b), builder.sub(a, b)
    for _ in range(2):
        pairs = [_interleave(builder, rows[2 * n], rows[2 * n + 1]) for n in range(_ROWS // 2)]
        sums = [builder.add(a, b) for a, b in pairs]
        differences = [builder.sub(a, b) for a, b in pairs]
        rows = sums + differences
    pairs = [_interleave(builder, rows[2 * n], rows[2 * n + 1]) for n in range(_ROWS // 2)]
    larger = [_larger(builder, _absolute(builder, a), _absolute(builder, b)) for a, b in pairs]
    return _sum(builder, larger)


def _interleave(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Lower and upper halves of each group of eight elements of two vectors, interleaved."""
    width = a.type.count
    halves = []
    for half in (0, 4):
        places = [
            group + half + n + source * width
            for group in range(0, width, 8)
            for n in range(4)
            for source in (0, 1)
        ]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), width), places)
        halves.append(builder.shuffle_vector(a, b, mask))
    return halves[0], halves[1]


def _satd_of_one(width: int) -> Callable:
    @intrinsic
    def error(typing, current, current_stride, moved, moved_stride):
        def generate(context, builder, signature, arguments):
            mine = _load_rows(builder, arguments[0], arguments[1], width)
            other = _load_rows(builder, arguments[2], arguments[3], width)
            return _half_sum_of_hadamard(
                builder, [builder.sub(a, b) for a, b in zip(mine, other, strict=True)]
            )

        return types.int64(types.int64, types.int64, types.int64, types.int64), generate

    return error


def _satd_of_two(width: int) -> Callable:
    """Of twice `current` less two blocks: twice the error of their average, without rounding."""

    @intrinsic
    def error(typing, current, current_stride, moved, moved_stride, other, other_stride):
        def generate(context, builder, signature, arguments):
            mine = _load_rows(builder, arguments[0], arguments[1], width)
            first = _load_rows(builder, arguments[2], arguments[3], width)
            second = _load_rows(builder, arguments[4], arguments[5], width)
            rows = []
            for a, b, c in zip(mine, first, second, strict=True):
                rows.append(builder.sub(builder.add(a, a), builder.add(b, c)))
            return _half_sum_of_hadamard(builder, rows)

        return types.int64(*[types.int64] * 6), generate

    return error


LANES = 32  # vectors that `best_sads` compares at once
SAD_SCALE = 8  # so that rates may be fractions


@intrinsic
def best_sads(typing, current, current_stride, reference, reference_stride, rates, costs):
    """SAD of a 4x4 block with 32 blocks that lie a pixel apart in a row, times 8, plus rates.

    `rates` and `costs` are addresses of 32 uint16; the sums, not above 65535, are stored at
    `costs`. Returns the least.
    """

    def generate(context, builder, signature, arguments):
        current, current_stride, reference, reference_stride, rates, costs = arguments
        short, byte = ir.IntType(16), ir.IntType(8)
        lanes = ir.VectorType(short, LANES)
        first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        total = ir.Constant(lanes, [0] * LANES)
        for row in range(4):
            mine = builder.add(current, builder.mul(current_stride, ir.Constant(_LONG, row)))
            other = builder.add(reference, builder.mul(reference_stride, ir.Constant(_LONG, row)))
            for column in range(4):
                step = ir.Constant(_LONG, column)
                pointer = builder.inttoptr(builder.add(mine, step), byte.as_pointer())
                pixel = builder.zext(builder.load(pointer), short)
                alone = builder.insert_element(
                    ir.Constant(lanes, ir.Undefined), pixel, ir.Constant(ir.IntType(32), 0)
                )
                pixels = builder.shuffle_vector(alone, alone, first)
                pointer_type = ir.VectorType(byte, LANES).as_pointer()
                pointer = builder.inttoptr(builder.add(other, step), pointer_type)
                moved = builder.zext(builder.load(pointer, align=1), lanes)
                total = builder.add(total, _absolute(builder, builder.sub(pixels, moved)))
        total = builder.mul(total, ir.Constant(lanes, [SAD_SCALE] * LANES))
        rate = builder.load(builder.inttoptr(rates, lanes.as_pointer()), align=1)
        pair = ir.FunctionType(lanes, [lanes, lanes])
        add = cgutils.get_or_insert_function(builder.module, pair, f"llvm.uadd.sat.v{LANES}i16")
        cost = builder.call(add, [total, rate])
        builder.store(cost, builder.inttoptr(costs, lanes.as_pointer()), align=1)
        kind = ir.FunctionType(short, [lanes])
        name = f"llvm.vector.reduce.umin.v{LANES}i16"
        least = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.zext(builder.call(least, [cost]), _LONG)

    return types.int64(*[types.int64] * 6), generate


@intrinsic
def byte_at(typing, address):
    """The byte at an address."""

    def generate(context, builder, signature, arguments):
        return builder.load(builder.inttoptr(arguments[0], ir.IntType(8).as_pointer()))

    return types.uint8(types.int64), generate


_satd_8 = _satd_of_one(8)
_satd_16 = _satd_of_one(16)
_satd_8_of_two = _satd_of_two(8)
_satd_16_of_two = _satd_of_two(16)


@njit(nogil=True)
def satd(current, current_stride, moved, moved_stride, size):
    """The sum over 8x8 of absolute Hadamard coefficients / 4, as HM's; `size` 8, 16, 32 or 64."""
    if size == 8:
        return 0.5 * _satd_8(current, current_stride, moved, moved_stride)
    total = 0
    for row in range(0, size, 8):
        mine, other = current + row * current_stride, moved + row * moved_stride
        for column in range(0, size, 16):
            total += _satd_16(mine + column, current_stride, other + column, moved_stride)
    return 0.5 * total


@njit(nogil=True)
def satd_of_two(current, current_stride, moved, moved_stride, other, other_stride, size):
    """As `satd`, of the average of two blocks."""
    total = 0
    if size == 8:
        total = _satd_8_of_two(current, current_stride, moved, moved_stride, other, other_stride)
        return 0.25 * total
    for row in range(0, size, 8):
        mine = current + row * current_stride
        first, second = moved + row * moved_stride, other + row * other_stride
        for column in range(0, size, 16):
            total += _satd_16_of_two(
                mine + column,
                current_stride,
                first + column,
                moved_stride,
                second + column,
                other_stride,
            )
    return 0.25 * total
