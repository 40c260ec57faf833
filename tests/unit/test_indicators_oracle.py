"""The kernels against TA-Lib on recorded and generated ticks, at trades of the forming candle; `ema` by hand."""

import numpy as np
import pytest

from bus.records import UPDATE
from indicators.layout import Parameters
from tests.indicator_tools import MINUTE, T0, closed_rows, compiled, fold_all, market, ticks, trade, walk

talib = pytest.importorskip("talib", reason="TA-Lib is not installed")

SETTINGS = Parameters(60_000, warmup_candles=50)
TOLERANCE = 1e-9
FILES = {
    "binance_spot_xrpeth_20191011": 13,
    "bybit_inverse_btcusd_20191001": 199,
    "kraken_bcheur_20230101": 1,
    "kraken_xbtusdt_20251110": 3,
    "mtgox_btcusd_20131211": 37,
    "btcperp_20220101-15.minutecloses": 47,
    "coinbase_btcusd_20161007.secondbars": 11,
}


def check(records: np.ndarray, every: int, parameters: Parameters = SETTINGS) -> int:
    """Hold every k-th UPDATE against TA-Lib over the closed closes and the price; returns how many were held."""
    indicators = compiled(parameters)
    indicators.start([market()], tape_clock=True)
    updates = fold_all(indicators, records)
    assert len(updates) == len(records)
    closes = closed_rows(indicators)["close"]
    held = 0
    for update in updates[::every]:
        closed = int(update["closed"])
        known = np.append(closes[:closed], update["price"])
        check_rsi(update, known, parameters)
        check_bands(update, known, parameters)
        held += closed >= parameters.needed
    return held


def check_rsi(update: np.void, known: np.ndarray, parameters: Parameters) -> None:
    if len(known) <= parameters.rsi_period:
        assert np.isnan(update["rsi"])
        return
    expected = talib.RSI(known, parameters.rsi_period)[-1]
    if np.all(np.diff(known) == 0):
        assert update["rsi"] == 50.0  # TA-Lib says 0 to this
    else:
        # TA-Lib takes averages below 1e-14 for none at all: scaled, a market of small numbers is judged like any other.
        scaled = talib.RSI(known * 2.0**40, parameters.rsi_period)[-1]
        assert expected in (0.0, pytest.approx(scaled, rel=TOLERANCE))
        assert update["rsi"] == pytest.approx(scaled, rel=TOLERANCE)


def check_bands(update: np.void, known: np.ndarray, parameters: Parameters) -> None:
    if len(known) < parameters.bb_period:
        assert np.isnan(update["bb_lower"])
        return
    # TA-Lib sums squared prices and so keeps only half of the digits of a small deviation: it gets the window measured
    # from its last close, which moves the bands by as much and changes nothing else.
    base = known[-2]
    window = known[-parameters.bb_period :] - base
    deviations = parameters.bb_stddev
    bands = talib.BBANDS(window, parameters.bb_period, deviations, deviations, matype=0)
    for name, band in zip(("bb_upper", "bb_middle", "bb_lower"), bands, strict=True):
        assert update[name] == pytest.approx(base + band[-1], rel=TOLERANCE)
    assert update["bb_lower"] <= update["bb_middle"] <= update["bb_upper"]


@pytest.mark.parametrize("name", FILES)
def test_recorded_ticks_equal_talib(name: str) -> None:
    assert check(ticks(name), FILES[name]) > 30


def test_bands_equal_talib_over_whole_prices_too() -> None:
    records = ticks("mtgox_btcusd_20131211")
    indicators = compiled(SETTINGS)
    indicators.start([market()], tape_clock=True)
    updates = fold_all(indicators, records)
    closes = closed_rows(indicators)["close"]
    for update in updates[5000::101]:
        window = np.append(closes[: update["closed"]], update["price"])[-20:]
        if np.std(window) > window[-1] * 1e-4:  # above what TA-Lib's own sums can tell from noise
            bands = talib.BBANDS(window, 20, 2.0, 2.0, matype=0)
            for name, band in zip(("bb_upper", "bb_middle", "bb_lower"), bands, strict=True):
                assert update[name] == pytest.approx(band[-1], rel=TOLERANCE)


@pytest.mark.parametrize("seed", range(6))
def test_generated_ticks_equal_talib(seed: int) -> None:
    price, spread = [(60_000.0, 5.0), (1.0, 0.01), (250_000.0, 40.0)][seed % 3]
    parameters = [SETTINGS, Parameters(60_000, 30, rsi_period=7, bb_period=10, bb_stddev=1.5)][seed % 2]
    assert check(walk(seed, 6000, price=price, spread=spread), 23, parameters) > 50


