"""Limits in force, worked out of what was booked: what the trader's own gate says at the same moments."""

from pathlib import Path

import pytest

from bus.messages import SignalEvent, TradeEvent
from dashboard.limits import Stretch, day_begins, in_force
from tests.recorded_session import Recording

MINUTE = 60_000
DAY = 86_400_000
T = 20_000 * DAY + 12 * 60 * MINUTE
ORDER = ("max_daily_loss", "cooldown", "max_orders_per_minute", "max_open_positions")

CASES = {
    "none is set": ({}, [(T, -5.0)], [T], 9, []),
    "off": ({"COOLDOWN_SECONDS": "0", "MAX_DAILY_LOSS": "0"}, [(T, -5.0)], [T], 9, []),
    "cooldown after an exit": ({"COOLDOWN_SECONDS": "20"}, [(T, 1.0)], [], 0, [("cooldown", T, T + 20_000)]),
    "cooldowns that meet are one": (
        {"COOLDOWN_SECONDS": "20"}, [(T, 1.0), (T + 15_000, 1.0)], [], 0, [("cooldown", T, T + 35_000)],
    ),
    "a cooldown that is over": ({"COOLDOWN_SECONDS": "20"}, [(T - 20_000, 1.0)], [], 0, []),
    "entries enough": (
        {"MAX_ORDERS_PER_MINUTE": "2"}, [], [T - 30_000, T + 5_000], 0,
        [("max_orders_per_minute", T + 5_000, T + 30_000)],
    ),
    "entries too far apart": ({"MAX_ORDERS_PER_MINUTE": "2"}, [], [T - 59_000, T + 5_000], 0, []),
    "a day's loss, to its end": (
        {"MAX_DAILY_LOSS": "10"}, [(T - 1, -4.0), (T + 7, -6.0)], [], 0, [("max_daily_loss", T + 7, T + DAY // 2)],
    ),
    "a gain lifts it": (
        {"MAX_DAILY_LOSS": "10"}, [(T, -10.0), (T + 9, 0.5)], [], 0, [("max_daily_loss", T, T + 9)],
    ),
    "the day before does not count": ({"MAX_DAILY_LOSS": "10"}, [(T - DAY, -9.0), (T, -9.0)], [], 0, []),
    "days of another zone": (
        {"MAX_DAILY_LOSS": "10", "DAY_OFFSET_MINUTES": "690"}, [(T, -10.0)], [], 0,
        [("max_daily_loss", T, T + DAY // 2 - 690 * MINUTE)],
    ),
    "pairs enough are held": ({"MAX_OPEN_POSITIONS": "2"}, [], [], 2, [("max_open_positions", None, None)]),
    "one more may be": ({"MAX_OPEN_POSITIONS": "2"}, [], [], 1, []),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "exits", "entries", "held", "expected"), CASES.values(), ids=CASES)
def test_a_limit(settings: dict, exits: list, entries: list, held: int, expected: list) -> None:
    assert in_force(settings, exits, entries, held, T) == [Stretch(*one) for one in expected]


def test_a_day_begins_where_the_trader_s_does() -> None:
    assert day_begins(T, {}) == 20_000 * DAY
    assert day_begins(T, {"DAY_OFFSET_MINUTES": "-60"}) == 20_000 * DAY + 60 * MINUTE


def test_it_is_what_the_trader_s_gate_says(tmp_path: Path) -> None:
    limits = {"COOLDOWN_SECONDS": "7", "MAX_ORDERS_PER_MINUTE": "3", "MAX_DAILY_LOSS": "30"}
    rec = Recording(tmp_path, seed=4, **limits)
    said: dict[int, str] = {}
    for _ in range(2_500):
        rec.trades(1)
        said[rec.ns // 1_000_000] = rec.engine.limit()
    exits = [(e.at.time_ms, float(e.profit)) for e in rec.events if isinstance(e, TradeEvent) and e.profit is not None]
    entries = [e.at.time_ms for e in rec.events if isinstance(e, SignalEvent) and e.outcome == "approved"
               and e.action == "enter"]  # fmt: skip
    edges = {ms for ms, _ in exits} | {ms + 7_000 for ms, _ in exits} | {ms + d for ms in entries for d in (0, MINUTE)}
    seen = set()
    for ms, word in said.items():
        if any(abs(ms - edge) <= 1 for edge in edges):
            continue  # the gate counts in ns
        found = [one.reason for one in in_force(limits, exits, entries, 0, ms - ms % MINUTE)
                 if one.from_ms is not None and one.to_ms is not None and one.from_ms <= ms < one.to_ms]  # fmt: skip
        assert word == next((name for name in ORDER if name in found), ""), ms
        seen.add(word)
    assert {"", "cooldown", "max_orders_per_minute", "max_daily_loss"} <= seen
    rec.close()
