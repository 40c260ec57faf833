"""Kraken's nonces and turns: numbers that rise whatever happens, and who waits for whom."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.clock import NS_PER_S, ManualClock
from tests.unit.http_peer import until
from venues.kraken.nonces import AHEAD_NS, NONCE_MAX, Nonce, Turns


def test_nonces_rise_whatever_the_clock_does() -> None:
    clock = ManualClock()
    nonce = Nonce()
    given = [nonce.next(clock.wall_ns()) for _ in range(3)]
    clock.set_wall_ns(clock.wall_ns() - 3600 * NS_PER_S)
    given += [nonce.next(clock.wall_ns()) for _ in range(3)]
    clock.set_wall_ns(clock.wall_ns() + 7200 * NS_PER_S)
    given += [nonce.next(clock.wall_ns())]
    assert given == sorted(set(given)) and given[-1] == clock.wall_ns()
    after_restart = Nonce()
    clock.advance(1)
    assert after_restart.next(clock.wall_ns()) > given[-1]


def test_nonces_are_given_once_to_many_threads() -> None:
    nonce = Nonce()
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda _: [nonce.next(5) for _ in range(200)], range(8)))
    assert len({number for numbers in given for number in numbers}) == 1600


def test_numbers_go_on_from_what_the_file_keeps(tmp_path: Path) -> None:
    path, now_ns = tmp_path / "nonce-kraken", 10**18
    given = [Nonce(path).next(now_ns - number * NS_PER_S) for number in range(20)]  # twenty lives, the clock going back
    assert given == sorted(set(given)) and given[0] == now_ns
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_file_is_ahead_of_every_number_given_and_seldom_written(tmp_path: Path) -> None:
    path = tmp_path / "nonce-kraken"
    nonce, texts = Nonce(path), set()
    for number in range(100):
        given = nonce.next(10**18 + number * AHEAD_NS // 50)
        texts.add(path.read_text())
        assert int(path.read_text()) > given
    assert len(texts) == 2


@pytest.mark.parametrize("content", [b"", b"soon", b"-5", b"\xff", str(NONCE_MAX + 1).encode(), b"9" * 5000])
def test_a_file_of_nonsense_and_one_that_cannot_be_written_cost_no_call(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "nonce-kraken"
    path.write_bytes(content)
    assert Nonce(path).next(10**18) == 10**18
    assert Nonce(tmp_path / "no" / "folder").next(7) == 7


# --- turns ---


class Line:
    """Calls that take their turn and keep it until they are let go."""

    def __init__(self, arrives_s: float = 3600.0) -> None:
        self.clock = ManualClock()
        self.turns = Turns(self.clock, arrives_s)
        self.went: list[str] = []
        self.gates: dict[str, threading.Event] = {}
        self.threads: dict[str, threading.Thread] = {}

    def call(self, name: str, urgent: bool = False) -> None:
        self.gates[name] = threading.Event()
        self.threads[name] = threading.Thread(target=self._go, args=(name, urgent), daemon=True)
        self.threads[name].start()

    def _go(self, name: str, urgent: bool) -> None:
        with self.turns.taken(urgent):
            self.went.append(name)
            self.gates[name].wait(20)

    def over(self, name: str) -> None:
        self.gates[name].set()
        self.threads[name].join(20)


def waits(line: Line, name: str) -> bool:
    """Whether a call stands in the line: it is given every chance to go."""
    return not line.threads[name].join(0.05) and name not in line.went


def test_one_call_is_under_way_at_a_time() -> None:
    line = Line()
    line.call("one")
    until(lambda: line.went == ["one"])
    line.call("two")
    assert waits(line, "two")
    line.over("one")
    until(lambda: line.went == ["one", "two"])
    line.over("two")


def test_an_urgent_call_waits_until_the_one_under_way_has_arrived_and_no_longer() -> None:
    line = Line()
    line.call("slow")
    until(lambda: line.went == ["slow"])
    line.call("exit early", urgent=True)
    assert waits(line, "exit early"), "the request under way may not have arrived yet"
    line.over("slow")
    until(lambda: line.went == ["slow", "exit early"])
    line.clock.advance(3600 * NS_PER_S)
    line.call("exit late", urgent=True)
    until(lambda: line.went[-1] == "exit late")
    for name in ("exit early", "exit late"):
        line.over(name)


def test_an_urgent_call_goes_when_the_time_is_over_though_nothing_else_happens() -> None:
    line = Line(arrives_s=0.02)
    line.call("slow")
    until(lambda: line.went == ["slow"])
    line.call("exit", urgent=True)
    until(lambda: line.went == ["slow", "exit"])
    for name in ("slow", "exit"):
        line.over(name)


def test_nobody_overtakes_an_urgent_call_that_waits() -> None:
    line = Line()
    line.call("slow")
    until(lambda: line.went == ["slow"])
    line.call("query")
    assert waits(line, "query")
    line.call("exit", urgent=True)
    assert waits(line, "exit")
    line.over("slow")
    until(lambda: len(line.went) == 2)
    assert line.went == ["slow", "exit"] and waits(line, "query")
    line.over("exit")
    until(lambda: line.went == ["slow", "exit", "query"])
    line.over("query")


def test_of_two_urgent_calls_the_second_gives_the_first_its_time() -> None:
    line = Line()
    line.call("slow")
    until(lambda: line.went == ["slow"])
    line.clock.advance(3600 * NS_PER_S)
    line.call("first", urgent=True)
    until(lambda: line.went == ["slow", "first"])
    line.call("second", urgent=True)
    assert waits(line, "second")
    line.over("first")
    until(lambda: line.went[-1] == "second")
    for name in ("second", "slow"):
        line.over(name)


def test_a_call_that_fails_ends_its_turn() -> None:
    line = Line()
    with pytest.raises(ZeroDivisionError), line.turns.taken(urgent=False):
        raise ZeroDivisionError
    line.call("next")
    until(lambda: line.went == ["next"])
    line.over("next")
