"""Both loop drivers: readers, timers, threads, signals, failures."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from core.aloop import AsyncLoop
from core.clock import NS_PER_S, ManualClock
from core.loop import ASIDE_PATIENCE_S, LONGEST_PATIENCE_S, QUIET_NS, RUSH_TURNS, Loop, PollLoop

Body = Callable[[Loop], None]


def poll_driver(body: Body, *, in_pauses: bool = True) -> None:
    loop = PollLoop(in_pauses=in_pauses)
    try:
        body(loop)
        loop.run()
    finally:
        loop.close()


def asyncio_driver(body: Body) -> None:
    async def main() -> None:
        loop = AsyncLoop()
        body(loop)
        await loop.wait_stopped()

    asyncio.run(main())


def beside_driver(body: Body) -> None:
    poll_driver(body, in_pauses=False)


@pytest.fixture(params=[poll_driver, beside_driver, asyncio_driver], ids=["poll", "beside", "asyncio"])
def drive(request: pytest.FixtureRequest) -> Callable[[Body], None]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe2(os.O_NONBLOCK)
    yield read, write
    os.close(read)
    os.close(write)


def test_timers_run_in_order_and_again(drive: Callable[[Body], None]) -> None:
    seen: list[str] = []

    def body(loop: Loop) -> None:
        def tick() -> None:
            seen.append("tick")
            if seen.count("tick") == 3:
                loop.stop()

        loop.call_later(0.05, lambda: seen.append("later"))
        loop.call_later(0, lambda: seen.append("now"))
        cancelled = loop.call_later(0.02, lambda: seen.append("never"))
        cancelled.cancel()
        loop.every(0.1, tick)

    drive(body)
    assert seen == ["now", "later", "tick", "tick", "tick"]


def test_a_cancelled_period_ends(drive: Callable[[Body], None]) -> None:
    seen: list[int] = []

    def body(loop: Loop) -> None:
        def tick() -> None:
            seen.append(1)
            timer.cancel()

        timer = loop.every(0.001, tick)
        loop.call_later(0.02, loop.stop)

    drive(body)
    assert seen == [1]


def test_a_reader_is_called_at_once_and_again_while_it_says_so(
    drive: Callable[[Body], None], pipe: tuple[int, int]
) -> None:
    calls: list[bytes] = []

    def body(loop: Loop) -> None:
        def read() -> bool:
            # Like a zmq descriptor: after the first call the descriptor tells nothing any more.
            try:
                calls.append(os.read(pipe[0], 10))
            except BlockingIOError:
                calls.append(b"")
            if len(calls) == 5:
                loop.stop()
            return True

        loop.add_reader(pipe[0], read)

    drive(body)
    assert len(calls) == 5


@pytest.mark.parametrize(("calls", "rushes"), [(RUSH_TURNS, 0), (RUSH_TURNS + 1, 1), (5 * RUSH_TURNS, 1)])
def test_a_rush_is_told_once_where_more_was_waiting_so_many_times_in_a_row(
    drive: Callable[[Body], None], pipe: tuple[int, int], calls: int, rushes: int
) -> None:
    seen: list[str] = []

    def body(loop: Loop) -> None:
        def read() -> bool:
            seen.append("read")
            if seen.count("read") % calls:
                return True
            if seen.count("pause") == 1:
                loop.stop()
            else:
                seen.append("pause")
                loop.call_later(0.01, lambda: os.write(pipe[1], b"x"))
            return False

        loop.rush = lambda: seen.append("rush")
        loop.add_reader(pipe[0], read)

    drive(body)
    assert seen.count("read") == 2 * calls
    assert seen.count("rush") == 2 * rushes, "and again in the next one"


def test_a_reader_is_woken_and_can_be_removed(drive: Callable[[Body], None], pipe: tuple[int, int]) -> None:
    seen: list[bytes] = []

    def body(loop: Loop) -> None:
        def read() -> None:
            try:
                data = os.read(pipe[0], 100)
            except BlockingIOError:
                return
            seen.append(data)
            loop.remove_reader(pipe[0])
            os.write(pipe[1], b"unseen")
            loop.call_later(0.01, loop.stop)

        loop.add_reader(pipe[0], read)
        loop.call_later(0.005, lambda: os.write(pipe[1], b"seen"))

    drive(body)
    assert seen == [b"seen"]


def test_threads_reach_the_loop(drive: Callable[[Body], None]) -> None:
    seen: list[int] = []

    def body(loop: Loop) -> None:
        def work() -> None:
            for number in range(100):
                loop.call_threadsafe(lambda number=number: seen.append(number))  # type: ignore[misc]
            loop.call_threadsafe(loop.stop)

        threading.Thread(target=work).start()

    drive(body)
    assert seen == list(range(100))


@pytest.mark.parametrize("place", ["timer", "period", "reader", "thread"])
def test_what_a_callback_raises_ends_the_stage(
    drive: Callable[[Body], None], pipe: tuple[int, int], place: str
) -> None:
    def fail() -> bool:
        raise LookupError("no such order")

    def body(loop: Loop) -> None:
        if place == "timer":
            loop.call_later(0, fail)
        elif place == "period":
            loop.every(0.001, fail)
        elif place == "reader":
            loop.add_reader(pipe[0], fail)
        else:
            loop.call_threadsafe(fail)

    with pytest.raises(LookupError, match="no such order"):
        drive(body)


def test_a_signal_stops_a_loop_that_has_nothing_to_do() -> None:
    loop = PollLoop()
    before = signal.signal(signal.SIGUSR1, lambda *_: loop.stop())
    try:
        sender = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        sender.start()
        loop.run()  # has neither reader nor timer: only the signal ends it
        sender.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
        loop.close()
    assert loop.stopped


def test_a_slow_callback_is_not_made_up_for() -> None:
    seen: list[int] = []
    loop = PollLoop()

    def slow() -> None:
        seen.append(1)
        if len(seen) == 1:
            threading.Event().wait(0.05)
        else:
            loop.stop()

    loop.every(0.01, slow)
    loop.run()
    loop.close()
    assert len(seen) == 2


def test_what_is_put_aside_runs_once_and_may_put_more_aside(drive: Callable[[Body], None]) -> None:
    seen: list[int] = []

    def body(loop: Loop) -> None:
        def piece() -> None:
            seen.append(len(seen))
            if len(seen) < 3:
                loop.aside(piece)
            else:
                loop.call_later(0.02, loop.stop)

        loop.aside(piece)
        loop.aside(lambda: seen.append(-1)).cancel()

    drive(body)
    assert seen == [0, 1, 2]


class Waits:
    """A loop whose time stands still, two periods, and a reader to which more comes while it reads."""

    def __init__(self, pipe: tuple[int, int]) -> None:
        self.clock = ManualClock()
        self.loop = PollLoop(self.clock)
        self.seen: list[str] = []
        self.coming = 0  # messages to come, each while the one before is read
        self._pipe = pipe
        self.loop.add_reader(pipe[0], self._read)
        self.loop.every(1.0, lambda: self.seen.append("period"))
        self.loop.every(1.0, lambda: self.seen.append("other period"))

    def come(self, messages: int) -> None:
        self.coming = messages
        os.write(self._pipe[1], b"m")

    def turns(self, number: int) -> list[str]:
        """What happened in so many rounds."""
        for _ in range(number):
            self.loop._turn()
        seen, self.seen = self.seen, []
        return seen

    def _read(self) -> None:
        try:
            os.read(self._pipe[0], 1)
        except BlockingIOError:
            return
        self.seen.append("read")
        self.coming -= 1
        if self.coming > 0:
            os.write(self._pipe[1], b"m")


@pytest.fixture
def waits(pipe: tuple[int, int]) -> Iterator[Waits]:
    waits = Waits(pipe)
    yield waits
    waits.loop.close()


def test_a_piece_that_is_due_waits_for_a_pause(waits: Waits) -> None:
    waits.clock.advance(NS_PER_S)
    waits.come(3)
    assert waits.turns(3) == ["read", "read", "read", "period"]


def test_one_piece_in_a_pause(waits: Waits) -> None:
    waits.clock.advance(NS_PER_S)
    waits.come(1)
    assert waits.turns(1) == ["read", "period"]
    waits.come(1)
    assert waits.turns(1) == ["read", "other period"]


@pytest.mark.parametrize(
    ("patience_s", "expected"), [(LONGEST_PATIENCE_S, ["read", "period", "other period"]), (0.01, ["read"])]
)
def test_without_a_pause_a_period_runs_a_little_too_late(waits: Waits, patience_s: float, expected: list[str]) -> None:
    waits.clock.advance(NS_PER_S + int(patience_s * NS_PER_S))
    waits.come(100)
    assert waits.turns(1) == expected


@pytest.mark.parametrize(("patience_s", "expected"), [(ASIDE_PATIENCE_S, ["read", "aside"]), (0.004, ["read"])])
def test_without_a_pause_what_was_put_aside_runs_a_little_later(
    waits: Waits, patience_s: float, expected: list[str]
) -> None:
    waits.loop.aside(lambda: waits.seen.append("aside"))
    waits.clock.advance(int(patience_s * NS_PER_S))
    waits.come(100)
    assert waits.turns(1) == expected


def test_quiet_pieces_run_one_after_the_other(waits: Waits) -> None:
    waits.loop.every(1.015, lambda: waits.seen.append("a little early"))
    waits.loop.every(1.03, lambda: waits.seen.append("too early"))
    waits.clock.advance(NS_PER_S - 1)
    waits.come(1)
    assert waits.turns(1) == ["read"]
    waits.clock.advance(QUIET_NS - 1)
    assert waits.turns(1) == ["period"], "one in a pause, as something came just now"
    waits.clock.advance(1)
    assert waits.turns(2) == ["other period", "a little early"]


def test_quiet_a_period_that_comes_to_the_others_time_runs_once_there(waits: Waits) -> None:
    waits.turns(1)
    waits.clock.advance(int(0.99 * NS_PER_S))
    waits.loop.every(1.0, lambda: waits.seen.append("latecomer"))
    seen = []
    for _ in range(400):
        waits.clock.advance(NS_PER_S // 100)
        waits.loop.wake()  # the loop's own wait is of real time
        seen += [(waits.clock.monotonic_ns(), what) for what in waits.turns(1) if what == "latecomer"]
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(seen)]
    assert len(seen) >= 3 and min(gaps) >= NS_PER_S // 2


def test_quiet_until_something_comes(waits: Waits) -> None:
    waits.turns(1)
    waits.loop.every(1.0, lambda: (waits.seen.append("sender"), waits.come(1)))
    waits.loop.every(1.0, lambda: waits.seen.append("after it"))
    waits.clock.advance(NS_PER_S)
    assert waits.turns(1) == ["period", "other period", "sender"]
    assert waits.turns(1) == ["read", "after it"]


def test_quiet_a_piece_that_puts_more_aside_is_done_with_it_at_once(waits: Waits) -> None:
    waits.turns(1)
    waits.loop.every(0.9, lambda: waits.loop.aside(lambda: waits.seen.append("the rest")))
    waits.clock.advance(int(0.9 * NS_PER_S))
    assert waits.turns(1) == ["the rest"]
    assert waits.turns(3) == []


def test_a_short_period_is_late_by_a_quarter_of_it_at_most(waits: Waits) -> None:
    waits.loop.every(0.004, lambda: waits.seen.append("short"))
    waits.clock.advance(5_000_000)
    waits.come(100)
    assert waits.turns(1) == ["read", "short"]


def test_beside_the_hot_path_periods_of_one_length_come_together() -> None:
    clock = ManualClock()
    clock.advance(100 * NS_PER_S + 100_000_000 - clock.monotonic_ns())
    loop = PollLoop(clock, in_pauses=False)
    seen: list[tuple[str, int]] = []
    try:
        loop.every(0.5, lambda: seen.append(("first", clock.monotonic_ns())))
        clock.advance(250_000_000)
        loop.every(0.5, lambda: seen.append(("second", clock.monotonic_ns())))
        for _ in range(4):
            until_ms = loop._timeout_ms()
            assert until_ms is not None
            clock.advance(until_ms * 1_000_000)
            loop._turn()
    finally:
        loop.close()
    assert [at // 1_000_000 for _, at in seen] == [100_600, 100_850, 101_000, 101_000, 101_500, 101_500]
    assert {name for name, _ in seen[2:4]} == {"first", "second"}


class Standing(asyncio.SelectorEventLoop):
    """An asyncio loop that jumps to its next timer and tells when that is."""

    def __init__(self, now_s: float) -> None:
        super().__init__()
        self.now_s = now_s

    def time(self) -> float:
        return self.now_s

    def jump(self) -> None:
        self.now_s = min(timer.when() for timer in self._scheduled if not timer.cancelled())  # type: ignore[attr-defined]
        self.call_soon(self.stop)
        self.run_forever()


def test_periods_of_one_length_come_together_from_the_second_time_on() -> None:
    inner = Standing(100.1)
    seen: list[tuple[str, float]] = []

    async def body() -> AsyncLoop:
        loop = AsyncLoop()
        loop.every(0.5, lambda: seen.append(("first", inner.now_s)))
        inner.now_s += 0.25
        loop.every(0.5, lambda: seen.append(("second", inner.now_s)))
        return loop

    try:
        inner.run_until_complete(body())
        for _ in range(4):
            inner.jump()
    finally:
        inner.close()
    assert [at for _, at in seen] == pytest.approx([100.6, 100.85, 101.0, 101.0, 101.5, 101.5])
    assert [name for name, _ in seen[2:]] in (["first", "second"] * 2, ["second", "first"] * 2)
