"""/metrics: the page's state as Prometheus families, built when asked for and kept nowhere.

No global registry: nothing about this process itself is added, the numbers are those that the page shows.
"""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from dashboard import latency as spans
from dashboard.health import checks
from dashboard.payloads import Ghosts, Totals, number
from dashboard.state import PageState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Once:
    """A collector over families that are already made."""

    def __init__(self, families: list[Metric]) -> None:
        self.families = families

    def collect(self) -> Iterator[Metric]:
        yield from self.families


def exposition(state: PageState, totals: Totals, ghosts: Ghosts, clients: int, now_ns: int) -> bytes:
    """The text of /metrics."""
    registry = CollectorRegistry(auto_describe=False)
    families = [*_stages(state, now_ns), *_latency(state, now_ns), *_pairs(state, now_ns)]
    registry.register(_Once([*families, *_book(state, totals, clients, now_ns), *_ghosts(ghosts)]))
    return generate_latest(registry)


def _gauge(name: str, text: str, labels: tuple[str, ...], rows: list[tuple[list[str], Any]]) -> Metric:
    family = GaugeMetricFamily(f"scalp_{name}", text, labels=labels)
    for values, found in rows:
        value = number(found)
        if value is not None:
            family.add_metric(values, value)
    return family


def _stages(state: PageState, now_ns: int) -> Iterator[Metric]:
    stages = list(state.stages.values())
    one = ("stage",)
    alive = [([s.name], s.alive(now_ns)) for s in stages]
    yield _gauge("stage_up", "1 while the stage was heard within 3 s", one, alive)
    age = [([s.name], (now_ns - s.heard_ns) / 1e9) for s in stages if s.heard_ns is not None]
    yield _gauge("stage_last_heard_seconds", "Time since the stage was last heard", one, age)
    known = [(s.name, s.beat) for s in stages if s.beat is not None]
    restarts = [([name], beat.restarts) for name, beat in known]
    yield _gauge("stage_restarts", "Restarts since the pipeline was started", one, restarts)
    latency = [([n, q], b.latency_us[i] / 1e6) for n, b in known for i, q in enumerate(("0.5", "0.99"))]
    yield _gauge(
        "stage_latency_seconds",
        "Arrival of a message to its publication, last minute",
        ("stage", "quantile"),
        latency,
    )
    facts = [([n, k], v) for n, b in known for k, v in b.facts.items() if isinstance(v, int | float)]
    yield _gauge("stage_fact", "A stage's own figure, by name", ("stage", "fact"), facts)
    differs = [([s.name], s.name in state.differs) for s in stages]
    yield _gauge("stage_settings_differ", "1 while settings or record layout differ from the page's", one, differs)


def _latency(state: PageState, now_ns: int) -> Iterator[Metric]:
    rows = [
        ([stage, name, told], window)
        for stage, name, minute, hour in spans.spans(state, now_ns)
        for told, window in (("minute", minute), ("hour", hour))
    ]
    labels = ("stage", "span", "window")
    counts = [(names, window.samples) for names, window in rows]
    yield _gauge("latency_count", "Latencies that the window holds", labels, counts)
    found = [
        ([*names, quantile], us / 1e6)
        for names, window in rows
        if window.samples
        for quantile, us in (("0.5", window.p50), ("0.99", window.p99), ("1", window.max))
    ]
    yield _gauge("latency_seconds", "Time that a step takes, by the stage where it ends", (*labels, "quantile"), found)


