"""The fill rules, one test a bullet of the docstring of trader.fills."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.messages import FillEvent, OrderEvent, PositionEvent, TradeEvent
from bus.records import BACKFILL, LATE
from tests.trader_world import Tape, market, of, run, start
from trader import fills

TAPE = {"paper_fill": "tape", "paper_latency_ms": 100, "entry_timeout_ms": 5000}
MANY = 1_000_000


def bought(tape: Tape, **changed: object) -> list[FillEvent]:
    return [fill for fill in of(run(tape, **{**TAPE, **changed}), FillEvent) if fill.side == "buy"]


def entry() -> Tape:
    """A market in which the second trade decides an entry of 10 lots of 1 at 100."""
    return Tape(start(market(step="1", min_quantity="1", min_notional="0"))).trade(100).trade(100, "mr")


def test_an_order_fills_on_trades_after_the_deciding_one() -> None:
    tape = entry()
    assert bought(tape, paper_latency_ms=0) == []
    fill = bought(tape.trade(101, after_ms=0), paper_latency_ms=0)
    assert [(f.at.record, f.price, f.quantity) for f in fill] == [(3, "101", "10")]


def test_a_trade_fills_from_decision_time_plus_latency_on() -> None:
    early = entry().trade(101, after_ms=99)
    assert bought(early) == []
    assert [f.at.record for f in bought(early.trade(102, after_ms=1))] == [4]


def test_either_side_of_trade_fills_either_side_of_order() -> None:
    tape = entry().trade(101)
    for row in tape.rows:
        row["side"] = 2
    assert len(bought(tape)) == 1


def test_a_trade_gives_up_to_participation_of_its_quantity() -> None:
    tape = entry().trade(101, lots=9).trade(101, lots=9).trade(101, lots=100)
    assert [f.quantity for f in bought(tape, paper_participation="0.5")] == ["4", "4", "2"]


def test_the_price_is_the_trades_worsened_and_rounded_against_us() -> None:
    tape = entry().trade(101.01).trade(103, "tp").trade(103.01)
    found = of(run(tape, **TAPE, slippage_bps="10"), FillEvent)
    assert [(f.side, f.price) for f in found] == [("buy", "101.12"), ("sell", "102.9")]


def test_an_entrys_rest_is_cancelled_at_the_first_trade_after_the_timeout_and_does_not_fill_on_it() -> None:
    tape = entry().trade(101, lots=3).trade(101, lots=3, after_ms=4099).trade(101, lots=3, after_ms=1)
    events = run(tape, **TAPE)
    assert [(f.at.record, f.quantity) for f in of(events, FillEvent)] == [(3, "3"), (4, "3")]
    last = of(events, OrderEvent)[-1]
    assert (last.status, last.filled, last.reason, last.at.record) == (
        "cancelled",
        "6",
        "mean_reversion, entry_timeout",
        5,
    )
    assert [(t.action, t.quantity) for t in of(events, TradeEvent)] == [("buy", "6")]


def test_the_trade_that_times_an_entry_out_may_decide_again() -> None:
    tape = entry().trade(90, "crash", after_ms=6000).trade(91)
    events = run(tape, **TAPE)
    assert [(f.at.record, f.price) for f in of(events, FillEvent)] == [(4, "91")]


def test_an_exit_has_no_timeout() -> None:
    tape = entry().trade(100).trade(101, "tp").trade(101, after_ms=3_600_000, lots=4).trade(101, after_ms=3_600_000)
    sold = [f for f in of(run(tape, **TAPE), FillEvent) if f.side == "sell"]
    assert [f.quantity for f in sold] == ["4", "6"]


def test_a_remainder_of_an_exit_below_the_minimum_is_dust() -> None:
    rules = market(step="1", min_quantity="1", min_notional="250")
    tape = Tape(start(rules, fee="10")).trade(100).trade(100, "mr").trade(100).trade(101, "tp").trade(101, lots=8)
    events = run(tape.trade(101), **TAPE)
    sold = [f for f in of(events, FillEvent) if f.side == "sell"]
    assert [f.quantity for f in sold] == ["8"]
    last = of(events, OrderEvent)[-1]
    assert (last.status, last.filled, last.reason) == ("cancelled", "8", "take_profit, dust")
    position = of(events, PositionEvent)[-1]
    assert (position.quantity, position.dust, position.highest) == ("0", "2", None)
    trade = of(events, TradeEvent)[-1]
    cost = Decimal("1001") * 8 / 10
    assert Decimal(trade.profit or "") == Decimal("808") - Decimal("0.808") - cost


def test_a_position_below_the_minimum_after_a_timeout_is_dust() -> None:
    rules = market(step="1", min_quantity="3", min_notional="0")
    tape = Tape(start(rules)).trade(100).trade(100, "mr").trade(100, lots=2).trade(90, after_ms=6000).trade(80, "tp")
    events = run(tape, **TAPE)
    assert of(events, PositionEvent)[-1].dust == "2"
    assert [f.side for f in of(events, FillEvent)] == ["buy"]


def test_no_trade_means_no_fill_and_no_timeout() -> None:
    rules = market(step="1", min_quantity="1", min_notional="0")
    tape = Tape(start(rules, market("B-ETH_USDT"))).trade(100).trade(100, "mr")
    tape.trade(50, pair=1, after_ms=3_600_000)
    events = run(tape, **TAPE)
    assert of(events, FillEvent) == []
    assert of(events, OrderEvent)[-1].status == "working"


def test_an_entry_never_pays_more_than_its_reserve_and_the_free_balance_hold() -> None:
    rules = market(step="1", min_quantity="1", min_notional="0")
    tape = Tape(start(rules)).trade(100).trade(100, "mr").trade(200)
    fill = bought(tape, paper_balance="1000")
    assert [(f.price, f.quantity) for f in fill] == [("200", "5")]


def test_late_trades_fill_nothing_backfill_trades_fill() -> None:
    late = entry().trade(101, flags=LATE)
    assert bought(late) == []
    assert [f.at.record for f in bought(late.trade(102, flags=BACKFILL))] == [4]


def test_instant_fills_the_whole_order_at_the_deciding_price_worsened() -> None:
    tape = entry()
    fill = bought(tape, paper_fill="instant", slippage_bps="10")
    assert [(f.at.record, f.price, f.quantity) for f in fill] == [(2, "100.1", "10")]


def test_a_buy_pays_and_a_sell_gets_rounded_against_us() -> None:
    """One lot at 3 ticks on a grid whose notional is 0.3 of a unit."""
    assert fills.buy_cost(3, 1, 1, 10, 1000, 500) == 1 + 1 + 1
    assert fills.sell_proceeds(3, 1, 1, 10, 1000, 500) == 0
    assert fills.sell_proceeds(100, 10, 1, 1, 1000, 0) == 1000 - 1


@given(
    st.integers(1, 10**7),
    st.one_of(st.integers(0, 10**6), st.just(fills.MAX_LOTS)),
    st.sampled_from([(1, 1), (1, 1000), (5, 10**6)]),
    st.one_of(st.integers(0, 2000), st.integers(-10_000, 100_000)),
    st.one_of(st.integers(0, 10**12), st.integers(0, 1 << 60)),
)
def test_affordable_is_the_most_that_the_money_buys(
    ticks: int, most: int, scale: tuple[int, int], fee: int, free: int
) -> None:
    num, den = scale
    lots = fills.affordable_lots(ticks, most, num, den, fee, 100, free)
    assert 0 <= lots <= most
    if lots:
        assert fills.buy_cost(ticks, lots, num, den, fee, 100) <= free
    if lots < most:
        assert fills.buy_cost(ticks, lots + 1, num, den, fee, 100) > free


@given(
    st.one_of(st.integers(1, 10**9), st.integers(1, 10**13)),
    st.one_of(st.integers(0, 10**13), st.integers(0, 1 << 60)),
    st.sampled_from([(1, 1), (1, 1000), (7, 10**8), (1, 10**9)]),
)
def test_lots_for_is_capital_over_price_rounded_down(ticks: int, capital: int, scale: tuple[int, int]) -> None:
    num, den = scale
    assert fills.lots_for(ticks, capital, num, den) == min(capital * den // (ticks * num), fills.MAX_LOTS)


@pytest.mark.parametrize("settings", [{"tax_buy_bps": "7", "tax_sell_bps": "100", "taker_fee_bps": "5"}, {}])
def test_the_ledger_adds_up_to_the_last_digit(settings: dict[str, str]) -> None:
    """Wallet = start - sum(price x quantity + fee) of buys + sum(price x quantity - fee) of sells."""
    rules = market(tick="0.00000001", step="0.00000001", min_quantity="0", min_notional="0")
    tape = Tape(start(rules, fee="12.34"))
    for price, codes in [(0.00141342, "mr"), (0.00142777, "tp"), (0.00133333, "mr"), (0.00131111, "warm")]:
        tape.trade(price, codes)
    events = run(tape, **settings, slippage_bps="1.23")
    wallet = Decimal(10000)
    for fill in of(events, FillEvent):
        amount = Decimal(fill.price) * Decimal(fill.quantity)
        wallet += -amount - Decimal(fill.fee) if fill.side == "buy" else amount - Decimal(fill.fee)
    profits = sum(Decimal(trade.profit) for trade in of(events, TradeEvent) if trade.profit)
    assert len(of(events, FillEvent)) == 4
    balance = next(Decimal(e.balance) for e in reversed(events) if type(e).__name__ == "EquityEvent")
    assert wallet == balance == Decimal(10000) + profits
