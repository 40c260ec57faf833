"""The fold over random markets: batches change nothing, the money adds up, a cut and a recovery lose nothing."""

from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from bus.messages import (
    CostsEvent,
    EquityEvent,
    FillEvent,
    OrderEvent,
    PositionEvent,
    SignalEvent,
    StartedEvent,
    TradeEvent,
    TraderEvent,
)
from bus.records import BACKFILL, LATE, STALE
from tests.trader_world import CODES, HASH, Live, Tape, market, of, settings, start
from trader import inputs, replay
from trader.state import BLIND, DEGRADED, State, pack, unpack
from trader.terms import terms_of

RULES = {"tick": "0.5", "step": "0.01", "min_quantity": "0.02", "min_notional": "30"}
MARKETS = [market(pair, **RULES) for pair in ("B-BTC_USDT", "B-ETH_USDT", "B-XRP_USDT")]
TRADE = st.tuples(
    st.integers(-6, 6),  # price steps of 0.5 from the pair's last
    st.sampled_from(["warm", "warm", "warm", "mr", "crash", "tp", ""]),
    st.sampled_from([1, 3, 40, 2_000]),
    st.sampled_from([0, 5, 100, 900, 4_000, 61_000]),
    st.integers(0, 2),
    st.sampled_from([0, 0, 0, 0, 0, BACKFILL, LATE, STALE]),
    st.booleans(),  # a candle closes
)
TAPES = st.lists(TRADE, min_size=1, max_size=60)
SETTINGS = st.fixed_dictionaries(
    {
        "paper_fill": st.sampled_from(["tape", "tape", "instant"]),
        "slippage_bps": st.sampled_from(["0", "7.5"]),
        "paper_participation": st.sampled_from(["1", "0.33"]),
        "paper_balance": st.sampled_from(["10000", "1700"]),
        "max_orders_per_minute": st.sampled_from(["30", "2"]),
        "max_consecutive_losses": st.sampled_from(["0", "2"]),
        "cooldown_seconds": st.sampled_from(["0", "3"]),
        "tax_sell_bps": st.sampled_from(["0", "33"]),
    }
)


def tape_of(script: list[tuple]) -> Tape:
    tape = Tape(start(*MARKETS, fee="10"))
    prices = [100.0, 100.0, 100.0]
    closed = 50
    for steps, codes, lots, after_ms, pair, flags, closes in script:
        prices[pair] = max(50.0, prices[pair] + steps * 0.5)
        closed += closes
        tape.trade(prices[pair], codes, lots=lots, after_ms=after_ms, pair=pair, flags=flags, closed=closed)
    return tape


def begin(tape: Tape, chosen: dict[str, str]) -> Live:
    return Live(tape, **chosen)


def check_money(events: list[TraderEvent], state: State, balance: str) -> None:
    """Sum of fills = position and dust; wallet = start + fills; realized = sum of profits; ids are unique."""
    wallet = Decimal(balance)
    held: dict[str, Decimal] = {}
    fills = of(events, FillEvent)
    assert [fill.id for fill in fills] == list(range(1, len(fills) + 1))
    for fill in fills:
        amount, quantity = Decimal(fill.price) * Decimal(fill.quantity), Decimal(fill.quantity)
        sign = 1 if fill.side == "buy" else -1
        wallet -= sign * amount + Decimal(fill.fee)
        held[fill.pair] = held.get(fill.pair, Decimal(0)) + sign * quantity
    assert wallet * 10**8 == state.wallet >= 0
    for pair in state.pairs.values():
        assert (pair.lots + pair.dust_lots) * pair.step == held.get(pair.pair, Decimal(0))
        assert (pair.lots > 0) == (pair.highest is not None)
        assert pair.lots > 0 or pair.cost == 0
    trades = of(events, TradeEvent)
    assert [trade.id for trade in trades] == list(range(1, len(trades) + 1))
    profits = sum((Decimal(trade.profit) for trade in trades if trade.profit is not None), Decimal(0))
    assert profits * 10**8 == state.realized
    in_dust = sum(pair.dust_cost for pair in state.pairs.values())
    open_cost = sum(pair.cost for pair in state.pairs.values())
    pending = sum(p.order.cash - p.order.share for p in state.pairs.values() if p.order and p.order.purpose == "exit")
    assert state.wallet == Decimal(balance) * 10**8 + state.realized + pending - in_dust - open_cost


def check_orders(events: list[TraderEvent], state: State) -> None:
    """Every approved order ends or is still working; none begins twice."""
    approved = [signal.client_order_id for signal in of(events, SignalEvent) if signal.outcome == "approved"]
    assert len(set(approved)) == len(approved)
    last = {order.client_order_id: order.status for order in of(events, OrderEvent)}
    assert set(last) == set(approved)
    working = {pair.order.id for pair in state.pairs.values() if pair.order is not None}
    assert {order for order, status in last.items() if status in ("submitting", "working", "cancelling")} == working


