"""The trader stage with real sockets, tape and journal; feeder and indicators are played by the test."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus import sockets
from bus.control import ask
from bus.frames import EVENT, STATUS, TRADE, TRADER, UPDATE, Frame, messages
from bus.layouts import layout_hash
from bus.messages import Beat, Entry, Event, SignalEvent, SpanEvent, StartedEvent, Status, TraderEvent
from bus.messages import encode as pack
from bus.notices import FIRST, LATEST, BeatSeen
from bus.publisher import Facts, Publisher
from bus.subscriber import Subscriber
from bus.tape import TapeReader, TapeWriter, tape_replay
from core.clock import LiveClock
from core.settings import Settings, indicator_hash, shared_hash
from core.settings_load import from_texts
from core.stage import Context
from tests.bus.rig import Listener, Rig
from tests.trader_world import Tape, of
from trader import inputs
from trader import journal as journal_module
from trader.app import IDLE_TURN_SECONDS, TURN_SECONDS, Trader, build
from trader.journal import Journal
from trader.status import at_stake

_entries = msgspec.msgpack.Decoder(list[Entry])
_statuses = msgspec.msgpack.Decoder(list[Status])
_events = msgspec.msgpack.Decoder(list[Event])


class Stage:
    """A pipeline of one: `trader` is the stage under test, everything else is hand-made."""

    def __init__(self, rig: Rig, var: Path, tape: Tape | None = None, **changed: str) -> None:
        texts = {"VAR_DIR": str(var), "PAPER_FILL": "instant", "TRADE_CAPITAL": "1000", "PAPER_BALANCE": "10000"}
        self.settings: Settings = from_texts(texts | {name.upper(): value for name, value in changed.items()})
        self.rig = rig
        self.tape = tape or Tape()
        self.contexts: list[Context] = []
        self.context = self._context()
        self.writer = TapeWriter(self.context.book_dir / "tape", LiveClock(), "boot")
        self.epoch, _ = self.writer.open()
        self.writer.start(self.tape.start)
        self.reader = TapeReader(self.writer.folder, self.epoch)
        self.feeder = self.publisher("feeder")
        self.feeder.topic(TRADE, self.epoch, 0, replay=tape_replay(self.reader))
        self.indicators: Publisher | None = None
        self.heard: Listener | None = None

    def _context(self) -> Context:
        context = Context("trader", self.settings, LiveClock(), logging.getLogger("test"))
        context.run_dir = self.rig.run_dir
        context.loop = self.rig.loop
        context.book_dir.mkdir(parents=True, exist_ok=True)
        self.contexts.append(context)
        return context

    def publisher(
        self, stage: str, settings_hash: int | None = None, facts: Callable[[], Facts] | None = None
    ) -> Publisher:
        publisher = Publisher(
            stage,
            self.rig.run_dir,
            LiveClock(),
            layout_hash=layout_hash(),
            settings_hash=shared_hash(self.settings) if settings_hash is None else settings_hash,
            started_ms=LiveClock().wall_ms(),
            facts=facts,
        )
        publisher.attach(self.rig.loop)
        self.rig.closers.append(publisher.close)
        return publisher

    def start_indicators(self, last: int = -1, settings_hash: int | None = None, ring: int = 1000) -> None:
        """Begins update/0/ after tape record `last`; from the tape's START on by default."""
        self.indicators = self.publisher("indicators", settings_hash)
        self.indicators.topic(UPDATE, self.epoch, last, ring=ring, snapshot=lambda: pack([]))
        if last < 0:
            self.indicators.send_records(UPDATE, 0, b"", pack(self.tape.start), 1)

    def stop_indicators(self) -> None:
        assert self.indicators is not None
        self.rig.closers.remove(self.indicators.close)
        self.indicators.close()
        self.indicators = None

    def start_trader(self) -> None:
        self.context = self._context()
        build(self.context)

    def stop_trader(self) -> None:
        self.context.close()

    def kill_trader(self) -> None:
        """Everything ends where it is: no good-bye in the journal."""
        trader = trader_of(self)
        trader._timer.cancel()
        trader._journal.close()
        self.context.close()

    def listen(self) -> Listener:
        subscriber = Subscriber(
            "trader",
            {TRADER: FIRST, STATUS: LATEST, EVENT: FIRST},
            self.rig.run_dir,
            LiveClock(),
            layout_hash=layout_hash(),
            settings_hash=shared_hash(self.settings),
        )
        listener = Listener(subscriber)
        subscriber.attach(self.rig.loop, listener.notices.extend)
        self.rig.closers.append(subscriber.close)
        return listener

    def trade(self, price: float, codes: str = "warm", *, update: bool = True) -> None:
        """One trade of the market: on the tape, on trade/0/, and as an update."""
        self.tape.trade(price, codes, settings_hash=indicator_hash(self.settings))
        number = self.writer.append(self.tape.raws[-1:])
        assert number == len(self.tape.rows)
        self.feeder.send_records(TRADE, number, self.tape.raws[-1:])
        if update:
            self.update(number)

    def update(self, first: int) -> None:
        """Sends the updates from number `first` on."""
        assert self.indicators is not None
        rows = self.tape.updates[first - 1 :]
        self.indicators.send_records(UPDATE, first, rows, count=len(rows))


