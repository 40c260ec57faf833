"""A dashboard with an invented market behind it, for the browser test and for looking at the page.

`python -m tests.browser.demo PORT [--speed N] [--state STATE] [--password TEXT]` serves it; STATE is one of STATES.
The market is a function of the seed, moves at 5 Hz and trades by a toy rule; no process of the pipeline is needed.
"""

import argparse
import asyncio
import math
import random
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import uvicorn

from bus.messages import (
    At,
    Beat,
    Candle,
    CheckedEvent,
    Entry,
    Event,
    Gap,
    PositionEvent,
    Request,
    SpanEvent,
    StateEvent,
    Status,
    TradeEvent,
    View,
)
from core.clock import LiveClock, iso_utc
from core.histogram import Window
from dashboard.history import History
from dashboard.page import Page
from dashboard.routes import create_app
from dashboard.state import STAGES, Config, PageState
from dashboard.why import Desk
from indicators.told import Thresholds, Told
from tests.operator_world import House
from trader import risk
from trader.words import words

PAIR = "B-BTC_USDT"
MINUTE = 60_000
STATES = ("trading", "position", "warming", "down", "halted", "many")
QUANTITY = 0.14625
NONE = Window(0, 0.0, 0.0, 0.0)


def both(p50: float, p99: float, minute: int = 300) -> tuple[Window, Window]:
    """A span's minute and hour; us."""
    last = Window(minute, p50, p99, p99 * 1.4) if minute else NONE
    return last, Window(minute * 57 + 2, p50 * 1.1, p99 * 1.3, p99 * 21)


SPANS = {
    "feeder": {"arrival_to_publish": both(61, 240)},
    "indicators": {
        "publish_to_arrival": both(88, 410),
        "arrival_to_update": both(47, 190),
        "trade_to_update": both(212, 870),
    },
    "trader": {
        "update_to_arrival": both(92, 380),
        "arrival_to_decision": both(71, 260),
        "trade_to_decision": both(388, 1_640),
        "decision_to_disk": both(2_210, 11_900, 3),
        "decision_to_order": both(2_350, 12_400, 3),
        "trade_to_order": both(2_740, 13_900, 3),
        "order_to_fill": both(218_000, 1_310_000, 2),
        "trade_to_fill": both(2_810, 14_200, 0),
        "disk_to_wire": both(640, 2_900, 3),
        "trade_to_wire": both(3_330, 15_800, 3),
        "wire_to_answer": both(84_000, 310_000, 3),
    },
    "storage": {"event_to_row": both(211_000, 398_000)},
    "dashboard": {"change_to_page": both(74_000, 149_000)},
}


RECOVERED = [
    "exit scalp7QF2M9KD41C of B-BTC_USDT: unknown before, filled now, 0.0001 of 0.0001 filled",
    "exit scalp7QF2M9KD41C of B-BTC_USDT: 0.0001 filled in 1 fills that were not recorded",
]


def config(**changes: Any) -> Config:
    """The settings of the invented bot."""
    known: dict[str, Any] = {
        "bot": "scalp",
        "venue": "sandbox",
        "book": "sim-sandbox-coindcx-seed1",
        "live": False,
        "pairs": (PAIR,),
        "timeframe": "1m",
        "timeframe_ms": MINUTE,
        "stale_seconds": 30.0,
        "rsi_kind": "wilder",
        "rsi_period": 14,
        "rsi_buy": 30.0,
        "rsi_sell": 70.0,
        "rsi_crash": 20.0,
        "bb_period": 20,
        "bb_stddev": 2.0,
        "trailing_stop_pct": 0.005,
        "settings_hash": 1,
        "layout_hash": 2,
    }
    return Config(**(known | changes))


