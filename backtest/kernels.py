"""Compiling for the backtest: which plain functions numba takes over, and object code out of an entry.

Only who compiles imports this; see `backtest.compiled`.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import llvmlite.binding as llvm
from numba import cfunc, types
from numba.extending import register_jitable

from indicators.kernels import OPTIONS, functions_of
from indicators.machine import target_machine

PLAIN: list[ModuleType] = []  # modules whose functions are compiled where an entry calls them


def plain(*modules: ModuleType) -> None:
    """Have the functions of these modules compiled where an entry calls them; those of `indicators` are already."""
    for module in modules:
        if module not in PLAIN:
            PLAIN.append(module)
            for function in functions_of(module):
                register_jitable(**OPTIONS)(function)


def compiled(function: Callable[..., int], arguments: int) -> Any:
    """An entry compiled into this process."""
    return cfunc(types.int64(*[types.int64] * arguments), **OPTIONS)(function)


def object_code(made: Any) -> tuple[str, bytes]:
    """The name of a compiled entry and its object code for this machine's processor."""
    # What numba hands out is optimised and has all that is called linked in.
    return made.native_name, target_machine().emit_object(llvm.parse_assembly(made.inspect_llvm()))
