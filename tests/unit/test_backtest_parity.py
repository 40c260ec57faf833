"""Parity: a recorded session is equal to its replay, and what was tampered with is found and said in words."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backtest import command_parity, parity
from backtest.parity import DIFFERENT, EQUAL, NOT_JUDGED, Verdict
from bus.messages import DayCostsEvent, EquityEvent, FillEvent, SignalEvent, StartedEvent, StateEvent
from bus.segment import segments_of
from core.errors import MisconfiguredError
from indicators import jit, kept
from tests.indicator_tools import kernels
from tests.recorded_session import Recording, tampered
from trader import inputs
from trader.journal import padded, unpadded
from trader.state import pack as pack_state
from trader.state import unpack


def judge(book: Path) -> Verdict:
    return parity.judge(book, kernels().machine, jit.sources_hash())


def equal(book: Path) -> Verdict:
    """The verdict, which must be that nothing differs and all was judged."""
    verdict = judge(book)
    assert (verdict.outcome, verdict.not_judged) == (EQUAL, []), command_parity.text(verdict)
    return verdict


# --- sessions that are equal


def quiet(bot: Recording) -> None:
    bot.trades(400)


def trader_away(bot: Recording) -> None:
    bot.restart_trader(missed=60)
    bot.trades(200)


def trader_killed(bot: Recording) -> None:
    bot.restart_trader(missed=3, killed=True)
    bot.restart_trader(killed=True)
    bot.trades(200)


def other_settings(bot: Recording) -> None:
    """Money and stop change: no other indicators."""
    bot.restart_trader(missed=10, TRADE_CAPITAL=777, TRAILING_STOP_PCT=0.002, SLIPPAGE_BPS=3)
    bot.trades(300)


def other_indicators(bot: Recording) -> None:
    """All stages are restarted with other rules; the indicators warm up anew with them."""
    bot.restart_trader(missed=40, RSI_BUY=44, BB_PERIOD=7, RSI_PERIOD=4, RSI_SMOOTHING="ema")
    bot.begin_indicators(after=bot.folded)
    bot.trades(300)


def updates_silent(bot: Recording) -> None:
    bot.degraded(150)
    bot.trades(100)


def indicators_restarted(bot: Recording) -> None:
    bot.restart_indicators()
    bot.trades(100)
    bot.restart_indicators(unusable=True)
    bot.trades(100)


def records_lost_on_the_bus(bot: Recording) -> None:
    bot.lose_all()
    bot.trades(300)


def a_hole(bot: Recording) -> None:
    bot.hole()
    bot.trades(300)


def commands(bot: Recording) -> None:
    for action in ("pause", "resume", "flatten", "resume", "halt", "flatten", "resume"):
        bot.command(action)
        bot.trades(37)
    bot.command("pause", "the operator's own words")
    bot.command("resume", "operator")
    bot.trades(60)


def shutdown_that_flattens(bot: Recording) -> None:
    bot.command("flatten", "shutdown")
    bot.trades(40)
    bot.restart_trader(missed=5)
    bot.trades(100)


def a_limit_that_halts(bot: Recording) -> None:
    bot.restart_trader(MAX_CONSECUTIVE_LOSSES=1)
    bot.trades(400)
    bot.command("resume")
    bot.trades(200)


def blocks(bot: Recording) -> None:
    bot.block("journal_failing", True)
    bot.trades(60)
    bot.restart_trader(missed=4, killed=True)  # ends the block
    bot.trades(60)
    bot.block("settings_differ_feeder", True)
    bot.trades(60)
    bot.block("settings_differ_feeder", False)
    bot.trades(60)


def feeder_restarted(bot: Recording) -> None:
    bot.start()
    bot.trades(100)
    bot.body = msgspec.structs.replace(bot.body, taker_fee_bps="11")
    bot.start()
    bot.trades(200)


def another_tape_with_another_fee(bot: Recording) -> None:
    bot.body = msgspec.structs.replace(bot.body, taker_fee_bps="11")
    bot.another_tape()
    bot.restart_trader(missed=30)
    bot.trades(200)


def days_pass(bot: Recording) -> None:
    for _ in range(2):
        bot.ns += 86_400 * 10**9
        bot.trades(200)
    assert any(isinstance(event, DayCostsEvent) for event in bot.events)


SUFFERED = (
    quiet,
    trader_away,
    trader_killed,
    other_settings,
    other_indicators,
    updates_silent,
    indicators_restarted,
    records_lost_on_the_bus,
    a_hole,
    commands,
    shutdown_that_flattens,
    a_limit_that_halts,
    blocks,
    feeder_restarted,
    another_tape_with_another_fee,
    days_pass,
)


@pytest.mark.parametrize("suffer", SUFFERED, ids=lambda function: function.__name__)
def test_a_session_is_equal_to_its_replay(suffer: Callable[[Recording], None], tmp_path: Path) -> None:
    bot = Recording(tmp_path)
    bot.trades(300)
    suffer(bot)
    verdict = equal(bot.close())
    assert verdict.judged.decisions > 10 and verdict.judged.fills > 10
    assert verdict.judged.entries == len(bot.events)


def test_a_running_bot_may_be_judged(tmp_path: Path) -> None:
    bot = Recording(tmp_path)
    bot.trades(300)
    assert bot.journal.flush(10)
    first = equal(bot.book)
    bot.trades(100)
    assert bot.journal.flush(10)
    assert equal(bot.book).judged.records > first.judged.records
    bot.close()


def test_hours_of_market_time_are_kept_and_judged(tmp_path: Path) -> None:
    bot = Recording(tmp_path, TIMEFRAME="5s")
    for _ in range(8):
        bot.ns += 1_500 * 10**9  # a quiet half hour
        bot.trades(50)
    assert len(list(kept.read_all(bot.book))) > 2
    assert equal(bot.close()).judged.states > 3


# --- what is gone


def remove_tape_before(bot: Recording, number: int) -> None:
    """As TAPE_KEEP_HOURS would: whole segments, the oldest first."""
    files = segments_of(bot.tape.folder / str(bot.tape.epoch))
    for path, following in pairwise(files):
        if int(following.stem) <= number:
            path.unlink()


def test_of_a_pruned_tape_the_rest_is_judged_from_a_recorded_state(tmp_path: Path) -> None:
    bot = Recording(tmp_path, segment=100)
    bot.trades(400)
    bot.keep(began=False)  # the hour of market time is over
    bot.restart_trader(missed=30)
    bot.trades(300)
    remove_tape_before(bot, 412)
    verdict = judge(bot.close())
    assert verdict.outcome == EQUAL
    assert len(verdict.not_judged) == 1
    assert "from the begin to record 412" in verdict.not_judged[0]
    assert "record 0 is not on the tape" in verdict.not_judged[0]
    assert 300 < verdict.judged.records < 400
    assert "not judged, from the begin" in command_parity.text(verdict)


def test_a_hole_in_the_numbers_is_named_and_passed_over(tmp_path: Path) -> None:
    """Records that were published but never taped, and lost."""
    bot = Recording(tmp_path)
    bot.trades(200)
    lost = bot.some(50)
    first = bot.tape.next_number
    updates = bot._fold(lost, first)
    bot.give(inputs_of(bot, updates, first + 49))
    bot.tape.go_on(first + 50, bot.body)
    bot.trades(100)
    bot.keep(began=False)
    bot.restart_trader(killed=True)
    bot.trades(200)
    verdict = judge(bot.close())
    assert verdict.outcome == EQUAL
    assert [text.split(":")[1].strip() for text in verdict.not_judged] == [
        f"record {first} is not on the tape of epoch {bot.tape.epoch}"
    ]


def inputs_of(bot: Recording, updates: Any, last: int) -> Any:
    return inputs.Updates(bot.tape.epoch, last, updates.tobytes())


def test_another_tape_is_followed_and_one_that_was_left_unseen_is_named(tmp_path: Path) -> None:
    """The machine was restarted: a trader that starts takes the new tape blind, and begins it with what it has."""
    bot = Recording(tmp_path)
    bot.trades(200)
    bot.another_tape()
    bot.restart_trader(missed=30)
    bot.trades(200)
    verdict = judge(bot.book) if bot.journal.flush(10) else None
    assert verdict is not None and (verdict.outcome, verdict.not_judged) == (EQUAL, [])
    bot.another_tape()  # under a trader that lives: how far it had followed the old one is not on record
    bot.bridge()
    bot.trades(100)
    verdict = judge(bot.close())
    assert verdict.outcome == EQUAL
    assert ["is not recorded" in text for text in verdict.not_judged] == [True]


def test_records_on_no_tape_before_another_tape_are_no_difference(tmp_path: Path) -> None:
    """The disk was full: a trader that had just started took records from the feeder's memory, which died with it."""
    bot = Recording(tmp_path)
    bot.trades(200)
    bot.restart_trader(killed=True)
    said, before = len(bot.events), next(iter(bot.engine.sync().pairs.values()))
    lost = bot.some(1)
    lost["exchange_ns"] = bot.engine.state.market_ns + 1_000_000  # in the same candle and minute, at the same price
    lost["ticks"], lost["price"], lost["lots"] = before.ticks, before.price, 0
    first = bot.tape.next_number
    bot.give(inputs_of(bot, bot._fold(lost, first), first))
    assert len(bot.events) == said
    bot.another_tape()
    bot.bridge()
    bot.trades(200)
    verdict = judge(bot.close())
    assert verdict.outcome == EQUAL
    assert ["is not recorded" in text for text in verdict.not_judged] == [True]


