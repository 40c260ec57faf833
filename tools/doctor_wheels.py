"""What the doctor finds out about Python and its packages, with nothing but Python itself."""

import platform
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from core.paths import ROOT
from tools.doctor_lines import Imported, Line, bits, wheel

# Packages with compiled code, by a module whose import loads that code; some have a plain form for where it is missing.
WHEELS = {
    "charset-normalizer": "charset_normalizer",
    "llvmlite": "llvmlite.binding",
    "msgspec": "msgspec",
    "numba": "numba",
    "numpy": "numpy",
    "pydantic-core": "pydantic_core",
    "pyzmq": "zmq",
    "sqlalchemy": "sqlalchemy",
    "websockets": "websockets.frames",
}
IMPORT_SECONDS = 120.0  # a small board reads numba for the first time


def first_lines() -> list[Line]:
    """What has to be well before anything of ours can be loaded: 64 bits, and each package with compiled code."""
    return [bits(*pointer_bits()), *(wheel(found) for found in imported(list(WHEELS.values())))]


def pointer_bits() -> tuple[int, str]:
    """Bits of this Python, and the machine's name."""
    return struct.calcsize("P") * 8, platform.machine()


def imported(modules: Sequence[str], folder: Path | None = None, seconds: float = IMPORT_SECONDS) -> list[Imported]:
    """Each module imported by a process of its own, all at once; `folder`: where to look for modules first."""
    first = f"import sys; sys.path.insert(0, {str(folder)!r}); " if folder else ""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", f"{first}import {module}"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for module in modules
    ]
    return [_ended(module, child, seconds) for module, child in zip(modules, children, strict=True)]


def _ended(module: str, child: subprocess.Popen[bytes], seconds: float) -> Imported:
    try:
        _, written = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return Imported(module, None)
    lines = written.decode(errors="replace").strip().splitlines()
    return Imported(module, child.returncode, lines[-1][:200] if lines else "")
