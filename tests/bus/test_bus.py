"""Publisher and subscriber over real sockets."""

import signal
import subprocess
import threading
from itertools import count
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bus import publisher as publisher_module
from bus import sockets
from bus.frames import HEAD, Frame, encode
from bus.messages import Event, Request, View
from bus.messages import encode as pack
from bus.notices import FIRST, LATEST, BeatSeen, Cursor, GapFound, Joined, PeerDiffers, PeerSilent, PeerUp
from bus.publisher import Facts, Publisher
from bus.records import RECORD
from core.clock import NS_PER_S, ManualClock
from core.errors import BotError, MisconfiguredError
from core.loop import PollLoop
from tests.bus.rig import LAYOUT, SETTINGS, Rig

EVENT = "event/0/"


def test_who_joins_late_gets_what_was_before_and_then_goes_on(rig: Rig) -> None:
    publisher = rig.publisher()
    publisher.event("info", "before")
    listener = rig.subscriber({EVENT: None})
    rig.run_until(lambda: listener.texts)
    publisher.event("info", "after")
    rig.run_until(lambda: len(listener.texts) == 2)
    assert listener.texts == ["before", "after"]
    assert listener.of(Joined) == [Joined(EVENT, 1, 0, None)]


def test_a_slow_joiner_misses_nothing(rig: Rig) -> None:
    publisher = rig.publisher()
    listener = rig.subscriber({EVENT: None})
    # Sent while the connection is being made, and on through the join.
    sent = [0]

    def send() -> None:
        if sent[0] < 200:
            publisher.event("info", str(sent[0]))
            sent[0] += 1

    send()
    rig.loop.every(0.001, send)
    rig.run_until(lambda: len(listener.texts) == 200)
    assert listener.texts == [str(number) for number in range(200)]


def test_the_order_of_starting_does_not_matter(rig: Rig) -> None:
    listener = rig.subscriber({EVENT: None})
    rig.loop.call_later(0.05, rig.loop.stop)
    rig.loop.run()
    publisher = rig.publisher()
    publisher.event("info", "hello")
    rig.run_until(lambda: listener.texts == ["hello"])


def test_a_cursor_goes_on_where_it_stands(rig: Rig) -> None:
    publisher = rig.publisher()
    publisher.topic("trader/0/", 77, last=0, ring=1000)
    for number in range(10):
        publisher.send("trader/0/", _view(number))
    listener = rig.subscriber({"trader/0/": Cursor(77, 6)})
    rig.run_until(lambda: listener.numbers and listener.subscriber.live("trader/0/"))
    assert listener.numbers == [6, 7, 8, 9, 10]
    assert listener.of(Joined) == []
    assert listener.subscriber.cursor("trader/0/") == Cursor(77, 11)


def test_a_cursor_of_another_epoch_begins_anew(rig: Rig) -> None:
    publisher = rig.publisher()
    publisher.topic("trader/0/", 77, last=0, ring=1000)
    publisher.send("trader/0/", _view(1))
    listener = rig.subscriber({"trader/0/": Cursor(76, 5)})
    rig.run_until(lambda: listener.numbers == [1])
    assert listener.of(Joined) == [Joined("trader/0/", 77, 1, None)]


def test_first_brings_everything_kept_and_the_snapshot(rig: Rig) -> None:
    publisher = rig.publisher()
    publisher.topic("trade/0/", 5, ring=10_000, snapshot=lambda: b"what it is about")
    publisher.send_records("trade/0/", 0, np.zeros(1, RECORD), b"start")
    publisher.send_records("trade/0/", 1, np.zeros(2500, RECORD))
    listener = rig.subscriber({"trade/0/": FIRST})
    rig.run_until(lambda: len(listener.numbers) == 2501)
    assert listener.of(Joined) == [Joined("trade/0/", 5, 0, b"what it is about")]
    frames = [notice for notice in listener.notices if isinstance(notice, Frame)]
    assert [frame.count for frame in frames] == [1, 1000, 1000, 500]
    assert frames[0].body == b"start" and frames[1].body is None


