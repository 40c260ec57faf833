"""How long orders and fills took, on the events of the real fold: which trades count, and from when."""

import pytest

from bus.messages import Entry, FillEvent, OrderEvent
from bus.passage import OLDEST_NS
from bus.records import BACKFILL
from core.clock import NS_PER_MS, ManualClock
from core.spans import Spans
from tests.trader_world import Live, Tape, of
from trader import inputs, timing
from trader.courier import Sent
from trader.state import STOP
from trader.timing import OrderTimes


class Desk:
    """A fold whose events wait for a disk that the test plays; each trade arrives at the time that it carries."""

    def __init__(self, *, real: bool = False, **changed: str) -> None:
        self.tape = Tape()
        self.live = Live(self.tape, **changed)
        self.clock = ManualClock(self.tape.ms * NS_PER_MS)
        self.spans = Spans(self.clock)
        self.times = OrderTimes(self.clock, self.spans, real=real)
        self.waiting: list[Entry] = []
        self.number = 0

    def trade(self, price: float, codes: str = "warm", *, after_ms: int = 1000, own_ms: float = 2, **more: int) -> None:
        """One trade; the fold decides `own_ms` after its arrival."""
        self.tape.trade(price, codes, after_ms=after_ms, **more)
        behind = self.tape.ms * NS_PER_MS + int(own_ms * NS_PER_MS) - self.clock.wall_ns()
        self.clock.advance(max(0, behind))
        records = self.tape.updates[-1:]
        self.give(inputs.Updates(1, int(records["number"][-1]), records.tobytes()))

    def give(self, item: inputs.Input) -> None:
        events = self.live.give(item)
        self.times.decided(item, events)
        for event in events:
            self.number += 1
            self.waiting.append(Entry(self.number, event))

    def disk(self, ms: float, publish_ms: float = 0) -> None:
        """The disk takes what waits, `ms` later; it goes out `publish_ms` after that."""
        self.clock.advance(int(ms * NS_PER_MS))
        disk_ns = self.clock.monotonic_ns()
        self.clock.advance(int(publish_ms * NS_PER_MS))
        entries, self.waiting = self.waiting, []
        self.times.published(entries, disk_ns)

    def wire(self, order_id: str, *, after_ms: float, answer_ms: float, written: bool = True) -> None:
        """The request of an order leaves `after_ms` from now, its answer comes `answer_ms` later."""
        began_ns = self.clock.monotonic_ns()
        self.clock.advance(int(after_ms * NS_PER_MS))
        written_ns = self.clock.monotonic_ns() if written else 0
        self.clock.advance(int(answer_ms * NS_PER_MS))
        self.times.sent([Sent(order_id, began_ns, written_ns, self.clock.monotonic_ns())])

    def told(self) -> dict[str, tuple[int, float]]:
        """Samples and longest (ms) of the spans that have any."""
        told = {name: minute for name, (minute, _) in self.spans.told().items() if minute.samples}
        self.decision_to_disk = told.pop("decision_to_disk", None)
        return {name: (minute.samples, minute.max / 1000) for name, minute in told.items()}


def close(expected: dict[str, tuple[int, float]]) -> dict[str, object]:
    return {name: (count, pytest.approx(ms, rel=0.011, abs=1e-4)) for name, (count, ms) in expected.items()}


def test_an_order_counts_until_it_is_on_the_disk_and_published() -> None:
    desk = Desk(paper_fill="tape", paper_latency_ms="100")
    desk.trade(100, "mr")
    assert desk.told() == {}, "the disk has nothing yet"
    desk.disk(5)
    assert desk.told() == close({"decision_to_order": (1, 5.0), "trade_to_order": (1, 7.0)})