def trader_of(stage: Stage) -> Trader:
    owners = [getattr(closer, "__self__", None) for closer in stage.context._on_stop]
    return next(owner for owner in owners if isinstance(owner, Trader))


def events_of(listener: Listener) -> list[TraderEvent]:
    frames = [n for n in listener.notices if isinstance(n, Frame) and n.topic == TRADER]
    return [entry.event for frame in frames for entry in messages(frame, _entries)]


def decisions_of(listener: Listener) -> list[tuple[int, str]]:
    return [(e.at.record, e.reason) for e in of(events_of(listener), SignalEvent) if e.outcome == "approved"]


def status_of(listener: Listener) -> Status:
    frames = [n for n in listener.notices if isinstance(n, Frame) and n.topic == STATUS]
    return messages(frames[-1], _statuses)[-1]


def levels_of(listener: Listener) -> list[str]:
    frames = [n for n in listener.notices if isinstance(n, Frame) and n.topic == EVENT]
    return [event.level for frame in frames for event in messages(frame, _events)]


def texts_of(listener: Listener) -> list[str]:
    frames = [n for n in listener.notices if isinstance(n, Frame) and n.topic == EVENT]
    return [event.text for frame in frames for event in messages(frame, _events)]


def facts_of(listener: Listener) -> dict[str, object]:
    beats: list[Beat] = [n.beat for n in listener.notices if isinstance(n, BeatSeen)]
    return dict(beats[-1].facts) if beats else {}


def has(listener: Listener, condition: Callable[[Listener], bool]) -> bool:
    try:
        return condition(listener)
    except (IndexError, KeyError):
        return False


