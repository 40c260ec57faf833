"""/api/why: which minutes may be asked for, what is said where the tape is gone, and each sentence."""

from pathlib import Path
from typing import Any

import pytest

from bus.messages import Candle
from core.clock import NS_PER_S
from dashboard.why import BadMinute, minute_of
from storage.batch import Batch
from storage.writer import Writer
from tests.api.test_dashboard_http import client as page_client
from tests.dashboard_world import PAIR, Rows, healthy, page
from tests.indicator_tools import T0
from tests.why_world import MINUTE_NS, Slow, client, database

NOW = 1_700_000_000_000  # 2023-11-14T22:13:20Z
MINUTE = NOW - NOW % 60_000

WHEN = {
    "nothing: the minute that runs": (None, 0, MINUTE),
    "ms": ("1699999999999", 0, MINUTE),
    "ISO with zone": ("2023-11-14T22:13:59Z", 0, MINUTE),
    "ISO without zone is UTC": ("2023-11-14T22:13", 0, MINUTE),
    "ISO without zone by the asker's clock": ("2023-11-15T03:43:01", 330, MINUTE),
    "a time of today": ("22:13", 0, MINUTE),
    "with seconds": ("22:12:59", 0, MINUTE - 60_000),
    "of the asker's today, which is tomorrow in UTC": ("03:43", 330, MINUTE),
}


@pytest.mark.parametrize(("at", "offset", "expected"), WHEN.values(), ids=WHEN)
def test_a_minute_is_named(at: str | None, offset: int, expected: int) -> None:
    assert minute_of(at, NOW, offset) == expected


@pytest.mark.parametrize("at", ["soon", "25:00", "2023-13-01", "17", "99999999999999", "2023-11-14T22:15", "²"])
def test_what_is_no_minute_is_told_with_an_example(at: str) -> None:
    with pytest.raises(BadMinute, match="at="):
        minute_of(at, NOW, 0)


@pytest.mark.parametrize(("at", "offset"), [("0001-01-01", 60), ("9999-12-31T23:59", -60)])
def test_a_day_at_the_end_of_the_calendar_is_no_minute_in_any_zone(at: str, offset: int) -> None:
    with pytest.raises(BadMinute, match=f"at={at}"):
        minute_of(at, NOW, offset)


def test_a_bad_minute_is_400_and_a_damaged_database_503() -> None:
    rows = Rows()
    asked = page_client(healthy(page(rows)))
    answer = asked.get("/api/why", params={"at": "soon"})
    assert (answer.status_code, "HH:MM" in answer.json()["error"]) == (400, True)
    rows.broken = True
    answer = asked.get("/api/why")
    assert answer.status_code == 503 and "malformed" in answer.json()["error"]


def test_nothing_is_kept_of_a_minute() -> None:
    found = page_client(healthy(page())).get("/api/why").json()
    assert (found["source"], found["journal"], found["trades"]) == ("none", False, 0)
    assert "Nothing is kept of that minute" in found["sentence"]


@pytest.fixture
def rec(tmp_path: Path) -> Slow:
    made = Slow(tmp_path, seed=3)
    made.trades(400)
    return made


def ask(rec: Slow, at_ns: int, **params: Any) -> dict[str, Any]:
    asked = client(rec, database(rec))
    found: dict[str, Any] = asked.get("/api/why", params={"at": at_ns // 1_000_000, **params}).json()
    return found


def test_an_entry_is_told_with_what_was_seen(rec: Slow) -> None:
    entry = next(event for event in rec.events if getattr(event, "outcome", "") == "approved")
    found = ask(rec, entry.at.time_ms * 1_000_000)
    told = [one for one in found["happened"] if one["what"] == "entry"]
    assert (told[0]["number"], told[0]["rsi"]) == (entry.at.record, entry.rsi)
    rule = next(rule for rule in found["rules"] if rule["rule"] == entry.reason)
    assert rule["held"] >= 1
    assert found["sentence"].startswith("Decided to buy at ")


def test_a_blocked_entry_names_its_reason(rec: Slow) -> None:
    rec.block("gap", True)
    rec.trades(300)
    rec.block("gap", False)
    refused = [event for event in rec.events if getattr(event, "outcome", "") == "refused:gap"]
    found = ask(rec, refused[0].at.time_ms * 1_000_000)
    assert "although" in found["sentence"] and found["sentence"].endswith("gap.")
    reasons = {one["reason"]: one for one in found["blocking"]}
    assert reasons["gap"]["from_ms"] <= refused[0].at.time_ms
    assert any(one["what"] == "refusal" and one["reason"] == "gap" for one in found["happened"])


def test_a_paused_minute_says_since_when(rec: Slow) -> None:
    rec.command("pause", "lunch")
    paused_ms = rec.ns // 1_000_000
    rec.trades(100)
    rec.command("resume")
    rec.trades(100)
    told = [ask(rec, (paused_ms + minute * 60_000) * 1_000_000) for minute in range(1, 9)]
    flat = [found for found in told if found["states"] == ["flat"]]
    assert flat
    for found in flat:
        held = any(rule["held"] for rule in found["rules"])
        assert ("although" if held else "blocked as well: paused") in found["sentence"], found
    [paused] = [one for one in told[0]["blocking"] if one["reason"] == "paused"]
    assert (paused["from_ms"], paused["why"]) == (paused_ms, "lunch")
    assert paused["to_ms"] > paused_ms
    later = ask(rec, rec.ns)
    assert all(one["reason"] != "paused" for one in later["blocking"])


def test_a_blind_minute_was_not_decided(rec: Slow) -> None:
    rec.restart_trader(missed=60)
    rec.trades(20)
    blind = next(event for event in rec.events if getattr(event, "kind", "") == "blind")
    reader_ns = rec.ns - 20 * 6 * NS_PER_S - 4 * MINUTE_NS
    found = ask(rec, reader_ns)
    assert {one["reason"] for one in found["blocking"]} >= {"blind"}, (found, blind)
    assert "blind" in found["sentence"]


def test_the_asker_s_clock_is_spoken(rec: Slow) -> None:
    at_ns = T0 + 10 * MINUTE_NS
    assert " UTC" in ask(rec, at_ns)["sentence"]
    assert " UTC" not in ask(rec, at_ns, offset_minutes=330)["sentence"]


def test_without_the_tape_the_candle_s_close_is_what_is_known(rec: Slow) -> None:
    path = database(rec)
    for file in (rec.book / "indicators").iterdir():
        file.unlink()
    at_ms = (T0 + 20 * MINUTE_NS) // 1_000_000
    writer, batch = Writer(path), Batch()
    for n, close in enumerate((100.0, 99.0, 98.0, 98.5)):
        time = at_ms + 15_000 * n
        batch.add_candle(Candle(PAIR, time, 100.0, 101.0, 97.0, close, 1.0, 7, 60.0 - n, 97.5, 100.0, 102.5, True))
    writer.write(batch)
    writer.close()
    found = client(rec, path).get("/api/why", params={"at": at_ms}).json()
    assert (found["source"], found["trades"]) == ("candles", 28)
    assert found["missing"] == ["no state of the indicators is kept"]
    assert "The tape no longer has that minute" in found["sentence"]
    conditions = [one for rule in found["rules"] for one in rule["conditions"]]
    assert conditions and all(one["value"] in (57.0, 60.0, 98.0) for one in conditions), conditions
    rec.close()
