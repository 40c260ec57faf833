"""Spans as page, /api/stats and /metrics show them: the way from trade to fill, and the stage that is slow."""

import pytest

from core.clock import NS_PER_MS, ManualClock
from core.histogram import EMPTY, Window
from core.spans import Spans, Told
from dashboard import latency
from dashboard.page import Page
from tests.dashboard_world import SECOND_NS, beat, healthy, page

OWN_MS = {  # what each stage needs for its own part, and its way before it
    ("feeder", "arrival_to_publish"): 0.1,
    ("indicators", "publish_to_arrival"): 0.2,
    ("indicators", "arrival_to_update"): 0.1,
    ("trader", "update_to_arrival"): 0.2,
    ("trader", "arrival_to_decision"): 0.1,
    ("trader", "decision_to_order"): 3.0,
    ("trader", "disk_to_wire"): 0.4,
}


def heard(told: dict[str, Told], *, live: bool = False) -> Page:
    """A page after one heartbeat of every stage, with these spans."""
    of = healthy(page(live=live))
    for stage, spans in told.items():
        of.state.fold_beat(beat(stage, spans=spans), of.clock.monotonic_ns(), of.clock.wall_ms())
    return of


def market(own_ms: dict[tuple[str, str], float]) -> Page:
    """A page after 200 trades through all stages, one of them an order, with these own parts."""
    clock = ManualClock()
    spans = {stage: Spans(clock) for stage in ("feeder", "indicators", "trader", "storage", "dashboard")}
    for number in range(200):
        since_ms = 0.0
        for (stage, name), ms in own_ms.items():
            if name == "decision_to_order":
                spans[stage].of("trade_to_decision").record(since_ms * 1000)
            if name in ("decision_to_order", "disk_to_wire") and number:
                continue
            since_ms += ms
            spans[stage].of(name).record(ms * 1000)
            if name == "arrival_to_update":
                spans[stage].of("trade_to_update").record(since_ms * 1000)
        if not number:
            spans["trader"].of("trade_to_order").record(since_ms * 1000)
            spans["trader"].of("order_to_fill").record(700_000)
    spans["storage"].of("event_to_row").record(400_000)  # rows wait for their batch: no part of the way to an order
    for of in spans.values():
        of.told()
    clock.advance(11 * SECOND_NS)  # so that the hour has them too
    return heard({stage: of.told() for stage, of in spans.items()})


def test_an_ordinary_market_waits_longest_for_the_disk() -> None:
    of = market(OWN_MS)
    found = latency.slowest(of.state, of.clock.monotonic_ns())
    assert found is not None
    assert (found["stage"], found["span"]) == ("trader", "decision_to_order")
    assert found["p99"] == pytest.approx(3_000, rel=0.011)


@pytest.mark.parametrize("share", latency.SHARES, ids=lambda share: "-".join(share))
def test_a_stage_that_takes_300_ms_more_is_named(share: tuple[str, str]) -> None:
    of = market(OWN_MS | {share: OWN_MS[share] + 300.0})
    found = latency.slowest(of.state, of.clock.monotonic_ns())
    assert found is not None
    assert (found["stage"], found["span"]) == share
    assert found["p99"] == pytest.approx(300_000, rel=0.03)


def test_the_way_grows_from_step_to_step() -> None:
    of = market(OWN_MS)
    steps = latency.path(of.state, of.clock.monotonic_ns())
    assert [one["step"] for one in steps] == ["publish", "update", "decision", "order", "fill"]
    for window in ("minute", "hour"):
        p50 = [one[window]["p50"] for one in steps[:4]]
        assert p50 == sorted(p50) and p50[0] > 0
        assert [one[window]["count"] for one in steps] == [200, 200, 200, 1, 0]
    assert steps[4]["minute"] == {"count": 0, "p50": None, "p99": None, "max": None}


def test_a_stage_that_is_not_heard_tells_no_latency_of_now() -> None:
    of = market(OWN_MS)
    assert isinstance(of.clock, ManualClock)
    of.clock.advance(4 * SECOND_NS)
    now_ns = of.clock.monotonic_ns()
    for stage in ("feeder", "indicators"):
        of.state.heard(stage, now_ns, 0)
    assert set(latency.by_stage(of.state, now_ns)) == {"feeder", "indicators"}
    slowest = latency.slowest(of.state, now_ns)
    assert slowest is not None and slowest["stage"] == "indicators"
    assert latency.path(of.state, now_ns)[2]["minute"]["p50"] is None


def test_nothing_went_through() -> None:
    of = heard({"feeder": {"arrival_to_publish": (EMPTY, Window(1, 5.0, 5.0, 5.0))}})
    now_ns = of.clock.monotonic_ns()
    assert latency.slowest(of.state, now_ns) is None, "the hour alone names nobody"
    assert latency.path(of.state, now_ns)[0]["hour"]["p99"] == 5.0
    assert latency.slowest(page().state, NS_PER_MS) is None


def test_where_orders_are_real_the_way_ends_on_the_wire_and_its_parts_are_told() -> None:
    clock = ManualClock()
    spans = Spans(clock)
    for name, ms in (("trade_to_order", 3), ("trade_to_wire", 4), ("decision_to_disk", 2), ("wire_to_answer", 80)):
        spans.of(name).record(ms * 1000)
    of = heard({"trader": spans.told()}, live=True)
    now_ns = of.clock.monotonic_ns()
    steps = {one["step"]: one["minute"]["p50"] for one in latency.path(of.state, now_ns)}
    assert list(steps) == ["publish", "update", "decision", "order", "wire"]
    assert steps["wire"] == pytest.approx(4_000, rel=0.011)
    parts = {one["step"]: one["minute"]["p50"] for one in latency.parts(of.state, now_ns)}
    assert parts == {
        "decision to disk": pytest.approx(2_000, rel=0.011),
        "disk to wire": None,
        "wire to answer": pytest.approx(80_000, rel=0.011),
    }
    assert latency.parts(market(OWN_MS).state, now_ns) == [], "nothing of it in simulation"
