"""The fold: the order of work on each trade, spans, commands, refusals, limits."""

from decimal import Decimal

import numpy as np
import pytest

from bus.messages import (
    EquityEvent,
    FillEvent,
    OrderEvent,
    PositionEvent,
    SignalEvent,
    SpanEvent,
    StartedEvent,
    StateEvent,
    TradeEvent,
)
from bus.records import BACKFILL, LATE, STALE, UNTAPED
from core.errors import BotError
from tests.trader_world import Live, Tape, market, of, run, settings, start
from trader import inputs, replay
from trader.state import BLIND, DEGRADED, pack, unpack

TAPE = {"paper_fill": "tape", "paper_latency_ms": 100, "entry_timeout_ms": 5000}


def decisions(events: list) -> list[tuple[int, str, str]]:
    return [(e.at.record, e.action, e.reason) for e in of(events, SignalEvent) if e.outcome == "approved"]


# --- rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "reason"), [("mr", "mean_reversion"), ("crash", "crash_catch"), ("both", "crash_catch")]
)
def test_entry_rules_when_flat(codes: str, reason: str) -> None:
    assert decisions(run(Tape().trade(100).trade(100, codes))) == [(2, "enter", reason)]


def test_no_decision_while_not_warm() -> None:
    tape = Tape().trade(100).trade(100, "mr")
    tape.rows[1]["codes"] = 2 | 4  # entry codes without WARM
    assert decisions(run(tape)) == []


def test_trailing_stop_wins_over_take_profit() -> None:
    tape = Tape().trade(100, "mr").trade(99.5, "tp")
    assert decisions(run(tape)) == [(1, "enter", "mean_reversion"), (2, "exit", "trailing_stop")]


def test_the_stop_is_at_or_below_highest_times_keep() -> None:
    keep = 1.0 - 0.005
    above = np.nextafter(100 * keep, 200)
    tape = Tape(start(market(tick="0.00000001"))).trade(100, "mr").trade(above).trade(100 * keep)
    assert decisions(run(tape))[1:] == [(3, "exit", "trailing_stop")]


def test_highest_starts_at_the_market_price_before_slippage_and_follows() -> None:
    tape = Tape().trade(100, "mr").trade(110).trade(109.46).trade(109.45)
    events = run(tape, slippage_bps="50")
    first = of(events, PositionEvent)[0]
    assert (first.highest, first.entry_price) == (100.0, 100.5)
    assert decisions(events)[1:] == [(4, "exit", "trailing_stop")]


def test_instant_decides_once_a_trade() -> None:
    tape = Tape().trade(100, "mr").trade(99, "both").trade(99, "mr")
    assert decisions(run(tape)) == [
        (1, "enter", "mean_reversion"),
        (2, "exit", "trailing_stop"),
        (3, "enter", "mean_reversion"),
    ]


def test_a_trade_that_fills_decides_nothing() -> None:
    tape = Tape().trade(100, "mr").trade(100, "tp").trade(100, "tp").trade(100, "mr").trade(100, "mr")
    found = decisions(run(tape, **TAPE))
    assert found == [(1, "enter", "mean_reversion"), (3, "exit", "take_profit"), (5, "enter", "mean_reversion")]


def test_highest_moves_only_if_a_position_was_held_before_the_trade() -> None:
    tape = Tape().trade(100, "mr").trade(101).trade(100.5)
    events = run(tape, **TAPE)
    assert of(events, PositionEvent)[-1].highest == 101
    assert decisions(events) == [(1, "enter", "mean_reversion")]


def test_the_stop_cancels_a_working_entry_and_sells_what_is_held() -> None:
    rules = market(step="1", min_quantity="1", min_notional="0")
    tape = Tape(start(rules)).trade(100, "mr").trade(100, lots=3).trade(99.5, "both", lots=2).trade(99, lots=50)
    events = run(tape, **TAPE)
    assert decisions(events) == [(1, "enter", "mean_reversion"), (3, "exit", "trailing_stop")]
    assert [(f.at.record, f.side, f.quantity) for f in of(events, FillEvent)] == [
        (2, "buy", "3"),
        (3, "buy", "2"),
        (4, "sell", "5"),
    ]
    entry = [o for o in of(events, OrderEvent) if o.side == "buy"]
    assert [o.status for o in entry] == ["submitting", "working", "working", "working", "cancelling", "cancelled"]


