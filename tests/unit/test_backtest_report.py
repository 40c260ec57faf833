"""The report as a file: bounded, self-contained, safe against any text, and its series true to the run's."""

import base64
import hashlib
import html.parser
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.legs import legs_table
from backtest.report import escape, safe_json, write, write_sections
from backtest.report_data import LEG_COLUMNS, run_data
from backtest.report_sections import MOST_ROWS, Window, heat_map_section, table_section, walk_forward_section
from backtest.report_series import (
    MOST_BARS,
    MOST_LEGS,
    WIDTHS,
    decimals_of,
    drawdowns_on_grid,
    grid_of,
    merged_bars,
    on_grid,
    width_for,
)
from backtest.result import BAR, CRASH_CATCH, Array
from backtest.stats import statistics_of
from backtest.stats_equity import Curve, equity_curve
from core.errors import MisconfiguredError
from core.money import UNIT
from tests.backtest_demo import HOSTILE, made_up, write_demo
from tests.backtest_results import DAY, HOUR, MINUTE, T0, Account

MB = 1_000_000


class Reader(html.parser.HTMLParser):
    """The tags of a page with their attributes, and what stands in each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[-1] += data


def data_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Reader(path.read_text()).scripts[0])
    return found


def test_the_file_needs_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.html"
    assert write_demo(path, made_up(3)) == path.stat().st_size
    reader = Reader(path.read_text())
    for tag, attributes in reader.tags:
        assert "src" not in attributes and tag not in ("link", "iframe", "img"), tag
        assert not (attributes.get("href") or "#").startswith("http")
    assert len(reader.scripts) == 3
    text = path.read_text()
    assert "Apache License" in text and "TradingView Lightweight Charts" in text
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
    assert not list(tmp_path.glob("*.part"))


def test_the_same_run_gives_the_same_file(tmp_path: Path) -> None:
    result = made_up(2)
    for name in ("one", "two"):
        write_demo(tmp_path / name, result)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_names_cannot_break_out(tmp_path: Path) -> None:
    write_demo(tmp_path / "out.html", made_up(2, hostile=True))
    text = (tmp_path / "out.html").read_text()
    reader = Reader(text)
    assert len(reader.scripts) == 3 and "alert(1)" not in reader.scripts[2]
    assert data_of(tmp_path / "out.html")["run"]["pairs"][0]["pair"] == HOSTILE


@given(st.text())
def test_any_text_is_safe_inside_a_script_and_comes_back(text: str) -> None:
    safe = safe_json({"text": text, text: 1})
    assert not set(safe) & set("<>&\u2028\u2029")
    assert json.loads(safe) == {"text": text, text: 1}


def test_marks_in_the_data_are_not_filled_in(tmp_path: Path) -> None:
    write_sections(tmp_path / "out.html", "{{data}} {{script}}", [], notes=["{{library}}"])
    found = data_of(tmp_path / "out.html")
    assert (found["title"], found["notes"]) == ("{{data}} {{script}}", ["{{library}}"])


def test_escape() -> None:
    assert escape('<a href="x">&\'') == "&lt;a href=&quot;x&quot;&gt;&amp;'"


def test_the_policy_names_the_hash_of_each_script(tmp_path: Path) -> None:
    write_sections(tmp_path / "out.html", "x", [])
    reader = Reader((tmp_path / "out.html").read_bytes().decode())
    policy = next(attributes["content"] for tag, attributes in reader.tags if "http-equiv" in attributes)
    assert policy is not None
    for script in reader.scripts[1:]:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert "unsafe-eval" not in policy and policy.count("sha256-") == 2


def test_a_year_of_minutes_stays_small(tmp_path: Path) -> None:
    account = Account(opening=10_500)
    minutes = 365 * 24 * 60
    for at in range(20_000):
        account.leg(at * 20 * MINUTE, 9_000, 9_001 + at % 7)
    result = account.result()
    result.bars = np.zeros(minutes, BAR)
    result.bars["open_ns"] = T0 + np.arange(minutes) * MINUTE
    walk = 67_000 + np.cumsum(np.random.default_rng(1).normal(0, 20, minutes))
    for name in ("open", "high", "low", "close"):
        result.bars[name] = np.round(walk, 2)
    result.bars["volume"] = 1.23456
    size = write(tmp_path / "year.html", result, statistics_of(result))
    assert size < 5 * MB
    run = data_of(tmp_path / "year.html")["run"]
    assert len(run["pairs"][0]["at"]) <= MOST_BARS
    assert (len(run["legs"]), run["legs_total"]) == (MOST_LEGS, 20_000)
    assert run["legs"][-1][0] == 20_000  # the newest are kept
    assert len(run["curves"]["equity"]["seconds"]) <= 1_500


def test_a_leg_is_a_row_of_the_table() -> None:
    result = Account(fee_bps="10").leg(HOUR, 100, 110).result()
    run = run_data(
        result, statistics_of(result), legs_table(result), intervals=None, sensitivity=(), about="engine fused"
    )
    row = dict(zip(LEG_COLUMNS, run["legs"][0], strict=True))
    assert row == {
        "number": 1,
        "pair": 0,
        "entry_ms": (T0 + HOUR) // 10**6,
        "exit_ms": (T0 + HOUR + MINUTE) // 10**6,
        "entry_price": 100.0,
        "exit_price": 110.0,
        "quantity": 1.0,
        "profit": 9.79,
        "return": 0.0978022,  # 9.79 / 100.1
        "costs": 0.21,
        "entry_reason": "mean_reversion",
        "exit_reason": "take_profit",
        "ghost": "",
    }
    assert run["tiles"][0]["value"] == "+9.79" and run["tiles"][0]["side"] == "up"
    assert run["title"] == "B-BTC_USDT" and run["about"] == "engine fused"


def test_a_file_that_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match=r"cannot be written: .* --report"):
        write_sections(tmp_path / "no-such-folder" / "out.html", "x", [])
    (tmp_path / "folder").mkdir()
    with pytest.raises(MisconfiguredError, match="folder cannot be written"):
        write_sections(tmp_path / "folder", "x", [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]


def test_what_is_still_held_is_marked_in_the_chart() -> None:
    result = Account().leg(0, 100, 110).buy(HOUR, 100, reason=CRASH_CATCH).result()
    run = run_data(result, statistics_of(result), legs_table(result), intervals=None, sensitivity=(), about="")
    assert run["open"] == [{"pair": 0, "entry_ms": (T0 + HOUR) // 10**6, "reason": "crash_catch"}]


# --- series ---------------------------------------------------------------------------------------


def bars(closes: list[float], begin: int = 0, step: int = MINUTE) -> Array:
    made = np.zeros(len(closes), BAR)
    made["open_ns"] = T0 + begin + np.arange(len(closes)) * step
    made["close"] = closes
    made["open"] = np.append(closes[:1], closes[:-1])
    made["high"], made["low"] = np.maximum(made["open"], closes) + 1, np.minimum(made["open"], closes) - 1
    made["volume"], made["trades"] = 2.0, 3
    return made


def test_candles_merge_into_round_lengths_that_keep_open_high_low_close_and_volume() -> None:
    # Ten minutes into at most four: three would do, but the first bucket may be a part: 5 m gives two.
    merged, width = merged_bars(bars([10, 14, 12, 9, 11, 15, 13, 12, 8, 10]), 60, most=4)
    assert width == 300
    assert merged["open_ns"].tolist() == [T0, T0 + 5 * MINUTE]
    assert merged["open"].tolist() == [10, 11]
    assert merged["high"].tolist() == [15, 16]
    assert merged["low"].tolist() == [8, 7]
    assert merged["close"].tolist() == [11, 10]
    assert merged["volume"].tolist() == [10, 10] and merged["trades"].tolist() == [15, 15]


def test_few_candles_stay_as_they_are() -> None:
    own = bars([10, 14, 12])
    merged, width = merged_bars(own[::-1], 60, most=3)
    assert width == 60 and merged.tolist() == own.tolist()
    assert merged_bars(own[:0], 60)[0].tolist() == []


@given(st.lists(st.integers(1, 900), min_size=1, max_size=120), st.integers(2, 30), st.integers(0, 10**6))
def test_merged_candles_lose_nothing(gaps: list[int], most: int, begin: int) -> None:
    own = bars([float(at % 7) for at in range(len(gaps))])
    own["open_ns"] = (T0 // MINUTE + begin + np.cumsum(gaps)) * MINUTE  # with holes
    merged, width = merged_bars(own, 60, most)
    assert len(merged) <= max(most, 1)
    assert merged["volume"].sum() == own["volume"].sum() and merged["trades"].sum() == own["trades"].sum()
    assert merged["high"].max() == own["high"].max() and merged["low"].min() == own["low"].min()
    assert (merged["open"][0], merged["close"][-1]) == (own["open"][0], own["close"][-1])
    assert (np.diff(merged["open_ns"]) >= width * 10**9).all()


@given(st.floats(1, 1e10), st.integers(1, 20_000), st.sampled_from((1, 5, 15, 60, 300, 3600)))
def test_a_width_covers_the_span(span: float, most: int, unit: int) -> None:
    width = width_for(span, most, unit)
    assert width % unit == 0 and span / width <= most
    assert width in WIDTHS or width % WIDTHS[-1] == 0


def test_equity_on_a_grid_keeps_the_last_of_each_step_and_the_deepest_fall() -> None:
    points = [(0, 100), (10, 80), (59, 90), (200, 120), (239, 60), (250, 110)]
    curve = Curve(
        np.array([T0 + at * 10**9 for at, _ in points]), np.array([value * UNIT for _, value in points], np.int64)
    )
    grid = np.array([T0 // 10**9 + at * 60 for at in range(5)])
    assert on_grid(curve, grid, 60).values == [90, 90, 90, 60, 110]
    falls = drawdowns_on_grid(curve, grid, 60).values
    assert falls == pytest.approx([-0.2, -0.1, -0.1, -0.5, round(-10 / 120, 6)])


@given(st.lists(st.tuples(st.integers(0, 3 * DAY), st.integers(1, 10**6)), min_size=1, max_size=50))
def test_a_grid_ends_where_the_curve_ends_and_sees_the_deepest_fall(points: list[tuple[int, int]]) -> None:
    points = sorted(points, key=lambda point: point[0])
    curve = Curve(np.array([T0 + at for at, _ in points]), np.array([value * UNIT for _, value in points], np.int64))
    grid, width = grid_of(curve, most=20)
    assert len(grid) <= 20
    assert on_grid(curve, grid, width).values[-1] == points[-1][1]
    peaks = np.maximum.accumulate(curve.units)
    deepest = ((curve.units - peaks) / peaks).min()
    assert min(drawdowns_on_grid(curve, grid, width).values) == pytest.approx(deepest, abs=1e-6)


def test_the_curves_of_a_run_end_with_its_closing_equity() -> None:
    result = made_up(2)
    grid, width = grid_of(equity_curve(result))
    line = on_grid(equity_curve(result), grid, width)
    assert line.values[-1] == pytest.approx(float(statistics_of(result).money.closing))
    assert line.values[0] == pytest.approx(10_500)


@pytest.mark.parametrize(
    ("values", "digits"), [([1.0, 2.0], 0), ([1.5, 2.25], 2), ([0.00001], 5), ([67_000.1], 1), ([], 0)]
)
def test_decimals(values: list[float], digits: int) -> None:
    assert decimals_of(np.array(values)) == digits


# --- sections -------------------------------------------------------------------------------------


def test_a_heat_map_carries_its_values_and_texts() -> None:
    made = heat_map_section("Sweep", ("RSI_BUY", ["20", "30"]), ("BB_STDDEV", ["2"]), [[Decimal("1.5"), None]])
    assert made.kind == "heat_map"
    assert made.body["values"] == [[1.5, None]] and made.body["texts"] == [["+1.50", "–"]]


@pytest.mark.parametrize(
    ("x", "y", "values", "words"),
    [
        pytest.param(["1"], ["1", "2"], [[1.0]], "2 rows of 1 values", id="a row is missing"),
        pytest.param(["1", "2"], ["1"], [[1.0]], "1 rows of 2 values", id="a value is missing"),
        pytest.param(["1"] * 101, ["1"] * 100, [[1.0] * 101] * 100, "at most 10000", id="too many cells"),
    ],
)
def test_a_heat_map_of_another_shape_is_refused(x: list[str], y: list[str], values: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        heat_map_section("Sweep", ("A", x), ("B", y), values)


def test_tables_sort_by_value_and_show_text_and_are_bounded() -> None:
    made = table_section("Best", (("name", "text"), ("profit", "signed_money")), [("a", Decimal("-2")), ("b", None)])
    assert made.body["rows"] == [[["a", "a"], [-2.0, "−2.00"]], [["b", "b"], [None, "–"]]]
    many = table_section("Best", (("n", "count"),), [(at,) for at in range(MOST_ROWS + 5)])
    assert (len(many.body["rows"]), many.body["total"]) == (MOST_ROWS, MOST_ROWS + 5)
    with pytest.raises(ValueError, match="a row has 1 values, there are 2 columns"):
        table_section("Best", (("name", "text"), ("profit", "money")), [("a",)])
    with pytest.raises(ValueError, match="'mony' is no kind"):
        table_section("Best", (("profit", "mony"),), [(1,)])


def test_a_walk_forward_adds_up_what_was_judged() -> None:
    windows = [
        Window(0, DAY // 10**6, DAY // 10**6, 2 * DAY // 10**6, {"RSI_BUY": "28"}, Decimal(5), Decimal("-1.5"), 3),
        Window(0, DAY // 10**6, DAY // 10**6, 2 * DAY // 10**6, {"RSI_BUY": "30"}, Decimal(4), Decimal("4"), 2),
    ]
    made = walk_forward_section(windows, note="Chosen by net profit.")
    assert made.note == "All windows judged: +2.50 in 5 legs. Chosen by net profit."
    assert made.body["rows"][0][3] == ["RSI_BUY=28", "RSI_BUY=28"]
