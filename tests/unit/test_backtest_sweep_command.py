"""`python -m backtest sweep` on small files: what it prints, writes and refuses."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backtest import fused
from backtest.cli import main
from backtest.grid import grid_of, settings_of
from backtest.sources import open_source
from backtest.sweep import Markets, Sweep, combined, plan_of
from backtest.sweep_figures import figures_of
from backtest.sweep_group import Window
from backtest.sweep_luck import luck_of
from backtest.sweep_words import csv_cell, duration_words, estimate_words, form_words, luck_words
from core.paths import ROOT
from core.settings import as_texts
from core.settings_load import from_texts
from tests.indicator_tools import MINUTE
from tests.unit.test_backtest_report import data_of
from tests.unit.test_backtest_sweep import BASE, by_columns, market_records, swept

SET = [
    f"{name}={value}"
    for name, value in (("WARMUP_CANDLES", 3), ("RSI_PERIOD", 3), ("BB_PERIOD", 5), ("BB_STDDEV", 0.5))
]
SETTING_OPTIONS = [word for text in SET for word in ("--set", text)]
GRID = ["--grid", "RSI_BUY=20:50:10", "TRAILING_STOP_PCT=0.001,0.005"]


@pytest.fixture
def trades(tmp_path: Path) -> Path:
    path = tmp_path / "trades.csv"
    lines = ["ts_ns,price,qty"]
    for record in market_records(2_000):
        lines.append(f"{record['exchange_ns']},{record['price'].item()!r},{record['quantity'].item()!r}")
    path.write_text("\n".join(lines) + "\n")
    return path


def sweep(trades: Path, *options: str) -> int:
    return main(["sweep", "--trades", str(trades), *SETTING_OPTIONS, *options])


def test_the_csv_has_a_row_for_each_combination_equal_to_a_run(trades: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert sweep(trades, *GRID, "--out", str(out)) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["RSI_BUY"], row["TRAILING_STOP_PCT"]) for row in rows] == [
        (buy, stop) for buy in ("20", "30", "40", "50") for stop in ("0.001", "0.005")
    ]
    base = from_texts(dict(text.split("=") for text in SET))
    for row in rows[::3]:
        settings = settings_of(as_texts(base), {name: row[name] for name in ("RSI_BUY", "TRAILING_STOP_PCT")})
        figures = figures_of(fused.run(open_source([trades], settings), settings))[0]
        for name in figures.dtype.names:
            assert row[name] == csv_cell(figures, name), (name, row)


def test_the_terminal_names_the_best_and_warns(trades: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(trades, *GRID, "--top", "3", "--by", "expectancy", "--jobs", "1") == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0] == "The best 3 of 8 by expectancy:"
    assert lines[1].split()[:2] == ["RSI_BUY", "TRAILING_STOP_PCT"] and lines[5] == ""
    assert "8 combinations were tried and the best by expectancy was picked" in told.out
    assert "Permutation test:" in told.out and "Deflated Sharpe:" in told.out
    assert "Ran by trigger prices over columns." in told.out
    assert "8 combinations over 2,000 trades: about" in told.err


def test_json_has_the_best_the_luck_and_the_walk_forward(trades: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(trades, "--grid", "RSI_BUY=20,30,80", "--json", "--walk-forward", "1h:30m", "--top", "1") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["combinations"] == {"grid": 3, "ran": 2}
    assert found["forbidden"]["count"] == 1
    assert found["forbidden"]["named"][0]["settings"] == {"RSI_BUY": "80"}
    assert len(found["best"]) == 1 and found["best"][0]["figures"]["legs"] > 0
    assert found["luck"]["tried"] == 2
    windows = found["walk_forward"]["windows"]
    assert len(windows) > 3 and windows[0]["chosen"].keys() == {"RSI_BUY"}
    made = sum(window["judge_profit"] for window in windows)
    assert found["walk_forward"]["joined"]["net_profit"] == pytest.approx(made, abs=1e-7)


@pytest.mark.parametrize("walk", [[], ["--walk-forward", "1h:30m"]], ids=["best run", "judged windows"])
def test_the_report_draws_the_candles_of_what_it_shows(trades: Path, tmp_path: Path, walk: list[str]) -> None:
    page = tmp_path / "out.html"
    assert sweep(trades, *GRID, "--report", str(page), *walk) == 0
    run = data_of(page)["run"]
    minutes = (market_records(2_000)["exchange_ns"] // MINUTE).tolist()
    candles = run["pairs"][0]
    assert [candles["begin"] // 60 + at for at in candles["at"]][-1] == minutes[-1] - 1  # the last one never closed
    assert len(candles["at"]) > 100 and len(run["legs"]) > 0


def test_the_report_has_a_map_for_each_pair_of_settings(trades: Path, tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    grid = ["--grid", "RSI_BUY=30,50", "RSI_SELL=60,70", "TRAILING_STOP_PCT=0.001,0.005"]
    assert sweep(trades, *grid, "--report", str(page), "--walk-forward", "1h:30m") == 0
    text = page.read_text()
    for title in ("RSI_BUY and RSI_SELL", "RSI_BUY and TRAILING_STOP_PCT", "RSI_SELL and TRAILING_STOP_PCT"):
        assert f'"net_profit: {title}"' in text and f'"net_profit: {title}, median over the others"' in text
    assert "Walk-forward" in text and "The best by net_profit" in text and "combinations were tried" in text


REFUSED = {
    "no grid": ([], "a sweep needs at least one --grid NAME=A,B,C"),
    "a misspelt name": (["--grid", "RSI_BYU=1,2"], "did you mean RSI_BUY"),
    "a setting that changes nothing": (["--grid", "PORT=1,2"], "changes nothing in a backtest"),
    "a misspelt figure": (["--grid", "RSI_BUY=1,2", "--by", "profit"], "--by"),
    "a folder that is not there": (["--grid", "RSI_BUY=1,2", "--out", "nowhere/x.csv"], "there is no folder"),
    "a walk-forward longer than the market": (["--grid", "RSI_BUY=1,2", "--walk-forward", "9d:1d"], "lasts 0.1"),
    "nothing allowed": (["--grid", "RSI_BUY=80,90"], "all 2 combinations are forbidden: RSI_BUY=80 must be below"),
    "none shown": (["--grid", "RSI_BUY=1,2", "--top", "0"], "whole numbers above 0"),
}


@pytest.mark.parametrize(("options", "told"), REFUSED.values(), ids=REFUSED)
def test_what_a_person_must_mend_is_named(
    options: list[str], told: str, trades: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(trades, *options) == 2
    assert told in capsys.readouterr().err


def test_a_grid_of_too_many_says_how_many_and_how_long_and_wants_yes(
    trades: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--grid", "RSI_BUY=1:50:0.5", "RSI_SELL=51:99:0.4"]
    assert sweep(trades, *options) == 2
    told = capsys.readouterr()
    assert "11,979 combinations over 2,000 trades: about" in told.err and "Say --yes to run them" in told.err
    assert told.out == ""


def test_yes_runs_what_would_be_asked_for(trades: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(trades, *GRID, "--yes") == 0
    assert "The best 8 of 8" in capsys.readouterr().out


def test_words_of_luck_that_cannot_be_said() -> None:
    quiet = combined(BASE, {"RSI_CRASH": "0"})
    found = swept(["RSI_BUY=0,0.1"], by_columns, quiet).found
    span = Window(0, 10**18)
    luck = luck_of(found, 0, by_columns(BASE).run(found.plan.settings_at(0)), span)
    told = "\n".join(luck_words(luck, "net_profit"))
    assert "too few legs" in told and "too few stretches" in told
    one = swept(["RSI_BUY=30"], by_columns).found
    luck = luck_of(one, 0, by_columns(BASE).run(one.plan.settings_at(0)), span)
    assert luck_words(luck, "net_profit") == ["One combination was tried: there is no best of many."]


def test_luck_that_is_known_says_how_many_and_what_chance_makes() -> None:
    found = swept(["RSI_BUY=30:60:2", "TRAILING_STOP_PCT=0.001:0.004:0.001"], by_columns).found
    best = found.best("net_profit", 1)[0]
    market = by_columns(BASE)
    luck = luck_of(found, best, market.run(found.plan.settings_at(best)), market.span)
    assert luck.deflated is not None and luck.permuted is not None
    assert (luck.tried, luck.sampled, luck.deflated.trials) == (64, 64, 64)
    best_by_legs = found.profits.sum(axis=1).max() / 1e8
    assert luck.permuted.best == pytest.approx(best_by_legs)
    assert 0 < luck.permuted.p_value <= 1


def test_profits_of_a_large_grid_are_kept_for_some_and_the_best_is_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backtest.sweep.MOST_SAMPLED", 5)
    found = swept(["RSI_BUY=30:60:2"], by_columns).found
    assert found.ran.all() and len(found.sampled) == 5 and found.profits.shape == (5, 200)
    best = next(place for place in range(16) if place not in found.sampled)
    market = by_columns(BASE)
    luck = luck_of(found, best, market.run(found.plan.settings_at(best)), market.span)
    assert (luck.tried, luck.sampled) == (16, 6)
    assert luck.permuted is None or "(6 of them, drawn at random" in luck_words(luck, "net_profit")[-1]


def test_words_of_time_and_form() -> None:
    assert [duration_words(s) for s in (0.2, 90, 150, 10_000, 300_000)] == [
        "1 s", "90 s", "2.5 minutes", "2.8 hours", "3.5 days",
    ]  # fmt: skip
    assert estimate_words(1000, 5000, 20, 60, 1) == (
        "1,000 combinations over 20 trades (5,000 runs with the walk-forward): about 60 s on 1 thread"
    )
    assert form_words([("the loop", "2 pairs"), ("the loop", "2 pairs")]) == "Ran by the loop (2 pairs)."


def test_a_sweep_is_taken_in_pieces_of_any_size() -> None:
    base = BASE
    plan = plan_of(grid_of(["RSI_BUY=30,50", "BB_PERIOD=5,8"], base), base)
    whole, pieces = Sweep(plan, Markets(by_columns)), Sweep(plan, Markets(by_columns))
    assert whole.take(100) == 4 and whole.left == 0
    assert [pieces.take(1) for _ in range(5)] == [1, 1, 1, 1, 0]
    assert np.array_equal(whole.found.rows.view(np.int64), pieces.found.rows.view(np.int64))


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 2), ("", 2)], ids=["yes", "no", "just enter"])
def test_a_terminal_is_asked_before_a_long_grid(trades: Path, answer: str, code: int) -> None:
    options = ["--grid", "RSI_BUY=1:50:0.5", "RSI_SELL=51:99:0.45", "--json"]
    command = [sys.executable, "-m", "backtest", "sweep", "--trades", str(trades), *SETTING_OPTIONS, *options]
    person, terminal = os.openpty()
    with subprocess.Popen(command, cwd=ROOT, stdin=terminal, stderr=terminal, stdout=subprocess.PIPE) as process:
        os.close(terminal)
        asked = seen_until(person, "[y/N]")
        assert "10,593 combinations over 2,000 trades: about" in asked and asked.endswith("Run them? [y/N]")
        os.write(person, f"{answer}\n".encode())
        told = seen_until(person, None)
        assert process.stdout is not None
        found = process.stdout.read()
    os.close(person)
    assert process.returncode == code, told
    if code:
        assert "not run: try fewer combinations, or say --yes" in told and found == b""
    else:
        assert json.loads(found)["combinations"] == {"grid": 10_593, "ran": 10_593}


def seen_until(person: int, end: str | None) -> str:
    """What a terminal shows until some words, or until the program has gone."""
    seen = b""
    while end is None or not seen.decode(errors="replace").rstrip().endswith(end):
        try:
            part = os.read(person, 4096)
        except OSError:  # how a terminal says that nobody is at its other end
            part = b""
        if not part:
            break
        seen += part
    return seen.decode(errors="replace").rstrip()
