"""The compiled kernels. Call `jit.use_cache` before importing this, or they compile at each start."""

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from bus.records import RECORD, UPDATE
from indicators import candles, describe, folding, layout, rules, triggers
from indicators.compiler import callable_from_kernels, compiled

KERNELS = (folding.fold, describe.describe)


def functions_of(module: ModuleType) -> list[Callable[..., Any]]:
    """The functions that a module defines itself."""
    return [f for f in vars(module).values() if callable(f) and getattr(f, "__module__", "") == module.__name__]


for _module in (rules, candles, folding, triggers):
    callable_from_kernels(*[function for function in functions_of(_module) if function not in KERNELS])

fold = compiled(folding.fold)
describe_pairs = compiled(describe.describe)


@cache
def jit_rule(function: Callable[..., Any]) -> Callable[..., Any]:
    """One rule as the kernels run it, callable by itself: for tests and for the backtest."""
    return compiled(function)


def compile_all() -> None:
    """Compile the kernels for the arguments they are called with, or load them from the cache."""
    state = layout.new_state(layout.Parameters(60_000), 1)
    out = np.zeros(UPDATE.itemsize // 8, np.int64)
    fold(bytes(RECORD.itemsize), 0, 0, state, out, layout.new_scratch(1, 1))
    describe_pairs(state, np.zeros(1, np.int64), 1, np.zeros(layout.ROW_WORDS, np.int64))