def test_a_snapshot_topic_joins_by_the_snapshot_and_goes_on_after_it(rig: Rig) -> None:
    publisher = rig.publisher()
    publisher.topic("update/0/", 5, last=41, ring=100, snapshot=lambda: b"state")
    listener = rig.subscriber({"update/0/": None})
    rig.run_until(lambda: listener.of(Joined))
    assert listener.of(Joined) == [Joined("update/0/", 5, 42, b"state")]
    publisher.send_records("update/0/", 42, b"", b"start", count=1)
    rig.run_until(lambda: listener.numbers == [42])


def test_a_lost_frame_is_replayed(rig: Rig) -> None:
    publisher = rig.publisher()
    listener = rig.subscriber({EVENT: None})
    publisher.event("info", "0")
    rig.run_until(lambda: listener.texts and listener.subscriber.live(EVENT))
    _lose(publisher, lambda: publisher.event("info", "1"))
    publisher.event("info", "2")
    rig.run_until(lambda: len(listener.texts) == 3)
    assert listener.texts == ["0", "1", "2"]
    publisher.event("info", "3")
    rig.run_until(lambda: len(listener.texts) == 4)
    live = {n: bool(frame.publish_ns) for frame in listener.of(Frame) for n in range(frame.first, frame.last + 1)}
    assert (live[1], live[3]) == (False, True), "what is told again was not published now"


def test_what_cannot_be_read_is_told_once_and_asked_for_until_it_can(rig: Rig) -> None:
    publisher = rig.publisher()
    asked: list[int] = []

    def replay(first: int) -> list[Frame]:
        asked.append(first)
        if len(asked) < 4:
            raise BotError("cannot read it: the disk fails")
        return [Frame("trader/0/", 7, 1, 1, 0, b"\x91" + pack(Event("trader", "info", "one", 0, "")))]

    publisher.topic("trader/0/", 7, last=1, replay=replay)
    listener = rig.subscriber({"trader/0/": FIRST, EVENT: None})
    rig.run_until(lambda: len(listener.texts) == 2)
    assert sorted(listener.texts) == ["cannot read it: the disk fails", "one"]
    assert len(asked) >= 4
    assert listener.of(GapFound) == []


def test_a_lost_last_frame_is_noticed_by_the_heartbeat(rig: Rig) -> None:
    publisher = rig.publisher()
    listener = rig.subscriber({EVENT: None})
    publisher.event("info", "0")
    rig.run_until(lambda: listener.texts and listener.subscriber.live(EVENT))
    _lose(publisher, lambda: publisher.event("info", "1"))
    publisher.beat()
    rig.run_until(lambda: len(listener.texts) == 2)


def test_a_heartbeat_asks_one_span_a_turn_and_ends_with_the_publisher(run_dir: Path) -> None:
    clock = ManualClock()
    loop = PollLoop(clock)
    publisher = Publisher("trader", run_dir, clock, layout_hash=LAYOUT, settings_hash=SETTINGS, started_ms=1)
    publisher.attach(loop)
    histograms = [publisher.spans.of(name) for name in ("a_to_b", "b_to_c", "a_to_c")]
    for histogram in histograms:
        histogram.record(10)
    clock.advance(NS_PER_S)
    asked = []
    for _ in range(2):
        loop._turn()
        asked.append([not histogram.fresh for histogram in histograms])
    assert asked == [[True, False, False], [True, True, False]]
    publisher.close()
    for _ in range(3):
        loop.call_later(0, lambda: None)  # a round without anything to do would wait
        loop._turn()
    assert histograms[2].fresh
    loop.close()


def test_a_heartbeat_that_is_due_while_one_is_under_way_does_not_outlive_the_publisher(run_dir: Path) -> None:
    clock = ManualClock()
    loop = PollLoop(clock)
    publisher = Publisher("trader", run_dir, clock, layout_hash=LAYOUT, settings_hash=SETTINGS, started_ms=1)
    publisher.attach(loop)
    publisher.spans.of("a_to_b").record(10)
    for _ in range(2):  # two that are due, and no pause between them
        publisher._beat_in_turns()
    publisher.close()
    for _ in range(3):
        loop.call_later(0, lambda: None)
        loop._turn()
    loop.close()


