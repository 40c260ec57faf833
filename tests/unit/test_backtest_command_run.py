"""`python -m backtest run` as a user types it."""

import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backtest.cli import main
from core.paths import ROOT
from tests.shared_data import shared_data

SECOND_MS = 1000
QUICK = ("TIMEFRAME=5s", "WARMUP_CANDLES=20", "PAPER_FILL=instant", "RSI_BUY=45", "RSI_CRASH=40")
SETTINGS = [text for setting in QUICK for text in ("--set", setting)]


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.settings_load.ENV_FILE", ROOT / "no.env")


@pytest.fixture(scope="module")
def trades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random walk, five trades a second."""
    generator = np.random.default_rng(3)
    price = 100.0 + 0.05 * np.cumsum(generator.standard_normal(8_000))
    rows = [f"{k * 200},{p:.2f},{1 + k % 7}" for k, p in enumerate(price.tolist())]
    path = tmp_path_factory.mktemp("trades") / "trades.csv"
    path.write_text("ts_ms,price,qty\n" + "\n".join(rows) + "\n")
    return path


def test_the_summary_is_printed(trades: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--trades", str(trades), *SETTINGS]) == 0
    out = capsys.readouterr().out
    assert "8,000 trades judged" in out
    assert "engine fused" in out
    assert max(len(line) for line in out.splitlines()) <= 100


def test_json_is_one_object_and_nothing_else(trades: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--trades", str(trades), *SETTINGS, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["about"]["engine"] == "fused"
    assert found["settings"]["RSI_BUY"] == "45.0"
    assert found["statistics"]["counts"]["trades"] == 8_000


def test_decisions_are_the_same_from_both_engines(trades: Path, tmp_path: Path) -> None:
    files = []
    for engine in ("fused", "events"):
        files.append(tmp_path / f"{engine}.csv")
        assert main(["run", "--trades", str(trades), *SETTINGS, "--engine", engine, "--decisions", str(files[-1])]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    rows = list(csv.DictReader(files[0].read_text().splitlines()))
    assert list(rows[0]) == ["ts_ns", "action", "reason", "price", "rsi", "bb_lower", "pair"]
    assert [row["action"] for row in rows[:4]] == ["enter", "exit", "enter", "exit"]
    assert all(repr(float(row["rsi"])) == row["rsi"] for row in rows)
    assert {row["pair"] for row in rows} == {"B-BTC_USDT"}


def test_the_report_is_written_with_prices_and_other_costs(
    trades: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.html"
    assert main(["run", "--trades", str(trades), *SETTINGS, "--report", str(path)]) == 0
    said = capsys.readouterr()
    assert f"written: {path}" in said.err
    assert "With other costs" in said.out
    assert "SLIPPAGE_BPS" in path.read_text()


def test_a_gzipped_file_of_another_name_is_read(
    trades: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trades.csv"
    path.write_bytes(gzip.compress(trades.read_bytes()))
    assert main(["run", "--trades", str(path), *SETTINGS]) == 0
    assert "8,000 trades judged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--set", "RSI_BUI=3"], "RSI_BUY"),
        (["--set", "RSI_BUY"], "NAME=VALUE"),
        (["--set", "RSI_BUY=300"], "RSI_BUY"),
        (["--decisions", "no/such/folder/out.csv"], "there is no folder"),
        (["--report", "tests"], "it is a folder"),
        (["--engine", "quick"], "quick"),
        (["--jsn"], "--json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_in_a_line_and_exit_code_2(
    trades: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["run", "--trades", str(trades), *arguments]) == 2
    said = capsys.readouterr()
    assert says in said.err and "Traceback" not in said.err
    assert said.out == ""


def test_a_bad_row_is_named_and_can_be_left_out(
    trades: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = trades.read_text().splitlines()
    lines[100] = lines[100].rpartition(",")[0].rpartition(",")[0] + ",-3.00,1"
    path = tmp_path / "bad.csv"
    path.write_text("\n".join(lines) + "\n")
    assert main(["run", "--trades", str(path), *SETTINGS]) == 2
    error = capsys.readouterr().err
    assert "bad.csv" in error and "101" in error and "-3.00" in error
    assert main(["run", "--trades", str(path), *SETTINGS, "--skip-bad"]) == 0
    assert "7,999 trades judged" in capsys.readouterr().out


def test_a_small_run_loads_no_compiler_and_no_server(trades: Path) -> None:
    code = (
        "import sys; from backtest.cli import main; main(['run', '--trades', sys.argv[1]]);"
        "print([name for name in ('numba', 'sqlalchemy', 'fastapi', 'requests') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(trades)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_prices_of_a_recorded_day_are_all_judged(capsys: pytest.CaptureFixture[str]) -> None:
    path = shared_data("ticks/kraken_xbtusdt_20251110.ticks.csv.gz")
    assert main(["run", "--trades", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["statistics"]["counts"]["trades"] == 1000