def _pairs(state: PageState, now_ns: int) -> Iterator[Metric]:
    one = ("pair",)
    views = [(p.name, p.view) for p in state.pairs.values() if p.view is not None]
    yield _gauge("price", "Last trade", one, [([n], v.price) for n, v in views])
    yield _gauge("rsi", "RSI over the forming candle", one, [([n], v.rsi) for n, v in views])
    bands = [([n, b], getattr(v, f"bb_{b}")) for n, v in views for b in ("lower", "middle", "upper")]
    yield _gauge("bollinger", "Bollinger band", ("pair", "band"), bands)
    ages = [([p.name], (now_ns - p.moved_ns) / 1e9) for p in state.pairs.values() if p.moved_ns is not None]
    yield _gauge("price_age_seconds", "Time since the last trade was seen", one, ages)
    held = [(p.name, p.status) for p in state.pairs.values() if p.status is not None]
    yield _gauge("position_quantity", "Held, in base currency", one, [([n], s.quantity) for n, s in held])
    yield _gauge("stop_price", "Trailing stop", one, [([n], s.stop_price) for n, s in held])
    yield _gauge("unrealized_quote", "Unrealised P&L net of the exit fee", one, [([n], s.unrealized) for n, s in held])
    yield _gauge("wallet_base", "Base currency in the wallet", one, [([n], s.wallet_base) for n, s in held])
    states = [([n, s.status, s.mode], 1) for n, s in held]
    yield _gauge("status", "1 for the status and mode in force", ("pair", "status", "mode"), states)


def _book(state: PageState, totals: Totals, clients: int, now_ns: int) -> Iterator[Metric]:
    found = checks(state, now_ns)
    yield _gauge("healthy", "1 when /healthz answers 200", (), [([], all(c.ok for c in found))])
    yield _gauge("check_ok", "One check of /healthz", ("check",), [([c.name], c.ok) for c in found])
    age = state.market_age_ms(now_ns)
    yield _gauge(
        "market_age_seconds", "Age of the last proof of the market", (), [([], None if age is None else age / 1000)]
    )
    statuses = [p.status for p in state.pairs.values() if p.status is not None]
    yield _gauge("realized_quote", "Sum of profits of the book", (), [([], s.realized) for s in statuses[:1]])
    costs = "The rise of the price that pays for a round trip, per cent"
    yield _gauge("break_even_pct", costs, (), [([], s.break_even_pct) for s in statuses[:1]])
    yield _gauge("stop_pct", "Distance of the trailing stop, per cent", (), [([], s.stop_pct) for s in statuses[:1]])
    shadow = statuses[:1]
    yield _gauge("shadow_trades", "Real orders compared with paper", (), [([], s.shadow_trades) for s in shadow])
    worse = "How much worse than on paper the latest were filled, median of 20, basis points"
    yield _gauge("shadow_median_bps", worse, (), [([], s.shadow_median_bps) for s in shadow])
    yield _gauge("shadow_lost_quote", "Lost against paper fills", (), [([], s.shadow_lost) for s in shadow])
    yield _gauge("stake_quote", "What an entry may cost now, real orders", (), [([], s.stake) for s in statuses[:1]])
    yield _gauge("wallet_quote", "Quote currency in the wallet", (), [([], s.wallet_quote) for s in statuses[:1]])
    results = [(["win"], totals.wins), (["loss"], totals.losses)]
    yield _gauge("trades", "Completed exits of the book", ("result",), results)
    yield _gauge("fees_quote", "Fees paid by the book", (), [([], totals.fees)])
    yield _gauge("stream_clients", "Pages that listen", (), [([], clients)])
    events = CounterMetricFamily("scalp_events", "Events heard by this page, by level", labels=("level",))
    for level, count in sorted(state.levels.items()):
        events.add_metric([level], count)
    yield events


def _ghosts(ghosts: Ghosts) -> Iterator[Metric]:
    counts = {"ghost": ghosts.legs, "confirmed": ghosts.confirmed, "unknown": ghosts.unknown}
    one = ("verdict",)
    legs = [([verdict], count) for verdict, count in counts.items()]
    yield _gauge("ghost_legs", "Legs by what the closed candle said of their entry", one, legs)
    yield _gauge("ghost_share", "Ghosts of the legs of which it is known", (), [([], ghosts.share)])
    profits = [(["ghost"], ghosts.profit), (["confirmed"], ghosts.confirmed_profit)]
    yield _gauge("ghost_profit_quote", "Net profit of these legs", one, profits)