def test_closed_candles_carry_what_talib_says_of_closed_candles() -> None:
    records = walk(11, 8000)
    indicators = compiled(SETTINGS)
    indicators.start([market()], tape_clock=True)
    fold_all(indicators, records)
    rows = closed_rows(indicators)
    rsi = talib.RSI(rows["close"], 14)
    np.testing.assert_allclose(rows["rsi"], rsi, rtol=TOLERANCE)
    base = rows["close"][0]
    bands = talib.BBANDS(rows["close"] - base, 20, 2.0, 2.0, matype=0)
    for name, band in zip(("bb_upper", "bb_middle", "bb_lower"), bands, strict=True):
        np.testing.assert_allclose(rows[name], base + band, rtol=TOLERANCE)


# --- ema, worked by hand ----------------------------------------------------------------------------

EMA = Parameters(60_000, warmup_candles=3, rsi_period=3, rsi_smoothing="ema", bb_period=3, bb_stddev=1.0)


def test_ema_worked_by_hand() -> None:
    """n = 3: alpha = 1/2. Closes 10, 13, 12, 12, then prices 16 and 11 in the forming candle.

    gain: 0.1; (0.1 + 3)/2 = 1.55; 1.55/2 = 0.775; 0.3875; at 16: (0.3875 + 4)/2 = 2.19375; at 11: 0.19375
    loss: 0.1; 0.1/2 = 0.05; (0.05 + 1)/2 = 0.525; 0.2625; at 16: 0.13125; at 11: (0.2625 + 1)/2 = 0.63125
    """
    prices = [10.0, 13.0, 12.0, 12.0]
    records = [trade(T0 + i * MINUTE, price) for i, price in enumerate(prices)]
    records += [trade(T0 + 4 * MINUTE, 16.0), trade(T0 + 4 * MINUTE + 1, 11.0)]
    updates = fold_all(compiled(EMA), np.concatenate(records))
    assert np.isnan(updates["rsi"][:3]).all()
    assert updates["rsi"][3] == pytest.approx(100 * 0.3875 / (0.3875 + 0.2625), rel=1e-14)
    assert updates["rsi"][4] == pytest.approx(100 * 2.19375 / (2.19375 + 0.13125), rel=1e-14)
    assert updates["rsi"][5] == pytest.approx(100 * 0.19375 / (0.19375 + 0.63125), rel=1e-14)


def rust_rsi(closes: list[float], period: int) -> float:
    """RelativeStrengthIndex of the Rust crate ta 0.5, line by line: two exponential averages, seeded with 0.1."""
    k = 2.0 / (period + 1.0)
    up_average = down_average = 0.0
    for i, close in enumerate(closes):
        up = down = 0.0
        if i == 0:
            up_average = down_average = 0.1
            continue
        if close > closes[i - 1]:
            up = close - closes[i - 1]
        else:
            down = closes[i - 1] - close
        up_average = k * up + (1.0 - k) * up_average
        down_average = k * down + (1.0 - k) * down_average
    return 100.0 * up_average / (up_average + down_average)


def test_ema_equals_the_rust_crate_on_generated_ticks() -> None:
    parameters = Parameters(60_000, rsi_smoothing="ema")
    indicators = compiled(parameters)
    indicators.start([market()], tape_clock=True)
    updates = fold_all(indicators, walk(5, 4000))
    closes = closed_rows(indicators)["close"].tolist()
    for update in updates[::41]:
        if update["closed"] >= 14:
            expected = rust_rsi([*closes[: update["closed"]], float(update["price"])], 14)
            assert update["rsi"] == pytest.approx(expected, rel=TOLERANCE)


def test_the_records_of_an_update_are_those_of_its_trade() -> None:
    records = walk(3, 300)
    records["side"], records["flags"] = 2, 4
    records["ticks"], records["lots"], records["trade_id"] = range(300), range(300), range(7, 307)
    updates = fold_all(compiled(Parameters(60_000, 20, settings_hash=12345)), records, first=1000)
    for name in records.dtype.names:
        np.testing.assert_array_equal(updates[name], records[name])
    assert updates["number"].tolist() == list(range(1000, 1300))
    assert set(updates["settings_hash"].tolist()) == {12345}
    assert updates.dtype == UPDATE and not updates["unused"].any() and not updates["unused2"].any()
