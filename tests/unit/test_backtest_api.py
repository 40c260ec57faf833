"""The backtest's face for notebooks: arrays in, a result object out."""

from pathlib import Path

import numpy as np
import pytest

from backtest.api import run
from core.errors import MisconfiguredError

SECOND = 1_000_000_000
QUICK = {"TIMEFRAME": "5s", "WARMUP_CANDLES": "20", "PAPER_FILL": "instant", "RSI_BUY": "45", "RSI_CRASH": "40"}


def market(count: int = 20_000, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random walk on cents, five trades a second."""
    generator = np.random.default_rng(seed)
    ns = np.arange(count, dtype=np.int64) * (SECOND // 5)
    price = np.round(100.0 + 0.05 * np.cumsum(generator.standard_normal(count)), 2)
    return ns, price, np.round(generator.uniform(0.1, 5.0, count), 3)


def test_a_run_over_arrays_has_figures_decisions_and_equity() -> None:
    outcome = run(*market(), settings=QUICK)
    assert outcome.result.trades == 20_000
    assert len(outcome.decisions) > 10
    assert outcome.statistics.trading.legs == len(outcome.legs)
    times, worth = outcome.equity
    assert times.dtype == np.dtype("datetime64[ns]")
    assert worth[0] == pytest.approx(10_500.0, rel=0.01)
    assert "Backtest of BTC/USDT" in str(outcome)


def test_both_engines_say_the_same_of_arrays() -> None:
    fused, events = (run(*market(), settings=QUICK, engine=engine) for engine in ("fused", "events"))
    for name in ("decisions", "orders", "fills", "equity", "bars"):
        assert getattr(fused.result, name).tobytes() == getattr(events.result, name).tobytes(), name
    assert fused.result.wallet == events.result.wallet


def test_arrays_and_a_file_of_the_same_trades_are_the_same_run(tmp_path: Path) -> None:
    from backtest import fused
    from backtest.sources import open_source
    from core.settings_load import from_texts

    ns, price, quantity = market()
    path = tmp_path / "trades.csv"
    rows = (f"{t},{p!r},{q!r}" for t, p, q in zip(ns.tolist(), price.tolist(), quantity.tolist(), strict=True))
    path.write_text("ts_ns,price,qty\n" + "\n".join(rows) + "\n")
    settings = from_texts({"PAIRS": "BTC/USDT", **QUICK})
    of_file = fused.run(open_source([path], settings), settings)
    of_arrays = run(ns, price, quantity, settings=QUICK).result
    for name in ("decisions", "orders", "fills", "equity"):
        assert getattr(of_file, name).tobytes() == getattr(of_arrays, name).tobytes(), name


def test_settings_are_taken_as_python_values() -> None:
    outcome = run(*market(200), settings={"rsi_buy": 25, "TAKER_FEE_BPS": 7.5, "PAPER_FILL": "instant"})
    assert outcome.result.settings["RSI_BUY"] == "25.0"
    assert outcome.result.fee == 750


def test_numpy_datetimes_are_times() -> None:
    ns, price, quantity = market(3_000)
    by_ns = run(ns, price, quantity, settings=QUICK)
    by_date = run(ns.view("datetime64[ns]"), price, quantity, settings=QUICK)
    by_ms = run(ns.view("datetime64[ns]").astype("datetime64[ms]"), price, quantity, settings=QUICK)
    assert by_ns.decisions.tobytes() == by_date.decisions.tobytes() == by_ms.decisions.tobytes()


def test_the_report_is_written(tmp_path: Path) -> None:
    path = run(*market(5_000), settings=QUICK).report(tmp_path / "out.html")
    assert path.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"price": [1.0, float("nan"), 1.0]}, "row 1: price is nan"),
        ({"price": [1.0, -1.0, 1.0]}, "row 1: price is -1.0"),
        ({"price": [1.0, float("inf"), 1.0]}, "row 1: price is inf"),
        ({"quantity": [1.0, 1.0, 0.0]}, "row 2: quantity is 0.0"),
        ({"ns": [2, 1, 3]}, "row 1: time 1 is before the row above it"),
        ({"ns": [1.0, 2.0, 3.0]}, "times are float64"),
        ({"ns": [1, 2]}, "must be equally many"),
        ({"price": ["a", "b", "c"]}, "price is no array of numbers"),
        ({"engine": "fast"}, "engine is 'fast'"),
        ({"pair": "what"}, "what"),
        ({"tick": "0"}, "tick"),
        ({"settings": {"RSI_BUI": 3}}, "RSI_BUY"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_named(change: dict[str, object], says: str) -> None:
    given: dict[str, object] = {"ns": [1, 2, 3], "price": [1.0, 1.0, 1.0], "quantity": [1.0, 1.0, 1.0]}
    with pytest.raises(MisconfiguredError) as error:
        run(**{**given, **change})  # type: ignore[arg-type]
    assert says in str(error.value)


def test_no_trades_at_all_are_a_run_without_trades() -> None:
    outcome = run([], [], [])
    assert outcome.result.trades == 0
    assert outcome.statistics.money.net_profit == 0