def test_a_working_order_decides_nothing_else() -> None:
    rules = market(step="1", min_quantity="1", min_notional="0")
    tape = Tape(start(rules)).trade(100, "mr").trade(100, lots=1).trade(101, "tp", lots=1).trade(101, "mr", lots=1)
    assert decisions(run(tape, **TAPE)) == [(1, "enter", "mean_reversion")]


def test_late_is_no_trade_for_anyone() -> None:
    tape = Tape().trade(100, "mr").trade(200, flags=LATE).trade(1, "both", flags=LATE).trade(99.6)
    assert decisions(run(tape)) == [(1, "enter", "mean_reversion")]


def test_backfill_moves_highest_and_decides_nothing() -> None:
    tape = Tape().trade(100, "mr", flags=BACKFILL).trade(100, "mr").trade(110, flags=BACKFILL)
    tape.trade(90, "tp", flags=BACKFILL).trade(109.45)
    assert decisions(run(tape)) == [(2, "enter", "mean_reversion"), (5, "exit", "trailing_stop")]


@pytest.mark.parametrize("batch", [1, 1000])
def test_trades_from_before_the_entry_that_are_told_once_more_move_no_stop(batch: int) -> None:
    """After a hole, or with another TIMEFRAME, the feeder puts the running candle's trades on the tape again."""
    tape = Tape().trade(101).trade(100, "mr")
    tape.trade(101, flags=BACKFILL, after_ms=-1000).trade(100, flags=BACKFILL)
    tape.trade(100.2).trade(99.8).trade(99.69)
    assert decisions(run(tape, batch)) == [(2, "enter", "mean_reversion"), (7, "exit", "trailing_stop")]


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"flags": STALE}, "stale"),
        ({"flags": UNTAPED}, "untaped"),
        ({"settings_hash": 5}, "indicator_settings_differ"),
    ],
)
def test_what_blocks_entries_never_blocks_exits(more: dict[str, int], reason: str) -> None:
    tape = Tape().trade(100, "mr", **more).trade(100, "mr").trade(99, **more)
    events = run(tape)
    assert decisions(events) == [(2, "enter", "mean_reversion"), (3, "exit", "trailing_stop")]
    assert of(events, SignalEvent)[0].outcome == f"refused:{reason}"


def test_a_refusal_is_recorded_when_it_begins_and_ends_with_the_count() -> None:
    tape = Tape().trades([100] * 5, "mr", flags=STALE).trade(100, closed=51).trade(100, "mr", flags=STALE)
    tape.trade(100, closed=52).trade(100).trade(100, closed=53).trade(100, closed=54)
    found = [(e.at.record, e.outcome, e.count) for e in of(run(tape), SignalEvent)]
    assert found == [(1, "refused:stale", 1), (10, "refused:stale ended", 6)]


def test_a_refusal_ends_where_its_reason_changes_or_the_entry_is_taken() -> None:
    tape = Tape().trade(100, "mr", flags=STALE).trade(100, "mr", flags=UNTAPED).trade(100, "mr")
    found = [(e.at.record, e.outcome) for e in of(run(tape), SignalEvent)]
    assert found == [
        (1, "refused:stale"),
        (2, "refused:stale ended"),
        (2, "refused:untaped"),
        (3, "refused:untaped ended"),
        (3, "approved"),
    ]


def test_below_the_minimum_is_refused() -> None:
    tape = Tape(start(market(min_notional="2000"))).trade(100, "mr")
    assert [e.outcome for e in of(run(tape), SignalEvent)] == ["refused:below_minimum"]


def test_pairs_share_one_wallet_and_contested_entries_go_in_tape_order() -> None:
    two = start(market(), market("B-ETH_USDT"), fee="10")
    tape = Tape(two).trade(100, "mr", pair=1).trade(100, "mr", pair=0).trade(100)
    events = run(tape, **TAPE, paper_balance="1500")
    orders = [o for o in of(events, OrderEvent) if o.status == "submitting"]
    assert [(o.pair, o.quantity, o.reason) for o in orders] == [
        ("B-ETH_USDT", "10", "mean_reversion"),
        ("B-BTC_USDT", "4.985", "mean_reversion, capped_by_wallet"),  # (1500 - 1001) / 100.1
    ]


# --- limits ---------------------------------------------------------------------------------------


def losing_trip(tape: Tape) -> Tape:
    return tape.trade(100, "mr").trade(99)


