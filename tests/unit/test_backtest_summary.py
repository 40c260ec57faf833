"""What a run says of itself in a terminal and as JSON: complete, exact, and no wider than the screen."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from backtest import figures
from backtest.bootstrap import Interval, intervals_of
from backtest.figures import DASH, duration, moment, money_digits, number, shown, signed
from backtest.result import Result
from backtest.sensitivity import sensitivity
from backtest.stats import statistics_of
from backtest.summary import WIDTH, cut, interval_text, json_object, summary, wrapped
from tests.backtest_results import HOUR, Account, a_market


def a_run(legs: int = 12, fee_bps: str = "5", **more: Any) -> Result:
    """Some legs up and down, with a position still open."""
    account = Account(opening=10_500, fee_bps=fee_bps, markets=(a_market("B-BTC_USDT"), a_market("B-ETH_USDT")))
    for at in range(legs):
        account.leg(at * HOUR, 9_000, 9_000 + (at * 37 % 101) - 40, pair=at % 2)
    account.buy(legs * HOUR, 500)
    return account.result(**more)


def told(result: Result, **more: Any) -> str:
    return summary(result, statistics_of(result), **more)


def test_every_figure_has_a_name_and_an_explanation_and_no_other_has() -> None:
    statistics = statistics_of(a_run())
    listed = [figure.path for figure in figures.ALL]
    assert len(listed) == len(set(listed))
    counted = {path for path in figures.scalar_paths(statistics) if path.startswith("counts.")}
    assert set(figures.scalar_paths(statistics)) - set(listed) == counted
    for figure in figures.ALL:
        figures.value_of(statistics, figure.path)
        assert figure.label and figure.meaning and figure.kind in figures.FORMATS


def test_what_can_be_none_says_what_it_needs() -> None:
    nothing = statistics_of(Account().result())
    assert all(figures.undefined(nothing).values())
    # A market and a leg that won: what is None now still has its reason.
    some = figures.undefined(statistics_of(Account().leg(0, 100, 110).result()))
    assert all(some.values()) and some["trading.profit_factor"] == "a leg that lost"
    assert some["returns.sharpe"].startswith("30 days")


@pytest.mark.parametrize("colour", [False, True])
def test_the_summary_fits_and_says_the_main_figures(colour: bool) -> None:
    result = a_run(
        notes=["a note that is much longer than the width of a terminal " * 4, "x" * 250],
        refusals={"cooldown": 3, "below_minimum": 12},
        trading="halted",
        trading_reason="max_drawdown_pct " + "reached " * 20,
    )
    rows = sensitivity(lambda overrides: a_run(fee_bps=overrides.get("TAKER_FEE_BPS", "5")), result)
    text = told(result, intervals=intervals_of(result, 1), sensitivity=rows, about="engine fused " * 20, colour=colour)
    assert ("\033[" in text) == colour
    for code in ("\033[1m", "\033[2m", "\033[31m", "\033[32m", "\033[0m"):
        text = text.replace(code, "")
    assert max(map(len, text.splitlines())) <= WIDTH
    for words in (
        "Backtest of B-BTC_USDT, B-ETH_USDT (sandbox)",
        "Net profit",
        "Break-even a side",
        "Trading was halted at the end",
        "95 % intervals (bootstrap, 10,000 drawings, seed 1)",
        "fee 10 bps (2 x)",
        "Still held: 1 B-BTC_USDT",
        "Entries refused: 12 below_minimum, 3 cooldown",
        "Note: a note that is",
    ):
        assert words in text


def test_a_run_without_a_trade_has_a_summary() -> None:
    text = told(Account().result())
    assert "no trade that counts was found" in text and "Win rate" in text and "nan" not in text


def test_json_is_exact_and_complete() -> None:
    result = a_run(notes=["a note"], refusals={"cooldown": 3})
    statistics = statistics_of(result)
    rows = sensitivity(lambda overrides: a_run(), result)
    made = json.loads(
        json_object(result, statistics, intervals=intervals_of(result, 1), sensitivity=rows, about={"engine": "fused"}),
        parse_float=Decimal,
    )
    assert list(made) == [
        "about",
        "market",
        "settings",
        "taker_fee_bps",
        "spans",
        "statistics",
        "undefined",
        "intervals",
        "sensitivity",
        "trading",
        "trading_reason",
        "notes",
    ]
    assert made["about"] == {"engine": "fused"} and made["taker_fee_bps"] == 5
    assert made["statistics"]["money"]["net_profit"] == statistics.money.net_profit
    assert made["settings"] == result.settings and made["notes"] == ["a note"]
    assert [item["pair"] for item in made["spans"]] == ["B-BTC_USDT", "B-ETH_USDT"]
    assert made["statistics"]["refusals"] == {"cooldown": 3}
    assert made["undefined"]["returns.cagr"] == "360 days of market"
    assert len(made["sensitivity"]) == len(rows)


def test_the_keys_of_the_statistics_are_those_that_programs_rely_on() -> None:
    statistics = statistics_of(a_run())
    assert statistics.__struct_fields__ == (
        "period",
        "money",
        "trading",
        "costs",
        "holding",
        "drawdown",
        "returns",
        "buy_and_hold",
        "ghosts",
        "groups",
        "distributions",
        "open_positions",
        "dust",
        "refusals",
        "counts",
    )
    assert {"net_profit", "return_fraction", "realized"} <= set(statistics.money.__struct_fields__)
    assert {"legs", "win_rate", "profit_factor", "expectancy"} <= set(statistics.trading.__struct_fields__)


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        pytest.param(None, "money", DASH, id="unknown"),
        pytest.param(Decimal("1234567.891"), "money", "1,234,567.89", id="money"),
        pytest.param(Decimal("-0.001"), "money", "0.00", id="no minus before nothing"),
        pytest.param(Decimal("-1.5"), "signed_money", "−1.50", id="minus"),
        pytest.param(Decimal("1.5"), "signed_money", "+1.50", id="plus"),
        pytest.param(Decimal("0.001"), "signed_money", "0.00", id="no plus before nothing"),
        pytest.param(0.12345, "percent", "12.35 %", id="per cent"),
        pytest.param(0.000123, "signed_percent", "+0.0123 %", id="a small per cent"),
        pytest.param(-0.001, "signed_percent", "−0.10 %", id="a tenth of a per cent"),
        pytest.param(12.345, "bps", "12.35 bps", id="basis points"),
        pytest.param(0.0012, "signed_bps", "+12.00 bps", id="a return in basis points"),
        pytest.param(1234, "count", "1,234", id="count"),
        pytest.param(3.14159, "number", "3.14", id="number"),
        pytest.param(1_704_067_200_999, "moment", "2024-01-01 00:00:00", id="moment"),
        pytest.param(-5, "moment", "-5 ms", id="no date"),
    ],
)
def test_how_figures_are_written(value: Any, kind: str, text: str) -> None:
    assert shown(value, kind) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "0.2 s"),
        (9.94, "9.9 s"),
        (59.9, "59 s"),
        (60, "1 m 0 s"),
        (3_599, "59 m 59 s"),
        (7_500, "2 h 5 m"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_small_accounts_show_more_decimals() -> None:
    assert [money_digits(Decimal(text)) for text in ("10500", "100", "99", "1", "0.5")] == [2, 2, 4, 4, 8]
    assert number(Decimal("0.00000012"), 8) == "0.00000012"
    assert signed(1e-9, 8) == "0.00000000"
    assert moment(0) == "1970-01-01 00:00:00"


def test_an_interval_says_its_bounds_or_why_there_is_none() -> None:
    assert interval_text(Interval(1.0, 0.5, 2.0), "number", 2) == "0.50 to 2.00"
    assert interval_text(Interval(1.0, 0.5, None), "number", 2) == "0.50 to no upper bound"
    assert interval_text(Interval(1.0, None, None, "3 legs"), "number", 2) == "– (3 legs)"


def test_long_text_is_cut_or_wrapped() -> None:
    assert cut("a" * 101) == "a" * 99 + "…"
    lines = wrapped("word " * 60 + "y" * 120)
    assert max(map(len, lines)) <= WIDTH and "".join(lines).count("word") == 60 and "".join(lines).count("y") == 120


def test_pairs_have_a_table_only_where_there_are_several() -> None:
    assert "Pairs" in told(a_run())
    one = Account().leg(0, 100, 110).result()
    assert "Pairs" not in told(one)
    assert "Entries by reason" not in told(replace(one, decisions=one.decisions[:0], orders=one.orders[:0],
                                                   fills=one.fills[:0]))  # fmt: skip