@pytest.fixture
def stage(rig: Rig, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(rig, tmp_path)
    yield stage
    for context in stage.contexts:
        context.close()
    stage.writer.close()
    stage.reader.close()


def numbers_of(listener: Listener) -> list[int]:
    frames = [n for n in listener.notices if isinstance(n, Frame) and n.topic == TRADER]
    return [entry.number for frame in frames for entry in messages(frame, _entries)]


def until(stage: Stage, listener: Listener, condition: Callable[[Listener], bool]) -> None:
    stage.rig.run_until(lambda: has(listener, condition))


def test_a_round_trip_is_journalled_published_and_shown(stage: Stage) -> None:
    stage.start_indicators()
    stage.start_trader()
    heard = stage.listen()
    until(stage, heard, lambda h: status_of(h).feed == "normal")
    stage.trade(100, "mr")
    until(stage, heard, lambda h: status_of(h).status == "in_position")
    shown = status_of(heard)
    assert (shown.quantity, shown.stop_price, shown.wallet_quote) == ("10", 100 * (1.0 - 0.005), "9000")
    stage.trade(110, "tp")
    until(stage, heard, lambda h: status_of(h).realized == "100")
    assert decisions_of(heard) == [(1, "mean_reversion"), (2, "take_profit")]
    until(stage, heard, lambda h: facts_of(h)["record"] == 2)
    assert facts_of(heard)["open_positions"] == 0
    assert [level for level in levels_of(heard) if level in ("start", "entry", "exit")] == ["start", "entry", "exit"]
    stage.stop_trader()
    journal = Journal(stage.context.book_dir / "journal.db", lambda c: None, lambda w: None)
    journal.open(0)
    entries = journal.entries()
    journal.close()
    assert [entry.number for entry in entries] == numbers_of(heard) == list(range(1, len(entries) + 1))


def test_turns_come_seldom_while_nothing_is_at_stake(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.start_indicators()
    stage.start_trader()
    trader = trader_of(stage)
    heard = stage.listen()
    assert trader._turn_seconds == TURN_SECONDS, "no updates yet"
    until(stage, heard, lambda h: status_of(h).feed == "normal")
    stage.rig.run_until(lambda: trader._turn_seconds == IDLE_TURN_SECONDS)
    stage.trade(100, "mr")
    stage.rig.run_until(lambda: at_stake(trader._engine.state))
    assert trader._turn_seconds == TURN_SECONDS
    stage.trade(100.4)
    until(stage, heard, lambda h: status_of(h).unrealized == "4")
    stage.trade(110, "tp")
    until(stage, heard, lambda h: status_of(h).realized == "100")
    stage.rig.run_until(lambda: trader._turn_seconds == IDLE_TURN_SECONDS)
    heard.notices.clear()
    until(stage, heard, lambda h: sum(isinstance(n, Frame) and n.topic == STATUS for n in h.notices) > 1)
    monkeypatch.setattr("trader.app.IDLE_PAIRS", 0)
    stage.rig.run_until(lambda: trader._turn_seconds == TURN_SECONDS)


def test_what_a_round_trip_costs_is_told_at_each_start(stage: Stage) -> None:
    stage.start_indicators()
    for _ in range(2):
        stage.start_trader()
        heard = stage.listen()
        until(stage, heard, lambda h: status_of(h).feed == "normal")
        until(stage, heard, lambda h: any("a round trip costs" in text for text in texts_of(h)))
        assert status_of(heard).break_even_pct is not None
        stage.trade(100)
        stage.stop_trader()


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_restart_goes_on_with_position_and_numbers(stage: Stage, how: str) -> None:
    stage.start_indicators()
    stage.start_trader()
    heard = stage.listen()
    until(stage, heard, lambda h: status_of(h).feed == "normal")
    stage.trade(100, "mr")
    until(stage, heard, lambda h: status_of(h).status == "in_position")
    if how == "kill":
        stage.kill_trader()
    else:
        stage.stop_trader()
    stage.trade(120, "tp")
    stage.trade(50, "tp")
    stage.start_trader()
    until(stage, heard, lambda h: len(of(events_of(h), StartedEvent)) == 2)
    until(stage, heard, lambda h: any(s.kind == "blind" for s in of(events_of(h), SpanEvent)))
    stage.trade(119)
    until(stage, heard, lambda h: decisions_of(h)[-1] == (4, "trailing_stop"))
    numbers = numbers_of(heard)
    assert numbers == list(range(1, len(numbers) + 1))
    second = of(events_of(heard), StartedEvent)[1]
    assert second.found == ("recovered" if how == "kill" else "clean")
    assert "holds 10 B-BTC_USDT" in second.report
    assert [(s.first, s.last) for s in of(events_of(heard), SpanEvent)] == [(2, 3)]


def test_dead_indicators_leave_the_trailing_stop_at_work(stage: Stage) -> None:
    stage.start_indicators()
    stage.start_trader()
    heard = stage.listen()
    until(stage, heard, lambda h: status_of(h).feed == "normal")
    stage.trade(100, "mr")
    until(stage, heard, lambda h: status_of(h).status == "in_position")
    stage.stop_indicators()
    stage.trade(110, update=False)
    until(stage, heard, lambda h: status_of(h).feed == "degraded")
    assert "degraded" in status_of(heard).blocked
    stage.trade(109, update=False)
    until(stage, heard, lambda h: decisions_of(h)[-1] == (3, "trailing_stop"))
    stage.start_indicators(last=1)
    stage.update(2)
    until(stage, heard, lambda h: status_of(h).feed == "normal")
    stage.trade(100, "crash")
    until(stage, heard, lambda h: decisions_of(h)[-1] == (4, "crash_catch"))
    spans = [(s.kind, s.first, s.last) for s in of(events_of(heard), SpanEvent)]
    assert spans == [("degraded", 2, -1), ("degraded", 2, 3)]


def test_updates_that_the_ring_has_lost_are_looked_at_by_the_stop_alone(stage: Stage) -> None:
    stage.start_indicators(ring=10)
    stage.start_trader()
    heard = stage.listen()
    until(stage, heard, lambda h: status_of(h).feed == "normal")
    stage.trade(100, "mr")
    until(stage, heard, lambda h: status_of(h).status == "in_position")
    assert stage.indicators is not None
    out, stage.indicators._out = stage.indicators._out, sockets.data_out(stage.rig.run_dir, "nobody")  # a dead line
    for price in (110, 100, *[100] * 30):
        stage.trade(price, "mr")
    sockets.close(stage.indicators._out)
    stage.indicators._out = out
    stage.trade(100, "warm")
    until(stage, heard, lambda h: len(decisions_of(h)) > 1 and status_of(h).feed == "normal")
    assert decisions_of(heard)[:2] == [(1, "mean_reversion"), (3, "trailing_stop")]
    spans = [(s.kind, s.first) for s in of(events_of(heard), SpanEvent)]
    assert spans and set(spans) == {("degraded", 2)}
    assert all(number >= 25 for number, _ in decisions_of(heard)[2:]), "the ring has 25 to 34: before, only the stop"


def test_commands_over_the_local_socket(stage: Stage) -> None:
    stage.start_indicators()
    stage.start_trader()
    heard = stage.listen()
    until(stage, heard, lambda h: status_of(h).feed == "normal")
    stage.trade(100, "mr")
    until(stage, heard, lambda h: status_of(h).status == "in_position")
    reply = ask_in_thread(stage, "flatten")
    assert reply == (True, "trading is reducing; B-BTC_USDT sold at the next trade")
    stage.trade(101, "mr")
    until(stage, heard, lambda h: status_of(h).quantity == "0")
    assert status_of(heard).mode == "reducing"
    assert ask_in_thread(stage, "dance")[0] is False
    assert ask_in_thread(stage, "resume") == (True, "trading is active")
    stage.trade(101, "mr")
    until(stage, heard, lambda h: decisions_of(h)[-1] == (3, "mean_reversion"))


def test_a_command_is_on_the_disk_before_it_is_answered(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trader that is killed right after it said "paused" must be paused when it comes back."""
    commit = journal_module._commit

    def slow_disk(connection: sqlite3.Connection, batch: list[Any]) -> None:
        threading.Event().wait(0.2)
        commit(connection, batch)

    monkeypatch.setattr(journal_module, "_commit", slow_disk)
    monkeypatch.setattr("trader.app.COMMAND_SECONDS", 20.0)
    stage.start_trader()
    found: list[int] = []

    def count() -> None:
        with closing(sqlite3.connect(stage.context.book_dir / "journal.db")) as file:
            found.append(file.execute("SELECT count(*) FROM entries WHERE kind = 'StateEvent'").fetchone()[0])

    assert ask_in_thread(stage, "pause", count) == (True, "trading is paused")
    assert found == [1]
    other = sqlite3.connect(stage.context.book_dir / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr("trader.app.COMMAND_SECONDS", 1.0)
    assert "has not taken it yet" in ask_in_thread(stage, "resume")[1]
    other.execute("ROLLBACK")
    other.close()


def test_other_settings_of_a_peer_block_entries(stage: Stage) -> None:
    stage.start_indicators(settings_hash=5)
    stage.start_trader()
    heard = stage.listen()
    until(stage, heard, lambda h: "settings_differ_indicators" in status_of(h).blocked)
    stage.trade(100, "mr")
    until(stage, heard, lambda h: of(events_of(h), SignalEvent)[0].outcome == "refused:settings_differ_indicators")


def test_no_entries_while_the_watchdog_names_a_stage_that_fails(stage: Stage) -> None:
    failing = ["feeder, storage"]
    watchdog = stage.publisher("watchdog", facts=lambda: {"failing": failing[0]})
    stage.start_indicators()
    stage.start_trader()
    heard = stage.listen()
    stage.rig.run_until(lambda: has(heard, lambda it: "crash_loop_storage" in status_of(it).blocked))
    stage.trade(100.0, "mr")
    stage.rig.run_until(lambda: has(heard, lambda it: facts_of(it)["record"] == 1))
    failing[0] = "feeder"
    stage.rig.run_until(lambda: has(heard, lambda it: "crash_loop_storage" not in status_of(it).blocked))
    assert "crash_loop_feeder" in status_of(heard).blocked
    watchdog.close()  # a watchdog that is not heard neither blocks nor frees
    stage.rig.closers.remove(watchdog.close)
    stage.trade(100.0, "mr")
    stage.rig.run_until(lambda: has(heard, lambda it: facts_of(it)["record"] == 2))
    assert decisions_of(heard) == []
    stage.publisher("watchdog", facts=lambda: {"failing": ""})
    stage.rig.run_until(lambda: has(heard, lambda it: status_of(it).blocked == []))
    stage.trade(100.0, "mr")
    stage.rig.run_until(lambda: decisions_of(heard) == [(3, "mean_reversion")])
    found = [(span.why, span.last) for span in of(events_of(heard), SpanEvent)]
    assert found == [
        ("crash_loop_feeder", -1),
        ("crash_loop_storage", -1),
        ("crash_loop_storage", 1),
        ("crash_loop_feeder", 2),
    ]


def test_a_new_book_begins_with_its_tape_where_all_of_it_is_there(stage: Stage) -> None:
    stage.start_indicators()
    for _ in range(3):
        stage.trade(100, "mr")
    stage.start_trader()
    heard = stage.listen()
    until(stage, heard, lambda h: decisions_of(h) == [(1, "mean_reversion")])
    until(stage, heard, lambda h: facts_of(h)["record"] == 3)
    assert of(events_of(heard), SpanEvent) == []


@pytest.mark.parametrize("first", ["warm", ""])
def test_a_new_book_on_an_older_tape_begins_with_the_warm_up_or_with_the_market_as_it_is(
    stage: Stage, first: str
) -> None:
    stage.start_indicators()
    stage.trade(100, "mr")
    stage.stop_indicators()
    stage.start_indicators(last=1)
    stage.trade(100, first)
    stage.trade(100, "mr")
    stage.start_trader()
    heard = stage.listen()
    if first == "warm":
        until(stage, heard, lambda h: status_of(h).feed == "normal")
        stage.trade(100, "mr")
    until(stage, heard, lambda h: bool(decisions_of(h)))
    assert decisions_of(heard) == [(4 if first == "warm" else 3, "mean_reversion")]
    assert of(events_of(heard), SpanEvent) == []


def test_a_journal_that_cannot_be_written_blocks_entries_and_not_exits(stage: Stage) -> None:
    stage.start_indicators()
    stage.start_trader()
    heard = stage.listen()
    until(stage, heard, lambda h: status_of(h).feed == "normal")
    stage.trade(100, "mr")
    until(stage, heard, lambda h: numbers_of(h)[-1] >= 9)
    other = sqlite3.connect(stage.context.book_dir / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    stage.trade(99)
    until(stage, heard, lambda h: "journal_failing" in status_of(h).blocked)
    assert status_of(heard).quantity == "0"
    assert decisions_of(heard) == [(1, "mean_reversion")]  # nothing is shown before it is on the disk
    assert "error" in levels_of(heard)
    stage.trade(99, "mr")
    until(stage, heard, lambda _: trader_of(stage)._engine.state.record == 3)
    other.execute("ROLLBACK")
    other.close()
    until(stage, heard, lambda h: decisions_of(h)[-1] == (2, "trailing_stop"))
    until(stage, heard, lambda h: status_of(h).blocked == [])
    outcomes = [signal.outcome for signal in of(events_of(heard), SignalEvent)]
    assert outcomes == ["approved", "approved", "refused:journal_failing"]
    numbers = numbers_of(heard)
    assert numbers == list(range(1, len(numbers) + 1))


def test_who_holds_the_journal_in_a_transaction_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trader.journal_log.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("trader.journal_log.LONG_BYTES", 100_000)
    stage.start_trader()
    heard = stage.listen()
    trader, path = trader_of(stage), stage.context.book_dir / "journal.db"

    def told(heard: Listener) -> bool:
        """Has the log grow, as it does by itself where the market moves."""
        trader._give(inputs.Command("pause" if trader._journal.number % 2 else "resume", f"c{trader._journal.number}"))
        assert trader._journal.flush(20)
        return any(f"holds {path} in a transaction" in text for text in texts_of(heard))

    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entries").fetchone()
        until(stage, heard, told)
    assert "error" not in levels_of(heard)


def test_before_any_market_the_pairs_of_the_settings_are_shown(stage: Stage) -> None:
    stage.start_trader()
    heard = stage.listen()
    until(stage, heard, lambda h: status_of(h).blocked == ["no_market"])
    assert (status_of(heard).status, status_of(heard).feed) == ("warming_up", "blind")


def test_a_record_of_a_pair_that_nobody_named_is_left_out_and_said(stage: Stage) -> None:
    stage.start_indicators()
    stage.start_trader()
    heard = stage.listen()
    until(stage, heard, lambda h: status_of(h).feed == "normal")
    stage.tape.trade(100, "mr", settings_hash=indicator_hash(stage.settings))
    stage.tape.rows[-1]["pair"] = 77
    stage.update(1)
    until(stage, heard, lambda h: "warn" in levels_of(h))
    stage.tape.trade(100, "mr", settings_hash=indicator_hash(stage.settings))
    stage.update(2)
    until(stage, heard, lambda h: decisions_of(h) == [(2, "mean_reversion")])


def test_a_position_whose_pair_is_followed_no_more_is_named(stage: Stage) -> None:
    stage.start_indicators()
    stage.start_trader()
    heard = stage.listen()
    until(stage, heard, lambda h: status_of(h).feed == "normal")
    stage.trade(100, "mr")
    until(stage, heard, lambda h: status_of(h).status == "in_position")
    left = msgspec.structs.replace(stage.tape.start.markets[0], active=False)
    body = msgspec.structs.replace(stage.tape.start, markets=[left])
    assert stage.indicators is not None
    stage.indicators.send_records(UPDATE, 2, b"", pack(body), 1)
    until(stage, heard, lambda h: "warn" in levels_of(h))
    frames = [n for n in heard.notices if isinstance(n, Frame) and n.topic == EVENT]
    warnings = [e for frame in frames for e in messages(frame, _events) if e.level == "warn"]
    assert [(e.pair, e.text.partition(":")[0]) for e in warnings] == [
        ("B-BTC_USDT", "10 held, but it is not among PAIRS")
    ]


def ask_in_thread(stage: Stage, action: str, then: Callable[[], object] = lambda: None) -> tuple[bool, str]:
    """Asks as `tools/control` does, while the loop runs; `then` follows at once on the answer."""
    answers: list[tuple[bool, str]] = []

    def work() -> None:
        reply = ask(stage.rig.run_dir, "trader", action, timeout_s=20.0)
        then()
        answers.append((reply.ok, reply.text))

    thread = threading.Thread(target=work)
    thread.start()
    stage.rig.run_until(lambda: answers)
    thread.join()
    return answers[0]
