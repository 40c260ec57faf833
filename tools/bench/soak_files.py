"""What a bot keeps on its disk, by kind, and the most that each kind may come to in a soak.

Some kinds the code itself keeps below a size. Others grow with the market, for ever or until they are pruned: of those
the growth is bounded, as MB a day of market time, at three times what was measured of the soak's market.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bus.layouts import RECORD_SIZE
from bus.tape import SEGMENT_BYTES
from core.paths import PROGRAMS
from core.settings import Settings
from indicators import kept
from indicators.layout import ROW, state_words
from indicators.ring import SPARE_ROWS, candles_kept
from storage.schema import WAL_KEPT_BYTES
from tools.bench.figure import Figure, figure

MB = 1024 * 1024
DAY_S = 86_400
TAPE, JOURNAL, DATABASE, TRADES_CSV, LOGS = "tape", "journal", "database", "trades.csv", "logs"
JOURNAL_WAL, DATABASE_WAL = "journal's WAL", "database's WAL"
STATE, KEPT = "indicators' state", "indicators' kept states"
REST = "all else"
IN_BOOK = {
    "journal.db": JOURNAL,
    "journal.db-wal": JOURNAL_WAL,
    "bot_data.db": DATABASE,
    "bot_data.db-wal": DATABASE_WAL,
    "trades.csv": TRADES_CSV,
}
KINDS = (TAPE, *IN_BOOK.values(), STATE, KEPT, LOGS, REST)

# supervisord.conf: of a program 5 MB and three older ones, of supervisord itself 1 MB and two.
PROGRAM_LOG_MB, SUPERVISORD_LOG_MB = 4 * 5.0, 3 * 1.0
# SQLite moves the journal's log into the file from 1,000 pages on, 4 MB, at the next commit that no reader is in the
# way of. It is twice that only where readers are for long: nobody but the trader itself reads the journal.
JOURNAL_WAL_MB = 8.0
STATE_HEAD_BYTES = 1024  # around the packed state: whose it is, and what the pairs are
TAPE_SPARE = 1.5  # the tape's records are counted: what is no trade is a START and the venue's candles now and then
# MB a market day as measured: a purchase and a sale every ten minutes; of kept states 24 of one pair.
MEASURED_MB = {JOURNAL: 2.5, DATABASE: 1.4, TRADES_CSV: 0.034, LOGS: 0.055, KEPT: 0.015}
SPARE = 3.0  # times as much
REST_MB = 0.1  # measured was 0: kernels, locks, settings and the sandbox's own files stay as they are


class Bound(NamedTuple):
    """The most of one kind; None where there is no such bound."""

    size_mb: float | None = None  # at any moment
    growth_mb: float | None = None  # a market day


class Seen(NamedTuple):
    """What a run saw of one kind."""

    most_mb: float
    end_mb: float
    growth_mb: float  # a market day


def bounds(settings: Settings, trades_per_s: float) -> dict[str, Bound]:
    """By kind, at so many trades a second of market time."""
    growth = {kind: SPARE * mb for kind, mb in MEASURED_MB.items()}
    pairs = len(settings.pairs)
    rows = candles_kept(settings.retention_minutes, settings.timeframe_ms, settings.warmup_candles) * pairs
    # Twice what is kept and some rows, then what closes at once; while they are written anew, what is kept beside them.
    ring_bytes = (4 * rows + SPARE_ROWS) * ROW.itemsize
    state_bytes = 2 * (8 * state_words(pairs, settings.bb_period) + STATE_HEAD_BYTES)  # the new one beside the old
    return {
        # The segment that is being written stays, whatever the limit.
        TAPE: Bound(settings.tape_max_mb + SEGMENT_BYTES / MB, TAPE_SPARE * trades_per_s * DAY_S * RECORD_SIZE / MB),
        JOURNAL: Bound(growth_mb=growth[JOURNAL]),
        JOURNAL_WAL: Bound(JOURNAL_WAL_MB),
        DATABASE: Bound(growth_mb=growth[DATABASE]),
        DATABASE_WAL: Bound(WAL_KEPT_BYTES / MB),
        TRADES_CSV: Bound(growth_mb=growth[TRADES_CSV]),
        STATE: Bound((ring_bytes + state_bytes) / MB),
        KEPT: Bound(kept.MOST_BYTES / MB, growth[KEPT]),
        LOGS: Bound(PROGRAM_LOG_MB * len(PROGRAMS) + SUPERVISORD_LOG_MB, growth[LOGS]),
        REST: Bound(growth_mb=REST_MB),
    }


def kind_of(file: Path, var: Path, book: Path) -> str:
    """What a file below VAR_DIR is."""
    if file.parent == book:
        return IN_BOOK.get(file.name, REST)
    if file.is_relative_to(book / "tape"):
        return TAPE
    if file.parent == book / kept.FOLDER:
        return KEPT
    top, *inner = file.relative_to(var).parts
    if top == "log":
        return LOGS
    return STATE if top == "cache" and inner[0].startswith("indicators-") else REST


def file_mb(var: Path, book: Path) -> dict[str, float]:
    """MB of every file below VAR_DIR, by kind."""
    found = dict.fromkeys(KINDS, 0.0)
    for folder, _, names in os.walk(var):
        for file in (Path(folder, name) for name in names):
            found[kind_of(file, var, book)] += size(file) / MB
    return found


def size(path: Path) -> int:
    """Bytes of a file; 0 where it was removed meanwhile."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def told(what: str, seen: Mapping[str, Seen], most: Mapping[str, Bound], *, judged: bool) -> list[Figure]:
    """Sizes, then growth; of a run too short to be `judged` growth is told without its bar."""
    sizes = [
        figure("soak", f"{what}: {kind}", "MB", [one.most_mb], most=most[kind].size_mb, note=at_the_end(one))
        for kind, one in seen.items()
    ]
    growth = [
        figure("soak", f"{what}: growth of {kind}", "MB/market day", [one.growth_mb], most=bar if judged else None)
        for kind, one in seen.items()
        if (bar := most[kind].growth_mb) is not None
    ]
    return sizes + growth


def at_the_end(one: Seen) -> str:
    """Where a kind stood in the end."""
    return f"{one.end_mb:.2f} MB at the end, {one.growth_mb:+.2f} MB/market day"
