"""The backtest's account does what the trader's engine does, trade by trade, to the last unit."""

import numpy as np
from hypothesis import event, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from backtest import book, layout
from backtest.collect import Collector
from backtest.result import Result
from bus.records import BACKFILL, LATE, STALE, UNTAPED
from tests.backtest_account import assert_same_state, trades_of, written
from tests.backtest_world import assert_same_rows
from tests.trader_world import HASH, Live, Tape, market, settings, start
from trader.terms import market_terms, start_fee, terms_of

SIZES = {"tick": "0.5", "step": "0.01", "min_quantity": "0.02", "min_notional": "30"}
MARKETS = [
    market("B-BTC_USDT", **SIZES),
    market("B-ETH_USDT", **SIZES, max_quantity="3.5"),
    market("B-XRP_USDT", tick="0.25", step="0.001", min_quantity="0", min_notional="0"),
    market("B-OLD_USDT", **SIZES, active=False),
]
TRADE = st.tuples(
    st.integers(-6, 6),  # price steps of 0.5 from the pair's last
    st.sampled_from(["mr", "mr", "mr", "warm", "warm", "crash", "both", "tp", "tp", ""]),
    st.sampled_from([2_000, 2_000, 2_000, 400, 40, 3, 1, 0]),
    st.sampled_from([900, 900, 100, 4_000, 61_000, 5, 0, -700, 90_000_000]),
    st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3]),
    st.sampled_from([0] * 25 + [BACKFILL, BACKFILL, LATE, STALE, UNTAPED]),
    st.booleans(),  # a candle closes
)
TAPES = st.lists(TRADE, min_size=20, max_size=150)
SETTINGS = st.fixed_dictionaries(
    {
        "paper_fill": st.sampled_from(["tape", "tape", "instant"]),
        "paper_latency_ms": st.sampled_from(["100", "0", "1000"]),
        "entry_timeout_ms": st.sampled_from(["5000", "1", "60000"]),
        "slippage_bps": st.sampled_from(["0", "7.5"]),
        "paper_participation": st.sampled_from(["1", "1", "0.33", "0.001"]),
        "paper_balance": st.sampled_from(["10000", "10000", "1700", "40"]),
        "trade_capital": st.sampled_from(["1000", "1000", "50", "99999999"]),
        "max_orders_per_minute": st.sampled_from(["30", "30", "2", "1", "0"]),
        "max_consecutive_losses": st.sampled_from(["0", "0", "0", "3", "1"]),
        "max_open_positions": st.sampled_from(["0", "0", "0", "1", "2"]),
        "max_daily_loss": st.sampled_from(["0", "0", "0", "3", "40"]),
        "max_drawdown_pct": st.sampled_from(["0", "0", "0", "0.003", "0.1"]),
        "cooldown_seconds": st.sampled_from(["0", "0", "0", "3", "0.5"]),
        "day_offset_minutes": st.sampled_from(["0", "330"]),
        "trailing_stop_pct": st.sampled_from(["0.005", "0.02", "0.0000001"]),
        "tax_buy_bps": st.sampled_from(["0", "7"]),
        "tax_sell_bps": st.sampled_from(["0", "33"]),
        "taker_fee_bps": st.sampled_from(["", "0", "12.3", "-1"]),
    }
)


def tape_of(script: list[tuple]) -> Tape:
    tape = Tape(start(*MARKETS, fee="10"))
    prices = [100.0] * len(MARKETS)
    closed = 50
    for steps, codes, lots, after_ms, pair, flags, closes in script:
        prices[pair] = max(50.0, prices[pair] + steps * 0.5)
        closed += closes
        tape.trade(prices[pair], codes, lots=lots, after_ms=after_ms, pair=pair, flags=flags, closed=closed)
    return tape


def new_book(chosen: dict[str, str], room: int = 200) -> layout.Book:
    terms = terms_of(settings(**chosen), HASH)
    fee = start_fee(start(*MARKETS, fee="10")) if terms.taker_fee is None else terms.taker_fee
    return layout.new_book(terms, [market_terms(rules) for rules in MARKETS], fee, room)


def result_of(live: Live) -> Result:
    """What the engine's events come to."""
    collector = Collector(live.engine.terms, live.settings)
    collector.start(live.tape.start)
    collector.take(live.events, live.tape.updates)
    return collector.result(live.engine.sync(), trades=0, late=0, unknown=0, notes=[])


@profile(max_examples=250, deadline=None)
@given(TAPES, SETTINGS)
def test_every_trade_does_what_the_engine_does(script: list[tuple], chosen: dict[str, str]) -> None:
    tape = tape_of(script)
    live = Live(tape, **chosen)
    live.feed()
    mine = new_book(chosen)
    for trade in trades_of(tape.updates):
        room = book.room(mine)
        book.tick(mine, trade)
        assert book.room(mine) >= room - 1
    theirs = result_of(live)
    for name, rows in written(mine).items():
        assert_same_rows(name, rows, getattr(theirs, name))
    assert_same_state(mine, live.engine, layout.REFUSALS, theirs.refusals)
    event(f"fills {min(len(theirs.fills), 6)}")
    for reason in {*theirs.refusals, theirs.trading_reason}:
        event(reason)


@profile(max_examples=120, deadline=None)
@given(TAPES, SETTINGS)
def test_passing_over_what_does_not_matter_changes_nothing(script: list[tuple], chosen: dict[str, str]) -> None:
    trades = trades_of(tape_of(script).updates)
    whole, skipping = new_book(chosen), new_book(chosen)
    for trade in trades:
        book.tick(whole, trade)
        if book.matters(skipping, trade.pair, trade.ns, trade.price, trade.codes):
            book.tick(skipping, trade)
        else:
            book.pass_over(skipping, trade.pair, trade.flags, trade.ns, trade.price, trade.ticks)
    for name, one, other in zip(layout.Book._fields, whole, skipping, strict=True):
        assert np.array([one]).tobytes() == np.array([other]).tobytes(), name
