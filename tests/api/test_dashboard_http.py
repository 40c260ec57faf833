"""The HTTP contract of design section 8, field by field, and every error as one clear line."""

import json
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from bus.messages import At, CheckedEvent, Entry, Event
from core.clock import ManualClock
from core.histogram import Window
from dashboard import payloads
from dashboard.page import Page
from dashboard.routes import create_app
from tests.dashboard_world import PAIR, SECOND_NS, Rows, beat, healthy, page, status, trade, view
from tests.operator_world import House

STATS = {
    "price", "rsi", "bb_lower", "bb_upper", "status", "mode", "venue", "book", "pair", "pairs", "entry_price",
    "stop_price", "buy_below", "sell_above", "unrealized_pl", "realized_pl", "wallet_quote", "wallet_base", "logs",
    "stages",
}  # fmt: skip
OURS = {
    "latency",
    "slowest",
    "ghosts",
    "break_even_pct",
    "stop_pct",
    "shadow_trades",
    "shadow_median_bps",
    "shadow_lost",
    "stop_holder",
    "stake",
}  # beyond the contract


def client(of: Page, host: str = "localhost:3000") -> TestClient:
    app = create_app(of, "testbox", ("bot.example.org",), House(of.clock).operating)
    return TestClient(app, base_url=f"http://{host}")


def trading(held: bool = False, rows: Rows | None = None, **changes: Any) -> Page:
    of = healthy(page(rows, **changes))
    of.state.fold_view(view(), of.clock.monotonic_ns())
    of.state.fold_status(status(held), of.clock.monotonic_ns())
    return of


