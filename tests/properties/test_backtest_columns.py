"""Columns and the table of candles hold what the live indicators know at each trade, to the bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest import gather
from backtest.columns import NoColumns, candles_of, columns_of
from backtest.trigger_prices import reading
from bus.messages import Start
from bus.records import BACKFILL, LATE, STALE, UNTAPED
from indicators import layout
from indicators.layout import Parameters
from tests.column_tools import Records, disordered, functions, markets, start_of, trades_of
from tests.indicator_tools import MINUTE, SECOND, T0, candle, compiled, fold_all, hole, ticks

TIMEFRAMES_MS = (1_000, 5_000, 60_000, 180_000, 3_600_000)


def parameters(draw: st.DrawFn) -> Parameters:
    return Parameters(
        draw(st.sampled_from(TIMEFRAMES_MS)),
        warmup_candles=draw(st.integers(1, 5)),
        rsi_period=draw(st.integers(2, 6)),
        rsi_smoothing=draw(st.sampled_from(["wilder", "ema"])),
        bb_period=draw(st.integers(2, 8)),
        bb_stddev=0.9,
        connected_throughout=draw(st.booleans()),
    )


def check_against_live(records: np.ndarray, chosen: Parameters, source: Records) -> None:
    """Every UPDATE of the indicators, said again by the table's row of its candle."""
    columns = columns_of(source, chosen.timeframe_ms, gather)
    table = candles_of(columns, chosen, gather)
    assert (
        candles_of(columns_of(source, chosen.timeframe_ms, functions()), chosen, functions()).tolist() == table.tolist()
    )
    updates = fold_all(compiled(chosen), records)
    kept = updates[updates["flags"] & LATE == 0]
    for name, field in (("ns", "exchange_ns"), ("price", "price"), ("ticks", "ticks"), ("lots", "lots")):
        assert getattr(columns, name).tolist() == kept[field].tolist(), name
    assert len(columns) == 0 or columns.number(np.arange(len(columns))).tolist() == kept["number"].tolist()
    assert columns.late == len(updates) - len(kept)
    params = layout.params_of(layout.new_state(chosen, 1))
    rows = table[np.searchsorted(table["first"], np.arange(len(kept)), side="right") - 1]
    for row, update in zip(rows, kept, strict=True):
        assert row["closed"] == update["closed"]
        rsi, lower = reading(row, params, update["price"])
        assert np.array([rsi, lower]).tobytes() == np.array([update["rsi"], update["bb_lower"]]).tobytes(), update


@settings(max_examples=150, deadline=None)
@given(st.data(), markets(200))
def test_the_table_gives_the_live_indicators_of_every_trade(data: st.DataObject, records: np.ndarray) -> None:
    chosen = data.draw(st.composite(parameters)())
    cuts = data.draw(st.lists(st.integers(0, 200), max_size=4))
    check_against_live(records, chosen, Records(records, cuts=cuts, connected=chosen.connected_throughout))


@settings(max_examples=60, deadline=None)
@given(st.data(), markets(150), st.integers(0, 2**32 - 1))
def test_late_trades_are_left_out_and_times_may_go_back_inside_a_candle(
    data: st.DataObject, records: np.ndarray, seed: int
) -> None:
    chosen = data.draw(st.composite(parameters)())
    rng = np.random.default_rng(seed)
    records = disordered(records, rng, chosen.timeframe_ms)
    late = rng.random(len(records)) < 0.2
    records["flags"][late] = LATE
    records["exchange_ns"][late] -= 10 * 3_600_000 * 1_000_000
    cuts = data.draw(st.lists(st.integers(0, 150), max_size=4))
    check_against_live(records, chosen, Records(records, cuts=cuts, connected=chosen.connected_throughout))


@pytest.mark.parametrize("name", ["kraken_bcheur_20230101", "kraken_xbtusdt_20251110", "binance_spot_xrpeth_20191011"])
@pytest.mark.parametrize("timeframe_ms", [15_000, 60_000, 900_000])
def test_recorded_ticks(name: str, timeframe_ms: int) -> None:
    records = ticks(name)
    chosen = Parameters(timeframe_ms, rsi_smoothing="ema", connected_throughout=True)
    check_against_live(records, chosen, Records(records, cuts=[1, 700]))