def outcome_after(tape: Tape, **changed: object) -> str:
    events = run(tape, **changed)
    return of(events, SignalEvent)[-1].outcome


def test_max_daily_loss_refuses_until_the_next_day() -> None:
    tape = losing_trip(Tape()).trade(100, "mr")
    assert outcome_after(tape, max_daily_loss="10") == "refused:max_daily_loss"
    assert outcome_after(tape, max_daily_loss="10.01") == "approved"
    assert outcome_after(tape.trade(100, "mr", after_ms=86_400_000), max_daily_loss="10") == "approved"


def test_the_day_begins_at_its_offset() -> None:
    """The world's clock starts at 22:14 UTC; 105 minutes ahead of UTC the day ends one minute later."""
    tape = losing_trip(Tape()).trade(100, "mr", after_ms=120_000)
    assert outcome_after(tape, max_daily_loss="10") == "refused:max_daily_loss"
    assert outcome_after(tape, max_daily_loss="10", day_offset_minutes="105") == "approved"


def test_cooldown_counts_market_time_after_any_exit_over_all_pairs() -> None:
    two = start(market(), market("B-ETH_USDT"))
    tape = losing_trip(Tape(two)).trade(100, "mr", pair=1, after_ms=59_999)
    assert outcome_after(tape, cooldown_seconds="60") == "refused:cooldown"
    assert outcome_after(tape.trade(100, "mr", pair=1, after_ms=1), cooldown_seconds="60") == "approved"


def test_max_orders_per_minute_counts_entries_only() -> None:
    tape = losing_trip(losing_trip(Tape())).trade(100, "mr")
    assert outcome_after(tape, max_orders_per_minute="2") == "refused:max_orders_per_minute"
    assert outcome_after(tape, max_orders_per_minute="3") == "approved"
    later = losing_trip(losing_trip(Tape())).trade(100, "mr", after_ms=60_000)
    assert outcome_after(later, max_orders_per_minute="2") == "approved"


def test_max_open_positions() -> None:
    two = start(market(), market("B-ETH_USDT"))
    tape = Tape(two).trade(100, "mr").trade(100, "mr", pair=1)
    assert outcome_after(tape, max_open_positions="1") == "refused:max_open_positions"
    assert outcome_after(tape, max_open_positions="2") == "approved"


@pytest.mark.parametrize(
    ("limit", "reason"),
    [({"max_consecutive_losses": "2"}, "max_consecutive_losses"), ({"max_drawdown_pct": "0.002"}, "max_drawdown_pct")],
)
def test_some_limits_halt_until_resume(limit: dict[str, str], reason: str) -> None:
    live = Live(losing_trip(losing_trip(Tape())), **limit)
    live.feed()
    states = of(live.events, StateEvent)
    assert [(s.state, s.reason, s.command, s.at.record) for s in states] == [("halted", reason, "", 4)]
    live.tape.trade(100, "mr")
    assert of(live.feed(), SignalEvent)[-1].outcome == "refused:halted"
    live.give(inputs.Command("resume", "r1"))
    live.tape.trade(100, "mr")
    assert of(live.feed(), SignalEvent)[-1].outcome == "approved"


def test_no_limit_refuses_an_exit() -> None:
    live = Live(Tape().trade(100, "mr"), max_daily_loss="0.01", cooldown_seconds="9", max_orders_per_minute="1")
    live.feed()
    live.give(inputs.Command("halt", "h1"))
    live.give(inputs.Block("journal_failing", True))
    live.tape.trade(99, flags=STALE)
    assert decisions(live.feed()) == [(2, "exit", "trailing_stop")]


# --- commands -------------------------------------------------------------------------------------


def test_pause_stops_entries_and_not_exits() -> None:
    live = Live(Tape().trade(100, "mr"))
    live.feed()
    live.give(inputs.Command("pause", "p1"))
    live.tape.trade(99).trade(99, "mr")
    assert decisions(live.feed()) == [(2, "exit", "trailing_stop")]
    assert of(live.events, SignalEvent)[-1].outcome == "refused:paused"


def test_flatten_sells_at_the_next_record_and_stays_reducing() -> None:
    live = Live(Tape().trade(100, "mr"))
    live.feed()
    live.give(inputs.Command("flatten", "f1"))
    live.tape.trade(100.5, flags=BACKFILL).trade(101).trade(101, "mr")
    assert decisions(live.feed()) == [(3, "exit", "flatten")]
    assert of(live.events, SignalEvent)[-1].outcome == "refused:reducing"
    assert live.engine.state.pairs["B-BTC_USDT"].flatten == ""


