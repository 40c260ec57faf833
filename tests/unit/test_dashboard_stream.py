"""Server-sent events: one encoding for all, the newest for the slow, an end when the stage stops."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from core.clock import ManualClock
from core.loop import Loop
from dashboard.page import Pace, Page
from tests.dashboard_world import PAIR, SECOND_NS, healthy, page, status, view


def parsed(chunk: bytes) -> dict[str, Any]:
    """The events of one chunk by kind."""
    found = {}
    for block in chunk.decode().strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        if "event" in fields:
            found[fields["event"]] = json.loads(fields["data"])
    return found


async def joined(of: Page, pair: str = PAIR) -> AsyncIterator[bytes]:
    """A stream past its first line."""
    stream = of.broadcaster.stream(pair)
    assert await anext(stream) == b"retry: 1000\n\n"
    return stream


def show(of: Page) -> list[float]:
    latencies: list[float] = []
    of.show(latencies.append)
    return latencies


def test_nothing_is_encoded_while_nobody_looks() -> None:
    of = healthy(page())
    show(of)
    assert of.broadcaster.slots == {}


def test_a_client_gets_the_whole_state_at_once_and_then_what_changed() -> None:
    async def scene() -> None:
        of = healthy(page())
        of.state.fold_view(view(100.0), of.clock.monotonic_ns())
        stream = await joined(of)
        show(of)
        first = parsed(await anext(stream))
        assert set(first) == {"tick", "health", "logs"}
        assert first["tick"]["price"] == 100.0
        of.state.fold_view(view(101.0, number=51), of.clock.monotonic_ns())
        show(of)
        assert {kind: data["price"] for kind, data in parsed(await anext(stream)).items()} == {"tick": 101.0}

    asyncio.run(scene())


def test_all_clients_get_the_same_bytes_encoded_once() -> None:
    async def scene() -> None:
        of = healthy(page())
        of.state.fold_view(view(), of.clock.monotonic_ns())
        streams = [await joined(of) for _ in range(3)]
        show(of)
        chunks = [await anext(stream) for stream in streams]
        assert chunks[0] == chunks[1] == chunks[2]
        assert of.broadcaster.slots[f"tick:{PAIR}"].number == 1

    asyncio.run(scene())


def test_a_slow_client_gets_the_newest_and_holds_nothing_up() -> None:
    async def scene() -> None:
        of = healthy(page())
        stream = await joined(of)
        for number in range(51, 151):
            of.state.fold_view(view(float(number), number=number), of.clock.monotonic_ns())
            show(of)
        assert parsed(await anext(stream))["tick"]["price"] == 150.0

    asyncio.run(scene())


def test_silence_is_broken_once_a_second_so_that_a_dead_link_shows() -> None:
    async def scene() -> None:
        clock = ManualClock()
        of = healthy(page(clock=clock))
        stream = await joined(of)
        show(of)
        await anext(stream)
        for _ in range(4):
            clock.advance(SECOND_NS // 5)
            show(of)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        assert not waiting.done()
        clock.advance(SECOND_NS // 5)
        show(of)
        assert set(parsed(await waiting)) == {"tick", "health"}

    asyncio.run(scene())


def test_pairs_are_told_apart() -> None:
    async def scene() -> None:
        of = page(pairs=(PAIR, "B-ETH_USDT"))
        of.state.fold_view(view(2.0, pair="B-ETH_USDT"), 0)
        ether = await joined(of, "B-ETH_USDT")
        show(of)
        assert parsed(await anext(ether))["tick"]["pair"] == "B-ETH_USDT"
        assert f"tick:{PAIR}" not in of.broadcaster.slots

    asyncio.run(scene())


def test_clients_are_counted_bounded_and_forgotten() -> None:
    async def scene() -> None:
        of = page()
        streams = [await joined(of) for _ in range(32)]
        assert of.broadcaster.full()
        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]
        assert of.broadcaster.clients == 0
        assert of.broadcaster.watched == {} and f"tick:{PAIR}" not in of.broadcaster.slots

    asyncio.run(scene())


def test_streams_end_when_the_stage_stops() -> None:
    async def scene() -> None:
        of = page()
        stream = await joined(of)
        waiting = asyncio.ensure_future(anext(stream, None))
        await asyncio.sleep(0)
        of.broadcaster.close()
        assert await waiting is None

    asyncio.run(scene())


def test_latency_counts_from_the_arrival_to_the_publication() -> None:
    async def scene() -> None:
        clock = ManualClock()
        of = healthy(page(clock=clock))
        await joined(of)
        of.state.fold_view(view(), clock.monotonic_ns())
        of.state.fold_status(status(), clock.monotonic_ns())
        clock.advance(150_000)
        assert show(of) == [150.0]
        assert show(of) == []

    asyncio.run(scene())


def test_waiting_without_a_listener_counts_as_no_latency() -> None:
    async def scene() -> None:
        clock = ManualClock()
        of = healthy(page(clock=clock))
        of.state.fold_view(view(), clock.monotonic_ns())
        show(of)
        clock.advance(60 * SECOND_NS)
        await joined(of)
        assert show(of) == []

    asyncio.run(scene())


class Timers:
    """A loop whose timers run when told."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], object]]] = []

    def every(self, seconds: float, callback: Callable[[], object]) -> None:
        self.idle = callback

    def call_later(self, seconds: float, callback: Callable[[], object]) -> None:
        self.due.append((seconds, callback))


def test_a_change_after_quiet_is_shown_at_once_and_a_burst_at_a_steady_pace() -> None:
    clock, timers, shown = ManualClock(), Timers(), []
    pace = Pace(cast(Loop, timers), clock, lambda: shown.append(1), 0.15, 0.5)
    clock.advance(SECOND_NS)
    for _ in range(5):
        pace.changed()
    assert [seconds for seconds, _ in timers.due] == [0.0], "five changes, one showing, at once"
    timers.due.pop()[1]()
    clock.advance(SECOND_NS // 20)
    pace.changed()
    (seconds, go), *rest = timers.due
    assert not rest and abs(seconds - 0.1) < 1e-9
    timers.idle()
    assert len(shown) == 1, "it is about to be shown anyway"
    go()
    timers.idle()
    assert len(shown) == 3, "and it is shown now and then without any change"


def test_while_nobody_looks_a_change_wakes_nobody() -> None:
    clock, timers, shown, lookers = ManualClock(), Timers(), [], [0]
    pace = Pace(cast(Loop, timers), clock, lambda: shown.append(1), 0.15, 0.5, lambda: lookers[0])
    pace.changed()
    assert not timers.due
    timers.idle()
    assert len(shown) == 1
    lookers[0] = 1
    pace.changed()
    assert len(timers.due) == 1


def test_who_comes_after_nobody_looked_gets_what_is_now() -> None:
    async def scene() -> None:
        of = healthy(page())
        came: list[int] = []
        of.broadcaster.joined = lambda: came.append(of.broadcaster.clients)
        before = await joined(of)
        show(of)
        assert "health" in parsed(await anext(before))
        await before.aclose()  # type: ignore[attr-defined]
        assert of.broadcaster.slots == {}, "it would be shown as it was then"
        after = await joined(of)
        assert came == [1, 1], "so that it is shown at once"
        show(of)
        assert set(parsed(await anext(after))) >= {"health", "logs"}

    asyncio.run(scene())
