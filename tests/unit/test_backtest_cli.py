"""`python -m backtest`: help, the nearest of unknown words, --set, one line an error, the progress of long runs."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from backtest import cli
from backtest.chunks import Chunk
from backtest.progress import CLEAR, Progress, Watched, duration, line
from backtest.sources import open_source
from core.clock import NS_PER_S, ManualClock
from core.errors import MisconfiguredError
from core.paths import ROOT
from core.settings_load import from_texts, load


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backtest", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_without_a_command_the_help_is_printed():
    done = run()
    assert done.returncode == 0 and not done.stderr
    assert all(f"  {name}" in done.stdout for name in ("run", "sweep", "parity", "fetch", "convert"))


WRONG = {
    "a misspelled command": (["cnovert"], "cnovert is no command: did you mean convert?"),
    "no command at all": (["xyz"], "xyz is no command; there are run, sweep"),
    "a misspelled option": (["convert", "--skipbad", "a", "b"], "--skipbad is no option: did you mean --skip-bad?"),
    "a misspelled option with a value": (["convert", "a", "b", "--qty-units=base"], "did you mean --qty-unit?"),
    "an abbreviation": (["convert", "a", "b", "--skip"], "did you mean --skip-bad?"),
    "a choice that is none": (["convert", "a", "b", "--qty-unit", "eur"], "invalid choice: 'eur'"),
    "nothing to convert": (["convert"], "the following arguments are required: IN, OUT"),
    "a setting without a value": (["convert", "a", "b.csv", "--set", "RSI_BUY"], "write --set NAME=VALUE"),
    "an unknown setting": (
        ["convert", "a", "b.csv", "--set", "RSI_BYU=1"],
        "RSI_BYU (--set) is no setting: did you mean RSI_BUY?",
    ),
    "a value that is not allowed": (["convert", "a", "b.csv", "--set", "RSI_BUY=500"], "RSI_BUY=500 is not allowed"),
    "a file that is not there": (["convert", "a", "b.csv"], "there is no file a"),
}


@pytest.mark.parametrize(("arguments", "wanted"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_with_exit_code_2(arguments: list[str], wanted: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main(arguments) == 2
    told = capsys.readouterr()
    assert wanted in told.err and told.err.startswith("backtest: ") and not told.out


def test_an_error_is_one_line_without_a_traceback():
    done = run("convert", "/nowhere/a.csv", "/nowhere/b.csv")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("backtest: ")


def test_set_goes_over_the_environment_and_that_over_the_file(tmp_path: Path):
    file = tmp_path / ".env"
    file.write_text("RSI_BUY=31\nRSI_SELL=71\nPAIR=ETH/USDT\n")
    settings = load({"RSI_BUY": "32", "RSI_SELL": "72"}, file, {"RSI_BUY": "33", "PAIRS": "B-LTC_USDT"})
    assert (settings.rsi_buy, settings.rsi_sell, settings.pairs) == (33, 72, ("B-LTC_USDT",))
    assert load({}, file, {"PAIR": "B-LTC_USDT"}).pairs == ("B-LTC_USDT",)
    with pytest.raises(MisconfiguredError, match="RSI_BYU \\(--set\\) is no setting: did you mean RSI_BUY"):
        load({}, file, {"RSI_BYU": "1"})


# --- progress -------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(stream: io.StringIO, *passed_s: float) -> list[str]:
    """What a run of 100 parts wrote that told its progress after these seconds, a part a second."""
    clock = ManualClock()
    begun = clock.monotonic_ns()
    with Progress("reads", 100, clock, stream) as progress:
        for seconds in passed_s:
            clock.advance(begun + int(seconds * NS_PER_S) - clock.monotonic_ns())
            progress.update(int(seconds))
    return stream.getvalue().split(CLEAR) if stream.isatty() else stream.getvalue().splitlines()


def test_on_a_terminal_the_line_is_written_over_itself_at_a_bounded_rate_and_cleared():
    shown = told(Terminal(), 0.1, 0.4, 1.0, 1.1, 1.19, 1.21, 50)
    assert shown == [
        "",
        f"reads: [{'.' * 30}] 1 %, 1 min 39 s left",
        f"reads: [{'.' * 30}] 1 %, 2 min 00 s left",
        f"reads: [{'#' * 15}{'.' * 15}] 50 %, 50 s left",
        "",
    ]


def test_a_short_run_on_a_terminal_shows_nothing():
    assert told(Terminal(), 0.1, 0.49) == [""]


def test_elsewhere_only_a_long_run_has_lines_and_few_of_them():
    assert told(io.StringIO(), 0.5, 1.9) == []
    assert told(io.StringIO(), 2.0, 3.0, 11.9, 12.0, 20.0) == [
        "reads: 2 %, 1 min 38 s left",
        "reads: 12 %, 1 min 28 s left",
    ]


def test_what_was_there_before_says_nothing_of_the_time_left_and_more_stands_behind():
    assert line("reads", 50, 100, 10, bar=False, begun=40) == "reads: 50 %, 50 s left"
    assert line("reads", 40, 100, 10, bar=False, begun=40) == "reads: 40 %"
    clock, stream = ManualClock(), Terminal()
    with Progress("reads", 100, clock, stream, begun=40) as progress:
        progress.say("at once")
        clock.advance(NS_PER_S)
        progress.update(50, "10 of them")
        progress.say("and now")
    assert stream.getvalue().split(CLEAR) == [
        "at once\n",
        f"reads: [{'#' * 15}{'.' * 15}] 50 %, 5 s left; 10 of them",
        "and now\n",
        "",
    ]


def test_an_unknown_total_shows_the_time_it_takes_and_nothing_done_no_time_left():
    assert line("reads", 5, None, 65, bar=True) == "reads: 1 min 05 s"
    assert line("reads", 0, 10, 65, bar=False) == "reads: 0 %"
    assert line("reads", 12, 10, 10, bar=False) == "reads: 100 %, 0 s left"
    assert [duration(seconds) for seconds in (0.4, 59.6, 3599, 3600, 90_061)] == [
        "0 s",
        "1 min 00 s",
        "59 min 59 s",
        "1 h 00 min",
        "25 h 01 min",
    ]


def test_a_watched_source_tells_how_far_it_is(tmp_path: Path):
    path = tmp_path / "trades.csv"
    path.write_text("ts_ns,price,qty\n" + "1,1,1\n" * 100_000)
    source = open_source([path], from_texts({}))
    clock, stream = ManualClock(), io.StringIO()
    with Progress("reads", source.total, clock, stream) as progress:
        watched = Watched(source, progress)
        chunks: list[Chunk] = []
        for chunk in watched.chunks():
            clock.advance(20 * NS_PER_S)
            chunks.append(chunk)
    assert sum(len(chunk.records) for chunk in chunks) == 100_000
    assert watched.notes is source.notes and watched.start is source.start and watched.done == watched.total
    assert stream.getvalue() == "reads: 100 %, 0 s left\n"
