"""Messages as storage receives them, for its tests."""

from bus.messages import (
    At,
    Candle,
    CheckedEvent,
    EquityEvent,
    Event,
    FillEvent,
    OrderEvent,
    PositionEvent,
    ShadowEvent,
    SignalEvent,
    TradeEvent,
)

MINUTE = 60_000
START = 1_700_000_040_000
PAIR = "B-BTC_USDT"


def at(number: int) -> At:
    return At(1, number, START + number * 1000)


def candle(minute: int, close: float = 100.5, pair: str = PAIR, closed: bool = True) -> Candle:
    time = START + minute * MINUTE
    return Candle(pair, time, 100.0, 101.0, 99.0, close, 1.5, 7, 40.5, 99.5, 100.25, None, closed)


def order(number: int, key: str, status: str = "new", filled: str = "0") -> OrderEvent:
    created = START
    return OrderEvent(
        at(number), key, "", PAIR, "buy", "market", None, "0.00120", filled, status, "", created, created + number
    )


def fill(number: int, id: int, key: str = "scalp-1") -> FillEvent:
    price, quantity, fee = "64000.10", "0.00120", "0.0384000600"
    return FillEvent(at(number), id, key, f"v{id}", PAIR, "buy", price, quantity, fee, "USDT", START + number)


def trade(number: int, id: int, profit: str | None = None, key: str = "scalp-1", reason: str = "") -> TradeEvent:
    action = "buy" if profit is None else "sell"
    timestamp = f"2023-11-14T22:14:{id % 60:02d}.000Z"
    return TradeEvent(at(number), id, PAIR, action, "64000.10", "0.00120", "0.0384", profit, reason, timestamp, key)


def signal(number: int, key: str = "", outcome: str = "approved", count: int = 1) -> SignalEvent:
    return SignalEvent(at(number), PAIR, "enter", "mean_reversion", 64000.1, 28.5, 64010.0, outcome, key, count)


def equity(number: int) -> EquityEvent:
    return EquityEvent(at(number), START + number * 1000, "10500.5", "0", "0", "0.5")


def shadow(number: int, key: str, paper_price: str | None = "64000") -> ShadowEvent:
    difference = None if paper_price is None else ("0.02", "0.00012")
    return ShadowEvent(
        at(number), key, PAIR, "buy", "64000.10", paper_price, "0.00120", "0.00120" if paper_price else "0",
        *(difference or (None, None)), None, None, START + number,
    )  # fmt: skip


def position(number: int) -> PositionEvent:
    return PositionEvent(at(number), PAIR, "0.0012", "76.8", 64000.1, 64001.0, 63680.0, START)


def checked(number: int) -> CheckedEvent:
    return CheckedEvent(at(number), True, True, ["nothing to resolve"], {PAIR: "0.01"}, {PAIR: "0.01"}, START + number)


def event(text: str, stage: str = "feeder", pair: str = "", level: str = "info") -> Event:
    return Event(stage, level, text, START, pair)
