"""`csv_rows.read_rows`, compiled."""

from collections.abc import Callable
from functools import cache
from inspect import isfunction
from typing import Any

from backtest import csv_rows


@cache
def reader() -> Callable[..., int]:
    """`read_rows` over numpy arrays, with the addresses of `words` twice."""
    from numba import carray, cfunc, types
    from numba.extending import register_jitable

    for function in [f for f in vars(csv_rows).values() if isfunction(f)]:
        register_jitable(forceinline=True, error_model="numpy")(function)
    data, words, floats = types.CPointer(types.uint8), types.CPointer(types.int64), types.CPointer(types.float64)
    read_rows = csv_rows.read_rows
    plan_words, state_words, field_words, seen_words = (
        csv_rows.PLAN_WORDS,
        csv_rows.STATE_WORDS,
        csv_rows.FIELD_WORDS,
        csv_rows.SEEN_WORDS,
    )

    @cfunc(
        types.int64(data, types.int64, types.int64, words, data, words, words, words, words, floats, types.int64),
        nogil=True,
        error_model="numpy",
    )
    def entry(data, size, end, plan, pair, state, fields, seen, words, floats, count):  # type: ignore[no-untyped-def]
        return read_rows(
            carray(data, (size,)),
            end,
            carray(plan, (plan_words,)),
            carray(pair, (64,)),
            carray(state, (state_words,)),
            carray(fields, (field_words,)),
            carray(seen, (seen_words,)),
            carray(words, (count,)),
            carray(floats, (count,)),
        )

    import ctypes

    address, number = ctypes.c_void_p, ctypes.c_int64
    call = ctypes.CFUNCTYPE(number, address, number, number, *[address] * 7, number)(entry.address)

    def read(data: Any, end: int, plan: Any, pair: Any, state: Any, fields: Any, seen: Any, words: Any) -> Any:
        return call(
            *(data.ctypes.data, len(data), end, plan.ctypes.data, pair.ctypes.data, state.ctypes.data),
            *(fields.ctypes.data, seen.ctypes.data, words.ctypes.data, words.ctypes.data, len(words)),
        )

    read.keep = entry  # type: ignore[attr-defined]
    return read
