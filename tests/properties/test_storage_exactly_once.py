"""However a journal is cut into batches, repeated and interrupted, each of its entries is in the tables once."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from storage.batch import TRADER, Batch
from storage.csvlog import TradesCsv, as_line
from storage.migrations import migrate
from storage.pruner import prune
from storage.queries import History
from storage.writer import Writer
from tests.unit import storage_samples as samples

JOURNAL = 99
OTHERS = {"signal": samples.signal, "equity": samples.equity, "position": samples.position}


def journal_of(kinds: list[str]) -> list:
    """A journal with one entry per kind, ids counted as the trader counts them."""
    entries, fills, trades = [], 0, 0
    for number, kind in enumerate(kinds, start=1):
        if kind == "fill":
            fills += 1
            entries.append(samples.fill(number, fills))
        elif kind == "trade":
            trades += 1
            entries.append(samples.trade(number, trades, None if trades % 2 else f"{trades}.25"))
        elif kind == "order":
            entries.append(samples.order(number, f"scalp-{number // 3}", "open", str(number)))
        else:
            entries.append(OTHERS[kind](number))
    return entries


kinds = st.lists(st.sampled_from(["fill", "trade", "order", "signal", "equity", "position"]), min_size=1, max_size=40)
# How a piece is delivered: how far it goes beyond the last, how far it reaches back, and what happens to it.
deliveries = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from(["written", "failed", "restarted", "pruned"])),
    max_size=25,
)


def opened(database: Path) -> Writer:
    writer = Writer(database)
    migrate(writer.engine, database, 1)
    return writer


def tables(database: Path) -> dict[str, list]:
    history = History(database)
    names = ("orders", "fills", "trades", "signals", "equity")
    return {name: sorted((tuple(row.values()) for row in getattr(history, name)(1000)), key=repr) for name in names}


def deliver(writer: Writer, journal: list, first: int, last: int, fails: bool = False) -> None:
    batch = Batch()
    for number in range(first, last + 1):
        batch.add_entry(JOURNAL, number, journal[number - 1])
    if not fails:
        writer.write(batch)
        return
    batch.add_row(TRADER, JOURNAL, 10**6, "events", (None, None, None, None, None))
    try:
        writer.write(batch)
    except writer.driver_errors:
        return
    raise AssertionError("a row of nulls was accepted")


@settings(max_examples=40, deadline=None)
@given(kinds=kinds, deliveries=deliveries)
def test_each_entry_is_in_the_tables_once(kinds, deliveries):
    journal = journal_of(kinds)
    with tempfile.TemporaryDirectory() as folder:
        plain, database = Path(folder) / "plain.db", Path(folder) / "bot_data.db"
        writer = opened(plain)
        deliver(writer, journal, 1, len(journal))
        writer.close()
        writer = opened(database)
        log = TradesCsv(Path(folder) / "trades.csv", lambda id: writer.trades_from(id))
        for ahead, back, what in [*deliveries, (len(journal), 0, "written")]:
            reached = writer.cursors().get(TRADER, (JOURNAL, 0))[1]
            first, last = max(1, reached + 1 - back), min(len(journal), reached + ahead)
            deliver(writer, journal, first, last, fails=what == "failed")
            if what == "restarted":
                writer.close()
                writer = opened(database)
            elif what == "pruned":
                prune(writer.engine, 60_000)
                log.sync()
        assert tables(database) == tables(plain)
        assert writer.cursors() == {TRADER: (JOURNAL, len(journal))}
        log.sync()
        lines = "".join(as_line(row) for row in writer.trades_from(0))
        assert (Path(folder) / "trades.csv").read_text().partition("\n")[2] == lines
        writer.close()


@settings(max_examples=25, deadline=None)
@given(kinds=kinds, minutes=st.lists(st.integers(0, 300), max_size=30), keep=st.integers(0, 200))
def test_pruning_at_any_time_leaves_the_ledger_and_what_is_young(kinds, minutes, keep):
    with tempfile.TemporaryDirectory() as folder:
        writer = opened(Path(folder) / "bot_data.db")
        batch = Batch()
        for number, entry in enumerate(journal_of(kinds), start=1):
            batch.add_entry(JOURNAL, number, entry)
        for minute in minutes:
            batch.add_candle(samples.candle(minute))
        writer.write(batch)
        history = History(writer.database)
        before = tables(writer.database), history.totals(), history.realized()
        prune(writer.engine, keep * samples.MINUTE)
        after = tables(writer.database), history.totals(), history.realized()
        for name in ("orders", "fills", "trades"):
            assert after[0][name] == before[0][name]
        assert after[1:] == before[1:]
        kept = {(row["time"] - samples.START) // samples.MINUTE for row in history.candles(samples.PAIR, 1000)}
        assert kept == {minute for minute in minutes if minute >= max(minutes) - keep}
        writer.close()
