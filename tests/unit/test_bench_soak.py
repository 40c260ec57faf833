"""What a soak makes of the files that it sees: each in one kind, each kind with a bound that can be missed."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from core.paths import PROGRAMS, ROOT
from core.settings_load import from_texts
from indicators.layout import ROW
from indicators.ring import ClosedCandles, candles_kept
from tools.bench import soak, soak_files
from tools.bench.figure import Figure
from tools.bench.soak_files import KINDS, MB, Bound, Seen

SETTINGS = from_texts({})
BOUNDS = soak_files.bounds(SETTINGS, soak.RATE)
# An hour at 20 times the market's speed, as it was measured.
MEASURED = {
    "tape": Seen(8.8, 8.8, 11.1),
    "journal": Seen(2.03, 2.03, 2.5),
    "journal's WAL": Seen(3.94, 3.94, 0.0),
    "database": Seen(1.24, 1.24, 1.4),
    "database's WAL": Seen(3.98, 3.98, 0.0),
    "trades.csv": Seen(0.03, 0.03, 0.034),
    "indicators' state": Seen(0.16, 0.16, 0.2),
    "indicators' kept states": Seen(0.012, 0.012, 0.015),
    "logs": Seen(0.05, 0.05, 0.055),
    "all else": Seen(4.8, 4.8, 0.0),
}


def missed(seen: Mapping[str, Seen], *, judged: bool = True) -> list[str]:
    """Names of the figures that miss their bar."""
    found: list[Figure] = soak_files.told("soak", seen, BOUNDS, judged=judged)
    return [item.name.removeprefix("soak: ") for item in found if item.reached is False]


@pytest.mark.parametrize(
    ("trades", "judged", "reached"), [(0.0, True, False), (59.0, True, False), (60.0, True, True), (0.0, False, None)]
)
def test_an_hour_in_which_the_bot_hardly_trades_is_no_proof(trades: float, judged: bool, reached: bool | None) -> None:
    assert soak.traded("60 minutes", 60.0, trades, judged=judged).reached is reached


def test_each_file_below_var_dir_is_of_one_kind(tmp_path: Path) -> None:
    book = tmp_path / "books" / "sim-sandbox"
    kinds = {
        "tape": ["tape/1/00.tape", "tape/2/00.tape"],
        "journal": ["journal.db"],
        "journal's WAL": ["journal.db-wal"],
        "database": ["bot_data.db"],
        "database's WAL": ["bot_data.db-wal"],
        "trades.csv": ["trades.csv"],
        "indicators' kept states": ["indicators/0000000001.state", "indicators/0000000002.state"],
        "indicators' state": ["../../cache/indicators-sim-sandbox/state"],
        "logs": ["../../log/trader.log", "../../log/trader.log.1"],
        "all else": ["exchange.db", "../../cache/kernels-1/kernels", "../../settings.json", "../../run/a.lock"],
    }
    assert tuple(sorted(kinds)) == tuple(sorted(KINDS))
    for place, files in enumerate(kinds.values(), start=1):
        for name in files:
            (book / name).parent.mkdir(parents=True, exist_ok=True)
            (book / name).write_bytes(bytes(place * 1_000))
    (tmp_path / "current").symlink_to(book)  # as `open_book` makes it: nothing counts twice
    found = {name: round(mb * MB) for name, mb in soak_files.file_mb(tmp_path, book).items()}
    assert found == {name: place * 1_000 * len(kinds[name]) for place, name in enumerate(kinds, start=1)}


def test_what_was_measured_is_within_all_bounds() -> None:
    assert missed(MEASURED) == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_bound_and_misses_it_beyond(kind: str) -> None:
    bound = BOUNDS[kind]
    assert bound != Bound()
    if bound.size_mb is not None:
        assert missed(MEASURED | {kind: MEASURED[kind]._replace(most_mb=bound.size_mb * 1.01)}) == [kind]
    if bound.growth_mb is not None:
        larger = MEASURED | {kind: MEASURED[kind]._replace(growth_mb=bound.growth_mb * 1.01)}
        assert missed(larger) == [f"growth of {kind}"]
        assert missed(larger, judged=False) == []


def test_a_size_is_the_largest_of_the_run_and_growth_is_told_by_the_market_day() -> None:
    hours = [0.5, 0.75, 1.0]  # the first sample is from before it had settled
    seen = soak.seen([9.0, 2.0, 3.0, 4.0], hours)
    assert (seen.most_mb, seen.end_mb) == (9.0, 4.0)
    assert seen.growth_mb == pytest.approx(4.0 * 24 / soak.SPEED)


def test_the_ring_of_closed_candles_stays_within_its_bound(tmp_path: Path) -> None:
    keep = candles_kept(SETTINGS.retention_minutes, SETTINGS.timeframe_ms, SETTINGS.warmup_candles)
    file = tmp_path / "rows"
    ring = ClosedCandles(file, keep, 1)
    ring.begin(1)
    row, most = np.zeros(1, ROW), 0
    for number in range(5_000):
        row["open_ns"] = row["number"] = number
        ring.add(row)
        most = max(most, file.stat().st_size)
    assert file.stat().st_size < most, "it was written anew in between"
    bound = BOUNDS["indicators' state"].size_mb
    assert bound is not None and 0.5 * bound < most / MB < bound


def test_the_bound_of_logs_is_what_supervisord_keeps() -> None:
    lines = (ROOT / "supervisord.conf").read_text().splitlines()
    assert lines.count("stdout_logfile_maxbytes=5MB") == lines.count("stdout_logfile_backups=3") == len(PROGRAMS)
    assert lines.count("logfile_maxbytes=1MB") == lines.count("logfile_backups=2") == 1
    assert BOUNDS["logs"].size_mb == 20 * len(PROGRAMS) + 3