def test_a_fill_counts_from_the_order_and_from_the_trade_that_filled_it() -> None:
    desk = Desk(paper_fill="tape", paper_latency_ms="100")
    desk.trade(100, "mr")
    desk.disk(5)
    desk.trade(100, after_ms=500, own_ms=3)
    desk.disk(4)
    assert len(of(desk.live.events, FillEvent)) == 1
    told = desk.told()
    assert told["trade_to_fill"] == close({"": (1, 7.0)})[""]
    assert told["order_to_fill"] == close({"": (1, 500.0)})[""], "published at 7 ms, filled and published at 507 ms"
    assert told["decision_to_order"][0] == 1


def test_only_the_first_fill_of_an_order_ends_its_wait() -> None:
    desk = Desk(paper_fill="tape", paper_latency_ms="100")
    desk.trade(100, "mr")
    desk.disk(1)
    for _ in range(3):
        desk.trade(100, lots=2_000)
        desk.disk(1)
    assert len(of(desk.live.events, FillEvent)) == 3
    assert (desk.told()["order_to_fill"][0], desk.told()["trade_to_fill"][0]) == (1, 3)


def test_an_instant_fill_is_published_with_its_order() -> None:
    desk = Desk()
    desk.trade(100, "mr")
    desk.disk(5)
    assert desk.told() == close(
        {
            "decision_to_order": (1, 5.0),
            "trade_to_order": (1, 7.0),
            "order_to_fill": (1, 0.0),
            "trade_to_fill": (1, 7.0),
        }
    )


def test_what_decides_nothing_or_is_told_again_is_not_timed() -> None:
    desk = Desk(paper_fill="tape", paper_latency_ms="100")
    desk.trade(100, "mr")
    desk.disk(5)
    desk.trade(100, flags=BACKFILL)
    desk.disk(5)
    assert len(of(desk.live.events, FillEvent)) == 1
    assert desk.told()["order_to_fill"][0] == 1, "the order has waited for it all the same"
    assert "trade_to_fill" not in desk.told()


def test_a_trade_older_than_a_minute_was_waited_for() -> None:
    desk = Desk()
    desk.trade(100, "mr", own_ms=OLDEST_NS / NS_PER_MS + 1)
    desk.disk(5)
    assert desk.told() == close({"decision_to_order": (1, 5.0), "order_to_fill": (1, 0.0)})


def test_an_order_of_a_raw_trade_counts_from_the_decision_alone() -> None:
    desk = Desk()
    desk.trade(100, "mr")
    desk.disk(5)
    before = desk.told()
    desk.give(inputs.SpanBegin("degraded", 1, 2, -1, "no updates for 2 s while trades go on"))
    desk.tape.trade(90)
    desk.clock.advance(2_000 * NS_PER_MS)
    desk.give(inputs.Raws(1, 2, desk.tape.raws[-1:]))
    desk.disk(9)
    told = desk.told()
    assert told["decision_to_order"] == close({"": (2, 9.0)})[""]
    assert told["trade_to_order"] == before["trade_to_order"]


def test_an_order_that_ends_without_a_fill_is_not_waited_for() -> None:
    desk = Desk(paper_fill="tape", paper_latency_ms="100", entry_timeout_ms="2000")
    desk.trade(100, "mr")
    desk.disk(1)
    assert len(desk.times._sent_ns) == 1
    desk.trade(100, after_ms=5_000)
    desk.disk(1)
    assert of(desk.live.events, OrderEvent)[-1].status == "cancelled"
    assert (desk.times._sent_ns, desk.times._waiting) == ({}, {})


def test_orders_that_never_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MAX_ORDERS", 1)
    desk = Desk(paper_fill="tape", paper_latency_ms="100")
    desk.trade(100, "mr")
    desk.disk(1)
    intent = next(event for event in of(desk.live.events, OrderEvent) if event.status == "submitting")
    other = OrderEvent(**{name: getattr(intent, name) for name in intent.__struct_fields__} | {"client_order_id": "b"})
    desk.times.decided(inputs.SpanEnd(), [other])
    desk.times.published([Entry(9, other)], desk.clock.monotonic_ns())
    assert list(desk.times._sent_ns) == ["b"]