class Market:
    """A seeded walk with sell-offs, its candles, and a toy position on it."""

    def __init__(self, seed: int, now_ms: int, history: int = 240) -> None:
        self.random = random.Random(seed)
        self.price = 67_800.0
        self.pull = 0.0
        self.hold = False  # never exits
        self.enters = True
        self.closes: list[float] = []
        self.gain = self.loss = 20.0
        self.candles: list[dict[str, Any]] = []
        self.trades: list[dict[str, Any]] = []
        self.events: list[Event] = []
        self.entry: float | None = None
        self.highest = 0.0
        self.opened_ms: int | None = None
        self.realized = 0.0
        self.bucket: dict[str, Any] | None = None
        start = (now_ms // MINUTE - history) * MINUTE
        for i in range(history * 12):
            self.step(start + i * 5_000)

    def step(self, ms: int) -> bool:
        """One trade at `ms`; True when the position changed."""
        if self.random.random() < 0.004:
            self.pull = -self.random.uniform(15, 45)
        self.pull *= 0.86
        drift = 0.35 * math.sin(ms / 1.1e6) + self.pull
        self.price = round(self.price + self.random.gauss(drift, 9.0), 1)
        time_ms = ms // MINUTE * MINUTE
        if self.bucket is None or self.bucket["time"] != time_ms:
            if self.bucket is not None:
                self._close()
            p = self.price
            self.bucket = {"time": time_ms, "open": p, "high": p, "low": p, "close": p, "volume": 0.0, "trades": 0}
        b, p = self.bucket, self.price
        b["high"], b["low"], b["close"] = max(b["high"], p), min(b["low"], p), p
        b["volume"] = round(b["volume"] + self.random.expovariate(9), 5)
        b["trades"] += 1
        b |= self._indicators()
        return self._trade(ms)

    def _close(self) -> None:
        assert self.bucket is not None
        self.candles.append(self.bucket)
        if self.closes:
            move = self.bucket["close"] - self.closes[-1]
            self.gain += (max(move, 0) - self.gain) / 14
            self.loss += (max(-move, 0) - self.loss) / 14
        self.closes = [*self.closes, self.bucket["close"]][-50:]

    def _indicators(self) -> dict[str, float | None]:
        closes = [*self.closes, self.price][-20:]
        if len(closes) < 20:
            return {"rsi": None, "bb_lower": None, "bb_middle": None, "bb_upper": None}
        middle = sum(closes) / 20
        width = 2 * math.sqrt(sum((c - middle) ** 2 for c in closes) / 20)
        move = self.price - self.closes[-1]
        gain, loss = (13 * self.gain + max(move, 0)) / 14, (13 * self.loss + max(-move, 0)) / 14
        rsi = 100 - 100 / (1 + gain / loss) if loss else 100.0
        return {"rsi": rsi, "bb_lower": middle - width, "bb_middle": middle, "bb_upper": middle + width}

    def _trade(self, ms: int) -> bool:
        b = self.bucket
        assert b is not None
        if b["rsi"] is None:
            return False
        if self.entry is None:
            reason = "crash_catch" if b["rsi"] < 20 else "mean_reversion" if b["rsi"] < 32 else ""
            if reason and self.enters and self.price < b["bb_lower"]:
                self.entry, self.highest, self.opened_ms = self.price, self.price, ms
                self._row(ms, "buy", reason, None)
                return True
            return False
        self.highest = max(self.highest, self.price)
        if self.hold:
            return False
        reason = "trailing_stop" if self.price <= self.highest * 0.995 else "take_profit" if b["rsi"] > 66 else ""
        if not reason:
            return False
        fee = (self.entry + self.price) * QUANTITY * 5e-4
        profit = (self.price - self.entry) * QUANTITY - fee
        self.realized += profit
        self._row(ms, "sell", reason, profit)
        self.entry = self.opened_ms = None
        return True

    def _row(self, ms: int, action: str, reason: str, profit: float | None) -> None:
        number = len(self.trades) + 1
        self.trades.append(
            {
                "id": number,
                "pair": PAIR,
                "action": action,
                "price": self.price,
                "quantity": QUANTITY,
                "fee": round(self.price * QUANTITY * 5e-4, 4),
                "profit": profit,
                "reason": reason,
                "timestamp": iso_utc(ms),
                "client_order_id": f"scalp{number}",
            }
        )
        word = "entry" if action == "buy" else "exit"
        tail = "" if profit is None else f", net {profit:+.2f} USDT"
        text = f"{action} {QUANTITY} BTC at {self.price} ({reason}){tail}"
        self.events.append(Event("trader", word, text, ms, PAIR))


class DemoLookback:
    """The tape as indicators would tell it: four trades a candle, from one extreme to the other."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.missing: list[str] = []

    def tell(self, pair: str, from_ns: int, to_ns: int, since_ns: int | None = None) -> Iterator[Told]:
        by = Thresholds(30.0, 70.0, 20.0)
        for n, row in enumerate(self.market.candles):
            if row["rsi"] is not None and from_ns <= row["time"] * 1_000_000 < to_ns:
                for place, name in enumerate(("open", "high", "low", "close")):
                    ns = (row["time"] + 14_000 * place + 1_270) * 1_000_000
                    rsi = row["rsi"] + 0.05 * (row[name] - row["close"])
                    yield Told(1, 4 * n + place, ns, row[name], 0, rsi, row["bb_lower"], True, by)


class DemoReader:
    """The database as storage would answer it."""

    def __init__(self, market: Market) -> None:
        self.market = market

    def candles(self, pair: str, limit: int) -> list[dict[str, Any]]:
        return [dict(row) for row in self.market.candles[-limit:]] if pair == PAIR else []

    def trades(self, limit: int) -> list[dict[str, Any]]:
        return self.market.trades[-limit:][::-1]

    def equity(self, limit: int) -> list[dict[str, Any]]:
        total, rows = 10_500.0, []
        for trade in self.market.trades:
            total += trade["profit"] or 0.0
            rows.append({"time": trade["id"], "balance": total, "position_value": 0.0, "unrealized": 0.0,
                         "realized": total - 10_500})  # fmt: skip
        return rows[-limit:]

    def events(self, limit: int) -> list[dict[str, Any]]:
        return []

    def commands(self, limit: int) -> list[dict[str, Any]]:
        return []

    def ghosts(self, limit: int) -> list[dict[str, Any]]:
        return []

    def ghost_totals(self) -> dict[str, dict[str, float]]:
        """As if every third leg had been a ghost."""
        profits = [t["profit"] for t in self.market.trades if t["profit"] is not None]
        parts = {"ghost": profits[::3], "confirmed": [p for n, p in enumerate(profits) if n % 3]}
        return {word: {"entries": len(p), "legs": len(p), "profit": sum(p)} for word, p in parts.items()}

    def standing(self, pair: str, from_ms: int, to_ms: int) -> dict[str, list[dict[str, Any]]]:
        """The trader as it has stood since before the first candle: flat, and halted for a while in between."""
        begin = self.market.candles[0]["time"]
        settings = '{"RSI_BUY":"30","RSI_SELL":"70","RSI_CRASH":"20","TRAILING_STOP_PCT":"0.005"}'
        row = {"pair": "", "epoch": 1, "number": 0, "first": 1, "last": -1, "count": 0}
        started = row | {"id": 1, "kind": "start", "time": begin, "reason": "new", "why": settings}
        paused = row | {"id": 2, "kind": "state", "time": begin + 3_600_000, "reason": "paused", "why": "operator"}
        resumed = row | {"id": 3, "kind": "state", "time": begin + 7_200_000, "reason": "active", "why": "operator"}
        return {"positions": [], "order_steps": [], "signals": [], "reasons": [started, paused, resumed]}

    def booked(self, since_ms: int, from_ms: int, to_ms: int) -> dict[str, Any]:
        return {"exits": [], "entries": [], "held": 0}

    def candles_between(self, pair: str, from_ms: int, to_ms: int) -> list[dict[str, Any]]:
        return [dict(row) for row in self.market.candles if from_ms <= row["time"] < to_ms]

    def checks(self, limit: int) -> list[dict[str, Any]]:
        return []

    def gaps(self, limit: int) -> list[dict[str, Any]]:
        return []

    def totals(self) -> dict[str, Any]:
        profits = [t["profit"] for t in self.market.trades if t["profit"] is not None]
        return {
            "trades": len(profits),
            "wins": sum(p > 0 for p in profits),
            "losses": sum(p <= 0 for p in profits),
            "fees": sum(t["fee"] for t in self.market.trades),
            "realized": sum(profits),
            "last_id": len(self.market.trades),
        }


class Demo:
    """The page over the invented market; `state` picks what it shows."""

    def __init__(self, seed: int = 7, state: str = "trading", speed: int = 1, password: str = "") -> None:
        self.clock = LiveClock()
        self.house = House(self.clock, password=password, handler=self._commanded)
        self.trading = "active"
        self.orders: SimpleQueue[Request] = SimpleQueue()  # taken in another thread than the page's
        self.kind = state
        self.speed = speed
        self.started_ms = self.clock.wall_ms()
        self.market = Market(seed, self.started_ms, 12 if state == "warming" else 240)
        pairs = (PAIR, "B-ETH_USDT", "B-SOL_USDT") if state == "many" else (PAIR,)
        reader = DemoReader(self.market)
        desk = Desk(reader, lambda: DemoLookback(self.market))
        self.page = Page(PageState(config(pairs=pairs, live=state == "live")), History(reader), self.clock, desk)
        self.number = 1000
        if state in ("position", "many", "live"):
            m = self.market
            m.hold = True
            m.entry, m.highest, m.opened_ms = m.price - 160.4, m.price + 20.5, self.started_ms - 272_000
            m._row(m.opened_ms, "buy", "mean_reversion", None)
        if state == "halted":
            self.market.entry = None
        self.ms = self.started_ms
        self.shadow: tuple[int | None, float | None, str | None] = (None, None, None)
        self.stake: str | None = None
        self._first_events()
        if state == "live":
            self.compared(True, RECOVERED, {PAIR: "0.012"}, {PAIR: "0.0119"})

    def compared(self, agreed: bool, report: list[str], before: dict[str, str], after: dict[str, str]) -> None:
        """What a start found at the venue."""
        self.number += 1
        at = At(1, self.number, self.ms)
        told = CheckedEvent(at, True, agreed, report, before, after, self.clock.wall_ms())
        self.page.state.fold_entry(Entry(self.number, told), self.clock.monotonic_ns())

    def app(self) -> Any:
        return create_app(self.page, "testbox", (), self.house.operating)

    def _commanded(self, request: Request) -> tuple[bool, str]:
        self.orders.put(request)
        self.trading = risk.COMMANDS[(self.trading, request.action)]
        return True, f"trading is {self.trading}"

    def _obey(self, request: Request) -> None:
        """What follows from a command, as the trader tells it."""
        reason = request.arguments["reason"]
        event = StateEvent(At(1, self.number, self.ms), self.trading, reason, request.action, request.id)
        self.page.state.fold_entry(Entry(self.number, event), self.clock.monotonic_ns())
        said = words(event)
        assert said is not None
        self.page.state.fold_event(Event("trader", said[0], said[1], self.clock.wall_ms()))
        if request.action == "flatten" and self.market.entry is not None:
            self.market._row(self.ms, "sell", "flatten", self.market.price - self.market.entry)
            self.market.entry = self.market.opened_ms = None

    def _first_events(self) -> None:
        fold = self.page.state.fold_event
        for i, stage in enumerate(STAGES):
            fold(Event(stage, "start", f"{stage} started, book sim-sandbox-coindcx-seed1", self.started_ms - 9_000 + i))
        for event in self.market.events[-14:]:
            fold(event)
        if self.kind == "halted":
            gap = Gap("trader", "update/0/", 1, 4711, 4760, self.started_ms - 60_000)
            self.page.state.fold_gap(gap)
            span = SpanEvent(At(1, 4800, self.started_ms), "blind", 4761, 4800, "restart of the trader")
            self.page.state.fold_entry(Entry(1, span), 0)
            fold(Event("trader", "halt", "MAX_DAILY_LOSS=250 reached: halted until midnight UTC", self.started_ms))
            fold(Event("feeder", "warn", "stream lost (no data for 10 s), polling every 5 s", self.started_ms - 5_000))

    async def run(self) -> None:
        """Feed the page for ever."""
        beats = 0.0
        asyncio.get_running_loop()
        await self.page.history.refresh_totals()
        await self.page.history.refresh_ghosts()
        while True:
            self.feed()
            if self.clock.monotonic_ns() / 1e9 - beats >= 1:
                beats = self.clock.monotonic_ns() / 1e9
                self.beat()
                await self.page.history.refresh_totals()
            self.page.show(lambda us: None)
            await asyncio.sleep(0.2)

    def beat(self) -> None:
        """One heartbeat of every stage."""
        now = self.clock.monotonic_ns()
        for i, stage in enumerate(STAGES):
            if self.kind == "down" and stage in ("indicators", "trader") and self.number > 1025:
                continue
            facts: dict[str, Any] = {}
            if stage == "feeder":
                facts = {"market_age_ms": 120.0, "last_number": self.number, "feed": "stream"}
            if stage == "trader":
                facts = {"record": self.number, "mode": "sim", "state": self.trading}
            latency = (80.0 + 37 * i, 900.0 + 410 * i)
            last = {"trade/0/": (1, self.number)} if stage == "feeder" else {}
            wall = self.clock.wall_ms()
            hash_ = 3 if self.kind == "halted" and stage == "indicators" else 1
            spans = {} if self.kind == "warming" else SPANS.get(stage, {})
            told = Beat(stage, 4000 + i, wall, self.started_ms, i % 3, 2, hash_, last, latency, facts, spans)
            self.page.state.fold_beat(told, now, wall)

    def feed(self) -> None:
        """One trade, as indicators and trader would tell it."""
        m, state, now = self.market, self.page.state, self.clock.monotonic_ns()
        if self.kind == "down" and self.number > 1025:
            self.number += 1
            return
        while not self.orders.empty():
            self._obey(self.orders.get())
        m.enters = self.trading == "active"
        self.ms += 200 * self.speed
        moved = m.step(self.ms)
        if self.kind == "halted":
            m.entry, moved = None, False
        self.number += 1
        b = m.bucket
        assert b is not None
        warm = self.kind != "warming"
        candle = Candle(PAIR, b["time"], b["open"], b["high"], b["low"], b["close"], b["volume"], b["trades"],
                        b["rsi"], b["bb_lower"], b["bb_middle"], b["bb_upper"], False)  # fmt: skip
        below = b["bb_lower"] - 18.4 if warm and b["bb_lower"] else None
        above = m.price + 140.3 if warm else None
        state.fold_view(View(PAIR, self.number, self.ms, m.price, b["rsi"], b["bb_lower"], b["bb_middle"],
                             b["bb_upper"], warm, len(m.candles), 50, below, above, candle), now)  # fmt: skip
        if moved:
            state.fold_event(m.events[-1])
            row = m.trades[-1]
            event = TradeEvent(At(1, self.number, self.ms), row["id"], PAIR, row["action"], str(row["price"]),
                               str(QUANTITY), str(row["fee"]), None if row["profit"] is None else str(row["profit"]),
                               row["reason"], row["timestamp"], row["client_order_id"])  # fmt: skip
            state.fold_entry(Entry(self.number, event), now)
        self._status(now)

    def _status(self, now: int) -> None:
        m, state = self.market, self.page.state
        held = m.entry is not None
        stop = m.highest * 0.995 if held else None
        unrealized = (m.price - m.entry) * QUANTITY - m.price * QUANTITY * 5e-4 if m.entry is not None else None
        wallet = 10_500 + m.realized - (m.entry * QUANTITY if m.entry is not None else 0)
        blocked = {"warming": ["warming_up"], "halted": ["max_daily_loss", "settings_differ_indicators"]}.get(
            self.kind, []
        )
        modes = {"active": "live" if self.kind == "live" else "sim", "halted": "halted"}
        mode = "halted" if self.kind == "halted" else modes.get(self.trading, "reducing")
        status = "warming_up" if self.kind == "warming" else "in_position" if held else "idle"
        told = Status(PAIR, self.number, self.ms, status, mode, m.entry, str(QUANTITY if held else 0),
                      m.highest if held else None, stop, None if unrealized is None else f"{unrealized:.4f}",
                      f"{m.realized:.4f}", f"{wallet:.4f}", str(QUANTITY if held else 0), blocked,
                      "normal", 0.1001, 0.5, *self.shadow, self.stake)  # fmt: skip
        state.fold_status(told, now)
        if held:
            at = At(1, self.number, self.ms)
            position = PositionEvent(at, PAIR, str(QUANTITY), "0", m.entry, m.highest, stop, m.opened_ms)
            state.fold_entry(Entry(self.number, position), now)


async def serve(demo: Demo, port: int) -> None:
    """The page on 127.0.0.1 until cancelled."""
    settings = uvicorn.Config(demo.app(), host="127.0.0.1", port=port, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(settings)
    feeding = asyncio.create_task(demo.run())
    try:
        await server.serve()
    finally:
        feeding.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--state", choices=STATES, default="trading")
    parser.add_argument("--speed", type=int, default=1)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--password", default="")
    given = parser.parse_args()
    time.tzset()
    asyncio.run(serve(Demo(given.seed, given.state, given.speed, given.password), given.port))
