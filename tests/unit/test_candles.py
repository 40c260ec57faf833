"""Candles under late, missing and equal trades, history, holes: one test a rule of `indicators.candles`."""

import csv
import gzip

import numpy as np
import pytest

from bus.records import BACKFILL, FORMING, LATE, PARTIAL, STALE, UPDATE, WARM
from indicators.layout import Parameters
from tests.indicator_tools import (
    MINUTE,
    SECOND,
    T0,
    candle,
    closed_rows,
    compiled,
    fold_all,
    hole,
    market,
    plain,
    ticks,
    trade,
)
from tests.shared_data import shared_data

QUICK = Parameters(60_000, warmup_candles=3, rsi_period=2, bb_period=3, bb_stddev=1.0)


def folded(*records: np.ndarray, parameters: Parameters = QUICK, pairs: int = 1):
    indicators = compiled(parameters, pairs)
    updates = fold_all(indicators, np.concatenate(records))
    return indicators, updates, closed_rows(indicators)


def test_a_candle_closes_with_the_first_trade_of_a_later_bucket() -> None:
    indicators, updates, rows = folded(
        trade(T0 + 1, 10.0, 1.0),
        trade(T0 + 2, 12.0, 2.0),
        trade(T0 + 3, 9.0, 3.0),
        trade(T0 + MINUTE - 1, 11.0, 4.0),
        trade(T0 + MINUTE, 20.0, 5.0),
    )
    (row,) = rows
    assert (row["open_ns"], row["open"], row["high"], row["low"], row["close"]) == (T0, 10.0, 12.0, 9.0, 11.0)
    assert (row["volume"], row["trades"], row["number"]) == (10.0, 4, 4)
    assert updates["closed"].tolist() == [0, 0, 0, 0, 1]
    assert updates["number"].tolist() == [0, 1, 2, 3, 4]
    (forming,) = indicators.describe([0])
    assert (forming["open_ns"], forming["close"], forming["volume"]) == (T0 + MINUTE, 20.0, 5.0)
    assert forming["flags"] & FORMING


def test_equal_trades_are_two_trades() -> None:
    one = trade(T0 + 5, 10.0, 2.0)
    _, updates, rows = folded(one, one, trade(T0 + MINUTE, 10.0))
    assert (rows["volume"][0], rows["trades"][0], len(updates)) == (4.0, 2, 3)


def test_trades_out_of_order_inside_a_bucket_are_ordinary() -> None:
    _, _, rows = folded(trade(T0 + 9, 10.0), trade(T0 + 3, 11.0), trade(T0 + MINUTE, 10.0))
    assert (rows["close"][0], rows["trades"][0]) == (11.0, 2)


def test_buckets_without_trades_become_flat_candles() -> None:
    _, updates, rows = folded(trade(T0, 10.0), trade(T0 + 3 * MINUTE + 5, 12.0))
    assert rows["open_ns"].tolist() == [T0, T0 + MINUTE, T0 + 2 * MINUTE]
    for name in ("open", "high", "low", "close"):
        assert rows[name].tolist() == [10.0, 10.0, 10.0]
    assert rows["volume"].tolist() == [1.0, 0.0, 0.0]
    assert rows["trades"].tolist() == [1, 0, 0]
    assert updates["closed"].tolist() == [0, 3]


@pytest.mark.parametrize("flags", [LATE, 0], ids=["flagged", "not flagged"])
def test_a_late_trade_is_no_trade(flags: int) -> None:
    indicators, updates, rows = folded(
        trade(T0, 10.0), trade(T0 + MINUTE, 12.0), trade(T0 + 30, 99.0, 5.0, flags), trade(T0 + 2 * MINUTE, 13.0)
    )
    assert rows["high"].tolist() == [10.0, 12.0]
    assert rows["volume"].tolist() == [1.0, 1.0]
    assert len(updates) == 4
    assert updates["codes"][2] == 0 and updates["price"][2] == 99.0
    assert indicators.heads[0]["late"] == 1
    assert indicators.heads[0]["number"] == 3