def test_stats_has_every_field_of_the_contract() -> None:
    found = client(trading(held=True)).get("/api/stats").json()
    assert set(found) == STATS | OURS
    expected = {
        "price": 100.0, "rsi": 40.0, "bb_lower": 95.0, "bb_upper": 105.0, "status": "in_position", "mode": "sim",
        "venue": "sandbox", "book": "sim-sandbox-coindcx-seed1", "pair": PAIR, "pairs": [PAIR], "entry_price": 98.0,
        "stop_price": 100.495, "buy_below": 94.5, "sell_above": 107.25, "unrealized_pl": 4.875, "realized_pl": -12.5,
        "wallet_quote": 10487.5, "wallet_base": 2.5,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    for name in ("price", "realized_pl", "wallet_quote", "wallet_base", "unrealized_pl"):
        assert isinstance(found[name], float), f"{name} is a JSON number"


def test_stats_tell_what_a_round_trip_costs_and_where_the_stop_is() -> None:
    of = trading()
    assert [client(of).get("/api/stats").json()[name] for name in ("break_even_pct", "stop_pct")] == [None] * 2
    of.state.fold_status(status(break_even_pct=1.005, stop_pct=0.5), of.clock.monotonic_ns())
    found = client(of).get("/api/stats").json()
    assert (found["break_even_pct"], found["stop_pct"]) == (1.005, 0.5)
    families = {f.name: f for f in text_string_to_metric_families(client(of).get("/metrics").text)}
    assert families["scalp_break_even_pct"].samples[0].value == 1.005
    assert families["scalp_stop_pct"].samples[0].value == 0.5


def test_stats_tell_how_real_fills_compare_with_paper() -> None:
    of = trading()
    names = ("shadow_trades", "shadow_median_bps", "shadow_lost")
    found = client(of).get("/api/stats").json()
    assert [found[name] for name in names] == [None] * 3, "in simulation there is no shadow"
    told = status(mode="live", shadow_trades=7, shadow_median_bps=3.25, shadow_lost="12.5")
    of.state.fold_status(told, of.clock.monotonic_ns())
    found = client(of).get("/api/stats").json()
    assert [found[name] for name in names] == [7, 3.25, 12.5]
    families = {f.name: f for f in text_string_to_metric_families(client(of).get("/metrics").text)}
    values = [families[f"scalp_{name}"].samples[0].value for name in (*names[:2], "shadow_lost_quote")]
    assert values == [7, 3.25, 12.5]


def test_stats_tell_what_an_entry_may_cost_where_orders_are_real() -> None:
    of = trading()
    assert client(of).get("/api/stats").json()["stake"] is None
    of.state.fold_status(status(mode="live", stake="1000.5"), of.clock.monotonic_ns())
    assert client(of).get("/api/stats").json()["stake"] == 1000.5
    families = {f.name: f for f in text_string_to_metric_families(client(of).get("/metrics").text)}
    assert families["scalp_stake_quote"].samples[0].value == 1000.5


GHOSTS = {
    "legs": 3, "confirmed": 9, "unknown": 0, "waiting": 1, "share": 0.25, "profit": -7.5, "confirmed_profit": 12.25,
}  # fmt: skip


def test_ghost_entries_are_told_with_their_share_and_result() -> None:
    of = trading()
    assert client(of).get("/api/stats").json()["ghosts"]["share"] is None, "nothing is judged before it was read"
    assert client(of).get("/api/ghosts").json() == GHOSTS | {"entries": []}
    assert client(of).get("/api/stats").json()["ghosts"] == GHOSTS
    text = client(of).get("/metrics").text
    assert 'scalp_ghost_legs{verdict="ghost"} 3.0' in text and "scalp_ghost_share 0.25" in text
    assert 'scalp_ghost_profit_quote{verdict="confirmed"} 12.25' in text


def test_stats_are_null_when_flat() -> None:
    found = client(trading()).get("/api/stats").json()
    assert [found[name] for name in ("entry_price", "stop_price", "unrealized_pl")] == [None] * 3
    assert (found["status"], found["wallet_base"]) == ("idle", 0.0)


def test_stats_tell_every_span_of_minute_and_hour_in_microseconds() -> None:
    of = trading()
    minute, hour = Window(3, 90.5, 800.25, 950.0), Window(0, 0.0, 0.0, 0.0)
    of.state.fold_beat(beat("trader", spans={"trade_to_decision": (minute, hour)}), of.clock.monotonic_ns(), 0)
    found = client(of).get("/api/stats").json()
    assert found["latency"] == {
        "trader": {
            "trade_to_decision": {
                "minute": {"count": 3, "p50": 90.5, "p99": 800.25, "max": 950.0},
                "hour": {"count": 0, "p50": None, "p99": None, "max": None},
            }
        }
    }
    assert found["slowest"] is None
    assert found["stages"][2]["latency_us"] == {"p50": 90.0, "p99": 800.0}


def test_stats_before_anything_was_heard() -> None:
    rows = Rows()
    found = client(page(rows, live=True)).get("/api/stats").json()
    assert set(found) == STATS | OURS
    assert (found["status"], found["mode"], found["price"], found["wallet_quote"]) == ("warming_up", "live", None, None)
    assert found["realized_pl"] == 0.0, "no trades sum up to nothing"


def test_indicators_without_candles_are_null_and_not_nan() -> None:
    of = healthy(page())
    of.state.fold_view(view(rsi=None, bb_lower=float("nan"), bb_upper=None, warm=False), 0)
    text = client(of).get("/api/stats").text
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name))["bb_lower"] is None


def test_stages_of_stats() -> None:
    of = trading()
    stages = client(of).get("/api/stats").json()["stages"]
    assert [stage["name"] for stage in stages] == ["feeder", "indicators", "trader", "storage", "dashboard"]
    assert stages[0] == {
        "name": "feeder",
        "alive": True,
        "last_seen_ms": of.clock.wall_ms(),
        "restarts": 0,
        "latency_us": {"p50": 90.0, "p99": 800.0},
    }


def test_logs_of_stats_are_the_last_fifty_events() -> None:
    of = trading()
    for i in range(60):
        of.state.fold_event(Event("trader", "info", f"line {i}", 1000 + i, PAIR))
    logs = client(of).get("/api/stats").json()["logs"]
    assert len(logs) == 50
    assert logs[-1] == {"time_ms": 1059, "stage": "trader", "level": "info", "text": "line 59", "pair": PAIR}


@pytest.mark.parametrize("name", ["B-ETH_USDT", "ETH/USDT", "ETHUSDT"])
def test_a_pair_is_found_by_either_spelling(name: str) -> None:
    found = client(trading(pairs=(PAIR, "B-ETH_USDT"))).get("/api/stats", params={"pair": name}).json()
    assert (found["pair"], found["price"]) == ("B-ETH_USDT", None)


