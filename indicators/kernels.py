"""What is compiled, by numba: the kernels as object code for `indicators.machine`, and single rules for tests.

Only set-up imports this, and a stage that finds no object code: everybody else is spared numba.
"""

from collections.abc import Callable
from functools import cache
from inspect import isfunction
from types import ModuleType
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from bus.layouts import RECORD_SIZE, UPDATE_SIZE
from bus.records import CANDLE_RECORD, RECORD, UPDATE
from indicators import candles, describe, folding, layout, rules, triggers
from indicators.machine import Code, Machine, target_machine

# No fastmath and no parallel: the same bits as plain Python. numpy's error model only drops the check for a division
# by zero, which the rules make impossible by their branches.
OPTIONS = {"nogil": True, "error_model": "numpy"}
WORDS = types.CPointer(types.int64)
FOLD = types.int64(types.int64, types.int64, types.int64, types.int64, types.int64)
DESCRIBE = types.void(WORDS, WORDS, types.int64, WORDS)


def functions_of(module: ModuleType) -> list[Callable[..., Any]]:
    """The functions that a module defines itself."""
    return [f for f in vars(module).values() if isfunction(f) and f.__module__ == module.__name__]


for _module in (rules, candles, folding, triggers, describe):
    for _function in functions_of(_module):
        register_jitable(**OPTIONS)(_function)


@cache
def fold() -> Callable[..., int]:
    """`folding.fold` as numba calls it, compiled at its first call: for loops that are compiled themselves."""
    return njit(**OPTIONS)(folding.fold)  # type: ignore[no-any-return]


@cache
def jit_rule(function: Callable[..., Any]) -> Callable[..., Any]:
    """One rule as the kernels run it, callable by itself."""
    return njit(**OPTIONS)(function)  # type: ignore[no-any-return]


@intrinsic
def pointer(_, address):  # type: ignore[no-untyped-def]
    """An address as a pointer that `carray` takes."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


def scalp_fold(arena_at, frame_at, size, first, start):  # type: ignore[no-untyped-def]
    """`folding.fold` over the buffers of an arena.

    Its views are made of addresses: made by slicing, as `folding.fold` does, they cost more than folding a trade.
    """
    ends = carray(pointer(arena_at), (layout.ARENA_WORDS,), np.int64)
    out_at, state_at = arena_at + 8 * layout.ARENA_WORDS, arena_at + 8 * ends[layout.STATE_AT]
    work_at, end_at = arena_at + 8 * ends[layout.SCRATCH_AT], arena_at + 8 * ends[layout.END_AT]
    params = carray(pointer(state_at), (1,), layout.PARAMS)[0]
    pairs = params["pairs"]
    heads_at = state_at + 8 * layout.PARAMS_WORDS
    closes_at = heads_at + 8 * pairs * layout.HEAD_WORDS
    columns_at, dirty_at = work_at + 8 * layout.COLUMNS_AT, work_at + 8 * layout.WORK_WORDS
    rows_at = dirty_at + 16 * pairs
    count = size // RECORD_SIZE
    room = (state_at - out_at) // UPDATE_SIZE
    views = folding.Views(
        carray(pointer(frame_at), (size // 8,), np.int64),
        carray(pointer(frame_at), (count,), layout.TRADE_WORDS),
        carray(pointer(frame_at), (count,), RECORD),
        carray(pointer(frame_at), (count,), CANDLE_RECORD),
        params,
        carray(pointer(heads_at), (pairs,), layout.HEAD),
        carray(pointer(closes_at), ((work_at - closes_at) // 8,), np.float64),
        carray(pointer(work_at), (1,), layout.WORK)[0],
        carray(pointer(columns_at), (layout.COLUMNS_WORDS,), np.int64),
        carray(pointer(columns_at), (layout.COLUMNS_WORDS,), np.float64),
        carray(pointer(dirty_at), (2 * pairs,), np.int64),
        carray(pointer(rows_at), ((end_at - rows_at) // 8 // layout.ROW_WORDS,), layout.ROW),
        carray(pointer(out_at), (room * UPDATE_SIZE // 8,), np.int64),
        carray(pointer(out_at), (room,), UPDATE),
        carray(pointer(out_at), (room,), layout.UPDATE_WORDS),
    )
    return folding.fold_views(views, first, start)


def scalp_describe(arena_at, wanted_at, count, rows_at):  # type: ignore[no-untyped-def]
    """`describe.describe` over the state of an arena."""
    head = carray(arena_at, (layout.ARENA_WORDS,))
    state = carray(arena_at, (head[layout.SCRATCH_AT],))[head[layout.STATE_AT] :]
    wanted = carray(wanted_at, (count,))
    describe.describe(state, wanted, count, carray(rows_at, (count * layout.ROW_WORDS,)))


def compiled() -> list[Any]:
    """Both kernels, compiled into this process."""
    return [cfunc(FOLD, **OPTIONS)(scalp_fold), cfunc(DESCRIBE, **OPTIONS)(scalp_describe)]


def in_process(kernels: list[Any]) -> Machine:
    """The machine of kernels as numba loaded them itself."""
    return Machine(kernels[0].address, kernels[1].address, kernels)


def object_code(kernels: list[Any]) -> Code:
    """The kernels as object code for this machine's processor."""
    # What numba hands out is optimised and has all that is called linked in.
    modules = [llvm.parse_assembly(kernel.inspect_llvm()) for kernel in kernels]
    modules[0].link_in(modules[1])
    return Code(kernels[0].native_name, kernels[1].native_name, target_machine().emit_object(modules[0]))
