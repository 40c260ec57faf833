"""A scripted market for the trader's tests: trades by hand, each with the reason codes the test wants."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bus.messages import Market, Start, TraderEvent
from bus.records import (
    ENTER_CRASH_CATCH,
    ENTER_MEAN_REVERSION,
    EXIT_TAKE_PROFIT,
    RECORD,
    SIDE_BUY,
    TRADE,
    UPDATE,
    WARM,
)
from core.settings import Settings
from core.settings_load import from_texts
from trader import inputs, replay
from trader.engine import Engine
from trader.terms import terms_of

HASH = 4711
T0_MS = 1_700_000_040_000  # at the start of a minute
CODES = {"": 0, "mr": WARM | ENTER_MEAN_REVERSION, "crash": WARM | ENTER_CRASH_CATCH, "tp": WARM | EXIT_TAKE_PROFIT}
CODES["both"] = WARM | ENTER_MEAN_REVERSION | ENTER_CRASH_CATCH
CODES["warm"] = WARM


def settings(**changed: Any) -> Settings:
    """The default settings with some changed: instant fills, 1,000 of capital, 10,000 of balance unless said."""
    texts = {"PAPER_FILL": "instant", "TRADE_CAPITAL": "1000", "PAPER_BALANCE": "10000", "SLIPPAGE_BPS": "0"}
    texts.update({name.upper(): str(value) for name, value in changed.items()})
    return from_texts(texts)


def market(pair: str = "B-BTC_USDT", tick: str = "0.01", step: str = "0.001", **rules: Any) -> Market:
    """One market's rules."""
    texts = {"min_quantity": "0.001", "min_notional": "5"} | rules
    return Market(pair=pair, base=pair.split("-")[-1].split("_")[0], quote="USDT", tick=tick, step=step, **texts)


def start(*markets: Market, fee: str = "0") -> Start:
    """Body of a START record."""
    return Start(
        venue="sandbox",
        book="sim-sandbox-test",
        markets=list(markets) or [market()],
        taker_fee_bps=fee,
        maker_fee_bps=fee,
        tape_clock=False,
        time_ns=T0_MS * 1_000_000,
    )


class Tape:
    """Trades in order; number 0 is the START record."""

    def __init__(self, begin: Start | None = None) -> None:
        self.start = begin or start()
        self.rows: list[np.ndarray] = []
        self.ms = T0_MS
        self.closed = 50

    def trade(
        self,
        price: float,
        codes: str = "warm",
        *,
        lots: int = 1_000_000,
        after_ms: int = 1000,
        pair: int = 0,
        flags: int = 0,
        closed: int | None = None,
        settings_hash: int = HASH,
    ) -> "Tape":
        """One more trade, `after_ms` after the one before."""
        self.ms += after_ms
        if closed is not None:
            self.closed = closed
        row = np.zeros(1, UPDATE)
        tick = float(self.start.markets[pair].tick)
        row["kind"], row["side"], row["flags"], row["pair"] = TRADE, SIDE_BUY, flags, pair
        row["exchange_ns"] = row["received_ns"] = self.ms * 1_000_000
        row["price"], row["ticks"] = price, round(price / tick)
        row["lots"], row["quantity"] = lots, lots * float(self.start.markets[pair].step)
        row["number"] = len(self.rows) + 1
        row["rsi"], row["bb_lower"], row["bb_middle"], row["bb_upper"] = 50.0, 90.0, 100.0, 110.0
        row["closed"], row["codes"], row["segment"], row["settings_hash"] = self.closed, CODES[codes], 1, settings_hash
        self.rows.append(row)
        return self

    def trades(self, prices: Sequence[float], codes: str = "warm", **more: Any) -> "Tape":
        """Several trades alike."""
        for price in prices:
            self.trade(price, codes, **more)
        return self

    @property
    def updates(self) -> np.ndarray:
        """All of it as UPDATE records."""
        return np.concatenate(self.rows) if self.rows else np.zeros(0, UPDATE)

    @property
    def raws(self) -> np.ndarray:
        """All of it as the tape's own records."""
        updates = self.updates
        raw = np.zeros(len(updates), RECORD)
        for name in RECORD.names or ():
            raw[name] = updates[name]
        return raw


class Live:
    """An engine that is fed piece by piece."""

    def __init__(self, tape: Tape, engine: Engine | None = None, **changed: Any) -> None:
        self.tape = tape
        self.settings = settings(**changed)
        self.events: list[TraderEvent] = []
        self.fed = 0
        if engine is None:
            terms = terms_of(self.settings, HASH)
            engine = replay.new_engine(terms, replay.new_state(terms, "j" * 32))
            self.events += engine.handle(inputs.NewStart(1, 0, tape.start))
        self.engine = engine

    def feed(self, batch: int = 1000) -> list[TraderEvent]:
        """Feeds what the tape has grown by; gives the events of it."""
        found: list[TraderEvent] = []
        while self.fed < len(self.tape.rows):
            part = np.concatenate(self.tape.rows[self.fed : self.fed + batch])
            self.fed += len(part)
            found += self.engine.handle(inputs.Updates(1, int(part["number"][-1]), part.tobytes()))
        self.events += found
        return found

    def raw(self) -> list[TraderEvent]:
        """Feeds the same as raw records (inside a span)."""
        part = self.tape.raws[self.fed :]
        first = self.fed + 1
        self.fed += len(part)
        found = self.engine.handle(inputs.Raws(1, first, part))
        self.events += found
        return found

    def give(self, item: inputs.Input) -> list[TraderEvent]:
        """Any other input."""
        found = self.engine.handle(item)
        self.events += found
        return found


def run(tape: Tape, batch: int = 1000, **changed: Any) -> list[TraderEvent]:
    """All events of a new book over the tape."""
    live = Live(tape, **changed)
    live.feed(batch)
    return live.events


def of(events: Sequence[TraderEvent], kind: type) -> list[Any]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]
