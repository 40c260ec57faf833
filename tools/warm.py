"""Compiles the indicator kernels into the cache, so that no start waits for the compiler; with --all the backtest too.

A bot that starts needs no backtest: half a minute of compiling, minutes on a small board, waits for whoever runs one
(or the tests). Quick when there is nothing to do: the compiler's libraries are only loaded when the sources or the
installed packages differ from those of the last time.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

from core import paths
from core.errors import BotError
from core.settings_load import var_dir_only

STAMP, BACKTEST_STAMP = "warm.stamp", "warm-backtest.stamp"
EVERYTHING = "--all"
BACKTEST = ("core", "trader", "backtest")  # packages of which the backtest's code is compiled beside the indicators


def main(arguments: list[str]) -> int:
    cache_dir = paths.cache_dir(var_dir_only())
    try:
        warm(cache_dir)
    except BotError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 2
    if EVERYTHING in arguments:
        try:
            warm_backtest(cache_dir)
        except BotError as error:  # a run compiles it then, each time
            print(f"set-up: {error}", file=sys.stderr)
    return 0


def warm(cache_dir: Path) -> bool:
    """Fills the cache; False where it was warm already. Raises BotError where the kernels could not be kept."""

    def compile_them() -> str:
        from indicators import jit  # a tenth of a second, for who may have to compile

        if not jit.is_warm(cache_dir):
            print("set-up: compiles the indicators (once; some seconds, longer on a small board)", flush=True)
        complaint = jit.warm(cache_dir)
        if complaint:
            raise BotError(complaint)
        return jit.folder_name()

    return _unless_stamped(cache_dir, STAMP, sources_key(paths.ROOT), compile_them)


def warm_backtest(cache_dir: Path) -> bool:
    """Fills the cache for the backtest; False where it was warm. Raises BotError where the code could not be kept."""

    def compile_it() -> str:
        from backtest import compiled

        complaint = compiled.warm(cache_dir, lambda: print(f"set-up: {compiled.COMPILES}", flush=True))
        if complaint:
            raise BotError(complaint)
        return compiled.folder_name()

    return _unless_stamped(cache_dir, BACKTEST_STAMP, sources_key(paths.ROOT, BACKTEST), compile_it)


def sources_key(root: Path, more: tuple[str, ...] = ()) -> str:
    """A hash of all that can change the compiled code: our sources, those of `more` packages, and what is installed."""
    digest = hashlib.sha256()
    ours = [*sorted((root / "indicators").glob("*.py")), root / "bus" / "layouts.py", root / "bus" / "records.py"]
    ours += [file for package in more for file in sorted((root / package).glob("*.py"))]
    for source in (*ours, root / ".venv" / "stamp-run"):
        if source.exists():
            digest.update(source.read_bytes())
    return digest.hexdigest()[:32]


def _unless_stamped(cache_dir: Path, name: str, key: str, fill: Callable[[], str]) -> bool:
    """Calls `fill`, which returns its folder's name, unless the stamp says that this was done and it is there."""
    stamp = cache_dir / name
    try:
        seen, folder = stamp.read_text().split()
        if seen == key and (cache_dir / folder).is_dir():
            return False
    except (FileNotFoundError, ValueError):  # never done, or not to its end
        pass
    stamp.write_text(f"{key} {fill()}\n")
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