def test_what_the_ring_has_lost_is_a_gap(rig: Rig) -> None:
    publisher = rig.publisher()
    publisher.topic("candle/0/", 5, ring=10)
    publisher.send("candle/0/", _view(0))
    listener = rig.subscriber({"candle/0/": None})
    rig.run_until(lambda: listener.numbers == [0] and listener.subscriber.live("candle/0/"))
    _lose(publisher, lambda: [publisher.send("candle/0/", _view(number)) for number in range(1, 50)])
    publisher.send("candle/0/", _view(50))
    rig.run_until(lambda: 50 in listener.numbers)
    assert listener.of(GapFound) == [GapFound("candle/0/", 5, 1, 40)]
    assert listener.numbers == [0, *range(41, 51)]


def test_of_the_latest_a_hole_does_not_matter_but_a_lost_last_one_does(rig: Rig) -> None:
    publisher = rig.publisher()
    state = [0]
    publisher.topic("view/0/", 5, snapshot=lambda: str(state[0]).encode())
    listener = rig.subscriber({"view/0/": LATEST})
    rig.run_until(lambda: listener.subscriber.live("view/0/"))

    def show(number: int) -> None:
        state[0] = number
        publisher.send("view/0/", _view(number))

    _lose(publisher, lambda: show(1))
    show(2)
    rig.run_until(lambda: listener.numbers == [1])  # its second number; the first was lost
    _lose(publisher, lambda: show(3))
    publisher.beat()
    rig.run_until(lambda: len(listener.of(Joined)) == 2)
    assert listener.of(Joined)[-1] == Joined("view/0/", 5, 3, b"3")
    assert listener.of(GapFound) == []


def test_a_topic_that_comes_later_is_waited_for(rig: Rig) -> None:
    publisher = rig.publisher()
    listener = rig.subscriber({"candle/0/": None})
    rig.run_until(lambda: listener.of(BeatSeen))
    publisher.topic("candle/0/", 9, ring=10)
    publisher.send("candle/0/", _view(0))
    rig.run_until(lambda: listener.numbers == [0])


def test_a_new_epoch_of_a_running_publisher_is_joined(rig: Rig) -> None:
    publisher = rig.publisher()
    publisher.topic("candle/0/", 5, ring=10)
    publisher.send("candle/0/", _view(0))
    listener = rig.subscriber({"candle/0/": None})
    rig.run_until(lambda: listener.numbers == [0])
    publisher.topic("candle/0/", 6, ring=10)
    publisher.send("candle/0/", _view(0))
    publisher.send("candle/0/", _view(1))
    rig.run_until(lambda: listener.numbers == [0, 0, 1])
    assert [joined.epoch for joined in listener.of(Joined)] == [5, 6]  # type: ignore[union-attr]


def test_a_restarted_publisher_is_joined_again(rig: Rig) -> None:
    publisher = rig.publisher(started_ms=1)
    publisher.event("info", "first life")
    listener = rig.subscriber({EVENT: None})
    rig.run_until(lambda: listener.texts and listener.of(BeatSeen))
    publisher.close()
    rig.closers.remove(publisher.close)
    publisher = rig.publisher(started_ms=2)
    publisher.event("info", "second life")
    rig.run_until(lambda: len(listener.texts) == 2 and len(listener.of(PeerUp)) == 2)
    assert listener.texts == ["first life", "second life"]
    assert [joined.epoch for joined in listener.of(Joined)] == [1, 2]  # type: ignore[union-attr]


FEEDER = """
import sys
from pathlib import Path
import numpy as np
from bus.messages import Start
from bus.publisher import Publisher
from bus.records import RECORD, TRADE
from bus.tape import TapeReader, TapeWriter, boot_id, tape_replay
from core.clock import LiveClock
from core.loop import PollLoop
run_dir, life = Path(sys.argv[1]), int(sys.argv[2])
clock, loop = LiveClock(), PollLoop()
tape = TapeWriter(run_dir / "tape", clock, boot_id())
epoch, number = tape.open()
tape.start(Start("v", "b", [], "5", "5", False, 0))
publisher = Publisher("feeder", run_dir, clock, layout_hash=11, settings_hash=22, started_ms=life)
publisher.topic("trade/0/", epoch, last=number, replay=tape_replay(TapeReader(run_dir / "tape", epoch)))
publisher.attach(loop)
def trade():
    records = np.zeros(3, RECORD)
    records["kind"] = TRADE
    publisher.send_records("trade/0/", tape.append(records), records)
loop.every(0.001, trade)
loop.run()
"""