@profile(max_examples=120, deadline=None)
@given(TAPES, SETTINGS, st.data())
def test_any_split_into_batches_gives_the_identical_journal(
    script: list[tuple], chosen: dict[str, str], data: st.DataObject
) -> None:
    one = begin(tape_of(script), chosen)
    one.feed(batch=1)
    whole = begin(tape_of(script), chosen)
    whole.feed(batch=10_000)
    split = begin(tape_of(script), chosen)
    while split.fed < len(split.tape.rows):
        size = data.draw(st.integers(1, 20))
        rows = split.tape.rows[split.fed : split.fed + size]
        split.fed += len(rows)
        part = np.concatenate(rows)
        split.events += split.engine.handle(inputs.Updates(1, int(part["number"][-1]), part.tobytes()))
    assert one.events == whole.events == split.events
    assert pack(one.engine.sync()) == pack(whole.engine.sync()) == pack(split.engine.sync())
    check_money(whole.events, whole.engine.state, chosen["paper_balance"])
    check_orders(whole.events, whole.engine.state)


@profile(max_examples=120, deadline=None)
@given(TAPES, TAPES, SETTINGS, st.sampled_from([BLIND, DEGRADED]), st.integers(1, 25))
def test_spans_in_any_batches_give_the_identical_journal(
    before: list[tuple], inside: list[tuple], chosen: dict[str, str], kind: str, size: int
) -> None:
    results = []
    for batch in (1, size, 10_000):
        tape = tape_of(before)
        live = begin(tape, chosen)
        live.feed(batch=batch)
        first = len(before) + 1
        live.give(inputs.SpanBegin(kind, 1, first, -1, "test"))
        decided = len(of(live.events, SignalEvent))
        raws = tape_of([*before, *inside]).raws[len(before) :]
        for at in range(0, len(raws), batch):
            live.give(inputs.Raws(1, first + at, raws[at : at + batch]))
        live.give(inputs.SpanEnd())
        new = of(live.events, SignalEvent)[decided:]
        assert all(kind == DEGRADED and signal.reason == "trailing_stop" for signal in new)
        check_money(live.events, live.engine.state, chosen["paper_balance"])
        check_orders(live.events, live.engine.state)
        results.append((live.events, pack(live.engine.sync())))
    assert results[0] == results[1] == results[2]


@profile(max_examples=60, deadline=None)
@given(st.lists(TRADE, min_size=5, max_size=40), SETTINGS, st.integers(0, 6))
def test_recovery_at_every_journal_boundary(script: list[tuple], chosen: dict[str, str], missed: int) -> None:
    """The journal is cut after every commit; the next `missed` records are blind, the rest is live."""
    tape = tape_of(script)
    updates, raws = tape.updates, tape.raws
    live = begin(tape, chosen)
    terms = terms_of(settings(**chosen), HASH)
    commits: list[tuple[int, int, bytes]] = []  # events so far, record, state
    uncut: list[TraderEvent] = []
    for index, row in enumerate(tape.rows):
        found = live.engine.handle(inputs.Updates(1, index + 1, row.tobytes()))
        if found:
            uncut += found
            commits.append((len(uncut), index + 1, pack(live.engine.sync())))
    for count, record, state in commits:
        engine = replay.new_engine(terms, unpack(state))
        events = uncut[:count]
        events += engine.handle(inputs.Began("book", {}, "recovered", "report"))
        upto = min(record + missed, len(updates))
        if upto > record:
            events += engine.handle(inputs.SpanBegin(BLIND, 1, record + 1, upto, "away"))
            decided = len(of(events, SignalEvent))
            events += engine.handle(inputs.Raws(1, record + 1, raws[record:upto]))
            assert len(of(events, SignalEvent)) == decided
            events += engine.handle(inputs.SpanEnd())
        if upto < len(updates):
            events += engine.handle(inputs.Updates(1, len(updates), updates[upto:].tobytes()))
        check_money(events, engine.state, chosen["paper_balance"])
        check_orders(events, engine.state)
        assert engine.state.record == len(updates)
        if upto == record:  # nothing was missed: nothing is different
            rest = [event for event in events[count:] if not isinstance(event, StartedEvent | CostsEvent)]
            assert uncut[:count] + rest == uncut


@profile(max_examples=100, deadline=None)
@given(TAPES, SETTINGS)
def test_what_is_shown_follows_from_the_fills(script: list[tuple], chosen: dict[str, str]) -> None:
    live = begin(tape_of(script), chosen)
    live.feed()
    for event in of(live.events, EquityEvent):
        assert Decimal(event.balance) >= 0
        assert Decimal(event.position_value) >= 0
    for position in of(live.events, PositionEvent):
        if position.highest is not None and position.stop_price is not None:
            assert position.stop_price == position.highest * (1.0 - 0.005)
    assert set(CODES) >= {row[1] for row in script}