@pytest.mark.parametrize("path", ["/api/stats", "/api/candles", "/api/stream"])
def test_an_unknown_pair_is_404_and_names_the_known_ones(path: str) -> None:
    answer = client(trading()).get(path, params={"pair": "B-DOGE_USDT"})
    assert answer.status_code == 404
    assert answer.json() == {"error": f"unknown pair 'B-DOGE_USDT'; known are: {PAIR}", "pairs": [PAIR]}


@pytest.mark.parametrize("path", ["/api/candles", "/api/trades", "/api/equity"])
@pytest.mark.parametrize("limit", ["0", "-1", "5001", "x", "1.5", "", "1e3"])
def test_a_limit_out_of_range_is_400_and_names_itself(path: str, limit: str) -> None:
    answer = client(trading()).get(path, params={"limit": limit})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"limit={limit}: input should be")


def test_history_is_oldest_first_with_what_storage_has_not_written() -> None:
    rows = Rows()
    rows.rows["candles"] = [{"time": 0, "close": 1.0}, {"time": 60_000, "close": 2.0}]
    rows.rows["trades"] = [{"id": 2, "action": "sell"}, {"id": 1, "action": "buy"}]
    rows.rows["equity"] = [{"time": 1, "balance": 10500.0}]
    of = trading(rows=rows)
    of.state.trades[3] = trade(3, "buy", None)
    web = client(of)
    assert [row["time"] for row in web.get("/api/candles").json()] == [0, 60_000]
    assert web.get("/api/candles", params={"limit": 1}).json()[0]["close"] == 100.0, "the forming candle is live"
    assert [row["id"] for row in web.get("/api/trades").json()] == [1, 2, 3]
    newest = web.get("/api/trades", params={"limit": 1}).json()
    assert newest == [
        {
            "id": 3, "pair": PAIR, "action": "buy", "price": 100.5, "quantity": 2.5, "fee": 0.125, "profit": None,
            "reason": "mean_reversion", "timestamp": "2026-11-22T13:00:00.000Z", "client_order_id": "scalp3",
        }
    ]  # fmt: skip
    assert web.get("/api/equity").json() == rows.rows["equity"]


@pytest.mark.parametrize("path", ["/api/candles", "/api/trades", "/api/equity"])
def test_a_database_that_cannot_be_read_is_one_clear_line(path: str) -> None:
    rows = Rows()
    rows.broken = True
    web = client(trading(rows=rows))
    answer = web.get(path)
    assert answer.status_code == 503
    assert answer.json() == {"error": "the database cannot be read: database disk image is malformed"}
    assert web.get("/api/stats").status_code == 200, "the live part goes on"


def test_healthz_is_200_or_503_with_the_failing_checks() -> None:
    clock = ManualClock()
    of = healthy(page(clock=clock))
    answer = client(of).get("/healthz")
    assert (answer.status_code, answer.json()["ok"], answer.json()["failing"]) == (200, True, {})
    clock.advance(5 * SECOND_NS)
    answer = client(of).get("/healthz")
    assert answer.status_code == 503
    assert set(answer.json()["failing"]) == {f"stage:{name}" for name in of.state.stages}
    assert "last heard 5.0 s ago" in answer.json()["failing"]["stage:trader"]


@pytest.mark.parametrize("action", ["pause", "resume", "flatten", "halt", "restart"])
def test_control_is_refused_naming_the_setting(action: str) -> None:
    answer = client(trading()).post("/api/control", json={"action": action})
    assert answer.status_code == 403
    assert answer.json()["setting"] == "DASHBOARD_PASSWORD"
    assert "make pause" in answer.json()["error"]


@pytest.mark.parametrize(("method", "path", "status_"), [("GET", "/nothing", 404), ("POST", "/api/stats", 405)])
def test_other_errors_are_one_line_too(method: str, path: str, status_: int) -> None:
    answer = client(trading()).request(method, path, headers={"content-type": "application/json"})
    assert (answer.status_code, list(answer.json())) == (status_, ["error"])


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/static/../app.py", "/static/%2e%2e/app.py"])
def test_nothing_else_is_served(path: str) -> None:
    assert client(trading()).get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/api/stats", "/healthz", "/metrics", "/static/app.css"])
@pytest.mark.parametrize(("host", "ok"), [("localhost", True), ("bot.example.org", True), ("evil.example.org", False)])
def test_a_foreign_host_is_421_everywhere(path: str, host: str, ok: bool) -> None:
    answer = client(trading(), host).get(path)
    assert (answer.status_code == 200) is ok
    if not ok:
        assert answer.status_code == 421 and "ALLOWED_HOSTS" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/", "/api/stats", "/nothing", "/static/js/main.js"])
