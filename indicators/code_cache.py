"""Compiled code on disk: a folder whose name tells what it was made of, files that are whole or not used.

The folder's name carries a hash of every source that is compiled, of the versions of what compiles them and of the
processor: code of another rule, release or machine is never run.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from core.errors import BotError
from core.paths import ROOT
from indicators.machine import processor

DIGEST_BYTES = 16


class UnusableCode(BotError):
    """A file of compiled kernels that is not there, not whole, or does not run here: the text says which."""


def sources_hash(sources: Iterable[Path]) -> int:
    """A 63-bit hash of files, in this order."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
        digest.update(b"\0")
    return int.from_bytes(digest.digest()[:8], "little") >> 1


def folder_name(kind: str, sources: Iterable[Path]) -> str:
    """Name of the folder for these sources with this Python, numba, llvmlite and processor."""
    compilers = f"{platform.python_version()} {version('numba')} {version('llvmlite')} {version('numpy')}"
    mark = hashlib.sha256(f"{sources_hash(sources)} {compilers} {processor()}".encode()).hexdigest()[:12]
    return f"{kind}-{mark}"


def read(path: Path) -> bytes:
    """What was kept in a file.

    Raises UnusableCode.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnusableCode(f"{path}: {error.strerror}") from error
    packed = content[DIGEST_BYTES:]
    if digest(packed) != content[:DIGEST_BYTES]:
        raise UnusableCode(f"{path} is damaged")
    return packed


def keep(path: Path, packed: bytes, attempt: str, what: str) -> str:
    """Keep code in a file once a fresh process has run it; returns why it is not kept, or nothing.

    attempt: a Python program that loads the file named by its first argument and runs it once over nothing. what: the
    name of the code in a sentence.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.{os.getpid()}.new")
        aside.write_bytes(digest(packed) + packed)
        # Loading code that does not fit this machine or llvmlite can end the process: not one that is needed.
        tried = subprocess.run([sys.executable, "-c", attempt, str(aside)], cwd=ROOT, capture_output=True, text=True)
        if tried.returncode:
            aside.unlink()
            reason = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
            return f"{what} compiled at each start: the code does not run by itself: {reason}"
        aside.replace(path)
    except OSError as error:
        return f"{what} compiled at each start, some seconds: cannot write {path}: {error.strerror}"
    return ""


def remove_others(cache_root: Path, kind: str, name: str) -> None:
    """Remove folders of other sources or versions: a running process has long loaded what it needs."""
    for folder in cache_root.glob(f"{kind}-*"):
        if folder.name != name:
            shutil.rmtree(folder, ignore_errors=True)


def digest(packed: bytes) -> bytes:
    """What tells a whole file from a damaged one."""
    return hashlib.blake2b(packed, digest_size=DIGEST_BYTES).digest()