def warm(prices: list[float]) -> list[np.ndarray]:
    return [trade(T0 + i * MINUTE, price) for i, price in enumerate(prices)]


def test_a_backfilled_trade_moves_everything_and_decides_nothing() -> None:
    records = warm([10.0, 11.0, 12.0, 11.0, 10.5])
    _, updates, _ = folded(*records, trade(T0 + 4 * MINUTE + 1, 5.0, 1.0, BACKFILL), trade(T0 + 4 * MINUTE + 2, 5.0))
    _, straight, _ = folded(*records, trade(T0 + 4 * MINUTE + 1, 5.0), trade(T0 + 4 * MINUTE + 2, 5.0))
    assert updates["codes"][5] == 0
    assert straight["codes"][5] & WARM
    for name in ("rsi", "bb_lower", "bb_middle", "bb_upper", "closed"):
        assert updates[name][5] == straight[name][5]
    assert updates["codes"][6] == straight["codes"][6] != 0


def test_a_stale_trade_keeps_its_codes() -> None:
    records = warm([10.0, 11.0, 12.0, 11.0])
    _, updates, _ = folded(*records, trade(T0 + 3 * MINUTE + 1, 5.0, 1.0, STALE))
    _, fresh, _ = folded(*records, trade(T0 + 3 * MINUTE + 1, 5.0))
    assert updates["codes"][4] == fresh["codes"][4] != 0


def test_more_than_500_missing_buckets_start_a_new_segment() -> None:
    at_limit, _, rows = folded(trade(T0, 10.0), trade(T0 + 501 * MINUTE, 11.0))
    assert len(rows) == 501 and at_limit.heads[0]["segment"] == 1
    beyond, updates, rows = folded(trade(T0, 10.0), trade(T0 + 502 * MINUTE, 11.0))
    assert len(rows) == 1
    assert updates["segment"].tolist() == [1, 2]
    assert updates["closed"].tolist() == [0, 0]
    (segment,) = beyond.take_segments()
    assert segment.pair == 0 and segment.number == 2 and "500" in segment.why


def test_a_file_of_trades_has_no_limit_of_missing_buckets() -> None:
    indicators = compiled(QUICK, 1)
    indicators.start([market()], tape_clock=True)
    fold_all(indicators, np.concatenate([trade(T0, 10.0), trade(T0 + 3000 * MINUTE, 11.0)]))
    rows = closed_rows(indicators)
    assert len(rows) == 3000  # more than one call has room for
    assert rows["open_ns"].tolist() == [T0 + i * MINUTE for i in range(3000)]
    assert indicators.heads[0]["segment"] == 1
    indicators.start([market()], tape_clock=False)
    fold_all(indicators, trade(T0 + 4000 * MINUTE, 11.0))
    assert indicators.heads[0]["segment"] == 2


def test_candle_records_are_closed_history() -> None:
    records = [candle(T0 + i * MINUTE, 10.0 + i, volume=2.0, trades=7) for i in range(4)]
    indicators, updates, rows = folded(*records, trade(T0 + 4 * MINUTE, 15.0))
    assert rows["close"].tolist() == [10.0, 11.0, 12.0, 13.0]
    assert rows["trades"].tolist() == [7] * 4
    assert len(updates) == 1 and updates["number"][0] == 4
    assert updates["closed"][0] == 4 and updates["codes"][0] & WARM
    assert indicators.heads[0]["open_ns"] == T0 + 4 * MINUTE


def test_candles_missing_from_history_are_flat() -> None:
    _, _, rows = folded(candle(T0, 10.0), candle(T0 + 2 * MINUTE, 12.0))
    assert rows["close"].tolist() == [10.0, 10.0, 12.0]


def test_history_twice_counts_once() -> None:
    history = [candle(T0 + i * MINUTE, 10.0 + i) for i in range(4)]
    indicators, _, rows = folded(*history, *history)
    assert len(rows) == 4 and indicators.heads[0]["closed"] == 4