def test_flatten_cancels_a_working_entry() -> None:
    rules = market(step="1", min_quantity="1", min_notional="0")
    live = Live(Tape(start(rules)).trade(100, "mr").trade(100, lots=3), **TAPE)
    live.feed()
    events = live.give(inputs.Command("flatten", "f1"))
    assert [o.status for o in of(events, OrderEvent)] == ["cancelling", "cancelled"]
    live.tape.trade(100).trade(100)
    live.feed()
    assert [(f.side, f.quantity) for f in of(live.events, FillEvent)] == [("buy", "3"), ("sell", "3")]


def test_a_flatten_for_a_shutdown_is_lifted_by_the_next_start() -> None:
    live = Live(Tape().trade(100, "mr"))
    live.feed()
    live.give(inputs.Command("flatten", "f1", "shutdown"))
    events = live.give(inputs.Began("book", {}, "clean", "report"))
    assert isinstance(events[0], StartedEvent)
    assert live.engine.state.trading == "active"
    live.give(inputs.Command("flatten", "f2"))
    live.give(inputs.Began("book", {}, "clean", "report"))
    assert live.engine.state.trading == "reducing"


@pytest.mark.parametrize(("command", "trading"), [("pause", "paused"), ("flatten", "reducing"), ("halt", "halted")])
def test_what_an_operator_set_outlives_a_stop_that_flattens(command: str, trading: str) -> None:
    live = Live(Tape().trade(100, "mr"))
    live.feed()
    live.give(inputs.Command(command, "c1"))
    live.give(inputs.Command("flatten", "f1", "shutdown"))
    assert live.engine.state.trading_reason == "operator"
    assert live.engine.state.pairs["B-BTC_USDT"].flatten == ("c1" if command == "flatten" else "shutdown")
    live.give(inputs.Began("book", {}, "clean", "report"))
    assert live.engine.state.trading == trading
    live.tape.trade(100).trade(100, "mr")
    live.feed()
    sold = [(2, "exit", "flatten")] if command == "flatten" else []  # the stop's own wish ended with it
    assert decisions(live.events)[1:] == sold


def test_a_command_is_carried_out_once() -> None:
    live = Live(Tape().trade(100))
    live.feed()
    assert len(live.give(inputs.Command("pause", "p1"))) == 1
    assert live.give(inputs.Command("pause", "p1")) == []
    with pytest.raises(BotError, match="dance"):
        live.give(inputs.Command("dance", "x"))


# --- spans ----------------------------------------------------------------------------------------


def test_a_blind_span_moves_highest_fills_orders_and_decides_nothing() -> None:
    live = Live(Tape().trade(100, "mr"), **TAPE)
    live.feed()
    events = live.give(inputs.SpanBegin(BLIND, 1, 2, 4, "away"))
    assert of(events, SpanEvent)[0].last == 4
    live.tape.trade(101).trade(120).trade(60)
    live.raw()
    live.give(inputs.SpanEnd())
    live.tape.trade(119.4).trade(119.4)
    live.feed()
    assert [(f.at.record, f.side) for f in of(live.events, FillEvent)] == [(2, "buy"), (6, "sell")]
    assert decisions(live.events) == [(1, "enter", "mean_reversion"), (5, "exit", "trailing_stop")]


def test_in_a_degraded_span_only_the_trailing_stop_decides() -> None:
    live = Live(Tape().trade(100, "mr"))
    live.feed()
    live.give(inputs.SpanBegin(DEGRADED, 1, 2, -1, "silent"))
    live.tape.trade(105, "tp").trade(104.4, "mr").trade(90, "mr")
    live.raw()
    ended = live.give(inputs.SpanEnd())
    assert decisions(live.events) == [(1, "enter", "mean_reversion"), (3, "exit", "trailing_stop")]
    assert [(s.kind, s.first, s.last) for s in of(ended, SpanEvent)] == [("degraded", 2, 4)]


def test_updates_not_newer_than_the_cursor_are_dropped() -> None:
    live = Live(Tape().trade(100).trade(100, "mr"))
    live.feed()
    assert live.engine.handle(inputs.Updates(1, 2, live.tape.updates.tobytes())) == []
    assert len(decisions(live.events)) == 1


