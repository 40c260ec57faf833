"""Opening market data: tapes, or files of trades and candles, told by their content.

A source is what `backtest.chunks` describes: an engine reads arrays of `bus.records.RECORD` and knows no file.
"""

from collections.abc import Sequence
from pathlib import Path

from backtest.bad_data import BadFile
from backtest.chunks import CHUNK, Chunk, Source
from backtest.csv_files import unreadable
from backtest.csv_source import TradesSource
from backtest.tapes import TapeSource, is_tape
from core.settings import Settings

__all__ = ["CHUNK", "Chunk", "Source", "open_source"]


def open_source(paths: Sequence[Path], settings: Settings, *, qty_unit: str = "base", skip_bad: bool = False) -> Source:
    """The market data of tapes, or of files of trades or candles, in the order given.

    qty_unit: base or quote, the currency of the quantities in files of trades. skip_bad: bad rows are left out and
    counted in the notes. Raises BadFile or BadRow, here for what the heads of the files show, else while it is read.
    """
    if not paths:
        raise BadFile("no market data is named: give a tape or files of trades.")
    seen: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise BadFile(f"there is no file {path}.")
        if not path.is_file() and not path.is_dir():
            raise BadFile(f"{path} is neither a file nor a folder: write it to a file first.")
        if path.resolve() in seen:
            raise BadFile(f"{path} is named twice: name each file once.")
        seen[path.resolve()] = path
    try:
        tapes = [path for path in paths if is_tape(path)]
    except OSError as error:
        raise unreadable(Path(error.filename or ""), error) from error
    if not tapes:
        return TradesSource(paths, settings, in_quote=qty_unit == "quote", skip_bad=skip_bad)
    others = [path for path in paths if path not in tapes]
    if others:
        raise BadFile(
            f"{tapes[0]} is a tape and {others[0]} is none: convert one of them first (python -m backtest convert)."
        )
    if qty_unit == "quote":
        raise BadFile(f"{tapes[0]} is a tape: its quantities are in the base currency, --qty-unit quote is for files.")
    return TapeSource(tapes)