@pytest.mark.parametrize("host", ["localhost", "evil.example.org"])
def test_every_answer_carries_the_security_headers(path: str, host: str) -> None:
    headers = client(trading(), host).get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'self'; ")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
    assert headers["referrer-policy"] == "no-referrer"


def test_live_answers_are_not_cached_and_files_are_checked_anew() -> None:
    web = client(trading())
    assert web.get("/api/stats").headers["cache-control"] == "no-store"
    assert web.get("/static/app.css").headers["cache-control"] == "no-cache"


def test_the_page_names_only_files_that_are_there() -> None:
    web = client(trading())
    text = web.get("/").text
    found = [part.split('"')[0] for mark in ('src="', 'href="static') for part in text.split(mark)[1:]]
    for name in found:
        path = name if name.startswith("static") else f"static{name}"
        assert web.get(f"/{path}").status_code == 200, path
    for name in (
        "chart",
        "control",
        "dom",
        "events",
        "format",
        "gauges",
        "header",
        "recovery",
        "stages",
        "stream",
        "tiles",
        "trades",
        "why",
    ):
        answer = web.get(f"/static/js/{name}.js")
        assert answer.status_code == 200 and "javascript" in answer.headers["content-type"]


def test_the_last_starts_report_is_answered_where_orders_are_real() -> None:
    of = page(live=True)
    assert client(of).get("/api/recovery").json()["start"] is None
    of.state.fold_entry(Entry(3, CheckedEvent(At(7, 1, 5), True, False, ["not agreed: x"], {}, {PAIR: "1"}, 90)), 0)
    found = client(of).get("/api/recovery").json()
    assert (found["live"], found["agreed"], found["since_ms"], found["why"]) == (True, False, 90, "x")
    assert found["start"]["after"] == {PAIR: "1"}
    assert payloads.health(of.state, of.totals(), of.checks(), 0)["recovery"]["agreed"] is False
    assert payloads.health(page().state, of.totals(), of.checks(), 0)["recovery"] is None, "nothing of it in simulation"


def test_metrics_can_be_parsed_and_say_what_the_page_says() -> None:
    of = trading(held=True)
    of.state.fold_event(Event("trader", "entry", "bought", 1, PAIR))
    spans = {"trade_to_order": (Window(0, 0.0, 0.0, 0.0), Window(2, 1_500.0, 2_500.0, 2_600.0))}
    of.state.fold_beat(beat("trader", spans=spans), of.clock.monotonic_ns(), 0)
    answer = client(of).get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(answer.text))
    samples = {(s.name, *sorted(s.labels.values())): s.value for family in families for s in family.samples}
    assert samples[("scalp_price", PAIR)] == 100.0
    assert samples[("scalp_unrealized_quote", PAIR)] == 4.875
    assert samples[("scalp_realized_quote",)] == -12.5
    assert samples[("scalp_wallet_quote",)] == 10487.5
    assert samples[("scalp_healthy",)] == 1.0
    assert samples[("scalp_stage_up", "trader")] == 1.0
    assert samples[("scalp_stage_latency_seconds", "0.99", "trader")] == pytest.approx(8e-4)
    assert samples[("scalp_latency_count", "hour", "trade_to_order", "trader")] == 2.0
    known = {s.labels["quantile"]: s.value for f in families for s in f.samples if s.name == "scalp_latency_seconds"}
    assert known == pytest.approx({"0.5": 1.5e-3, "0.99": 2.5e-3, "1": 2.6e-3}), "of the hour; the minute has none"
    assert samples[("scalp_events_total", "entry")] == 1.0
    assert samples[("scalp_status", PAIR, "in_position", "sim")] == 1.0


def test_metrics_of_a_page_that_has_heard_nothing() -> None:
    families = {f.name: f for f in text_string_to_metric_families(client(page()).get("/metrics").text)}
    assert families["scalp_healthy"].samples[0].value == 0.0
    assert not families["scalp_price"].samples


def test_too_many_listeners_are_told_so() -> None:
    of = trading()
    of.broadcaster.clients = 32
    answer = client(of).get("/api/stream")
    assert answer.status_code == 503 and "32 pages" in answer.json()["error"]