def test_a_forming_candle_is_gone_on_with() -> None:
    forming = candle(T0 + MINUTE, 12.0, FORMING | PARTIAL, open_=9.0, high=14.0, low=8.0, volume=5.0, trades=6)
    indicators, updates, rows = folded(
        candle(T0, 10.0), forming, trade(T0 + MINUTE + 30, 15.0, 1.0), trade(T0 + 2 * MINUTE, 12.0)
    )
    row = rows[1]
    assert (row["open"], row["high"], row["low"], row["close"]) == (9.0, 15.0, 8.0, 15.0)
    assert (row["volume"], row["trades"]) == (6.0, 7)
    assert row["flags"] & PARTIAL and not rows[0]["flags"] & PARTIAL
    assert updates["closed"].tolist() == [1, 2]
    assert not indicators.describe([0])["flags"][0] & PARTIAL


def test_a_forming_candle_replaces_what_was_seen_of_its_bucket() -> None:
    forming = candle(T0, 12.0, FORMING, open_=9.0, high=14.0, low=8.0, volume=5.0)
    _, _, rows = folded(trade(T0 + 1, 10.0), forming, trade(T0 + MINUTE, 12.0))
    assert (rows["open"][0], rows["volume"][0], rows["close"][0]) == (9.0, 5.0, 12.0)


def test_a_closed_candle_replaces_a_forming_one_of_its_bucket() -> None:
    indicators, _, rows = folded(trade(T0 + 1, 10.0), candle(T0, 12.0, volume=5.0), trade(T0 + 2, 99.0))
    assert (rows["close"][0], rows["volume"][0], len(rows)) == (12.0, 5.0, 1)
    assert indicators.heads[0]["late"] == 1  # its bucket is closed: the trade came too late


def test_a_later_candle_record_closes_the_forming_one() -> None:
    _, _, rows = folded(trade(T0 + 1, 10.0), candle(T0 + 2 * MINUTE, 12.0))
    assert rows["close"].tolist() == [10.0, 10.0, 12.0]


def test_an_older_candle_record_is_ignored() -> None:
    indicators, _, rows = folded(trade(T0 + 5 * MINUTE, 10.0), candle(T0, 99.0), candle(T0, 99.0, FORMING))
    assert len(rows) == 0
    assert indicators.heads[0]["close"] == 10.0


def test_a_hole_starts_a_new_segment_and_its_history_counts() -> None:
    history = [candle(T0 + i * MINUTE, 10.0 + i) for i in range(3)]
    before = [*warm([10.0, 11.0, 12.0, 11.0])]
    indicators, updates, _ = folded(
        *before, hole(T0 + 3 * MINUTE, T0 + 9 * MINUTE), *history, trade(T0 + 9 * MINUTE, 9.0)
    )
    assert updates["segment"].tolist() == [1, 1, 1, 1, 2]
    assert updates["codes"][3] & WARM
    assert updates["closed"][4] == 9  # three of history and the flat ones after it
    (segment,) = indicators.take_segments()
    assert "hole" in segment.why


def test_after_a_hole_the_warm_up_begins_anew() -> None:
    before = warm([10.0, 11.0, 12.0, 11.0])
    _, updates, _ = folded(*before, hole(T0, T0), trade(T0 + 9 * MINUTE + 1, 9.0), trade(T0 + 10 * MINUTE, 9.0))
    assert updates["closed"].tolist() == [0, 1, 2, 3, 0, 1]
    assert np.isnan(updates["rsi"][4:]).all() and np.isnan(updates["bb_lower"][4:]).all()
    assert updates["codes"][4:].tolist() == [0, 0]


def test_a_bucket_that_began_in_a_hole_is_partial() -> None:
    records = [trade(T0, 10.0), hole(T0, T0 + MINUTE), trade(T0 + MINUTE + 7, 9.0), trade(T0 + 2 * MINUTE, 9.0)]
    indicators, _, rows = folded(*records)
    assert rows["flags"].tolist() == [PARTIAL]
    assert indicators.heads[0]["flags"] == 0


