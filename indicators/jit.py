"""Where compiled code is kept, and how it gets there before the first trade.

numba's disk cache notices a changed file, but not a changed function of another file that was compiled in: the old rule
would go on running. So the cache folder's name carries a hash of every source that is compiled.
"""

import hashlib
import platform
import shutil
from pathlib import Path

import llvmlite
import numba
import numpy as np

from indicators.compiler import Cache

HERE = Path(__file__).resolve().parent
COMPILED_SOURCES = (
    HERE.parent / "bus" / "layouts.py",
    HERE.parent / "bus" / "records.py",
    HERE / "layout.py",
    HERE / "rules.py",
    HERE / "candles.py",
    HERE / "folding.py",
    HERE / "triggers.py",
    HERE / "describe.py",
    HERE / "kernels.py",
    HERE / "compiler.py",
)


def sources_hash() -> int:
    """A 63-bit hash of everything that is compiled; state saved by other sources is not taken up."""
    digest = hashlib.sha256()
    for source in COMPILED_SOURCES:
        digest.update(source.read_bytes())
        digest.update(b"\0")
    return int.from_bytes(digest.digest()[:8], "little") >> 1


def folder_name() -> str:
    """Name of the cache folder for these sources with this Python, numba and numpy."""
    versions = f"{platform.python_version()} {numba.__version__} {llvmlite.__version__} {np.__version__}"
    mark = hashlib.sha256(f"{sources_hash()} {versions}".encode()).hexdigest()[:12]
    return f"kernels-{mark}"


def use_cache(cache_root: Path) -> str:
    """Keep compiled code under `cache_root`; to be called before `indicators.kernels` is imported.

    Returns "" or, where the folder cannot be written, why the kernels are compiled anew at each start.
    """
    folder = cache_root / folder_name()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        numba.config.CACHE_DIR = ""
        Cache.on = False
        return f"the kernels are compiled at each start (some seconds): no cache in {folder}: {error.strerror}"
    numba.config.CACHE_DIR = str(folder)
    Cache.on = True
    return ""


def is_warm(cache_root: Path) -> bool:
    """Whether the kernels of these sources were compiled before."""
    return any((cache_root / folder_name()).rglob("folding.fold-*.nbc"))


def warm(cache_root: Path) -> str:
    """Compile everything into the cache, so that no start waits for it; returns what `use_cache` returns.

    Folders of other sources or versions are removed: a running stage has long loaded what it needs.
    """
    complaint = use_cache(cache_root)
    from indicators import kernels  # compiled code is bound to the cache that is set when this is imported

    kernels.compile_all()
    if not complaint:
        for folder in cache_root.glob("kernels-*"):
            if folder.name != folder_name():
                shutil.rmtree(folder, ignore_errors=True)
    return complaint
