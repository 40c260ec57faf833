"""On generated markets too: late and equal trades, empty and refilled buckets, holes, history, spans, commands."""

from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from tests.reference import slow_strategy as slow
from tests.reference.pipeline_side import answer
from tests.unit.test_reference_equals_trader import assert_equal, assert_same_candles, texts_of

T0_NS = 1_700_000_040_000_000_000
SECOND = 1_000_000_000
PAIRS = ("BTC/USDT", "ETH/USDT")

MARKETS = st.builds(
    slow.Market,
    tick=st.sampled_from([Decimal("0.5"), Decimal("0.01"), Decimal("0.0001"), Decimal("0.25")]),
    step=st.sampled_from([Decimal("0.001"), Decimal("0.00001"), Decimal("1")]),
    min_quantity=st.sampled_from([Decimal(0), Decimal("0.01"), Decimal(2)]),
    min_notional=st.sampled_from([Decimal(0), Decimal(5), Decimal(400)]),
    max_quantity=st.sampled_from([None, None, Decimal(1), Decimal(4), Decimal("0.35")]),
)

TEXTS = st.fixed_dictionaries(
    {
        "TIMEFRAME": st.sampled_from(["1s", "5s", "1m"]),
        "WARMUP_CANDLES": st.integers(1, 6),
        "RSI_PERIOD": st.integers(2, 5),
        "RSI_SMOOTHING": st.sampled_from(["wilder", "ema"]),
        "RSI_BUY": st.sampled_from([30, 45, 55.5]),
        "RSI_SELL": st.sampled_from([60, 70, 90]),
        "RSI_CRASH": st.sampled_from([0, 5, 20]),
        "BB_PERIOD": st.integers(3, 6),
        "BB_STDDEV": st.sampled_from([0.3, 0.5, 1, 1.25]),
        "TRAILING_STOP_PCT": st.sampled_from([0.0005, 0.005, 0.03]),
        "PAPER_FILL": st.sampled_from(["tape", "tape", "instant"]),
        "PAPER_LATENCY_MS": st.sampled_from([0, 1, 100, 3000]),
        "PAPER_PARTICIPATION": st.sampled_from(["1.0", "0.5", "0.333333", "0.01"]),
        "ENTRY_TIMEOUT_MS": st.sampled_from([1, 1000, 5000, 60000]),
        "SLIPPAGE_BPS": st.sampled_from(["0", "3", "12.34"]),
        "TAX_BUY_BPS": st.sampled_from(["0", "0.07"]),
        "TAX_SELL_BPS": st.sampled_from(["0", "100"]),
        "TRADE_CAPITAL": st.sampled_from(["10000", "500", "123.45"]),
        "PAPER_BALANCE": st.sampled_from(["10500", "600", "90"]),
        "MAX_ORDERS_PER_MINUTE": st.sampled_from([0, 1, 3, 30]),
        "MAX_OPEN_POSITIONS": st.sampled_from([0, 1]),
    }
)

# One piece of a market: which pair, what happens, how the time and the price move (in ticks), how much is traded.
STEPS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(
            ["trade"] * 40 + ["backfill", "backfill", "stale", "untaped", "late", "hole", "candle", "forming"]
        ),
        st.sampled_from(
            [
                0,
                0,
                1_000_000,
                200_000_000,
                SECOND,
                SECOND,
                3 * SECOND,
                20 * SECOND,
                150 * SECOND,
                501 * SECOND,
                502 * SECOND,
                -SECOND,
            ]
        ),
        st.sampled_from([0, 0, 1, -1, 2, -2, 3, -5, 8, -13, 30, -60]),
        st.integers(0, 30_000),
    ),
    min_size=40,
    max_size=250,
)
COMMANDS = st.lists(
    st.tuples(st.integers(0, 249), st.sampled_from(["pause", "resume", "resume", "flatten", "flatten", "halt"])),
    max_size=6,
)
SPANS = st.lists(st.tuples(st.integers(0, 250), st.integers(0, 12), st.sampled_from(["blind", "degraded"])), max_size=3)