def wired(desk: Desk) -> dict[str, tuple[int, float]]:
    """The spans of a real order's request."""
    return {name: found for name, found in desk.told().items() if "wire" in name}


def intent(desk: Desk) -> str:
    return of(desk.live.events, OrderEvent)[-1].client_order_id


def test_the_fsync_is_told_apart_from_what_comes_after_it() -> None:
    desk = Desk(paper_fill="tape", paper_latency_ms="100")
    desk.trade(100, "mr")
    desk.disk(5, publish_ms=3)
    told = {name: minute.max / 1000 for name, (minute, _) in desk.spans.told().items() if minute.samples}
    assert told["decision_to_disk"] == pytest.approx(5, rel=0.011)
    assert told["decision_to_order"] == pytest.approx(8, rel=0.011)
    assert not [name for name in desk.spans.told() if "wire" in name], "nothing real, no wire"


def test_a_real_order_is_timed_from_disk_and_trade_to_the_wire_and_to_its_answer() -> None:
    desk = Desk(real=True, paper_fill="tape", paper_latency_ms="100")
    desk.trade(100, "mr", own_ms=2)
    desk.disk(5, publish_ms=1)
    desk.wire(intent(desk), after_ms=3, answer_ms=40)
    assert wired(desk) == close({"disk_to_wire": (1, 4.0), "trade_to_wire": (1, 11.0), "wire_to_answer": (1, 40.0)})


def test_an_exit_sent_before_the_disk_took_it_counts_from_its_trade_alone() -> None:
    desk = Desk(real=True, paper_fill="tape", paper_latency_ms="100")
    desk.trade(100, "mr", own_ms=2)
    desk.wire(intent(desk), after_ms=2_000, answer_ms=7)
    assert wired(desk) == close({"trade_to_wire": (1, 2_002.0), "wire_to_answer": (1, 7.0)})


def test_a_request_of_which_nothing_left_is_timed_when_it_leaves() -> None:
    desk = Desk(real=True, paper_fill="tape", paper_latency_ms="100")
    desk.trade(100, "mr", own_ms=2)
    desk.disk(5)
    desk.wire(intent(desk), after_ms=1, answer_ms=100, written=False)
    assert wired(desk) == {}
    desk.wire(intent(desk), after_ms=1, answer_ms=9)
    assert wired(desk) == close({"disk_to_wire": (1, 102.0), "trade_to_wire": (1, 109.0), "wire_to_answer": (1, 9.0)})


def test_a_request_that_is_told_twice_or_of_nobody_is_timed_once() -> None:
    desk = Desk(real=True, paper_fill="tape", paper_latency_ms="100")
    desk.trade(100, "mr")
    desk.disk(5)
    for order_id in (intent(desk), intent(desk), "another"):
        desk.wire(order_id, after_ms=1, answer_ms=1)
    assert {count for count, _ in wired(desk).values()} == {1}


def test_a_real_order_that_ends_unsent_is_forgotten() -> None:
    desk = Desk(real=True, paper_fill="tape", paper_latency_ms="100", entry_timeout_ms="2000")
    desk.trade(100, "mr")
    desk.disk(1)
    assert list(desk.times._unwritten) == [intent(desk)]
    desk.trade(100, after_ms=5_000)
    desk.disk(1)
    assert desk.times._unwritten == {}


def test_a_stop_at_the_venue_is_meant_to_wait_and_is_not_timed() -> None:
    desk = Desk(real=True)
    desk.trade(100, "mr")
    entry = next(event for event in of(desk.live.events, OrderEvent) if event.status == "submitting")
    desk.disk(5)
    before = desk.told()
    other = {"client_order_id": "b", "side": "sell", "type": STOP}
    stop = OrderEvent(**{name: getattr(entry, name) for name in entry.__struct_fields__} | other)
    desk.times.decided(inputs.Protect(stop.pair), [stop])
    desk.times.published([Entry(9, stop)], desk.clock.monotonic_ns())
    desk.wire("b", after_ms=1, answer_ms=1)
    assert desk.told() == before
