"""A real recorded day through the whole bot: nothing lost, nothing doubled, nothing decided otherwise."""

import csv
import gzip
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from tests.pipeline import audit
from tests.pipeline.pipeline import Pipeline
from tests.reference import slow_strategy as slow
from tests.shared_data import shared_data

SPEED = 600
DAY = "bybit_inverse_btcusd_20191001"


def rows_of(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.timeout(600)
def test_a_recorded_day_at_600x_gives_its_candles_and_the_decisions_of_the_reference(
    make_pipeline: Callable[..., Pipeline],
) -> None:
    ticks, candles = shared_data(f"ticks/{DAY}.ticks.csv.gz"), shared_data(f"candles/{DAY}.1m-from-ticks.csv.gz")
    changes: dict[str, object] = {"PAPER_FILL": "instant", "RETENTION_MINUTES": 3000}
    bot = make_pipeline(SANDBOX_TAPE=ticks, SANDBOX_SPEED=SPEED, **changes)
    bot.start()
    day = rows_of(ticks)
    last_ms = int(day[-1]["ts_ns"]) // 1_000_000

    def at_the_end() -> bool:
        found = bot.rows("SELECT sum(trades) FROM candles")
        return bool(found) and found[0][0] == len(day)

    bot.wait(at_the_end, "the whole day in the database", seconds=86_400 / SPEED + 120)
    bot.wait(bot.healthy, "a tape that ended is healthy")
    bot.wait(lambda: not bot.rows("SELECT * FROM orders WHERE status NOT IN ('filled', 'cancelled')"), "no open order")
    rows, markets, fee_bps = audit.tape(bot.book.resolve())
    ((pair, market),) = markets.items()

    # the tape is the file
    taped = [row for row in rows if isinstance(row, slow.Trade)]
    assert [(t.ts_ns // 1_000_000, t.price, t.quantity, t.flags) for t in taped] == [
        (int(row["ts_ns"]) // 1_000_000, Decimal(row["price"]), Decimal(row["qty"]), 0) for row in day
    ]

    # the candles are those of the file, row for row
    in_database = bot.rows("SELECT time, open, high, low, close, volume, trades FROM candles ORDER BY time")
    expected = [
        (
            int(c["open_time_ms"]),
            *(float(c[name]) for name in ("open", "high", "low", "close")),
            round(Decimal(c["volume"]) / market.step),
            int(c["trades"]),
        )
        for c in rows_of(candles)
    ]
    assert [(*row[:5], round(Decimal(str(row[5])) / market.step), row[6]) for row in in_database] == expected
    assert bot.rows("SELECT * FROM gaps") == []

    # the decisions are those of the reference over the file itself
    entries = audit.journal(bot.book.resolve())
    assert audit.spans(entries, "degraded") == []
    blind = audit.spans(entries, "blind")
    assert all(last < first for first, last in blind), f"nothing was blind: {blind}"
    to_ms = 1_000_000  # the venue's times have no more
    plain = [
        slow.Trade(n, pair, int(row["ts_ns"]) // to_ms * to_ms, Decimal(row["price"]), Decimal(row["qty"]))
        for n, row in enumerate(day)
    ]
    result = audit.reference(list(plain), markets, fee_bps, [], changes)
    assert len(result.decisions) > 20
    audit.assert_same_decisions(entries, result)
    audit.assert_ledger_adds_up(bot.book.resolve(), entries, Decimal(10500))
    assert audit.wallet_of(entries) == result.wallet
    assert entries and last_ms >= audit.decided(entries)[-1].at.time_ms
    audit.assert_parity(bot.book.resolve())
