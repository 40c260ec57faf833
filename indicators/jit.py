"""Where compiled kernels are kept, and how they get there before the first trade.

Set-up compiles (`warm`); a stage loads. See `indicators.code_cache` for when code that is there may be run.
"""

from pathlib import Path

import msgspec

from core.paths import ROOT
from indicators import code_cache
from indicators.code_cache import UnusableCode
from indicators.machine import Code, Machine

HERE = ROOT / "indicators"
COMPILED_SOURCES = (
    ROOT / "bus" / "layouts.py",
    ROOT / "bus" / "records.py",
    HERE / "layout.py",
    HERE / "rules.py",
    HERE / "candles.py",
    HERE / "folding.py",
    HERE / "triggers.py",
    HERE / "describe.py",
    HERE / "kernels.py",
    HERE / "machine.py",
)


def sources_hash() -> int:
    """A 63-bit hash of everything that is compiled; state saved by other sources is not taken up."""
    return code_cache.sources_hash(COMPILED_SOURCES)


def folder_name() -> str:
    """Name of the folder for these sources with this Python, numba, llvmlite and processor."""
    return code_cache.folder_name("kernels", COMPILED_SOURCES)


def code_file(cache_root: Path) -> Path:
    """Where the compiled kernels of these sources lie."""
    return cache_root / folder_name() / "kernels"


def load(cache_root: Path) -> tuple[Machine, str]:
    """The kernels, compiled first where they are not there yet; also why they could not be kept, or nothing."""
    try:
        return Machine.of(read(code_file(cache_root))), ""
    except UnusableCode:
        return compile_into(cache_root)


def is_warm(cache_root: Path) -> bool:
    """Whether the kernels of these sources are compiled already."""
    try:
        read(code_file(cache_root))
    except UnusableCode:
        return False
    return True


def warm(cache_root: Path) -> str:
    """Have the compiled kernels there, so that no start waits for them; returns why they could not be kept, or nothing.

    Folders of other sources or versions are removed.
    """
    complaint = "" if is_warm(cache_root) else compile_into(cache_root)[1]
    if not complaint:
        code_cache.remove_others(cache_root, "kernels", folder_name())
    return complaint


def compile_into(cache_root: Path) -> tuple[Machine, str]:
    """Compile, and keep the code once a fresh process has run it; also why it is not kept, or nothing.

    The machine is the one that numba made in this process: it runs even where its code does not run by itself.
    """
    from indicators import kernels  # half a second and 40 MB, for who has to compile

    made = kernels.compiled()
    packed = msgspec.msgpack.encode(kernels.object_code(made))
    complaint = code_cache.keep(code_file(cache_root), packed, TRY, "the kernels are")
    return kernels.in_process(made), complaint


TRY = """
import sys
from pathlib import Path
from indicators import jit
jit.attempt(Path(sys.argv[1]))
"""


def attempt(path: Path) -> None:
    """Load kernels and run them once over nothing."""
    from indicators import layout

    machine = Machine.of(read(path))
    arena = layout.new_arena(layout.new_state(layout.Parameters(60_000), 1), 1)
    if machine.fold(arena)(bytes(64), 0, 0) != 0:
        raise UnusableCode("the kernel found an update in an empty record")
    machine.describe(arena)(layout.parts_of(arena)[2], 0, layout.parts_of(arena)[1])


def read(path: Path) -> Code:
    """The compiled kernels of a file.

    Raises UnusableCode.
    """
    return msgspec.msgpack.decode(code_cache.read(path), type=Code)
