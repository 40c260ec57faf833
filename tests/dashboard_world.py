"""A dashboard's page over a clock that stands still and a history in memory, for tests."""

from collections.abc import Iterator
from typing import Any

from bus.messages import At, Beat, Candle, Status, TradeEvent, View
from core.clock import ManualClock
from dashboard.history import History
from dashboard.page import Page
from dashboard.state import STAGES, Config, PageState
from dashboard.why import Desk
from indicators.told import Told
from tests.browser.demo import config

PAIR = "B-BTC_USDT"
SECOND_NS = 1_000_000_000

__all__ = ["PAIR", "SECOND_NS", "Rows", "beat", "candle", "config", "healthy", "page", "status", "trade", "view"]


class Rows:
    """History rows by hand; `broken` makes every question fail as a damaged database does."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("candles", "trades", "equity", "events", "checks")
        }
        self.sums = dict.fromkeys(("trades", "wins", "losses", "fees", "realized", "last_id"), 0)
        self.broken = False

    def _get(self, name: str, limit: int) -> list[dict[str, Any]]:
        if self.broken:
            raise ValueError("database disk image is malformed\n(more about it)")
        return self.rows[name][:limit] if name == "trades" else self.rows[name][-limit:]

    def candles(self, pair: str, limit: int) -> list[dict[str, Any]]:
        return self._get("candles", limit)

    def trades(self, limit: int) -> list[dict[str, Any]]:
        return self._get("trades", limit)

    def equity(self, limit: int) -> list[dict[str, Any]]:
        return self._get("equity", limit)

    def events(self, limit: int) -> list[dict[str, Any]]:
        return self._get("events", limit)

    def commands(self, limit: int) -> list[dict[str, Any]]:
        return []

    def checks(self, limit: int) -> list[dict[str, Any]]:
        return self._get("checks", limit)

    def gaps(self, limit: int) -> list[dict[str, Any]]:
        return []

    def ghosts(self, limit: int) -> list[dict[str, Any]]:
        return []

    def ghost_totals(self) -> dict[str, dict[str, float]]:
        self._get("trades", 1)
        return {
            "ghost": {"entries": 4, "legs": 3, "profit": -7.5},
            "confirmed": {"entries": 9, "legs": 9, "profit": 12.25},
            "waiting": {"entries": 1, "legs": 0, "profit": 0.0},
        }

    def standing(self, pair: str, from_ms: int, to_ms: int) -> dict[str, list[dict[str, Any]]]:
        self._get("events", 1)
        return {name: [] for name in ("positions", "order_steps", "reasons", "signals")}

    def booked(self, since_ms: int, from_ms: int, to_ms: int) -> dict[str, Any]:
        return {"exits": [], "entries": [], "held": 0}

    def candles_between(self, pair: str, from_ms: int, to_ms: int) -> list[dict[str, Any]]:
        return [row for row in self.rows["candles"] if from_ms <= row["time"] < to_ms]

    def totals(self) -> dict[str, Any]:
        self._get("trades", 1)
        return self.sums


class NoTape:
    """A tape that has nothing."""

    missing = ("no state of the indicators is kept",)

    def tell(self, pair: str, from_ns: int, to_ns: int, since_ns: int | None = None) -> Iterator[Told]:
        return iter(())


def page(rows: Rows | None = None, clock: ManualClock | None = None, **changes: Any) -> Page:
    """A page that has heard nothing yet."""
    known: Config = config(**changes)
    rows = rows or Rows()
    return Page(PageState(known), History(rows), clock or ManualClock(), Desk(rows, NoTape))


def beat(stage: str, **changes: Any) -> Beat:
    """A heartbeat of a stage that goes by the page's own settings and layouts."""
    facts: dict[str, Any] = {
        "feeder": {"market_age_ms": 100.0, "last_number": 50, "feed": "stream"},
        "trader": {"record": 50},
    }.get(stage, {})
    last = {"trade/0/": (7, 50)} if stage == "feeder" else {}
    known: dict[str, Any] = {
        "stage": stage,
        "pid": 1,
        "wall_ms": 0,
        "started_ms": 0,
        "restarts": 0,
        "layout_hash": 2,
        "settings_hash": 1,
        "last": last,
        "latency_us": (90.0, 800.0),
        "facts": facts,
    }
    return Beat(**(known | changes))


def healthy(of: Page) -> Page:
    """The page after one heartbeat of every stage."""
    for stage in STAGES:
        of.state.fold_beat(beat(stage), of.clock.monotonic_ns(), of.clock.wall_ms())
    return of


def candle(time: int = 60_000, close: float = 100.0, pair: str = PAIR) -> Candle:
    """A forming candle."""
    return Candle(pair, time, 99.0, 101.0, 98.0, close, 1.5, 3, 40.0, 95.0, 100.0, 105.0, False)


def view(price: float = 100.0, number: int = 50, pair: str = PAIR, **changes: Any) -> View:
    """What indicators say of a warm pair."""
    known: dict[str, Any] = {
        "pair": pair,
        "number": number,
        "time_ms": 61_000,
        "price": price,
        "rsi": 40.0,
        "bb_lower": 95.0,
        "bb_middle": 100.0,
        "bb_upper": 105.0,
        "warm": True,
        "closed": 60,
        "needed": 50,
        "buy_below": 94.5,
        "sell_above": 107.25,
        "candle": candle(close=price, pair=pair),
    }
    return View(**(known | changes))


def status(held: bool = False, pair: str = PAIR, **changes: Any) -> Status:
    """What the trader says of a pair, flat or long."""
    known: dict[str, Any] = {
        "pair": pair,
        "record": 50,
        "time_ms": 61_000,
        "status": "in_position" if held else "idle",
        "mode": "sim",
        "entry_price": 98.0 if held else None,
        "quantity": "2.5" if held else "0",
        "highest": 101.0 if held else None,
        "stop_price": 100.495 if held else None,
        "unrealized": "4.875" if held else None,
        "realized": "-12.50",
        "wallet_quote": "10487.5",
        "wallet_base": "2.5" if held else "0",
        "blocked": [],
        "feed": "normal",
    }
    return Status(**(known | changes))


def trade(number: int, action: str = "sell", profit: str | None = "1.25", pair: str = PAIR) -> TradeEvent:
    """A completed entry or exit."""
    at = At(7, number, 61_000)
    when = "2026-11-22T13:00:00.000Z"
    reason = "take_profit" if action == "sell" else "mean_reversion"
    return TradeEvent(at, number, pair, action, "100.5", "2.5", "0.125", profit, reason, when, f"scalp{number}")