class Maker:
    """Makes records out of steps, with the flags that the feeder would set."""

    def __init__(self, frame_ns: int, markets: dict[str, slow.Market], history: int) -> None:
        self.frame_ns = frame_ns
        self.markets = markets
        self.records: list[Any] = []
        self.ns = T0_NS
        self.ticks = dict.fromkeys(markets, 2_000)
        self.opens_ns = dict.fromkeys(markets, 0)  # earlier trades are late
        for pair in markets:
            for back in range(history, 0, -1):
                self.candle(pair, T0_NS // frame_ns * frame_ns - back * frame_ns, back % 3 - 1, 0)

    def step(self, pair_number: int, kind: str, wait_ns: int, move: int, lots: int) -> None:
        pair = list(self.markets)[pair_number % len(self.markets)]
        market = self.markets[pair]
        self.ns += wait_ns
        start = self.ns // self.frame_ns * self.frame_ns
        if kind == "hole":
            self.records.append(slow.Hole(len(self.records), pair))
            self.opens_ns[pair] = 0
        elif kind in ("candle", "forming"):
            self.candle(pair, start, move, slow.FORMING if kind == "forming" else 0)
        else:
            self.ticks[pair] = max(50, self.ticks[pair] + move)
            ns = self.ns - (2 * self.frame_ns if kind == "late" else 0)
            flags = {"backfill": slow.BACKFILL, "stale": slow.STALE, "untaped": slow.UNTAPED}.get(kind, 0)
            if ns < self.opens_ns[pair]:
                flags |= slow.LATE
            else:
                self.opens_ns[pair] = ns // self.frame_ns * self.frame_ns
            price, quantity = self.ticks[pair] * market.tick, lots * market.step
            self.records.append(slow.Trade(len(self.records), pair, ns, price, quantity, flags))

    def candle(self, pair: str, open_ns: int, move: int, flags: int) -> None:
        ticks, tick = self.ticks[pair], self.markets[pair].tick
        close = max(50, ticks + move)
        low, high = float(min(close, ticks) * tick), float(max(close, ticks) * tick)
        candle = slow.Candle(len(self.records), pair, open_ns, float(ticks * tick), high, low, float(close * tick), 1.5)
        candle.flags = flags
        self.records.append(candle)
        if open_ns >= self.opens_ns[pair]:
            self.ticks[pair] = close
            self.opens_ns[pair] = open_ns if flags else open_ns + self.frame_ns


def spans_of(drawn: list[tuple[int, int, str]], count: int) -> dict[str, list[tuple[int, int]]]:
    """Spans of record numbers that do not overlap, by kind."""
    spans: dict[str, list[tuple[int, int]]] = {"blind": [], "degraded": []}
    free_from = 0
    for first, length, kind in sorted(drawn):
        last = min(first + length, count - 1)
        if free_from <= first <= last:
            spans[kind].append((first, last))
            free_from = last + 1
    return spans


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
@given(
    changed=TEXTS,
    markets=st.lists(MARKETS, min_size=1, max_size=2),
    steps=STEPS,
    history=st.sampled_from([0, 3, 12]),
    drawn=SPANS,
    fee=st.sampled_from(["0", "5", "11.8"]),
    live=st.booleans(),
    told=COMMANDS,
)
def test_generated_markets(changed, markets, steps, history, drawn, fee, live, told):
    texts = texts_of(**changed)
    by_pair = dict(zip(PAIRS, markets, strict=False))
    maker = Maker(slow.TIMEFRAMES[texts["TIMEFRAME"]] * SECOND, by_pair, history)
    for step in steps:
        maker.step(*step)
    spans = spans_of(drawn, len(maker.records))
    limit = 500 if live else None
    commands = sorted(item for item in told if item[0] < len(maker.records))
    strategy = slow.Strategy(
        texts, by_pair, spans["blind"], spans["degraded"], Decimal(fee), missing_limit=limit, commands=commands
    )
    reference = strategy.run(maker.records)
    ours = answer(
        maker.records,
        texts,
        by_pair,
        fee,
        spans["blind"],
        spans["degraded"],
        connected_throughout=not live,
        commands=commands,
    )
    event(f"decisions {min(len(reference.decisions), 5)}, fills {min(len(reference.fills), 5)}")
    for decision in reference.decisions:
        event(decision.reason)
    assert_same_candles(reference, ours, list(by_pair))
    try:
        assert_equal(reference, ours)
    except AssertionError:
        # Float64 and exact arithmetic may differ where an indicator is at its threshold.
        assume(not reference.near)
        raise
