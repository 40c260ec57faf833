"""What is compiled, by numba: the kernels as object code for `indicators.machine`, and single rules for tests.

Only set-up imports this, and a stage that finds no object code: everybody else is spared numba.
"""

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import llvmlite.binding as llvm
from numba import carray, cfunc, njit, types
from numba.extending import register_jitable

from indicators import candles, describe, folding, layout, rules, triggers
from indicators.machine import Code, Machine, target_machine

# No fastmath and no parallel: the same bits as plain Python. numpy's error model only drops the check for a division
# by zero, which the rules make impossible by their branches.
OPTIONS = {"nogil": True, "error_model": "numpy"}
WORDS = types.CPointer(types.int64)
FOLD = types.int64(WORDS, types.CPointer(types.uint8), types.int64, types.int64, types.int64)
DESCRIBE = types.void(WORDS, WORDS, types.int64, WORDS)


def functions_of(module: ModuleType) -> list[Callable[..., Any]]:
    """The functions that a module defines itself."""
    return [f for f in vars(module).values() if callable(f) and getattr(f, "__module__", "") == module.__name__]


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


def scalp_fold(arena_at, frame_at, size, first, start):  # type: ignore[no-untyped-def]
    """`folding.fold` over the buffers of an arena."""
    head = carray(arena_at, (layout.ARENA_WORDS,))
    arena = carray(arena_at, (head[layout.END_AT],))
    state = arena[layout.ARENA_WORDS : head[layout.OUT_AT]]
    out = arena[head[layout.OUT_AT] : head[layout.SCRATCH_AT]]
    return folding.fold(carray(frame_at, (size,)), first, start, state, out, arena[head[layout.SCRATCH_AT] :])


def scalp_describe(arena_at, wanted_at, count, rows_at):  # type: ignore[no-untyped-def]
    """`describe.describe` over the state of an arena."""
    head = carray(arena_at, (layout.ARENA_WORDS,))
    state = carray(arena_at, (head[layout.OUT_AT],))[layout.ARENA_WORDS :]
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
