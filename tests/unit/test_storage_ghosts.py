"""Ghost entries: storage's verdicts are the backtest's of the same session; each is given once."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from backtest import events
from backtest.legs import legs_table
from backtest.result import CONFIRMED, ENTER, GHOST, Result
from backtest.sources import open_source
from bus.messages import At, Candle, Entry, SignalEvent, StartedEvent, TraderEvent
from core.settings_load import from_texts
from indicators import report
from storage import ghosts
from storage.batch import Batch
from storage.migrations import migrate
from storage.queries import History
from storage.writer import Writer
from tests.recorded_session import Recording
from tests.why_world import PAIR

WORDS = {CONFIRMED: ghosts.CONFIRMED, GHOST: ghosts.GHOST}
KEEP_MS = 10**12


class Book:
    """bot_data.db, written as storage writes it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bot_data.db"
        self.writer = Writer(self.path)
        migrate(self.writer.engine, self.path, 1)
        self.history = History(self.path)

    def entries(self, entries: list[Entry]) -> None:
        batch = Batch()
        for entry in entries:
            batch.add_entry(1, entry.number, entry.event)
        self.writer.write(batch)

    def candles(self, candles: list[Candle]) -> None:
        batch = Batch()
        for candle in candles:
            batch.add_candle(candle)
        self.writer.write(batch)

    def judge(self, keep_ms: int = KEEP_MS) -> int:
        return ghosts.judge(self.writer.engine, keep_ms)

    def verdicts(self) -> dict[int, str]:
        """By the number of the deciding record."""
        return {row["number"]: row["verdict"] for row in self.history.ghosts(100_000)}

    def close(self) -> None:
        self.history.close()
        self.writer.close()


@pytest.fixture
def book(tmp_path: Path) -> Any:
    (tmp_path / "db").mkdir()
    made = Book(tmp_path / "db")
    yield made
    made.close()


def candles_of(rec: Recording) -> list[Candle]:
    return [one for epoch, rows in rec.closed for one in report.candles_of(rows, [PAIR], closed=True, epoch=epoch)]


def backtested(rec: Recording) -> Result:
    settings = from_texts(rec.changed | {"VAR_DIR": str(rec.book.parent)})
    return events.run(open_source([rec.book / "tape"], settings), settings, bars=False)


def judged_by(result: Result) -> dict[int, str]:
    rows = result.decisions[result.decisions["action"] == ENTER]
    return {int(row["number"]): WORDS.get(int(row["ghost"]), ghosts.UNKNOWN) for row in rows}


def told(book: Book) -> dict[int, str]:
    """The verdicts; what still waits counts as unknown, as at the end of a backtest."""
    return {at: ghosts.UNKNOWN if word == ghosts.WAITING else word for at, word in book.verdicts().items()}


def is_entry(event: TraderEvent) -> bool:
    return isinstance(event, SignalEvent) and event.action == "enter" and event.outcome == "approved"


def session(folder: Path) -> Recording:
    """Trades with HOLEs that break candles off, some just after an entry."""
    rec = Recording(folder, seed=5)
    rec.trades(3_000)
    for _ in range(6):
        known = len(rec.events)
        while not any(map(is_entry, rec.events[known:])):
            rec.trades(1)
        rec.hole()
        rec.history(15)
        rec.trades(400)
    return rec


class Played(NamedTuple):
    """A session: its journal, its closed candles as they were told, and what a backtest makes of its tape."""

    entries: list[Entry]
    candles: list[Candle]
    result: Result


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    rec = session(tmp_path_factory.mktemp("played"))
    made = Played(rec.entries(), candles_of(rec), backtested(rec))
    rec.close()
    return made


def judge_all(book: Book) -> None:
    while book.judge():
        pass


def test_the_verdicts_are_those_of_a_backtest_of_the_same_session(played: Played, book: Book) -> None:
    book.entries(played.entries)
    book.candles(played.candles)
    judge_all(book)
    expected = judged_by(played.result)
    assert told(book) == expected
    counted = Counter(expected.values())
    assert min(counted[word] for word in (ghosts.CONFIRMED, ghosts.GHOST, ghosts.UNKNOWN)) > 3, counted
    totals = book.history.ghost_totals()
    legs = legs_table(played.result)
    for code, word in WORDS.items():
        mine = legs[legs["ghost"] == code]
        assert totals[word]["legs"] == len(mine)
        assert totals[word]["profit"] == pytest.approx(float(mine["profit"].sum()) / 1e8, abs=1e-6)


