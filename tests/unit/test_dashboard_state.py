"""The page's state as a fold: what each message changes, and that nothing grows without end."""

import pytest

from bus.messages import At, Beat, Entry, Event, Gap, PositionEvent, SpanEvent, StartedEvent, StateEvent
from core.clock import ManualClock
from dashboard import payloads
from dashboard.payloads import Totals
from dashboard.state import COMMANDS, LOGS, MAX_NOTES, MAX_PAIRS, MAX_TRADES, SILENT_NS, STAGES, PageState
from tests.dashboard_world import PAIR, SECOND_NS, beat, candle, config, status, trade, view

AT = At(7, 1, 61_000)


def fresh() -> PageState:
    return PageState(config())


def test_pairs_of_the_settings_come_first_and_new_ones_after() -> None:
    state = PageState(config(pairs=("B-ETH_USDT", PAIR)))
    state.fold_view(view(pair="B-SOL_USDT"), 0)
    state.fold_status(status(), 0)
    assert state.pair_names() == ["B-ETH_USDT", PAIR, "B-SOL_USDT"]


def test_a_stage_is_alive_for_three_seconds_after_any_message() -> None:
    state = fresh()
    stage = state.stages["feeder"]
    assert not stage.alive(0)
    state.heard("feeder", 5, 1000)
    assert stage.alive(5 + SILENT_NS)
    assert not stage.alive(6 + SILENT_NS)
    assert stage.heard_ms == 1000


def test_messages_of_an_unknown_stage_are_passed_over() -> None:
    state = fresh()
    state.fold_beat(beat("guardian"), 1, 1)
    assert "guardian" not in state.stages


def test_a_watchdog_that_fell_silent_is_shown_and_is_no_stage() -> None:
    state = fresh()
    assert payloads.health(state, Totals(), [], 0)["watchdog_silent_since_ms"] is None  # not heard yet
    state.fold_beat(beat("watchdog", layout_hash=9), 1, 1000)
    assert payloads.health(state, Totals(), [], 1 + SILENT_NS)["watchdog_silent_since_ms"] is None
    shown = payloads.health(state, Totals(), [], 2 + SILENT_NS)
    assert shown["watchdog_silent_since_ms"] == 1000
    assert [row["name"] for row in shown["stages"]] == list(STAGES)
    assert shown["differs"] == {}


def test_the_guardian_has_a_light_where_orders_are_real() -> None:
    assert list(PageState(config(live=True)).stages) == [*STAGES, "guardian"]


@pytest.mark.parametrize(
    ("beats", "blocked", "holder"),
    [
        ([], [], "nobody"),
        ([beat("trader")], [], "trader"),
        ([beat("trader")], ["recovering"], "nobody"),
        ([beat("trader"), beat("guardian", facts={"stop": "trader"})], [], "trader"),
        ([beat("trader"), beat("guardian", facts={"stop": "guardian"})], ["recovering"], "guardian"),
        ([beat("guardian", facts={"stop": "guardian"})], [], "guardian"),
        ([beat("guardian", facts={"stop": "nobody"})], [], "nobody"),
        ([beat("trader"), beat("guardian", facts={"stop": ""})], [], "trader"),  # it has not seen the position yet
    ],
)
def test_who_holds_the_stop(beats: list[Beat], blocked: list[str], holder: str) -> None:
    state = PageState(config(live=True))
    state.fold_status(status(entry_price=98.0, blocked=blocked), 0)
    for one in beats:
        state.fold_beat(one, 1, 1)
    pair = state.pairs[PAIR]
    assert state.stop_holder(pair, 2) == holder
    assert state.stop_holder(pair, 2 + SILENT_NS) == "nobody"
    state.fold_status(status(entry_price=None), 0)
    assert state.stop_holder(pair, 2) is None


def test_programs_that_keep_dying_are_shown_with_their_reasons() -> None:
    state = fresh()
    state.crash_loops.update({"storage": "gave up", "feeder": "crash loop"})
    state.down.update({"storage": "the disk is full", "trader": "ValueError"})
    assert payloads.health(state, Totals(), [], 0)["crash_loops"] == [
        {"stage": "storage", "what": "gave up", "why": "the disk is full"},
        {"stage": "feeder", "what": "crash loop", "why": ""},
    ]


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({}, {}),
        ({"settings_hash": 9}, {"trader": "settings"}),
        ({"layout_hash": 9}, {"trader": "layout"}),
        ({"layout_hash": 9, "settings_hash": 9}, {"trader": "layout"}),
    ],
)
def test_a_stage_with_other_settings_or_layouts_is_named_until_it_agrees(
    changes: dict[str, int], differs: dict[str, str]
) -> None:
    state = fresh()
    state.fold_beat(beat("trader", **changes), 1, 1)
    assert state.differs == differs
    state.fold_beat(beat("trader"), 2, 2)
    assert state.differs == {}