@settings(max_examples=150, deadline=None)
@given(markets(150), st.integers(0, 2**32 - 1), st.booleans())
def test_minutes_begin_where_market_time_enters_a_later_one(records: np.ndarray, seed: int, in_order: bool) -> None:
    if not in_order:
        records = disordered(records, np.random.default_rng(seed), 900_000)
    columns = columns_of(Records(records), 900_000, gather)
    minutes = np.maximum.accumulate(records["exchange_ns"]) // MINUTE
    expected = [at for at in range(len(minutes)) if at == 0 or minutes[at] > minutes[at - 1]]
    assert columns.minutes.tolist() == expected
    assert columns.ordered == bool((np.diff(records["exchange_ns"]) >= 0).all())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=300), st.integers(0, 300), st.integers(-1, 301), st.booleans())
def test_border_is_the_first_trade_not_before_a_time(times: list[int], at: int, time: int, in_order: bool) -> None:
    ns = np.array(sorted(times) if in_order else times, np.int64)
    at = min(at, len(ns))
    expected = next((k for k in range(at, len(ns)) if ns[k] >= time), len(ns))
    assert gather.border(ns, at, time, in_order) == expected
    assert gather.border(ns, at, time, False) == expected


def test_numbers_jump_at_late_trades_and_where_the_source_says_so() -> None:
    records = trades_of([T0 + at for at in range(6)], [100] * 6)
    records["flags"][[0, 3, 4]] = LATE

    class Jumping(Records):
        def chunks(self):  # a START record stood between them
            yield from (chunk._replace(first=chunk.first + 5 * place) for place, chunk in enumerate(super().chunks()))

    columns = columns_of(Jumping(records, cuts=[2], first=10), 60_000, gather)
    assert columns.number(np.array([0, 1, 2, -1])).tolist() == [11, 17, 20, -1]


def two() -> np.ndarray:
    return trades_of([T0, T0 + SECOND], [100, 101])


def flagged(flag: int) -> np.ndarray:
    records = two()
    records["flags"][1] = flag
    return records


def with_field(name: str, value: float) -> np.ndarray:
    records = two()
    records[name][1] = value
    return records


REFUSED = {
    "a refilled trade": (flagged(BACKFILL), "record 1 is flagged BACKFILL"),
    "a late one that is refilled": (flagged(BACKFILL | LATE), "record 1 is flagged BACKFILL"),
    "a stale trade": (flagged(STALE), "record 1 is flagged STALE"),
    "a trade that is not on the tape": (flagged(UNTAPED), "record 1 is flagged UNTAPED"),
    "a candle": (np.concatenate([two(), candle(T0 + MINUTE, 1.0)]), "record 2 is a CANDLE"),
    "a hole": (np.concatenate([two(), hole(T0, T0 + 1)]), "record 2 is a HOLE"),
    "another pair": (with_field("pair", 1), "record 1 is of another pair"),
    "no price": (with_field("price", float("nan")), "record 1 has the price nan"),
    "a negative price": (with_field("price", -1.0), r"record 1 has the price -1\.0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_columns_cannot_hold_is_refused_with_the_reason(name: str) -> None:
    records, reason = REFUSED[name]
    with pytest.raises(NoColumns, match=reason):
        columns_of(Records(records), 60_000, gather)


def test_several_pairs_are_refused() -> None:
    with pytest.raises(NoColumns, match="2 pairs"):
        columns_of(Records(two(), start_of(pairs=2)), 60_000, gather)


def test_market_rules_that_change_are_refused() -> None:
    class Changing(Records):
        def chunks(self):
            other: Start = start_of(fee="7")
            yield from (chunk._replace(start=other) for chunk in super().chunks())

    with pytest.raises(NoColumns, match="market rules or fees change"):
        columns_of(Changing(two()), 60_000, gather)


def test_more_trades_than_memory_is_meant_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backtest.columns.MOST_TRADES", 1)
    with pytest.raises(NoColumns, match="more than 1 trades"):
        columns_of(Records(two()), 60_000, gather)


def test_late_trades_that_nobody_marked_are_refused() -> None:
    columns = columns_of(Records(trades_of([T0 + 2 * MINUTE, T0], [100, 101])), 60_000, gather)
    with pytest.raises(NoColumns, match="record 1 is before its candle"):
        candles_of(columns, Parameters(60_000), gather)


def test_late_trades_are_late_for_one_timeframe_only() -> None:
    columns = columns_of(Records(flagged(LATE)), 60_000, gather)
    assert len(candles_of(columns, Parameters(60_000), gather)) == 1
    with pytest.raises(NoColumns, match="1 trades are late for a TIMEFRAME of 60000 ms"):
        candles_of(columns, Parameters(300_000), gather)
