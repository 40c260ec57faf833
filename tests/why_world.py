"""A recorded session with its database, and the same session judged by the slow reference, minute by minute."""

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from bus.messages import SpanEvent, StateEvent
from bus.records import CANDLE, CANDLE_RECORD, RECORD
from core.clock import ManualClock
from dashboard.history import History
from dashboard.page import Page
from dashboard.routes import create_app
from dashboard.state import PageState
from dashboard.why import Desk
from indicators.lookback import Lookback
from storage.batch import Batch
from storage.migrations import migrate
from storage.queries import History as Database
from storage.writer import Writer
from tests.browser.demo import config
from tests.operator_world import House
from tests.recorded_session import Recording
from tests.reference import slow_strategy as slow
from tests.reference.read_tape import read_tape

PAIR = "B-BTC_USDT"
MINUTE_NS = 60_000_000_000
FRAME_NS = 15_000_000_000


class Slow(Recording):
    """A market of about ten trades a minute, in candles of 15 s."""

    def __init__(self, folder: Path, **changed: Any) -> None:
        super().__init__(folder, TIMEFRAME="15s", **changed)

    def history(self, count: int) -> None:
        records = np.zeros(count, CANDLE_RECORD)
        records["kind"] = CANDLE
        records["open_ns"] = self.ns - self.ns % FRAME_NS - np.arange(count, 0, -1) * FRAME_NS
        for name in ("open", "high", "low", "close"):
            records[name] = (self.ticks + self.rng.integers(-300, 301, count)) / 100
        self.live(records.view(RECORD))

    def some(self, count: int) -> np.ndarray:
        before = self.ns
        records = super().some(count)
        records["exchange_ns"] = records["received_ns"] = before + (records["exchange_ns"] - before) * 30
        records["flags"][self.rng.random(count) < 0.02] = 2  # BACKFILL
        self.ns = int(records["exchange_ns"][-1])
        return records


def session(folder: Path, trades: int = 10_000) -> Slow:
    """Everything that a session suffers on one tape."""
    rec = Slow(folder, seed=11)
    part = trades // 10
    rec.trades(part)
    rec.restart_trader(part // 10)
    rec.trades(part)
    rec.block("crash_loop_storage", True)
    rec.trades(part // 2)
    rec.block("crash_loop_storage", False)
    rec.degraded(part // 10)
    rec.trades(part)
    rec.command("pause")
    rec.trades(part // 2)
    rec.command("resume")
    rec.hole()
    rec.history(15)
    rec.trades(part)
    rec.restart_indicators()
    rec.start()
    rec.trades(5 * part)
    rec.entries()
    return rec


def database(rec: Recording) -> Path:
    """bot_data.db as storage makes it of the journal."""
    path = rec.book / "bot_data.db"
    path.unlink(missing_ok=True)
    writer = Writer(path)
    migrate(writer.engine, path, 1)
    batch = Batch()
    for entry in rec.entries():
        batch.add_entry(1, entry.number, entry.event)
    writer.write(batch)
    writer.close()
    return path


def client(rec: Recording, path: Path, timeframe_ms: int = 15_000) -> TestClient:
    """The page's HTTP over that book."""
    clock = ManualClock(wall_ns=rec.ns)
    rows = Database(path)
    state = PageState(config(pairs=(PAIR,), timeframe_ms=timeframe_ms))
    page = Page(state, History(rows), clock, Desk(rows, lambda: Lookback(rec.book)))
    return TestClient(create_app(page, "testbox", (), House(clock).operating), base_url="http://localhost")


@dataclass
class Seen:
    """What the reference saw in a minute: of each condition the margins by trade, and how often rules held."""

    trades: int = 0
    refilled: int = 0
    working: int = 0
    margins: dict[tuple[str, int], dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    held: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    asked: set[str] = field(default_factory=set)


class Watching(slow.Strategy):
    """The reference, which also notes what it looked at."""

    def watch(self) -> None:
        self.minutes: dict[int, Seen] = defaultdict(Seen)

    def match(self, trade: slow.Trade, position: slow.Position) -> bool:
        held, highest, opened = position.held, position.highest, position.opened_ms
        filled = super().match(trade, position)
        seen = self.minutes[trade.ts_ns // MINUTE_NS * MINUTE_NS]
        seen.trades += 1
        if trade.flags & slow.BACKFILL:
            seen.refilled += 1
        elif position.order is not None or filled:
            seen.working += 1
        elif position.held > 0:
            assert held > 0 and highest is not None and trade.ts_ns // 1_000_000 >= opened
            self.note_exits(seen, trade, max(highest, float(trade.price)))
        else:
            self.note_entries(seen, trade)
        return filled

    def note_entries(self, seen: Seen, trade: slow.Trade) -> None:
        chart = self.charts[trade.pair]
        rsi, lower = chart.rsi(), chart.lower_band()
        if rsi is None or lower is None:
            return
        buy, crash = self.number("RSI_BUY"), self.number("RSI_CRASH")
        seen.asked |= {"mean_reversion", "crash_catch"}
        seen.margins["mean_reversion", 0][trade.number] = float(rsi - buy)
        seen.margins["mean_reversion", 1][trade.number] = float(trade.price - lower)
        seen.margins["crash_catch", 0][trade.number] = float(rsi - crash)
        if chart.warm():
            seen.held["mean_reversion"] += rsi < buy and trade.price < lower
            seen.held["crash_catch"] += rsi < crash

    def note_exits(self, seen: Seen, trade: slow.Trade, highest: float) -> None:
        chart = self.charts[trade.pair]
        rsi = chart.rsi()
        stop = highest * self.keep
        seen.asked |= {"trailing_stop", "take_profit"}
        seen.margins["trailing_stop", 0][trade.number] = float(trade.price) - stop
        seen.held["trailing_stop"] += float(trade.price) <= stop
        if rsi is not None:
            sell = self.number("RSI_SELL")
            seen.margins["take_profit", 0][trade.number] = float(sell - rsi)
            seen.held["take_profit"] += rsi > sell and chart.warm()


def judged(rec: Recording) -> dict[int, Seen]:
    """Every minute of the session as the reference sees it, by its start in ns."""
    records, markets, fee = read_tape(rec.tape.folder / str(rec.tape.epoch))
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    commands = []
    for event in rec.events:
        if isinstance(event, SpanEvent) and event.last >= 0:
            spans[event.kind].append((event.first, event.last))
        elif isinstance(event, StateEvent) and event.command:
            commands.append((event.at.record, event.command))
    settings = {name.upper(): value for name, value in vars_of(rec).items()}
    reference = Watching(
        settings, markets, spans["blind"], spans["degraded"], Decimal(fee), spans["blocked"], 500, commands
    )
    reference.watch()
    reference.run(records)
    return reference.minutes


def vars_of(rec: Recording) -> dict[str, Any]:
    settings = rec.settings
    return {name: getattr(settings, name) for name in dir(settings) if not name.startswith("_")}
