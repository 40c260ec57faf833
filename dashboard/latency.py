"""From the spans of the heartbeats to what page, /api/stats and /metrics show of them; pure.

A span counts while its stage is heard: what a stage that is down said last is no latency of now. What a window has not
seen is null, never 0.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from core.histogram import Window
from dashboard.state import PageState

# From a trade's arrival at the feeder's socket to each step of what it sets off: step, stage, span.
PATH = (
    ("publish", "feeder", "arrival_to_publish"),
    ("update", "indicators", "trade_to_update"),
    ("decision", "trader", "trade_to_decision"),
    ("order", "trader", "trade_to_order"),
    ("fill", "trader", "trade_to_fill"),
)

# Where orders are real, the way ends on the wire: what fills them is no trade that this machine saw first.
PATH_LIVE = (*PATH[:-1], ("wire", "trader", "trade_to_wire"))

# What an order's last part is made of, where orders are real: the decision's end, disk, request, answer of the venue.
PARTS = (
    ("decision to disk", "trader", "decision_to_disk"),
    ("disk to wire", "trader", "disk_to_wire"),
    ("wire to answer", "trader", "wire_to_answer"),
)

# What each stage adds on the way from the trade to the order. The way over the bus ends in the stage that takes the
# frame, and who takes it late makes it long; so that stage is named.
SHARES = (
    ("feeder", "arrival_to_publish"),
    ("indicators", "publish_to_arrival"),
    ("indicators", "arrival_to_update"),
    ("trader", "update_to_arrival"),
    ("trader", "arrival_to_decision"),
    ("trader", "decision_to_order"),
    ("trader", "disk_to_wire"),
)


def spans(state: PageState, now_ns: int) -> Iterator[tuple[str, str, Window, Window]]:
    """Stage, span, its last minute and its last hour, of every stage that is heard."""
    for stage in state.stages.values():
        if stage.beat is not None and stage.alive(now_ns):
            for name, (minute, hour) in stage.beat.spans.items():
                yield stage.name, name, minute, hour


def by_stage(state: PageState, now_ns: int) -> dict[str, dict[str, Any]]:
    """Every span by stage and name, microseconds: the `latency` of /api/stats."""
    found: dict[str, dict[str, Any]] = {}
    for stage, name, minute, hour in spans(state, now_ns):
        found.setdefault(stage, {})[name] = {"minute": window(minute), "hour": window(hour)}
    return found


def path(state: PageState, now_ns: int) -> list[dict[str, Any]]:
    """The steps from trade to fill, or to the wire, in order, each with all the time since the trade's arrival."""
    return _steps(state, now_ns, PATH_LIVE if state.config.live else PATH)


def parts(state: PageState, now_ns: int) -> list[dict[str, Any]]:
    """The parts of a real order's way from decision to answer; none in simulation."""
    return _steps(state, now_ns, PARTS if state.config.live else ())


def _steps(state: PageState, now_ns: int, steps: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    known = by_stage(state, now_ns)
    nothing = {"minute": window(None), "hour": window(None)}
    return [{"step": step, **known.get(stage, {}).get(name, nothing)} for step, stage, name in steps]


def slowest(state: PageState, now_ns: int) -> dict[str, Any] | None:
    """The share of the last minute's way from trade to order or wire with the highest p99; None where none went it."""
    known = {(stage, name): minute for stage, name, minute, _ in spans(state, now_ns) if minute.samples}
    shares = [(known[share].p99, share) for share in SHARES if share in known]
    if not shares:
        return None
    p99, (stage, name) = max(shares)
    return {"stage": stage, "span": name, "p99": p99}


def window(found: Window | None) -> dict[str, Any]:
    """One window as an object, microseconds."""
    if found is None or not found.samples:
        return {"count": 0, "p50": None, "p99": None, "max": None}
    return {"count": found.samples, "p50": found.p50, "p99": found.p99, "max": found.max}
