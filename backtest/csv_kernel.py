"""`csv_rows.read_rows` as compiled code takes it: addresses of what `csv_source` has laid out. Imports numba."""

import numpy as np
from numba import carray
from numba.extending import register_jitable

from backtest import csv_rows
from indicators.kernels import OPTIONS, functions_of, pointer

# A call costs more than what most of these functions do.
for _function in functions_of(csv_rows):
    register_jitable(forceinline=True, **OPTIONS)(_function)


def read_csv_rows(data_at, size, end, plan_at, pair_at, state_at, fields_at, seen_at, words_at, count):  # type: ignore[no-untyped-def]
    """`csv_rows.read_rows` over `size` bytes and room for `count` words of records."""
    if size == 0:
        return 0
    return csv_rows.read_rows(
        carray(pointer(data_at), (size,), np.uint8),
        end,
        carray(pointer(plan_at), (csv_rows.PLAN_WORDS,), np.int64),
        carray(pointer(pair_at), (csv_rows.PAIR_BYTES,), np.uint8),
        carray(pointer(state_at), (csv_rows.STATE_WORDS,), np.int64),
        carray(pointer(fields_at), (csv_rows.FIELD_WORDS,), np.int64),
        carray(pointer(seen_at), (csv_rows.SEEN_WORDS,), np.int64),
        carray(pointer(words_at), (count,), np.int64),
        carray(pointer(words_at), (count,), np.float64),
    )
