"""Rows handed out to threads in order, each kept behind the row above: a wavefront inside numba
kernels.

Threads share an array of int64, of which `next_row` takes numbers and in which each row says how
far it is. A row is only begun after those above it were, by threads that run: nothing waits for a
thread that was never started.
"""

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_yield = types.ExternalFunction("sched_yield", types.int32())


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
