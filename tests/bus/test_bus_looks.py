"""Who shows, records or watches is not woken by what comes: it looks, and finds all of it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bus.frames import EVENT
from bus.health import SILENCE_NS
from bus.notices import FIRST, GapFound, PeerSilent, PeerUp
from bus.publisher import Publisher
from bus.sockets import DATA_HIGH_WATER, wait_readable
from bus.subscriber import OFTEN_SECONDS, Subscriber
from core.clock import NS_PER_S, ManualClock
from core.loop import PollLoop
from tests.bus.rig import LAYOUT, SETTINGS, Listener

REAL_TURN_S = 0.001  # zmq's thread goes by real time


class Two:
    """One that is woken and one that looks, on a loop whose time the test moves; sockets are real."""

    def __init__(self, run_dir: Path) -> None:
        self.clock = ManualClock()
        self.loop = PollLoop(self.clock, in_pauses=False)
        self.publisher = Publisher(
            "trader", run_dir, self.clock, layout_hash=LAYOUT, settings_hash=SETTINGS, started_ms=1
        )
        self.publisher.attach(self.loop)
        self.woken, self.looking = (self._listener(run_dir, look_s) for look_s in (0.0, OFTEN_SECONDS))

    def _listener(self, run_dir: Path, look_s: float) -> Listener:
        subscriber = Subscriber(
            "trader",
            {EVENT: FIRST},
            run_dir,
            self.clock,
            layout_hash=LAYOUT,
            settings_hash=SETTINGS,
            look_s=look_s,
        )
        listener = Listener(subscriber)
        subscriber.attach(self.loop, listener.notices.extend)
        return listener

    def turn_until(self, condition: Callable[[], object], step_ns: int = 0) -> None:
        """Turns the loop until something is so; each turn takes `step_ns` of its time."""
        for _ in range(20_000):
            if condition():
                return
            self.clock.advance(step_ns)
            self.loop.call_later(0.0, lambda: None)  # the loop's own wait is of real time
            self.loop._turn()
            time.sleep(REAL_TURN_S)
        raise AssertionError("it did not come to pass")

    def say(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            self.publisher.event("info", f"said {number}")

    def close(self) -> None:
        for each in (self.woken.subscriber, self.looking.subscriber, self.publisher, self.loop):
            each.close()


@pytest.fixture
def two(run_dir: Path) -> Iterator[Two]:
    two = Two(run_dir)
    two.turn_until(lambda: two.woken.of(PeerUp) and two.looking.of(PeerUp), step_ns=NS_PER_S // 1000)
    two.say(0, 1)
    two.turn_until(lambda: two.woken.numbers == two.looking.numbers == [0], step_ns=NS_PER_S // 1000)
    yield two
    two.close()


def test_it_is_not_woken_and_finds_at_its_next_look_what_came_in_order(two: Two) -> None:
    two.clock.advance(NS_PER_S)
    two.loop._turn()  # all timers have run: the next look is a whole OFTEN_SECONDS away
    two.say(1, 5)
    two.turn_until(lambda: two.woken.numbers == list(range(6)))
    assert two.looking.numbers == [0]
    two.clock.advance(int(OFTEN_SECONDS * NS_PER_S))
    two.turn_until(lambda: two.looking.numbers == list(range(6)))


def test_what_the_sockets_do_not_hold_between_two_looks_is_replayed(two: Two) -> None:
    most = 3 * DATA_HIGH_WATER  # of the publisher's own ring of 1,000 the rest is a gap, told
    two.say(1, most)
    two.turn_until(
        lambda: two.looking.numbers and two.looking.numbers[-1] == most, step_ns=int(OFTEN_SECONDS * NS_PER_S / 4)
    )
    gaps = [notice for notice in two.looking.notices if isinstance(notice, GapFound)]
    missed = [n for gap in gaps for n in range(gap.first, gap.last + 1)]
    assert sorted([*missed, *two.looking.numbers]) == list(range(most + 1))


def test_who_looks_tells_silence_and_its_end(two: Two) -> None:
    assert two.publisher._timer is not None
    two.publisher._timer.cancel()  # it lives and says nothing
    silences, ups = (len(two.looking.of(kind)) for kind in (PeerSilent, PeerUp))
    two.turn_until(lambda: len(two.looking.of(PeerSilent)) > silences, step_ns=NS_PER_S // 10)
    two.publisher.beat()
    two.turn_until(lambda: len(two.looking.of(PeerUp)) > ups, step_ns=NS_PER_S // 100)


@pytest.mark.parametrize("whose", ["woken", "looking"])
def test_what_waits_in_the_socket_of_a_process_that_stood_still_is_no_silence(two: Two, whose: str) -> None:
    listener: Listener = getattr(two, whose)
    silences = len(listener.of(PeerSilent))
    two.publisher.beat()
    assert wait_readable(listener.subscriber._in, 20.0)
    two.clock.advance(SILENCE_NS + NS_PER_S)
    listener.subscriber._tick()
    assert len(listener.of(PeerSilent)) == silences


def test_who_is_woken_goes_on_where_a_look_left_something(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.subscriber.FRAMES_PER_TURN", 2)
    monkeypatch.setattr("bus.subscriber.LOOK_TURNS", 1)
    assert two.publisher._timer is not None
    two.publisher._timer.cancel()  # no heartbeat comes to its help
    two.say(1, 20)
    subscriber = two.woken.subscriber
    assert wait_readable(subscriber._in, 20.0)
    while len(two.woken.numbers) < 3:  # a beat may be among what waits
        two.clock.advance(SILENCE_NS)
        subscriber._tick()  # it takes the word that something waits from the loop
    two.turn_until(lambda: two.woken.numbers == list(range(21)))
