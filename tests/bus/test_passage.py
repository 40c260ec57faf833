"""What a frame's own stamps say about how long it took, and which frames say nothing."""

import numpy as np
import pytest

from bus.frames import TRADE, UPDATE, Frame
from bus.passage import OLDEST_NS, Passage, live_since, published_ns
from bus.records import BACKFILL, CANDLE, HOLE, LATE, RECORD, START
from bus.records import TRADE as TRADE_KIND
from bus.records import UPDATE as UPDATES
from core.clock import NS_PER_MS, NS_PER_S, ManualClock
from core.histogram import FRESH_MAX
from core.spans import Spans

NOW_NS = 1_700_000_000 * NS_PER_S


def frame(
    received_ns: int,
    publish_ns: int,
    kind: int = TRADE_KIND,
    flags: int = 0,
    dtype: np.dtype = RECORD,
    body: bytes | None = None,
) -> Frame:
    """Three records of one kind, the first of which has waited longest."""
    rows = np.zeros(3, dtype)
    rows["kind"], rows["flags"], rows["side"], rows["pair"] = kind, flags, 2, 77
    rows["exchange_ns"] = 123
    rows["received_ns"] = received_ns + np.arange(3)
    return Frame(TRADE if dtype is RECORD else UPDATE, 1, 10, 3, publish_ns, rows.tobytes(), body)


@pytest.mark.parametrize("dtype", [RECORD, UPDATES])
def test_a_frame_tells_when_its_first_trade_arrived(dtype: np.dtype) -> None:
    assert live_since(frame(NOW_NS, NOW_NS + 5, dtype=dtype)) == NOW_NS
    assert live_since(frame(NOW_NS, NOW_NS + 5, flags=LATE, dtype=dtype)) == NOW_NS


@pytest.mark.parametrize(
    "silent",
    [
        frame(NOW_NS, 0),
        frame(NOW_NS, NOW_NS, flags=BACKFILL),
        frame(NOW_NS, NOW_NS, kind=CANDLE),
        frame(NOW_NS, NOW_NS, kind=HOLE),
        frame(NOW_NS, NOW_NS, kind=START, body=b"\x90"),
        Frame(UPDATE, 1, 10, 3, NOW_NS, b""),
        Frame(UPDATE, 1, 10, 1, NOW_NS, b"", b"\x90"),
    ],
    ids=["replayed", "backfill", "candle", "hole", "start", "no update in it", "start of updates"],
)
def test_what_is_no_live_trade_is_not_timed(silent: Frame) -> None:
    assert live_since(silent) == 0
    clock = ManualClock(NOW_NS)
    spans = Spans(clock)
    Passage(clock, spans, "way", "work", "whole").done(silent, clock.monotonic_ns())
    assert [minute.samples for minute, _ in spans.told().values()] == [0, 0, 0]


@pytest.mark.parametrize(
    ("publish_ns", "waited_ns"),
    [
        (NOW_NS - 5, 5),
        (NOW_NS - OLDEST_NS, OLDEST_NS),
        (0, 0),
        (NOW_NS + 1, 0),
        (NOW_NS - OLDEST_NS - 1, 0),
    ],
    ids=["told now", "a minute ago", "told again", "the clock was set back", "the clock was set forward"],
)
def test_when_a_frame_was_published_in_the_time_of_the_process(publish_ns: int, waited_ns: int) -> None:
    clock = ManualClock(NOW_NS, monotonic_ns=100 * NS_PER_S)
    assert published_ns(frame(NOW_NS, publish_ns), clock) == 100 * NS_PER_S - waited_ns


def taken(wall_ns: int) -> dict[str, float]:
    """The three spans in ms of a trade that arrived at NOW, left 2 ms later, came in at 5 and was done at 9 ms."""
    clock = ManualClock(NOW_NS, 50 * NS_PER_S)
    spans = Spans(clock)
    passage = Passage(clock, spans, "way", "work", "whole")
    clock.advance(5 * NS_PER_MS)
    arrived_ns = clock.monotonic_ns()
    clock.advance(4 * NS_PER_MS)
    clock.set_wall_ns(wall_ns)
    passage.done(frame(NOW_NS, NOW_NS + 2 * NS_PER_MS), arrived_ns)
    return {name: minute.p50 / 1000 for name, (minute, _) in spans.told().items() if minute.samples}


def test_way_work_and_the_whole() -> None:
    assert taken(NOW_NS + 9 * NS_PER_MS) == pytest.approx({"way": 3.0, "work": 4.0, "whole": 9.0}, rel=0.011)


def test_what_nobody_asks_for_stays_bounded() -> None:
    clock = ManualClock(NOW_NS)
    spans = Spans(clock)
    passage = Passage(clock, spans, "way", "work", "whole")
    for _ in range(FRESH_MAX + 5):
        passage.done(frame(NOW_NS, NOW_NS), clock.monotonic_ns())
    assert [len(spans.of(name).fresh) for name in ("way", "work", "whole")] == [5, 5, 5]
    assert [minute.samples for minute, _ in spans.told().values()] == [FRESH_MAX + 5] * 3


def test_a_clock_that_was_set_back_makes_a_latency_of_nothing() -> None:
    found = taken(NOW_NS - NS_PER_S)
    assert found == pytest.approx({"way": 0.0, "work": 4.0, "whole": 0.0}, rel=0.011, abs=1e-4)


def test_what_is_older_than_a_minute_was_waited_for_and_is_not_timed() -> None:
    assert taken(NOW_NS + OLDEST_NS + 1) == {}
    assert set(taken(NOW_NS + OLDEST_NS)) == {"way", "work", "whole"}
