"""The backtest's compiled functions: made by numba once, by the first run, loaded by the next without importing numba.

To add one:

1. Write what it does as plain functions in a module of its own, `backtest/THING.py`: scalars, records and arrays, no
   numba in sight, so that tests run it as plain Python too. No fastmath, no `parallel`.
2. Write its entry in a module `backtest/THING_kernel.py`, which alone imports numba: call `backtest.kernels.plain` with
   the modules it uses, and define one function that takes int64 only (addresses of numpy arrays, counts), makes views
   of the addresses with `carray(pointer(address), (count,), dtype)`, calls the plain function and returns an int64.
   Called with nothing but zeros it must return 0 and touch nothing: a fresh process tries that before the code is kept.
3. Name it in ENTRIES with how many int64 it takes, and in SOURCES every module it is compiled of: the code that is kept
   is found by a hash of these.

`load(name, cache_root)` then gives it as a function of Python ints. A call goes through ctypes: it frees the GIL, so
that threads run at the same time, and costs about a microsecond.
"""

import ctypes
import importlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from core.paths import ROOT
from indicators import code_cache, jit
from indicators.code_cache import UnusableCode
from indicators.machine import loaded

KIND = "backtest"
COMPILES = "compiles the backtest (once; half a minute, longer on a small board)"


class Entry(NamedTuple):
    """A compiled function: its name, the module that defines it under this name, how many int64 it takes."""

    name: str
    module: str
    arguments: int


ENTRIES = (
    Entry("walk_chunk", "backtest.walk_kernel", 5),
    Entry("read_csv_rows", "backtest.csv_kernel", 10),
    Entry("gather_columns", "backtest.columns_kernel", 9),
    Entry("find_minutes", "backtest.columns_kernel", 5),
    Entry("find_candles", "backtest.columns_kernel", 1),
    Entry("walk_triggers", "backtest.trigger_kernel", 1),
    Entry("read_candles", "backtest.grid_kernel", 1),
    Entry("run_combinations", "backtest.grid_kernel", 3),
)

HERE = ROOT / "backtest"
SOURCES = (
    *jit.COMPILED_SOURCES,
    ROOT / "core" / "money.py",
    ROOT / "trader" / "fills.py",
    HERE / "kernels.py",
    HERE / "result.py",
    HERE / "layout.py",
    HERE / "wallet.py",
    HERE / "book.py",
    HERE / "views.py",
    HERE / "walk.py",
    HERE / "walk_kernel.py",
    HERE / "csv_rows.py",
    HERE / "csv_kernel.py",
    HERE / "gather.py",
    HERE / "columns_kernel.py",
    HERE / "trigger_prices.py",
    HERE / "trigger_walk.py",
    HERE / "trigger_kernel.py",
    HERE / "moments.py",
    HERE / "grid_sums.py",
    HERE / "grid_candles.py",
    HERE / "grid_loop.py",
    HERE / "grid_kernel.py",
)


class Code(msgspec.Struct, array_like=True, frozen=True):
    """A compiled function: its name in the object file, and the file."""

    symbol: str
    object: bytes


class Function:
    """A compiled function, callable with ints as long as this lives; `owner` is what the code is in."""

    def __init__(self, entry: Entry, address: int, owner: object) -> None:
        self.entry = entry
        self._owner = owner
        self._call = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * entry.arguments)(address)

    def __call__(self, *arguments: int) -> int:
        return self._call(*arguments)  # type: ignore[no-any-return]


def folder_name() -> str:
    """Name of the folder for these sources with this Python, numba, llvmlite and processor."""
    return code_cache.folder_name(KIND, SOURCES)


@cache
def load(name: str, cache_root: Path) -> tuple[Function, str]:
    """A function by its name, compiled first where it is not there yet; also why it could not be kept, or nothing."""
    entry = entry_of(name)
    try:
        return function_of(entry, cache_root / folder_name() / name), ""
    except UnusableCode:
        return compile_into(entry, cache_root)


def warm(cache_root: Path, say: Callable[[], object] = lambda: None) -> str:
    """Have all of them there; returns why they could not be kept, or nothing. `say` is called before it compiles.

    Folders of other sources or versions are removed.
    """
    missing = cold(cache_root)
    if missing:
        say()
    for entry in missing:
        complaint = compile_into(entry, cache_root)[1]
        if complaint:
            return complaint
    code_cache.remove_others(cache_root, KIND, folder_name())
    return ""


def cold(cache_root: Path) -> list[Entry]:
    """What is not there yet, or damaged."""
    missing = []
    for entry in ENTRIES:
        try:
            code_cache.read(cache_root / folder_name() / entry.name)
        except UnusableCode:
            missing.append(entry)
    return missing


def entry_of(name: str) -> Entry:
    """The entry of this name."""
    return next(entry for entry in ENTRIES if entry.name == name)


def function_of(entry: Entry, path: Path) -> Function:
    """A function out of its file.

    Raises UnusableCode.
    """
    code = msgspec.msgpack.decode(code_cache.read(path), type=Code)
    engine = loaded(code.object)
    return Function(entry, engine.get_function_address(code.symbol), engine)


def compile_into(entry: Entry, cache_root: Path) -> tuple[Function, str]:
    """Compile, and keep the code once a fresh process has run it; also why it is not kept, or nothing.

    The function is the one that numba made in this process: it runs even where its code does not run by itself.
    """
    kernels: Any = importlib.import_module("backtest.kernels")  # numba, for who has to compile
    made = kernels.compiled(getattr(importlib.import_module(entry.module), entry.name), entry.arguments)
    packed = msgspec.msgpack.encode(Code(*kernels.object_code(made)))
    path = cache_root / folder_name() / entry.name
    complaint = code_cache.keep(path, packed, TRY.format(name=entry.name), f"the backtest's {entry.name} is")
    return Function(entry, made.address, made), complaint


TRY = """
import sys
from pathlib import Path
from backtest import compiled
compiled.attempt({name!r}, Path(sys.argv[1]))
"""


def attempt(name: str, path: Path) -> None:
    """Load a function and run it once over nothing."""
    entry = entry_of(name)
    if function_of(entry, path)(*[0] * entry.arguments) != 0:
        raise UnusableCode(f"{name} over nothing did not return 0")
