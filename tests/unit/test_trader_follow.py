"""Where the fold's records come from: joining, live, degraded and back, a tape that went on or began anew."""

from collections.abc import Iterator

import msgspec

from bus.frames import TRADE, UPDATE, Frame
from bus.messages import SignalEvent, SpanEvent, Start, TradeEvent, TraderEvent
from bus.messages import encode as pack_message
from bus.records import UNTAPED
from tests.trader_world import HASH, Tape, market, of, settings, start
from trader import inputs, replay
from trader.follow import JOINING, LAGGING, LIVE, Follow, Stretch
from trader.state import State, pack, unpack
from trader.terms import terms_of

S = 1_000_000_000


class FakeTape:
    """The world's tape as `follow` reads it: START at number 0, trades from 1 on; `gone` of them are pruned."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.gone = 0
        self.last = -1  # as far as the disk shows it

    @property
    def first(self) -> int:
        return self.gone

    def reaches(self, told: int) -> int:
        return self.last

    def stretches(self, first: int, last: int) -> Iterator[Stretch]:
        first = max(first, self.gone)
        if first == 0:
            yield Stretch(0, self.tape.raws[:0], self.tape.start)
            first = 1
        for at in range(first, min(last, len(self.tape.rows)) + 1, 3):
            yield Stretch(at, self.tape.raws[at - 1 : min(at + 2, last)], None)

    def start_before(self, number: int) -> tuple[int, Start] | None:
        return 0, self.tape.start


class World:
    """A fold, a follow and the tapes they may read."""

    def __init__(self, tape: Tape, state: State | None = None, epoch: int = 1, **changed: object) -> None:
        self.tape = tape
        self.tapes = {epoch: FakeTape(tape)}
        self.epoch = epoch
        self.now = 10 * S
        self.events: list[TraderEvent] = []
        terms = terms_of(settings(**changed), HASH)
        self.engine = replay.new_engine(terms, state or replay.new_state(terms, "j" * 32))
        self.breaths = 0
        self.follow = Follow(self.engine.state, self._give, lambda epoch: self.tapes.get(epoch), self._breathe)

    def _breathe(self) -> None:
        self.breaths += 1

    def _give(self, item: inputs.Input) -> None:
        self.events += self.engine.handle(item)

    def frame(self, topic: str, first: int, last: int) -> Frame:
        rows = (self.tape.updates if topic == UPDATE else self.tape.raws)[first - 1 : last]
        return Frame(topic, self.epoch, first, last - first + 1, 0, rows.tobytes())

    def join(self, next_number: int) -> None:
        self.follow.updates_joined(self.epoch, next_number, self.now)

    def updates(self, first: int, last: int) -> None:
        self.follow.update_frame(self.frame(UPDATE, first, last), self.now)

    def raws(self, first: int, last: int) -> None:
        self.follow.raw_frame(self.frame(TRADE, first, last), self.now)

    def later(self, ns: int) -> None:
        self.now += ns
        self.follow.check(self.now)

    @property
    def spans(self) -> list[tuple[str, int, int]]:
        return [(span.kind, span.first, span.last) for span in of(self.events, SpanEvent)]

    @property
    def decisions(self) -> list[tuple[int, str]]:
        return [(s.at.record, s.reason) for s in of(self.events, SignalEvent) if s.outcome == "approved"]


def test_a_book_without_a_past_begins_with_the_market_as_it_is() -> None:
    tape = Tape().trades([100] * 5, "mr")
    world = World(tape)
    assert world.follow.mode == JOINING
    world.join(4)
    assert (world.follow.mode, world.engine.state.record) == (LIVE, 3)
    world.updates(4, 5)
    assert world.decisions == [(4, "mean_reversion")]
    assert world.spans == []


def test_no_tape_yet_and_no_market_leaves_it_joining() -> None:
    world = World(Tape().trades([100] * 3, "mr"))
    world.tapes = {}
    world.join(1)
    world.updates(1, 3)
    assert (world.follow.mode, world.events) == (JOINING, [])


def test_the_first_start_on_the_bus_joins_a_book_that_found_no_tape() -> None:
    tape = Tape().trades([100] * 3, "mr")
    world = World(tape)
    world.tapes = {}
    body = pack_message(tape.start)
    world.follow.update_frame(Frame(UPDATE, 1, 0, 1, 0, b"", body), world.now)
    world.updates(1, 3)
    assert world.decisions == [(1, "mean_reversion")]


def test_after_a_restart_what_was_missed_is_blind() -> None:
    tape = Tape().trade(100, "mr").trade(110).trade(50, "mr").trade(109.4)
    first = World(tape)
    first.join(1)
    first.updates(1, 1)
    second = World(tape, unpack(pack(first.engine.sync())))
    second.join(4)
    second.updates(4, 4)
    assert second.spans == [("blind", 2, 3)]
    assert second.decisions == [(4, "trailing_stop")]


def test_each_stretch_of_the_tape_is_a_breath() -> None:
    tape = Tape().trades([100] * 31, "mr")
    first = World(tape)
    first.join(1)
    first.updates(1, 1)
    second = World(tape, unpack(pack(first.engine.sync())))
    second.join(32)
    assert second.spans == [("blind", 2, 31)]
    assert second.breaths == 10


def test_each_frame_of_raw_trades_that_is_caught_up_with_is_a_breath() -> None:
    tape = Tape().trades([100] * 20)
    world = World(tape)
    world.join(1)
    for number in range(1, 21):
        world.raws(number, number)
    world.later(0)
    world.later(3 * S)
    assert world.follow.mode == LAGGING and world.engine.state.record == 20
    assert world.breaths == 20


def test_nothing_missed_is_no_span() -> None:
    tape = Tape().trade(100, "mr").trade(99)
    first = World(tape)
    first.join(1)
    first.updates(1, 1)
    second = World(tape, unpack(pack(first.engine.sync())))
    second.join(2)
    second.updates(2, 2)
    assert (second.spans, second.decisions) == ([], [(2, "trailing_stop")])


def test_updates_that_were_seen_before_are_dropped() -> None:
    tape = Tape().trade(100, "mr").trade(99).trade(100)
    world = World(tape)
    world.join(1)
    world.updates(1, 3)
    events = len(world.events)
    world.join(1)
    world.updates(1, 2)
    world.updates(2, 3)
    assert (len(world.events), world.follow.dropped) == (events, 2)


def test_records_that_are_no_longer_on_the_tape_are_named() -> None:
    tape = Tape().trade(100, "mr").trades([101, 102, 103])
    first = World(tape)
    first.join(1)
    first.updates(1, 1)
    second = World(tape, unpack(pack(first.engine.sync())))
    second.tapes[1].gone = 3
    second.join(5)
    assert second.spans == [("blind", 3, 4)]
    assert "1 records are no longer on the tape" in of(second.events, SpanEvent)[0].why
    assert second.engine.state.pairs["B-BTC_USDT"].highest == 103


def test_another_tape_is_taken_from_its_start_and_the_position_is_kept() -> None:
    first = World(Tape(start(market(), market("B-ETH_USDT"))).trade(100, "mr", pair=1))
    first.join(1)
    first.updates(1, 1)
    tape = Tape(start(market("B-ETH_USDT"))).trade(120).trade(119)
    second = World(tape, unpack(pack(first.engine.sync())), epoch=9)
    second.join(3)
    state = second.engine.state
    assert second.spans == [("blind", 0, 2)]
    assert "another one" in of(second.events, SpanEvent)[0].why
    assert (state.epoch, state.record, state.pairs["B-ETH_USDT"].highest) == (9, 2, 120)
    tape.trade(100)
    second.updates(3, 3)
    assert second.decisions == [(3, "trailing_stop")]


def test_updates_silent_for_two_seconds_degrade_and_catch_up() -> None:
    tape = Tape().trade(100, "mr").trades([101, 110, 112]).trade(111).trade(100, "mr").trade(100, "mr")
    world = World(tape)
    world.join(1)
    world.updates(1, 1)
    world.raws(1, 1)
    world.raws(2, 3)
    world.later(2 * S)
    assert world.follow.mode == LIVE
    world.later(1)
    assert (world.follow.mode, world.engine.state.record) == (LAGGING, 3)
    world.raws(4, 5)  # taken at once: 111 is under 112 * 0.995
    assert world.decisions[1:] == [(5, "trailing_stop")]
    world.updates(2, 4)
    assert (world.follow.mode, world.follow.dropped) == (LAGGING, 1)
    world.raws(6, 6)  # held back: updates are nearly there
    world.updates(5, 6)
    assert world.follow.mode == LIVE
    assert world.spans == [("degraded", 2, -1), ("degraded", 2, 5)]
    assert world.decisions[2:] == [(6, "mean_reversion")]


def test_updates_that_come_slower_than_the_trades_degrade_too_and_decide_nothing() -> None:
    tape = Tape().trade(100, "mr").trades([101] * 60).trade(90).trade(90, "mr")
    world = World(tape)
    world.join(1)
    world.updates(1, 1)
    for step in range(1, 30):  # two trades for one update
        world.raws(2 * step, 2 * step + 1)
        world.updates(step + 1, step + 1)
        world.later(S // 5)
        if world.follow.mode == LAGGING:
            break
    assert (world.follow.mode, world.engine.state.record) == (LAGGING, 2 * step + 1)
    assert step == 26, "updates that are 2 s old by step 20 are noticed, though they come all the time"
    world.raws(2 * step + 2, 62)
    assert world.decisions[1:] == [(62, "trailing_stop")], "the fall is seen now, not when its update comes"
    world.updates(step + 2, step + 2)
    assert world.follow.mode == LAGGING
    world.updates(step + 3, 62)
    world.raws(63, 63)
    world.updates(63, 63)
    assert world.follow.mode == LIVE
    assert world.decisions[2:] == [(63, "mean_reversion")]


def test_updates_that_are_a_little_behind_all_the_time_are_live() -> None:
    tape = Tape().trades([100] * 60)
    world = World(tape)
    world.join(1)
    for first in range(1, 50):
        world.raws(first + 4, first + 4)
        world.updates(first, first)
        world.later(S // 5)
    assert (world.follow.mode, world.spans) == (LIVE, [])


def test_updates_that_come_back_only_to_fall_silent_again_do_not_hold_raw_trades_for_ever() -> None:
    tape = Tape().trade(100, "mr").trades([101] * 5).trade(90)
    world = World(tape)
    world.join(1)
    world.updates(1, 1)
    world.raws(2, 3)
    world.later(2 * S + 1)
    world.updates(2, 2)
    world.raws(4, 7)
    assert world.engine.state.record == 3
    world.later(2 * S + 1)
    assert world.decisions[1:] == [(7, "trailing_stop")]


def test_how_far_the_tape_has_come_is_seen_on_the_disk_between_beats() -> None:
    tape = Tape().trade(100, "mr").trade(110).trade(109)
    world = World(tape)
    world.join(1)
    world.updates(1, 1)
    world.follow.raw_reached(1, 1, world.now)  # a beat: the feeder is at this tape
    world.tapes[1].last = 3
    world.later(S // 5)
    world.later(2 * S)
    assert (world.follow.mode, world.spans) == (LIVE, [])
    world.later(1)
    assert (world.follow.mode, world.spans) == (LAGGING, [("degraded", 2, -1)])
    assert world.decisions[1:] == [(3, "trailing_stop")]


def test_a_beat_tells_of_trades_that_the_disk_does_not_have() -> None:
    tape = Tape().trade(100, "mr").trade(110).trade(109)
    world = World(tape)
    world.join(1)
    world.updates(1, 1)
    world.tapes[1].last = 1
    world.follow.raw_reached(1, 3, world.now)
    world.later(2 * S + 1)
    assert (world.follow.mode, world.decisions[1:]) == (LAGGING, [(3, "trailing_stop")])


def test_the_old_tape_is_not_looked_at_once_the_feeder_is_at_another() -> None:
    world = World(Tape().trade(100, "mr").trade(110))
    world.join(1)
    world.updates(1, 1)
    world.follow.raw_reached(2, -1, world.now)  # nothing is published of the new one
    world.tapes[1].last = 2
    world.later(S // 5)
    world.later(3 * S)
    assert (world.follow.mode, world.spans) == (LIVE, [])


def test_silence_without_trades_is_no_degradation() -> None:
    world = World(Tape().trade(100, "mr"))
    world.join(1)
    world.raws(1, 1)
    world.updates(1, 1)
    world.later(60 * S)
    assert (world.follow.mode, world.spans) == (LIVE, [])


def test_started_without_indicators_it_goes_on_from_raw_trades() -> None:
    tape = Tape().trade(100, "mr").trade(110).trade(109.9).trade(109.4)
    first = World(tape)
    first.join(1)
    first.updates(1, 1)
    second = World(tape, unpack(pack(first.engine.sync())))
    second.follow.raw_reached(1, 2, second.now)
    second.raws(3, 3)
    second.later(2 * S + 1)
    assert second.spans == [("blind", 2, 3), ("degraded", 4, -1)]
    second.raws(4, 4)
    assert second.decisions == [(4, "trailing_stop")]


def test_raw_trades_that_are_not_on_the_tape_are_taken_from_memory() -> None:
    tape = Tape().trade(100, "mr").trade(110, flags=UNTAPED).trade(109, flags=UNTAPED)
    world = World(tape)
    world.tapes[1] = FakeTape(Tape(tape.start))
    world.tapes[1].tape.rows = tape.rows[:1]
    world.join(1)
    world.updates(1, 1)
    world.raws(2, 3)
    world.later(2 * S + 1)
    assert world.decisions[1:] == [(3, "trailing_stop")]


def test_raw_trades_that_memory_lost_are_taken_from_the_tape() -> None:
    tape = Tape().trade(100, "mr").trades([101, 102, 103, 110]).trade(109)
    world = World(tape)
    world.join(1)
    world.updates(1, 1)
    world.raws(6, 6)
    world.later(2 * S + 1)
    state = world.engine.state
    assert (state.record, world.decisions[1:]) == (6, [(6, "trailing_stop")])
    assert [t.price for t in of(world.events, TradeEvent)] == ["100", "109"]


def test_raw_trades_in_memory_are_bounded_in_bytes() -> None:
    world = World(Tape().trade(100, "mr"))
    world.join(1)
    payload = bytes(64_000)
    for first in range(2, 400_000, 1000):
        world.follow.raw_frame(Frame(TRADE, 1, first, 1000, 0, payload), world.now)
    kept = list(world.follow._raw)
    assert sum(len(frame.payload) for frame in kept) == world.follow._raw_bytes <= 8 * 1024 * 1024
    assert kept[-1].last == 400_001, "the newest stay"


def test_in_a_degraded_span_what_was_taken_is_let_go() -> None:
    tape = Tape().trade(100, "mr").trades([101] * 40)
    world = World(tape)
    world.join(1)
    world.updates(1, 1)
    world.raws(2, 2)
    world.later(2 * S + 1)
    assert world.follow.mode == LAGGING
    for number in range(3, 42):
        world.raws(number, number)
    assert (world.engine.state.record, len(world.follow._raw), world.follow._raw_bytes) == (41, 0, 0)


def test_updates_that_skip_records_still_let_the_stop_look_at_them() -> None:
    tape = Tape().trade(100, "mr").trade(110).trade(90, "mr").trade(100, "mr")
    world = World(tape)
    world.join(1)
    world.updates(1, 1)
    world.updates(4, 4)
    assert world.spans == [("degraded", 2, -1), ("degraded", 2, 3)]
    assert world.decisions == [(1, "mean_reversion"), (3, "trailing_stop"), (4, "mean_reversion")]


def test_updates_that_were_sent_while_nobody_listened_end_the_degraded_span() -> None:
    tape = Tape().trade(100, "mr").trades([101, 102])
    world = World(tape)
    world.join(1)
    world.updates(1, 1)
    world.raws(2, 3)
    world.later(2 * S + 1)
    assert world.follow.mode == LAGGING
    world.follow.updates_lost(1, 3, world.now)
    assert (world.follow.mode, world.spans[-1]) == (LIVE, ("degraded", 2, 3))


def test_updates_lost_on_the_bus_are_looked_at_on_the_tape() -> None:
    tape = Tape().trade(100, "mr").trade(99).trade(100, "mr")
    world = World(tape)
    world.join(1)
    world.updates(1, 1)
    world.follow.updates_lost(1, 2, world.now)
    world.updates(3, 3)
    assert world.decisions[1:] == [(2, "trailing_stop"), (3, "mean_reversion")]
    assert world.follow.mode == LIVE


def test_a_new_start_on_the_bus_is_taken_over() -> None:
    tape = Tape().trade(100, "mr")
    world = World(tape)
    world.join(1)
    world.updates(1, 1)
    begin = start(market("B-ETH_USDT"), market(), fee="20")
    world.follow.update_frame(Frame(UPDATE, 1, 2, 1, 0, b"", msgspec.msgpack.encode(begin)), world.now)
    assert world.engine.state.record == 2
    assert world.engine.ledger.fee == 2000
    world.follow.update_frame(Frame(UPDATE, 1, 3, 1, 0, b""), world.now)
    assert world.engine.state.record == 3