def test_another_tape_without_a_record_yet(tmp_path: Path) -> None:
    bot = Recording(tmp_path)
    bot.trades(100)
    bot.another_tape(empty=True)
    bot.bridge()
    bot.restart_trader()
    bot.start()
    bot.trades(100)
    assert judge(bot.close()).outcome == EQUAL


def test_a_book_of_an_earlier_release_is_judged_as_long_as_its_tape_is_whole(tmp_path: Path) -> None:
    bot = Recording(tmp_path, keep_states=False)
    bot.trades(300)
    other_indicators(bot)
    assert bot.entries()  # all is written: the writer's thread asks for the table no more
    with closing(sqlite3.connect(bot.book / "journal.db")) as file:
        file.execute("DROP TABLE checkpoints")
    bot._checkpoint = bot.engine.state.epoch, bot.engine.state.market_ns // (3_600 * 10**9)
    equal(bot.close())


def test_without_a_recorded_state_it_cannot_be_judged(tmp_path: Path) -> None:
    bot = Recording(tmp_path, keep_states=False, segment=100)
    bot.trades(200)
    remove_tape_before(bot, 150)
    verdict = judge(bot.close())
    assert verdict.outcome == NOT_JUDGED
    assert "is not on the tape" in verdict.not_judged[0]
    said = command_parity.text(verdict)
    assert "to the end" in said and "TAPE_KEEP_HOURS" in said