def test_candles_and_entries_may_come_in_either_order_and_bit_by_bit(played: Played, book: Book) -> None:
    entries, candles = played.entries, played.candles
    book.candles(candles[:200])
    for part in range(5):
        book.entries(entries[len(entries) * part // 5 : len(entries) * (part + 1) // 5])
        book.judge()
        book.candles(candles[200 + (len(candles) - 200) * part // 5 : 200 + (len(candles) - 200) * (part + 1) // 5])
        book.judge()
    judge_all(book)
    assert told(book) == judged_by(played.result)
    before = book.history.ghosts(100_000)
    assert book.judge() == 0 and book.history.ghosts(100_000) == before


def test_a_verdict_stays_when_the_journal_is_told_once_more(played: Played, book: Book) -> None:
    book.entries(played.entries)
    book.candles(played.candles)
    judge_all(book)
    before = book.history.ghosts(100_000)
    with book.writer.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM cursors")
    book.entries([entry for entry in played.entries if isinstance(entry.event, SignalEvent)])
    assert book.history.ghosts(100_000) == before


# --- by hand

SETTINGS = {"RSI_BUY": "30", "RSI_CRASH": "20"}


def entry(number: int = 20, epoch: int = 7) -> list[Entry]:
    start: TraderEvent = StartedEvent(At(7, 0, 0), "id", "book", SETTINGS, "new", "")
    at = At(epoch, number, 130_000)
    signal = SignalEvent(at, PAIR, "enter", "mean_reversion", 99.0, 25.0, 100.0, "approved", "scalp1")
    return [Entry(1, start), Entry(2, signal)]


def closed(
    minute: int, number: int, *, rsi: float | None = 25.0, close: float = 99.0, segment: int = 1, epoch: int = 7
) -> Candle:
    prices = (100.0, 101.0, 98.0, close, 1.0, 5, rsi, 100.0, 101.0, 102.0)
    return Candle(PAIR, minute * 60_000, *prices, True, False, epoch, segment, number)


CASES = {
    "an entry rule holds at the close": ([closed(1, 10), closed(2, 30)], ghosts.CONFIRMED),
    "RSI was back over RSI_BUY": ([closed(1, 10), closed(2, 30, rsi=30.0)], ghosts.GHOST),
    "the price was back over the band": ([closed(1, 10), closed(2, 30, close=100.0)], ghosts.GHOST),
    "another entry rule holds": ([closed(1, 10), closed(2, 30, close=100.0, rsi=19.0)], ghosts.CONFIRMED),
    "the candle still forms": ([closed(1, 10)], ghosts.WAITING),
    "nothing is known yet": ([], ghosts.WAITING),
    "decided by the trade that closed the candle before": ([closed(1, 20), closed(2, 30)], ghosts.CONFIRMED),
    "broken off, history told again": ([closed(1, 25, segment=2), closed(2, 30, segment=2)], ghosts.UNKNOWN),
    "broken off, and not told again": ([closed(1, 10), closed(3, 40, segment=2)], ghosts.UNKNOWN),
    "a warm-up began between": ([closed(1, 10), closed(2, 30, segment=2)], ghosts.UNKNOWN),
    "told in time, then again by history": (
        [closed(1, 10), closed(2, 30), closed(1, 40, segment=2), closed(2, 41, segment=2, rsi=60.0)],
        ghosts.CONFIRMED,
    ),
    "another tape": ([closed(1, 10, epoch=8), closed(2, 30, epoch=8)], ghosts.UNKNOWN),
    "no indicators at its close": ([closed(1, 10), closed(2, 30, rsi=None)], ghosts.UNKNOWN),
}


@pytest.mark.parametrize(("candles", "verdict"), CASES.values(), ids=CASES)
def test_a_verdict(book: Book, candles: list[Candle], verdict: str) -> None:
    book.entries(entry())
    book.candles(candles)
    assert book.judge() == (verdict != ghosts.WAITING)
    assert book.verdicts() == {20: verdict}


def test_an_entry_whose_candles_are_gone_is_unknown(book: Book) -> None:
    book.entries(entry())
    book.candles([Candle(PAIR, 9_000_000, 1, 1, 1, 1, 0, 0, None, None, None, None, False)])
    assert book.judge(keep_ms=10_000_000) == 0
    assert book.judge(keep_ms=3_600_000) == 1
    assert book.verdicts() == {20: ghosts.UNKNOWN}