def test_a_publisher_in_another_process_is_killed_and_goes_on_from_its_tape(rig: Rig) -> None:
    listener = rig.subscriber({"trade/0/": FIRST}, peer="feeder")
    for life in range(4):
        process = rig.peer(FEEDER, life)
        reached = len(listener.numbers) + 100
        rig.run_until(lambda: len(listener.numbers) > reached and len(listener.of(PeerUp)) == life + 1)  # noqa: B023
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert listener.numbers == list(range(len(listener.numbers)))
    assert len(listener.of(Joined)) == 1 and listener.of(GapFound) == []


def test_a_subscriber_that_is_another_process_stops_and_misses_nothing(rig: Rig) -> None:
    """Stopped for longer than the sockets hold: what was dropped is replayed."""
    program = """
import sys
from pathlib import Path
from bus import sockets
from bus.frames import Frame
from bus.notices import Joined, GapFound
sockets.DATA_HIGH_WATER = 50
from bus.subscriber import Subscriber, FIRST
from core.clock import LiveClock
from core.loop import PollLoop
loop, expected = PollLoop(), [0]
def handle(notices):
    for notice in notices:
        if isinstance(notice, GapFound):
            print("gap", flush=True)
        elif isinstance(notice, Frame):
            if notice.first != expected[0]:
                print("wrong", notice.first, expected[0], flush=True)
            expected[0] = notice.last + 1
            print("at", expected[0], flush=True)
topics, run_dir = {"trader/0/": FIRST}, Path(sys.argv[1])
subscriber = Subscriber("trader", topics, run_dir, LiveClock(), layout_hash=11, settings_hash=22)
subscriber.attach(loop, handle)
loop.run()
"""
    before, sockets.DATA_HIGH_WATER = sockets.DATA_HIGH_WATER, 50
    try:
        publisher = rig.publisher()
    finally:
        sockets.DATA_HIGH_WATER = before
    publisher.topic("trader/0/", 5, ring=10**6)
    process = rig.peer(program)
    publisher.send("trader/0/", _view(0))
    assert process.stdout is not None
    # Both in turn on one thread: the loop answers the join while we wait for the other's line.
    lines = _Lines(process)
    rig.run_until(lambda: "at 1\n" in lines.read())
    process.send_signal(signal.SIGSTOP)
    for number in range(20_000):
        publisher.send("trader/0/", _view(number))
    process.send_signal(signal.SIGCONT)
    rig.run_until(lambda: "at 20001\n" in lines.read())
    assert "wrong" not in lines.text and "gap" not in lines.text


def test_silence_is_told_and_its_end_too(rig: Rig) -> None:
    program = """
import sys
from pathlib import Path
from bus.publisher import Publisher
from core.clock import LiveClock
from core.loop import PollLoop
clock, loop = LiveClock(), PollLoop()
publisher = Publisher("trader", Path(sys.argv[1]), clock, layout_hash=11, settings_hash=22, started_ms=1)
publisher.attach(loop)
loop.run()
"""
    process = rig.peer(program)
    listener = rig.subscriber({})
    rig.run_until(lambda: listener.of(PeerUp))
    before = len(listener.of(PeerSilent))  # one where it took long to come up
    process.send_signal(signal.SIGSTOP)
    rig.run_until(lambda: len(listener.of(PeerSilent)) > before)
    assert listener.subscriber.silent
    process.send_signal(signal.SIGCONT)
    rig.run_until(lambda: len(listener.of(PeerUp)) == 2)
    assert not listener.subscriber.silent
    assert len(listener.of(PeerSilent)) == before + 1


def test_a_peer_that_was_never_there_is_silent(rig: Rig) -> None:
    listener = rig.subscriber({EVENT: None}, peer="storage")
    rig.run_until(lambda: listener.of(PeerSilent))


