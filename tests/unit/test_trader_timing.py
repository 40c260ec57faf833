"""How long orders and fills took, on the events of the real fold: which trades count, and from when."""

import pytest

from bus.messages import Entry, FillEvent, OrderEvent
from bus.passage import OLDEST_NS
from bus.records import BACKFILL
from core.clock import NS_PER_MS, ManualClock
from core.spans import Spans
from tests.trader_world import Live, Tape, of
from trader import inputs, timing
from trader.timing import OrderTimes


class Desk:
    """A fold whose events wait for a disk that the test plays; each trade arrives at the time that it carries."""

    def __init__(self, **changed: str) -> None:
        self.tape = Tape()
        self.live = Live(self.tape, **changed)
        self.clock = ManualClock(self.tape.ms * NS_PER_MS)
        self.spans = Spans(self.clock)
        self.times = OrderTimes(self.clock, self.spans)
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

    def disk(self, ms: float) -> None:
        """The disk takes what waits, `ms` later."""
        self.clock.advance(int(ms * NS_PER_MS))
        entries, self.waiting = self.waiting, []
        self.times.published(entries)

    def told(self) -> dict[str, tuple[int, float]]:
        """Samples and longest (ms) of the spans that have any."""
        told = {name: minute for name, (minute, _) in self.spans.told().items() if minute.samples}
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
    desk.times.published([Entry(9, other)])
    assert list(desk.times._sent_ns) == ["b"]
