"""Compiles the indicator kernels and the backtest's loops into the cache, so that no start waits for the compiler.

Quick when there is nothing to do: the compiler's libraries are only loaded when the sources or the installed packages
differ from those of the last time.
"""

import hashlib
import sys
from pathlib import Path

from core import paths
from core.errors import BotError
from core.settings_load import var_dir_only

STAMP = "warm.stamp"
COMPILED_OF = ("bus", "core", "indicators", "trader", "backtest")  # packages whose sources are compiled, in part


def main() -> int:
    try:
        warm(paths.cache_dir(var_dir_only()))
    except BotError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 2
    return 0


def warm(cache_dir: Path) -> bool:
    """Fills the cache; False where it was warm already. Raises BotError where the kernels could not be kept."""
    stamp = cache_dir / STAMP
    key = sources_key(paths.ROOT)
    try:
        seen, *folders = stamp.read_text().split()
        if seen == key and folders and all((cache_dir / folder).is_dir() for folder in folders):
            return False
    except (FileNotFoundError, ValueError):  # never done, or not to its end
        pass
    from backtest import compiled  # a tenth of a second, for who may have to compile
    from indicators import jit

    if not jit.is_warm(cache_dir):
        print("set-up: compiles the indicators (once; some seconds, longer on a small board)", flush=True)
    complaint = jit.warm(cache_dir)
    if complaint:
        raise BotError(complaint)
    folders = [jit.folder_name()]
    complaint = compiled.warm(cache_dir, say_compiling)
    if complaint:  # no reason to keep the bot from running
        print(f"set-up: {complaint}", file=sys.stderr)
    else:
        folders.append(compiled.folder_name())
    stamp.write_text(f"{' '.join([key, *folders])}\n")
    return True


def say_compiling() -> None:
    print("set-up: compiles the backtest (once; half a minute, longer on a small board)", flush=True)


def sources_key(root: Path) -> str:
    """A hash of all that can change the compiled code: our sources and what is installed."""
    digest = hashlib.sha256()
    ours = [file for package in COMPILED_OF for file in sorted((root / package).glob("*.py"))]
    for source in (*ours, root / ".venv" / "stamp-run"):
        if source.exists():
            digest.update(source.read_bytes())
    return digest.hexdigest()[:32]


if __name__ == "__main__":
    sys.exit(main())