def test_a_peer_with_other_layouts_is_not_read(rig: Rig) -> None:
    publisher = rig.publisher(layout=LAYOUT + 1)
    publisher.event("info", "unreadable")
    listener = rig.subscriber({EVENT: None})
    rig.run_until(lambda: len(listener.of(BeatSeen)) >= 2)
    publisher.event("info", "unreadable")
    rig.run_until(lambda: len(listener.of(BeatSeen)) >= 3)
    assert listener.texts == []
    # Told at the first frame and once more with the first heartbeat, not at each.
    differs = listener.of(PeerDiffers)
    assert 1 <= len(differs) <= 2 and {notice.what for notice in differs} == {"layout"}  # type: ignore[union-attr]
    # It is brought to our version:
    publisher.close()
    rig.closers.remove(publisher.close)
    rig.publisher(started_ms=2).event("info", "readable")
    rig.run_until(lambda: listener.texts == ["readable"])
    assert len(listener.of(PeerUp)) == 1


def test_a_peer_with_other_settings_is_read_and_told(rig: Rig) -> None:
    publisher = rig.publisher(settings=SETTINGS + 1)
    publisher.event("info", "readable")
    listener = rig.subscriber({EVENT: None})
    rig.run_until(lambda: listener.texts and len(listener.of(BeatSeen)) >= 2)
    assert [notice.what for notice in listener.of(PeerDiffers)] == ["settings"]  # type: ignore[union-attr]
    publisher.close()
    rig.closers.remove(publisher.close)
    rig.publisher(started_ms=2)
    rig.run_until(lambda: len(listener.of(PeerUp)) == 2)
    assert len(listener.of(PeerDiffers)) == 1


def test_garbage_on_the_bus_is_counted_and_skipped(rig: Rig) -> None:
    publisher = rig.publisher()
    listener = rig.subscriber({EVENT: None})
    rig.run_until(lambda: listener.of(BeatSeen))
    head = HEAD.pack(b"beat/0/", LAYOUT, 0, 0, 0, 0)
    for parts in (
        [b"event/0/"],
        [b"event/0/", b""],
        [b"event/0/x", b"", b"", b""],
        [head, b"\xc1"],
        [head, b"\x90"],
        [head, b"\x91\x95\xa2f\x9b"],
    ):
        sockets.send(publisher._out, parts)
    publisher.event("info", "after")
    rig.run_until(lambda: listener.texts == ["after"])
    assert listener.subscriber.unreadable == 10  # what begins with no head is counted part by part


def test_garbage_to_the_router_is_ignored(rig: Rig) -> None:
    rig.publisher()
    asker = sockets.requests_to(rig.run_dir, "trader")
    try:
        assert sockets.wait_writable(asker, 10)
        sockets.send(asker, [b"\xc1"])
        sockets.send(asker, [b"a", b"b", b"c"])
        sockets.send(asker, [pack(Request("1", "dance", "event/0/"))])
        sockets.send(asker, [pack(Request("2", "snapshot", "no such/0/"))])
        rig.run_until(lambda: sockets.wait_readable(asker, 0))
        answers = []
        rig.run_until(lambda: answers.append(sockets.receive(asker)) or len([a for a in answers if a]) == 2)
    finally:
        sockets.close(asker)


def test_a_handler_may_close_its_subscriber(rig: Rig) -> None:
    publisher = rig.publisher()
    publisher.event("info", "one")
    listener = rig.subscriber({EVENT: None})
    seen: list[int] = []

    def handle(notices: object) -> None:
        seen.append(1)
        listener.subscriber.close()

    listener.subscriber._handle = handle  # type: ignore[assignment]
    rig.run_until(lambda: seen)
    publisher.event("info", "two")
    rig.loop.call_later(0.05, rig.loop.stop)
    rig.loop.stopped = False
    rig.loop.run()
    assert seen == [1]


def test_numbers_must_go_on(rig: Rig) -> None:
    publisher = rig.publisher()
    publisher.topic("trade/0/", 5, last=9)
    with pytest.raises(ValueError, match="goes on at 10, not at 12"):
        publisher.send_records("trade/0/", 12, np.zeros(1, RECORD))