def test_a_hole_before_any_candle_changes_nothing() -> None:
    indicators, updates, _ = folded(hole(T0, T0 + 1), trade(T0, 10.0))
    assert updates["segment"].tolist() == [1]
    assert indicators.take_segments() == []


def test_pairs_do_not_touch_each_other() -> None:
    a = warm([10.0, 11.0, 12.0, 11.0, 10.0])
    b = [trade(T0 + i * MINUTE + 1, price, pair=1) for i, price in enumerate([5.0, 4.0, 3.0, 2.0, 1.0])]
    mixed = [record for two in zip(a, b, strict=True) for record in two]
    _, alone, _ = folded(*a, pairs=2)
    _, both, _ = folded(*mixed, hole(T0, T0, pair=1), pairs=2)
    mine = both[both["pair"] == 0]
    for name in UPDATE.names:
        if name != "number" and not name.startswith("unused"):
            np.testing.assert_array_equal(mine[name], alone[name])


def test_an_unknown_pair_and_an_impossible_price_are_counted_and_decide_nothing() -> None:
    records = [*warm([10.0, 11.0, 12.0, 11.0]), trade(T0 + 3 * MINUTE, 5.0, pair=7)]
    records += [trade(T0 + 3 * MINUTE, price) for price in (0.0, -1.0, np.nan, np.inf)]
    indicators, updates, _ = folded(*records, trade(T0 + 3 * MINUTE + 1, 11.0), candle(T0 + MINUTE, 5.0, pair=9))
    assert updates["codes"][4:9].tolist() == [0] * 5
    assert indicators.unknown == 6
    assert updates["codes"][9] & WARM and np.isfinite(updates["rsi"][9])
    assert indicators.heads[0]["low"] == 11.0


def test_timeframes_of_seconds() -> None:
    _, _, rows = folded(trade(T0, 1.0), trade(T0 + 4 * SECOND, 2.0), parameters=Parameters(1000))
    assert len(rows) == 4


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        pytest.param(name, Parameters(60_000), id=name)
        for name in (
            "binance_spot_btcusdt_20240808T2354Z",
            "binance_spot_xrpeth_20191011",
            "bybit_inverse_btcusd_20191001",
            "coinbase_btcusd_20161007.secondbars",
            "kraken_bcheur_20230101",
            "kraken_xbtusdt_20251110",
            "mtgox_btcusd_20131211",
        )
    ],
)
def test_candles_of_recorded_days_equal_those_made_from_the_same_ticks(name: str, parameters: Parameters) -> None:
    records = ticks(name)
    with gzip.open(shared_data(f"candles/{name}.1m-from-ticks.csv.gz"), "rt") as file:
        expected = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    indicators = compiled(parameters, 1)
    indicators.start([market()], tape_clock=True)
    fold_all(indicators, records)
    last = indicators.describe([0])
    rows = np.concatenate([*indicators.take_closed(), last])
    assert len(rows) == len(expected)
    assert (rows["open_ns"] // 1_000_000).tolist() == [int(row["open_time_ms"]) for row in expected]
    for column in ("open", "high", "low", "close", "trades"):
        assert rows[column].tolist() == [row[column] for row in expected], column
    np.testing.assert_allclose(rows["volume"], [row["volume"] for row in expected], rtol=1e-12, atol=1e-12)


def test_uncompiled_it_is_the_same() -> None:
    records = np.concatenate(
        [
            *[candle(T0 + i * MINUTE, 10.0 + i % 3) for i in range(4)],
            *[trade(T0 + 4 * MINUTE + i * 20 * SECOND, 10.0 + i % 5) for i in range(30)],
            hole(T0, T0),
            *[trade(T0 + 20 * MINUTE + i * 50 * SECOND, 10.0 + i % 5) for i in range(30)],
        ]
    )
    slow, fast = plain(QUICK), compiled(QUICK)
    assert fold_all(slow, records).tobytes() == fold_all(fast, records).tobytes()
    assert slow.state.tobytes() == fast.state.tobytes()
    assert closed_rows(slow).tobytes() == closed_rows(fast).tobytes()
    assert slow.describe([0]).tobytes() == fast.describe([0]).tobytes()
