"""`python -m backtest parity`: its exit codes, its words, its JSON."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from backtest.cli import main
from bus.messages import FillEvent, StateEvent
from core.paths import ROOT
from tests.recorded_session import Recording, tampered


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bot = Recording(tmp_path_factory.mktemp("recorded"))
    bot.trades(300)
    return bot.close()


@pytest.fixture(autouse=True)
def of_this_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAR_DIR", str(ROOT / "var"))


def other_price(events: list[Any]) -> list[Any]:
    place = next(n for n, event in enumerate(events) if isinstance(event, FillEvent))
    events[place] = msgspec.structs.replace(events[place], price="59999.99")
    return events


def test_equal_is_0(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parity", str(recorded)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"book {recorded.name}: equal\n  compared: 312 records, ")


def test_different_is_1_and_says_where(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book = tampered(recorded, tmp_path, other_price)
    assert main(["parity", str(book)]) == 1
    assert "the first difference: both sides have something else at this record" in capsys.readouterr().out
    assert main(["parity", str(book), "--json"]) == 1
    verdict = msgspec.json.decode(capsys.readouterr().out)
    assert verdict["outcome"] == "different"
    assert verdict["difference"]["fields"]["price"][0] == "59999.99"


def test_what_cannot_be_judged_is_2(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parity", str(tmp_path)]) == 2
    assert "name a book's folder" in capsys.readouterr().err
    bot = Recording(tmp_path, history=0)
    assert main(["parity", str(bot.close())]) == 2
    assert "not judged, the session has taken no record of the tape yet" in capsys.readouterr().out


def test_without_a_folder_it_is_the_book_in_force(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    assert main(["parity"]) == 2
    assert "run the bot first" in capsys.readouterr().err
    (tmp_path / "current").symlink_to(recorded)
    (tmp_path / "cache").symlink_to(ROOT / "var" / "cache")
    assert main(["parity"]) == 0
    assert f"book {recorded.name}: equal" in capsys.readouterr().out


def test_settings_of_another_release_are_said(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(events: list[Any]) -> list[Any]:
        events[0] = msgspec.structs.replace(events[0], settings=events[0].settings | {"RSI_SPREAD": "3"})
        return events

    assert main(["parity", str(tampered(recorded, tmp_path, change))]) == 2
    assert "RSI_SPREAD" in capsys.readouterr().err


def test_a_fold_that_cannot_take_what_is_recorded_is_said(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(events: list[Any]) -> list[Any]:
        last = events[-1].at
        return [*events, StateEvent(last, "active", "operator", "dance", "c1")]

    assert main(["parity", str(tampered(recorded, tmp_path, change))]) == 2
    assert "unknown command 'dance'" in capsys.readouterr().err
