"""How plain functions become machine code: the only caller of numba's compiler in this package."""

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.extending import register_jitable

# No fastmath and no parallel: the same bits as plain Python. numpy's error model only drops the check for a division
# by zero, which the rules make impossible by their branches.
OPTIONS = {"nogil": True, "error_model": "numpy"}


class Cache:
    """Whether compiled code is kept; off until `jit.use_cache` found a folder that can be written."""

    on = False


def callable_from_kernels(*functions: Callable[..., Any]) -> None:
    """Let compiled functions call these plain ones, compiled in."""
    for function in functions:
        register_jitable(**OPTIONS)(function)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as machine code, kept in the cache where there is one; it compiles at its first call."""
    return njit(cache=Cache.on, **OPTIONS)(function)  # type: ignore[no-any-return]
