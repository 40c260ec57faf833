"""The benches of storage measure what they say: the same rows on either side, and counters by the day."""

import pytest

from core.errors import BotError
from tools.bench import rows, writes

KEYS = {"name", "value", "unit", "floor", "ratio"}


def test_all_ways_bring_the_same_rows_into_their_files():
    with rows.all_ways() as ways:
        found = []
        for way in ways:
            for shape in rows.SHAPES:
                way.seconds(shape, rows_a_round=300)
            tables = ("candles", "orders", "fills", "trades", "signals", "equity", "events", "cursors")
            found.append({table: sorted(map(repr, way.writer._read(f"SELECT * FROM {table}"))) for table in tables})
        assert all(found[0].values())
        assert found[0] == found[1]
        for table in found[0]:
            assert len(found[2][table]) == len(found[0][table]), table
        assert {table for table in found[0] if found[2][table] != found[0][table]} <= {"cursors"}


def test_a_row_of_the_table_has_value_floor_and_ratio():
    measured = rows.measure(1, rows_a_round=200)
    assert len(measured) == 2 * len(rows.SHAPES)
    assert all(row.keys() >= KEYS and row["value"] > 0 and row["floor"] > 0 for row in measured)


def test_what_lies_between_two_looks_is_told_by_the_day():
    def at(seconds, written, commits, laps):
        names = (writes.JOURNAL, writes.ROWS)
        return writes.Look(seconds, {"storage": written}, dict.fromkeys(names, commits), dict.fromkeys(names, laps))

    told = {row["name"]: row["value"] for row in writes.between(at(100, 5_000_000, 7, 1), at(200, 6_000_000, 17, 2))}
    assert told["written by storage"] == told["written by all"] == 864.0
    assert told["commits to journal.db"] == 8_640 and told["checkpoints of bot_data.db"] == 864
    assert told["syncs"] == 8_640 + 3 * 2 * 864


def test_without_a_bot_it_says_what_to_do(tmp_path):
    with pytest.raises(BotError, match="make start"):
        writes.measure(tmp_path, 0)