def test_many_messages_travel_together(rig: Rig) -> None:
    publisher = rig.publisher()
    publisher.topic("view/0/", 5, ring=5000)
    assert publisher.send_many("view/0/", [_view(number) for number in range(2100)]) == 2099
    listener = rig.subscriber({"view/0/": FIRST})
    rig.run_until(lambda: len(listener.numbers) == 2100)
    assert len(listener.of(Frame)) == 3


def test_latency_counts_from_arrival_to_the_first_frame_sent(rig: Rig) -> None:
    publisher = rig.publisher()
    publisher.event("info", "not counted")
    publisher.arrived(rig.clock.monotonic_ns())
    publisher.event("info", "counted")
    publisher.event("info", "not counted")
    assert publisher.latency.minute().samples == 1


def test_the_heartbeat_says_where_topics_stand(rig: Rig) -> None:
    publisher = rig.publisher()
    publisher.topic("trade/0/", 5, last=9)
    publisher.event("info", "one")
    listener = rig.subscriber({})
    rig.run_until(lambda: listener.subscriber.beat)
    beat = listener.subscriber.beat
    assert beat is not None
    assert beat.last == {"event/0/": (1, 0), "gap/0/": (1, -1), "trade/0/": (5, 9)}
    assert (beat.stage, beat.layout_hash, beat.settings_hash) == ("trader", LAYOUT, SETTINGS)


def test_work_that_keeps_the_loop_from_its_timers_breathes(rig: Rig) -> None:
    clock, told = ManualClock(), count()
    facts: Facts = {"told": 0}
    publisher = Publisher(
        "trader",
        rig.run_dir,
        clock,
        layout_hash=LAYOUT,
        settings_hash=SETTINGS,
        started_ms=1,
        facts=lambda: dict(facts),
    )
    rig.closers.append(publisher.close)
    listener = rig.subscriber({})

    def beats() -> list[object]:
        return [notice.beat.facts["told"] for notice in listener.of(BeatSeen) if isinstance(notice, BeatSeen)]

    def beat() -> None:
        facts["told"] = next(told)
        publisher.beat()

    connecting = rig.loop.every(0.02, beat)
    rig.run_until(beats)
    connecting.cancel()
    rig.run_until(lambda: beats()[-1] == facts["told"])
    before, last = len(beats()), facts["told"]
    facts["told"] = "in the middle of something"
    for _ in range(10):  # five beats are due in this time
        clock.advance(int(publisher_module.BEAT_SECONDS * 0.5e9))
        publisher.breathe()
    clock.advance(10**12)
    thread = threading.Thread(target=publisher.breathe)
    thread.start()
    thread.join()
    beat()
    rig.run_until(lambda: beats()[-1] == facts["told"])
    assert beats()[before:] == [last] * 5 + [facts["told"]]


def test_sockets_are_for_their_owner_and_a_long_path_is_told(rig: Rig) -> None:
    long = rig.run_dir / ("x" * 120)
    for make in (sockets.data_out, sockets.answers_out):
        with pytest.raises(MisconfiguredError, match="too long for a socket"):
            make(long, "trader")


def test_a_place_where_nobody_can_listen_is_told(rig: Rig) -> None:
    with pytest.raises(MisconfiguredError, match="cannot listen at"):
        sockets.data_out(rig.run_dir / "missing", "trader")


def _view(number: int) -> View:
    return View("B-BTC_USDT", number, 0, 1.0, None, None, None, None, False, 0, 0, None, None, None)


def _lose(publisher: object, send: object) -> None:
    """What is sent meanwhile does not reach the line."""
    original = sockets.send
    sockets.send = lambda socket, parts: True  # type: ignore[assignment]
    try:
        send()  # type: ignore[operator]
    finally:
        sockets.send = original  # type: ignore[assignment]


class _Lines:
    """A process's output as far as it came, read without blocking."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        import os

        assert process.stdout is not None
        self.fd = process.stdout.fileno()
        os.set_blocking(self.fd, False)
        self.text = ""

    def read(self) -> str:
        import os

        try:
            while data := os.read(self.fd, 65536):
                self.text += data.decode()
        except BlockingIOError:
            pass
        return self.text


def test_the_helpers_of_this_file_are_sane() -> None:
    assert msgspec.msgpack.decode(encode(Frame(EVENT, 1, 2, 3, 4, b"\x01"))[1]) == 1
