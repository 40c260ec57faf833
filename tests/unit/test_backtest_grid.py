"""Grids as they are written on the command line."""

import pytest

from backtest.grid import SWEPT, grid_of, settings_of
from core.errors import MisconfiguredError
from core.settings import as_texts
from core.settings_load import from_texts
from core.settings_table import SETTINGS

SETTINGS_NOW = from_texts({})


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("RSI_BUY=20,25,30", ("20", "25", "30")),
        ("rsi_buy=20, 25", ("20", "25")),
        ("RSI_BUY=20:40:5", ("20", "25", "30", "35", "40")),
        ("TRAILING_STOP_PCT=0.001:0.003:0.001", ("0.001", "0.002", "0.003")),
        ("BB_STDDEV=1:2:0.4", ("1", "1.4", "1.8")),
        ("RSI_BUY=10,20:30:5", ("10", "20", "25", "30")),
        ("TIMEFRAME=1m,5m", ("1m", "5m")),
        ("PAPER_FILL=tape,instant", ("tape", "instant")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_of_an_axis(text: str, values: tuple[str, ...]) -> None:
    assert grid_of([text], SETTINGS_NOW).axes[0].values == values


def test_combinations_are_the_product_and_the_last_name_turns_fastest() -> None:
    grid = grid_of(["RSI_BUY=20,30", "RSI_SELL=60,70,80"], SETTINGS_NOW)
    assert grid.size == 6
    assert [(c["RSI_BUY"], c["RSI_SELL"]) for c in grid][:4] == [("20", "60"), ("20", "70"), ("20", "80"), ("30", "60")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("RSI_BUI=20", "did you mean RSI_BUY"),
        ("RSI_BUY", "write NAME=A,B,C"),
        ("RSI_BUY=", "an empty value"),
        ("RSI_BUY=20,,30", "an empty value"),
        ("RSI_BUY=20,20", "20 is given twice"),
        ("RSI_BUY=20,abc", "abc is not allowed"),
        ("RSI_BUY=200", "200 is not allowed"),
        ("RSI_BUY=30:20:5", "is no range"),
        ("RSI_BUY=20:30:0", "is no range"),
        ("RSI_BUY=20:30", "is no range"),
        ("RSI_BUY=0:50:0.00000001", "at most 100000"),
        ("PORT=3000,3001", "changes nothing in a backtest"),
    ],
    ids=lambda value: value,
)
def test_a_wrong_axis_is_named(text: str, says: str) -> None:
    with pytest.raises(MisconfiguredError) as error:
        grid_of([text], SETTINGS_NOW)
    assert says in str(error.value)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(MisconfiguredError) as error:
        grid_of(["RSI_BUI=20", "RSI_SELL=1000", "RSI_BUY=20", "RSI_BUY=30"], SETTINGS_NOW)
    text = str(error.value)
    assert "RSI_BUI" in text and "RSI_SELL" in text and "RSI_BUY is given twice" in text


def test_an_empty_grid_is_refused() -> None:
    with pytest.raises(MisconfiguredError, match="at least one --grid"):
        grid_of([], SETTINGS_NOW)


def test_a_combination_becomes_settings() -> None:
    base = as_texts(SETTINGS_NOW)
    assert settings_of(base, {"RSI_BUY": "25", "TIMEFRAME": "5m"}).rsi_buy == 25.0
    with pytest.raises(MisconfiguredError):
        settings_of(base, {"RSI_BUY": "80", "RSI_SELL": "70", "RSI_CRASH": "90"})


def test_every_swept_name_is_a_setting() -> None:
    assert [name for name in SWEPT if name not in SETTINGS] == []
