"""Where compiled kernels are kept, and how they get there before the first trade.

The folder's name carries a hash of every source that is compiled, of the versions of what compiles them and of the
processor: code of another rule, release or machine is never run. Set-up compiles (`warm`); a stage loads.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import msgspec

from core.errors import BotError
from core.paths import ROOT
from indicators.machine import Code, Machine, processor

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
DIGEST_BYTES = 16


class UnusableCode(BotError):
    """A file of compiled kernels that is not there, not whole, or does not run here: the text says which."""


def sources_hash() -> int:
    """A 63-bit hash of everything that is compiled; state saved by other sources is not taken up."""
    digest = hashlib.sha256()
    for source in COMPILED_SOURCES:
        digest.update(source.read_bytes())
        digest.update(b"\0")
    return int.from_bytes(digest.digest()[:8], "little") >> 1


def folder_name() -> str:
    """Name of the folder for these sources with this Python, numba, llvmlite and processor."""
    compilers = f"{platform.python_version()} {version('numba')} {version('llvmlite')} {version('numpy')}"
    mark = hashlib.sha256(f"{sources_hash()} {compilers} {processor()}".encode()).hexdigest()[:12]
    return f"kernels-{mark}"


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

    Folders of other sources or versions are removed: a running stage has long loaded what it needs.
    """
    complaint = "" if is_warm(cache_root) else compile_into(cache_root)[1]
    if not complaint:
        for folder in cache_root.glob("kernels-*"):
            if folder.name != folder_name():
                shutil.rmtree(folder, ignore_errors=True)
    return complaint


def compile_into(cache_root: Path) -> tuple[Machine, str]:
    """Compile, and keep the code once a fresh process has run it; also why it is not kept, or nothing.

    The machine is the one that numba made in this process: it runs even where its code does not run by itself.
    """
    from indicators import kernels  # half a second and 40 MB, for who has to compile

    made = kernels.compiled()
    path = code_file(cache_root)
    complaint = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.{os.getpid()}.new")
        packed = msgspec.msgpack.encode(kernels.object_code(made))
        aside.write_bytes(digest(packed) + packed)
        # Loading code that does not fit this machine or llvmlite can end the process: not one that is needed.
        tried = subprocess.run([sys.executable, "-c", TRY, str(aside)], cwd=ROOT, capture_output=True, text=True)
        if tried.returncode:
            aside.unlink()
            reason = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
            complaint = f"the kernels are compiled at each start: their code does not run by itself: {reason}"
        else:
            aside.replace(path)
    except OSError as error:
        complaint = f"the kernels are compiled at each start, some seconds: cannot write {path}: {error.strerror}"
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
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnusableCode(f"{path}: {error.strerror}") from error
    packed = content[DIGEST_BYTES:]
    if digest(packed) != content[:DIGEST_BYTES]:
        raise UnusableCode(f"{path} is damaged")
    return msgspec.msgpack.decode(packed, type=Code)


def digest(packed: bytes) -> bytes:
    """What tells a whole file from a damaged one."""
    return hashlib.blake2b(packed, digest_size=DIGEST_BYTES).digest()
