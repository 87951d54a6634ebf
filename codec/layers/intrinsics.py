"""LLVM instructions inside numba kernels: vectors of float32, and rows that threads take in order.

Vectors: numba leaves short loops of fixed length scalar. The functions of `lanes` are such loops
over the length of `lanes`, a tuple that is only looked at for its length, written as LLVM vectors.
Each lane goes through the same operations in the same order, whatever surrounds it. Addresses come
from `address_of`, in bytes; `step` counts float32. Nothing is checked.

Wavefront: rows are handed out to threads in order, each kept behind the row above. Threads share an
array of int64, of which `next_row` takes numbers and in which each row says how far it is. A row is
only begun after those above it were, by threads that run: nothing waits for a thread that was never
started.

Kernels that numba has cached do not notice a change of this file.
"""

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_yield = types.ExternalFunction("sched_yield", types.int32())


@intrinsic
def address_of(typingctx, array):
    """The address of an array's first element; it does not keep the array alive."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, context.get_value_type(types.intp))

    return types.intp(array), codegen


@intrinsic
def filter_lanes(typingctx, target, source, step, coefficients, lanes):
    """`target[j] = Σ_k coefficients[k] · source[j + k · step]`."""

    def codegen(context, builder, signature, args):
        tools = _Lanes(context, builder, signature.args[4].count)
        tools.store(args[0], tools.filtered(args[1], args[2], args[3]))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, coefficients, lanes), codegen


@intrinsic
def add_filtered_lanes(typingctx, target, weight, source, step, coefficients, lanes):
    """`target[j] += weight · Σ_k coefficients[k] · source[j + k · step]`."""

    def codegen(context, builder, signature, args):
        tools = _Lanes(context, builder, signature.args[5].count)
        value = tools.filtered(args[2], args[3], args[4])
        tools.store(args[0], tools.fused(tools.all(args[1]), value, tools.load(args[0])))
        return context.get_dummy_value()

    given = types.intp, types.float32, types.intp, types.intp, coefficients, lanes
    return types.void(*given), codegen


@intrinsic
def correlate_lanes(typingctx, sums, given, source, step, coefficients, lanes):
    """`sums[k, j] += given[j] · source[j + k · step]`, for as many k as `coefficients` has."""

    def codegen(context, builder, signature, args):
        count = signature.args[5].count
        tools = _Lanes(context, builder, count)
        value, source = tools.load(args[1]), args[2]
        for k in range(signature.args[4].count):
            place = tools.moved(args[0], tools.number(count * k))
            tools.store(place, tools.fused(value, tools.load(source), tools.load(place)))
            source = tools.moved(source, args[3])
        return context.get_dummy_value()

    given = types.intp, types.intp, types.intp, types.intp, coefficients, lanes
    return types.void(*given), codegen


class _Lanes:
    """Vectors of `count` float32 in LLVM's instructions."""

    def __init__(self, context, builder, count: int):
        self.context, self.builder, self.count = context, builder, count
        self.single = context.get_value_type(types.float32)
        self.vector = cgutils.ir.VectorType(self.single, count)

    def number(self, value: int):
        return self.context.get_constant(types.intp, value)

    def moved(self, address, floats):
        return self.builder.add(address, self.builder.mul(floats, self.number(4)))

    def load(self, address):
        pointer = self.builder.inttoptr(address, self.vector.as_pointer())
        return self.builder.load(pointer, align=4)

    def store(self, address, value) -> None:
        pointer = self.builder.inttoptr(address, self.vector.as_pointer())
        self.builder.store(value, pointer, align=4)

    def all(self, value):
        """A vector whose lanes all are `value`."""
        index, none = cgutils.int32_t, cgutils.ir.Undefined
        one = self.builder.insert_element(self.vector(none), value, index(0))
        zeros = cgutils.ir.VectorType(index, self.count)([0] * self.count)
        return self.builder.shuffle_vector(one, self.vector(none), zeros)

    def fused(self, a, b, c):
        """`a · b + c`, rounded once where the CPU can."""
        signature = cgutils.ir.FunctionType(self.vector, [self.vector] * 3)
        name = f"llvm.fmuladd.v{self.count}f32"
        fused = cgutils.get_or_insert_function(self.builder.module, signature, name)
        return self.builder.call(fused, (a, b, c))

    def filtered(self, source, step, coefficients):
        parts = cgutils.unpack_tuple(self.builder, coefficients)
        value = self.builder.fmul(self.all(parts[0]), self.load(source))
        for part in parts[1:]:
            source = self.moved(source, step)
            value = self.fused(self.all(part), self.load(source), value)
        return value


@intrinsic
def next_row(typingctx, address):
    """Add 1 to the int64 at `address`, at once for all threads; what it was before."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], cgutils.ir.IntType(64).as_pointer())
        return builder.atomic_rmw(
            "add", pointer, cgutils.ir.Constant(cgutils.ir.IntType(64), 1), "acq_rel"
        )

    return types.int64(types.intp), codegen


@intrinsic
def progress_of(typingctx, address):
    """The int64 at `address`, and all that was written before it was set."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], cgutils.ir.IntType(64).as_pointer())
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(types.intp), codegen


@intrinsic
def set_progress(typingctx, address, value):
    """Set the int64 at `address`, after all that was written before."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], cgutils.ir.IntType(64).as_pointer())
        builder.store_atomic(args[1], pointer, "release", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.int64), codegen


@njit
def wait_for(address, value):
    """Until the int64 at `address` is at least `value`; the core is offered to others meanwhile."""
    while progress_of(address) < value:
        _yield()