def test_a_block_is_journalled_and_refuses_entries() -> None:
    live = Live(Tape().trade(100))
    live.feed()
    live.give(inputs.Block("settings_differ_feeder", True))
    assert live.give(inputs.Block("settings_differ_feeder", True)) == []
    live.tape.trade(100, "mr")
    assert of(live.feed(), SignalEvent)[-1].outcome == "refused:settings_differ_feeder"
    events = live.give(inputs.Block("settings_differ_feeder", False))
    assert [(s.kind, s.first, s.last) for s in of(events, SpanEvent)] == [("blocked", 2, 2)]


# --- events that are not decisions ------------------------------------------------------------------


def test_highest_is_journalled_at_each_candle_close_while_long() -> None:
    tape = (
        Tape()
        .trade(100, closed=51)
        .trade(100, "mr")
        .trade(101)
        .trade(100.9, closed=52)
        .trade(101)
        .trade(101, closed=53)
    )
    found = [(p.at.record, p.highest) for p in of(run(tape), PositionEvent)]
    assert found == [(2, 100.0), (4, 101.0), (6, 101.0)]


def test_equity_once_a_market_minute_and_per_fill() -> None:
    tape = Tape().trades([100] * 3, after_ms=20_000).trade(100, "mr").trade(110, after_ms=60_000)
    found = [(e.at.record, e.balance, e.position_value) for e in of(run(tape), EquityEvent)]
    assert found == [(1, "10000", "0"), (3, "10000", "0"), (4, "9000", "1000"), (5, "9000", "1100")]


def test_changed_rules_of_a_market_keep_the_quantity() -> None:
    live = Live(Tape().trade(100, "mr"))
    live.feed()
    new = start(market(tick="0.1", step="0.01"))
    events = live.give(inputs.NewStart(1, 2, new))
    assert [p.quantity for p in of(events, PositionEvent)] == ["10"]
    assert live.engine.state.pairs["B-BTC_USDT"].lots == 1000
    assert live.engine.ledger.worth()[0] == 1000 * 10**8


def test_unrealized_is_net_of_the_exit_fee() -> None:
    tape = Tape(start(fee="10")).trade(100, "mr").trade(110, after_ms=60_000)
    equity = of(run(tape), EquityEvent)[-1]
    assert Decimal(equity.unrealized) == Decimal("1100") - Decimal("1.1") - Decimal("1001")


def test_completed_trades_carry_profit_net_of_both_sides() -> None:
    tape = Tape(start(fee="10")).trade(100, "mr").trade(110, "tp")
    buy, sell = of(run(tape, tax_buy_bps="5", tax_sell_bps="100"), TradeEvent)
    assert (buy.fee, buy.profit, buy.action) == ("1.5", None, "buy")
    assert (sell.fee, sell.profit) == ("12.1", "86.4")
    assert sell.timestamp == "2023-11-14T22:14:02.000Z"


def test_the_state_survives_packing_at_any_place() -> None:
    """Packed and unpacked between every two records, the fold goes on to the same events."""
    rules = market(step="1", min_quantity="1", min_notional="0")
    tape = Tape(start(rules, fee="10")).trade(100, "mr").trade(100, lots=3).trade(101, lots=4).trade(102, "tp", lots=9)
    tape.trade(103, "tp", lots=2).trade(99, lots=50).trade(99, "mr").trade(99, flags=STALE)
    whole = run(tape, **TAPE)
    live = Live(tape, **TAPE)
    cut = list(live.events)
    engine = live.engine
    for row in tape.rows:
        engine = replay.new_engine(engine.terms, unpack(pack(engine.sync())))
        cut += engine.handle(inputs.Updates(1, int(row["number"][0]), row.tobytes()))
    assert cut == whole


def test_replay_runs_offline_and_gives_decision_rows() -> None:
    tape = Tape().trade(100).trade(95, "mr").trade(99, "tp")
    updates = tape.updates
    events = replay.run([updates[:1], updates[1:1], updates[1:]], tape.start, settings())
    rows = replay.decisions(events, updates)
    assert rows == [
        (int(updates["exchange_ns"][1]), "enter", "mean_reversion", 95.0, 50.0, 90.0, "B-BTC_USDT"),
        (int(updates["exchange_ns"][2]), "exit", "take_profit", 99.0, 50.0, 90.0, "B-BTC_USDT"),
    ]
    assert [type(event) for event in events] == [type(event) for event in run(tape)]