def test_a_folder_without_a_journal_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match="name a book's folder"):
        judge(tmp_path)


def test_a_book_of_real_orders_cannot_be_replayed(tmp_path: Path) -> None:
    bot = Recording(tmp_path)
    bot.engine.state.settings["SIMULATION_MODE"] = "false"
    with pytest.raises(MisconfiguredError, match="of real orders"):
        judge(bot.close())


def test_a_session_without_a_trade_has_nothing_to_judge(tmp_path: Path) -> None:
    bot = Recording(tmp_path, history=0)
    verdict = judge(bot.close())
    assert verdict.outcome == NOT_JUDGED
    assert "no record of the tape yet" in verdict.not_judged[0]


# --- what was tampered with


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of some restarts, never changed: tests tamper with copies."""
    bot = Recording(tmp_path_factory.mktemp("recorded"))
    bot.trades(500)
    bot.restart_trader(missed=20)
    bot.trades(300)
    return bot.close()


def nth(events: list[Any], n: int, wanted: Callable[[Any], bool]) -> int:
    """Place of the n-th event that is wanted."""
    return [place for place, event in enumerate(events) if wanted(event)][n]


def approved(event: Any) -> bool:
    return isinstance(event, SignalEvent) and event.outcome == "approved"


def difference(book: Path, folder: Path, change: Callable[[list[Any]], list[Any]]) -> tuple[Any, str]:
    """The first difference after a change, and all that is said of it."""
    verdict = judge(tampered(book, folder, change))
    assert verdict.outcome == DIFFERENT and verdict.difference is not None
    return verdict.difference, command_parity.text(verdict)


def test_a_changed_fill_price_is_found(recorded: Path, tmp_path: Path) -> None:
    changed: list[Any] = []

    def change(events: list[Any]) -> list[Any]:
        place = nth(events, 7, lambda event: isinstance(event, FillEvent))
        changed.append(events[place])
        events[place] = msgspec.structs.replace(events[place], price="59999.99")
        return events

    found, said = difference(recorded, tmp_path, change)
    assert (found.record, found.pair) == (changed[0].at.record, changed[0].pair)
    assert found.fields == {"price": ("59999.99", changed[0].price)}
    assert f"at record {changed[0].at.record} of tape {changed[0].at.epoch}" in said
    assert f"price: journal 59999.99, replay {changed[0].price}" in said
    assert f"fill {changed[0].id}: {changed[0].side} {changed[0].quantity} at 59999.99" in said


def test_a_missing_decision_is_found(recorded: Path, tmp_path: Path) -> None:
    """The journal lacks an entry and all that came of it."""
    gone: list[Any] = []

    def change(events: list[Any]) -> list[Any]:
        decision = events[nth(events, 4, lambda event: approved(event) and event.action == "enter")]
        gone.append(decision)
        return [event for event in events if getattr(event, "client_order_id", "") != decision.client_order_id]

    found, said = difference(recorded, tmp_path, change)
    (decision,) = gone
    assert (found.what, found.record) == ("the replay has what the journal has not", decision.at.record)
    assert f"replay: enter for {decision.reason} at {decision.price!r}: approved" in said
    assert "journal: nothing there" in said
    assert f"rsi {decision.rsi!r}, bb_lower {decision.bb_lower!r}" in found.indicators_replay
    assert decision.reason in found.indicators_replay


def test_an_extra_decision_is_found(recorded: Path, tmp_path: Path) -> None:
    added: list[Any] = []

    def change(events: list[Any]) -> list[Any]:
        place = nth(events, 9, approved)
        at = events[place].at
        extra = SignalEvent(
            msgspec.structs.replace(at, record=at.record - 2),
            events[place].pair,
            "enter",
            "crash_catch",
            60_000.5,
            11.0,
            59_000.25,
            "approved",
            "scalp-extra",
        )
        added.append(extra)
        return [*events[:place], extra, *events[place:]]

    found, said = difference(recorded, tmp_path, change)
    assert (found.what, found.record) == ("the journal has what the replay has not", added[0].at.record)
    assert "enter for crash_catch at 60000.5: approved" in said
    assert "replay: nothing there" in said
    assert "indicators of the journal: price 60000.5, rsi 11.0, bb_lower 59000.25" in said
    assert "RSI_CRASH 11.3" in found.why and "codes" in found.indicators_replay


def test_another_setting_is_found(recorded: Path, tmp_path: Path) -> None:
    """The session is told to have begun with a wider stop than it had."""

    def change(events: list[Any]) -> list[Any]:
        for place, event in enumerate(events):
            if isinstance(event, StartedEvent):
                settings = event.settings | {"TRAILING_STOP_PCT": "0.002"}
                events[place] = msgspec.structs.replace(event, settings=settings)
        return events

    found, said = difference(recorded, tmp_path, change)
    assert found.fields["stop_pct"] == ("0.07", "0.2")
    assert "TRAILING_STOP_PCT 0.002" in said


def test_a_command_that_nobody_journalled_is_found(recorded: Path, tmp_path: Path) -> None:
    def change(events: list[Any]) -> list[Any]:
        place = nth(events, 9, approved)
        at = events[place].at
        at = msgspec.structs.replace(at, record=at.record - 1)
        return [*events[:place], StateEvent(at, "paused", "operator", "pause", "c1"), *events[place:]]

    found, said = difference(recorded, tmp_path, change)
    assert found.journal.startswith(("enter", "exit", "order", "position", "trading"))
    assert "paused" in said


def test_a_balance_is_found(recorded: Path, tmp_path: Path) -> None:
    def change(events: list[Any]) -> list[Any]:
        place = nth(events, 20, lambda event: isinstance(event, EquityEvent))
        events[place] = msgspec.structs.replace(events[place], balance="1")
        return events

    found, said = difference(recorded, tmp_path, change)
    assert list(found.fields) == ["balance"]
    assert "equity: balance 1," in said


def test_another_state_at_the_end_is_found(recorded: Path, tmp_path: Path) -> None:
    book = tampered(recorded, tmp_path, lambda events: events)
    with closing(sqlite3.connect(book / "journal.db", isolation_level=None)) as file:
        state = unpack(unpadded(file.execute("SELECT body FROM state").fetchone()[0]))
        state.wallet += 1
        file.execute("UPDATE state SET body = ?", (padded(pack_state(state)),))
    verdict = judge(book)
    assert verdict.difference is not None
    assert verdict.difference.what == "the states at the end differ"
    assert verdict.difference.fields == {"wallet": (str(state.wallet), str(state.wallet - 1))}


def test_another_state_of_the_indicators_is_found(tmp_path: Path) -> None:
    bot = Recording(tmp_path)
    bot.trades(200)
    bot.indicators.heads["carry_gain"] += 1e-9
    bot.keep(began=False)
    bot.trades(200)
    verdict = judge(bot.close())
    assert verdict.outcome == DIFFERENT and verdict.difference is not None
    assert "the indicators' state after record 212" in verdict.difference.what