def test_price_age_counts_from_the_last_new_trade_and_not_from_the_last_message() -> None:
    state = fresh()
    state.fold_view(view(number=50), 1 * SECOND_NS)
    state.fold_view(view(number=50), 4 * SECOND_NS)
    assert state.pairs[PAIR].moved_ns == 1 * SECOND_NS
    state.fold_view(view(number=51), 6 * SECOND_NS)
    assert state.pairs[PAIR].moved_ns == 6 * SECOND_NS


def test_latency_is_taken_from_the_oldest_change_not_yet_shown() -> None:
    state = fresh()
    state.fold_view(view(), 10)
    state.fold_status(status(), 30)
    assert state.take_arrival(PAIR) == 10
    assert state.take_arrival(PAIR) is None


def test_the_position_knows_when_it_was_opened_until_it_is_closed() -> None:
    state = fresh()
    state.fold_entry(Entry(1, PositionEvent(AT, PAIR, "2.5", "245", 98.0, 98.0, 97.5, 55_000)), 0)
    state.fold_status(status(held=True), 0)
    assert state.pairs[PAIR].opened_ms == 55_000
    state.fold_status(status(), 0)
    assert state.pairs[PAIR].opened_ms is None


def test_state_and_start_and_spans_are_kept() -> None:
    state = fresh()
    state.fold_entry(Entry(1, StartedEvent(AT, "ab", "sim", {}, "clean", "found 1 position")), 0)
    state.fold_entry(Entry(2, StateEvent(AT, "halted", "max_daily_loss", "", "")), 0)
    state.fold_entry(Entry(3, SpanEvent(AT, "blind", 5, -1, "restart")), 0)
    state.fold_entry(Entry(4, SpanEvent(AT, "blind", 5, 9, "restart")), 0)
    assert state.started is not None and state.started.report == "found 1 position"
    assert payloads.trading_state(state) == {"state": "halted", "reason": "max_daily_loss", "command": ""}
    assert [(s.first, s.last) for s in state.spans] == [(5, 9)], "the end of a span replaces its begin"


def test_before_a_change_is_heard_the_traders_heartbeat_says_its_state() -> None:
    state = fresh()
    assert payloads.trading_state(state) is None
    state.fold_beat(beat("trader", facts={"record": 50, "state": "paused"}), 1, 1)
    assert payloads.trading_state(state) == {"state": "paused", "reason": "", "command": ""}
    state.fold_entry(Entry(1, StateEvent(AT, "active", "by make", "resume", "id")), 2)
    assert payloads.trading_state(state) == {"state": "active", "reason": "by make", "command": "resume"}


def test_the_operators_commands_are_kept_apart_from_database_and_bus_each_once() -> None:
    state = fresh()
    state.fold_event(Event("trader", "info", "paused: no new entries (by the page: news)", 3_000))
    state.fold_event(Event("trader", "info", "paused: no new entries (max_drawdown_pct)", 3_500))
    for text, time_ms in (("trading goes on (by make)", 1_000), ("paused: no new entries (by the page: news)", 3_000)):
        state.fold_command(Event("trader", "info", text, time_ms))
    for i in range(LOGS):
        state.fold_event(Event("feeder", "info", f"line {i}", 4_000 + i))
    assert [payloads.command_row(event) for event in state.commands] == [
        {"time_ms": 1_000, "stage": "trader", "text": "trading goes on", "who": "make", "why": ""},
        {"time_ms": 3_000, "stage": "trader", "text": "paused: no new entries", "who": "the page", "why": "news"},
    ]
    for i in range(COMMANDS + 5):
        state.fold_event(Event("dashboard", "info", f"restart of feeder (by a program: {i})", 9_000 + i))
    assert len(state.commands) == COMMANDS and state.commands[-1].time_ms == 9_000 + COMMANDS + 4


def test_events_stay_in_order_and_are_shown_once() -> None:
    state = fresh()
    late, early = Event("trader", "exit", "sold", 2000), Event("feeder", "start", "started", 1000)
    for event in (late, early, late):
        state.fold_event(event)
    assert list(state.logs) == [early, late]
    assert state.levels == {"exit": 1, "start": 1}


def test_events_of_the_database_join_those_already_heard() -> None:
    state = fresh()
    heard = Event("trader", "exit", "sold", 2000, PAIR)
    state.fold_event(heard)
    state.fold_old_events([Event("trader", "exit", f"{PAIR}: sold", 2000), Event("feeder", "warn", "lost", 500)])
    assert [event.text for event in state.logs] == ["lost", "sold"]
    assert "warn" not in state.levels, "what was before this start is not counted anew"


def test_the_same_gap_from_bus_and_database_is_one() -> None:
    state = fresh()
    state.fold_stored_gap({"topic": "trade/0/", "epoch": 1, "first": 4, "last": 6, "time": 1000})
    state.fold_gap(Gap("indicators", "trade/0/", 1, 4, 6, 1000))
    assert len(state.gaps) == 1


def test_everything_is_bounded() -> None:
    state = fresh()
    for i in range(2 * MAX_PAIRS):
        state.fold_view(view(pair=f"P{i}"), i)
    for i in range(3 * LOGS):
        state.fold_event(Event("trader", "info", str(i), i))
    for i in range(2 * MAX_TRADES):
        state.fold_entry(Entry(i, trade(i)), 0)
    for i in range(3 * MAX_NOTES):
        state.fold_gap(Gap("trader", "update/0/", 1, i, i, i))
        state.fold_entry(Entry(i, SpanEvent(AT, "blind", i, i, "x")), 0)
    for _ in range(100):
        state.fold_beat(beat("feeder"), 1, 1)
    assert len(state.pairs) == MAX_PAIRS
    assert len(state.logs) == LOGS and state.logs[-1].text == str(3 * LOGS - 1)
    assert len(state.trades) == MAX_TRADES and max(state.trades) == 2 * MAX_TRADES - 1
    assert len(state.gaps) == len(state.spans) == MAX_NOTES
    assert len(state.feeder_numbers) == 16


def test_market_age_goes_on_between_heartbeats() -> None:
    state, clock = fresh(), ManualClock()
    assert state.market_age_ms(0) is None
    state.fold_beat(beat("feeder"), clock.monotonic_ns(), 0)
    assert state.market_age_ms(clock.monotonic_ns() + 2 * SECOND_NS) == pytest.approx(2100)
    state.fold_beat(beat("feeder", facts={"market_age_ms": None}), clock.monotonic_ns(), 0)
    assert state.market_age_ms(clock.monotonic_ns()) is None


def test_trades_that_storage_has_not_written_yet_are_added_once() -> None:
    stored = [{"id": 1, "profit": None}, {"id": 2, "profit": 3.0}]
    live = {2: trade(2), 3: trade(3, "buy", None)}
    assert [row["id"] for row in payloads.merge_trades(stored, live, 10)] == [1, 2, 3]
    assert payloads.merge_trades(stored, live, 10)[1]["profit"] == 3.0, "the ledger's row wins"
    assert [row["id"] for row in payloads.merge_trades(stored, live, 2)] == [2, 3]


def test_sums_take_in_what_storage_has_not_summed_yet() -> None:
    known = Totals(trades=1, wins=1, losses=0, fees=1.0, realized=5.0, last_id=2)
    live = {2: trade(2), 3: trade(3, "buy", None), 4: trade(4, "sell", "-2.0")}
    assert payloads.add_live(known, live) == Totals(trades=2, wins=1, losses=1, fees=1.25, realized=3.0, last_id=4)
    assert payloads.add_live(known, {2: trade(2)}) is known
    even = payloads.add_live(known, {3: trade(3, "sell", "0")})
    assert (even.trades, even.wins, even.losses) == (2, 1, 0), "as storage sums it: neither won nor lost"


def test_the_forming_candle_replaces_the_older_copy_of_storage() -> None:
    stored = [{"time": 0, "close": 1.0}, {"time": 60_000, "close": 2.0}, {"time": 120_000, "close": 9.0}]
    merged = payloads.merge_candles(stored[:2], candle(time=60_000, close=3.0), 10)
    assert [(row["time"], row["close"]) for row in merged] == [(0, 1.0), (60_000, 3.0)]
    assert payloads.merge_candles(stored, None, 2) == stored[1:]
    assert len(payloads.merge_candles([], candle(), 5)) == 1


@pytest.mark.parametrize(
    ("text", "value"), [("1.50", 1.5), (2, 2.0), (None, None), ("nan", None), (float("inf"), None), ("x", None)]
)
def test_only_finite_numbers_become_numbers(text: str | float | None, value: float | None) -> None:
    assert payloads.number(text) == value


def test_an_event_that_storage_kept_with_its_pair_in_the_text_is_shown_once() -> None:
    state = fresh()
    state.fold_old_events([Event("trader", "entry", "B-BTC_USDT: bought", 2000)])
    state.fold_event(Event("trader", "entry", "bought", 2000, "B-BTC_USDT"))
    assert len(state.logs) == 1
    state.fold_event(Event("trader", "exit", "sold", 3000, "B-BTC_USDT"))
    state.fold_old_events([Event("trader", "exit", "B-BTC_USDT: sold", 3000)])
    assert len(state.logs) == 2
