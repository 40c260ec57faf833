"""What is on record about going live: the doctor's pass, the simulated hours of the journal, the log of live starts."""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from bus.messages import At, EquityEvent, SpanEvent, StartedEvent, TraderEvent
from core import paths
from core.clock import ManualClock
from core.errors import MisconfiguredError
from core.settings import Settings
from core.settings_load import apply, from_texts
from core.stage import Context
from tests.up_helpers import short_folder
from trader import clearance
from trader.journal import Journal
from trader.ladder import DAY_MS, MINUTE_MS
from trader.state import State, pack

NOW_MS = 1_795_000_000_000


def live(var: Path, **texts: str) -> Settings:
    given = {"VENUE": "binance", "LIVE_CONFIRM": "yes", "VAR_DIR": str(var), **texts}
    return msgspec.structs.replace(from_texts(given), simulation_mode=False)


def row(minute: int, record: int = 0, epoch: int = 7) -> EquityEvent:
    return EquityEvent(At(epoch, record, minute * MINUTE_MS), minute * MINUTE_MS, "1", "0", "0", "0")


def started() -> StartedEvent:
    return StartedEvent(At(7, -1, 0), "j", "sim-binance", {}, "new", "")


def blind(first: int, last: int, epoch: int = 7) -> SpanEvent:
    return SpanEvent(At(epoch, first - 1, 0), "blind", first, last, "it was stopped")


def simulated(var: Path, events: Sequence[TraderEvent], venue: str = "binance") -> None:
    folder = var / "books" / f"sim-{venue}"
    folder.mkdir(parents=True)
    journal = Journal(folder / "journal.db", lambda committed: None, lambda why: None)
    journal.open(0)
    journal.append(list(events), pack(State(journal_id="j", wallet=0)))
    assert journal.close(20)


def a_day() -> list[TraderEvent]:
    return [started(), *(row(minute, minute) for minute in range(1_441))]


JOURNALS: dict[str, tuple[list[TraderEvent], int]] = {
    "a day": (a_day(), 1_440),
    "two starts, a week apart": ([started(), row(0), row(1), started(), row(10_080), row(10_081)], 2),
    "a start two minutes after an end": ([started(), row(0), row(1), started(), row(3), row(4)], 2),
    "what was made up for blind": (
        [
            started(),
            row(0, 0),
            row(1, 10),
            started(),
            blind(11, 600),
            *(row(m, 10 * m) for m in range(2, 61)),
            row(61, 601),
        ],
        1,
    ),
    "blind on another tape": ([started(), row(0, 5, 8), blind(0, 100, 9), row(1, 6, 8), row(2, 7, 8)], 1),
    "nothing but a start": ([started()], 0),
}


@pytest.mark.parametrize(("events", "told"), JOURNALS.values(), ids=JOURNALS)
def test_the_journal_tells_how_long_the_trader_followed(tmp_path: Path, events: list[TraderEvent], told: int) -> None:
    simulated(tmp_path, events)
    assert clearance.simulated_on_record(live(tmp_path)) == told * MINUTE_MS


def test_only_the_book_of_that_venue_counts(tmp_path: Path) -> None:
    simulated(tmp_path, a_day(), "kraken")
    assert clearance.simulated_on_record(live(tmp_path)) == 0
    assert clearance.simulated_on_record(live(tmp_path, VENUE="kraken")) == DAY_MS


def test_a_journal_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    simulated(tmp_path, a_day())
    (tmp_path / "books/sim-binance/journal.db").write_bytes(b"no database" * 1_000)
    with pytest.raises(MisconfiguredError, match="journal"):
        clearance.facts_of(live(tmp_path), NOW_MS)


def test_who_has_everything_is_cleared(tmp_path: Path) -> None:
    settings = live(tmp_path)
    simulated(tmp_path, a_day())
    with pytest.raises(MisconfiguredError, match="the doctor has not passed yet"):
        clearance.cleared(settings, NOW_MS)
    clearance.write_pass(settings, NOW_MS - 1)
    assert clearance.cleared(settings, NOW_MS).simulated_ms == DAY_MS
    clearance.forget_pass(settings)
    with pytest.raises(MisconfiguredError, match="the doctor has not passed yet"):
        clearance.cleared(settings, NOW_MS)


def test_all_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError) as caught:
        clearance.cleared(live(tmp_path, LIVE_CONFIRM="no"), NOW_MS)
    told = str(caught.value)
    assert all(words in told for words in ("LIVE_CONFIRM=yes", "make doctor", "LIVE_SKIP_SIM_DAY"))


def test_the_sandbox_needs_none_of_it(tmp_path: Path) -> None:
    assert clearance.cleared(live(tmp_path, VENUE="sandbox", LIVE_CONFIRM="no"), NOW_MS).simulated_ms == 0
    assert list(tmp_path.iterdir()) == []


OTHER = {
    "VENUE": "kraken",
    "PAIRS": "ETH/USDT",
    "TRADE_CAPITAL": "9999",
    "LIVE_START_CAPITAL": "10",
    "TRAILING_STOP_PCT": "0.01",
    "TAKER_FEE_BPS": "7",
    "TAX_BUY_BPS": "100",
    "TAX_SELL_BPS": "100",
    "FEED": "poll",
    "VENUE_REST_URL": "https://other",
    "VENUE_STREAM_URL": "wss://other",
    "BINANCE_API_KEY": "another key",
    "BINANCE_SECRET_KEY": "another secret",
}


@pytest.mark.parametrize("name", OTHER)
def test_a_pass_is_of_the_settings_and_keys_that_were_looked_at(tmp_path: Path, name: str) -> None:
    clearance.write_pass(live(tmp_path), NOW_MS)
    other = live(tmp_path, **{name: OTHER[name]})
    with pytest.raises(MisconfiguredError, match="other settings or keys"):
        clearance.cleared(other, NOW_MS)


@pytest.mark.parametrize(("name", "text"), [("RSI_BUY", "25"), ("KRAKEN_API_KEY", "x"), ("LOG_LEVEL", "debug")])
def test_what_the_doctor_does_not_look_at_changes_nothing(tmp_path: Path, name: str, text: str) -> None:
    assert clearance.settings_hash(live(tmp_path, **{name: text})) == clearance.settings_hash(live(tmp_path))


def test_a_pass_in_simulation_counts(tmp_path: Path) -> None:
    settings = live(tmp_path, LIVE_SKIP_SIM_DAY="yes")
    clearance.write_pass(msgspec.structs.replace(settings, simulation_mode=True, live_confirm=False), NOW_MS)
    assert clearance.cleared(settings, NOW_MS)


@pytest.mark.parametrize("text", ["", "{", '{"passed_ms": "x"}', "\xff"])
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / clearance.FILE).write_text(text, encoding="latin-1")
    assert clearance.read_pass(live(tmp_path)) is None


def test_no_secret_is_on_record(tmp_path: Path) -> None:
    settings = live(tmp_path, BINANCE_API_KEY="keykeykey", BINANCE_SECRET_KEY="secretsecret")
    clearance.write_pass(settings, NOW_MS)
    file = clearance.note(settings, NOW_MS, "live-binance may send real orders")
    for path in (tmp_path / clearance.FILE, file):
        assert "keykeykey" not in path.read_text() and "secretsecret" not in path.read_text()
        assert path.stat().st_mode & 0o077 == 0


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MisconfiguredError, match=r"doctor\.json"):
        clearance.write_pass(live(tmp_path / "file"), NOW_MS)
    (tmp_path / clearance.FILE).mkdir()
    with pytest.raises(MisconfiguredError, match=r"doctor\.json"):
        clearance.forget_pass(live(tmp_path))


@pytest.fixture
def var() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


def begin(settings: Settings) -> None:
    clock = ManualClock(wall_ns=NOW_MS * 1_000_000)
    clearance.may_begin(Context("trader", settings, clock, logging.getLogger("trader")))


def test_a_trader_started_by_hand_is_asked_what_a_command_asks(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPERVISOR_ENABLED", raising=False)
    settings = live(var)
    apply(settings)  # a command did once: that opens no door for a trader by hand
    with pytest.raises(MisconfiguredError, match=r"make doctor[\s\S]*LIVE_SKIP_SIM_DAY"):
        begin(settings)
    assert not (var / "log" / clearance.LOG).exists()
    clearance.write_pass(settings, NOW_MS - 1)
    simulated(var, a_day())
    begin(settings)
    line = (var / "log" / clearance.LOG).read_text()
    assert "live-binance may send real orders, the trader was started by hand; 24.0 h of simulation on record" in line


def test_a_trader_that_comes_back_by_itself_may_hold_a_position_and_is_not_asked(
    var: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPERVISOR_ENABLED", "1")
    settings = live(var)
    apply(settings)
    begin(settings)
    assert not (var / "log" / clearance.LOG).exists(), "nobody was cleared anew"


def test_a_supervisord_that_finds_nothing_applied_is_asked(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERVISOR_ENABLED", "1")
    with pytest.raises(MisconfiguredError, match="the doctor has not passed yet"):
        begin(live(var))


@pytest.mark.parametrize("texts", [{}, {"SIMULATION_MODE": "false"}, {"VENUE": "kraken"}])
def test_a_trader_without_real_money_is_not_asked(
    var: Path, texts: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUPERVISOR_ENABLED", raising=False)
    begin(from_texts({**texts, "VAR_DIR": str(var)}))


def test_live_starts_are_logged_one_after_the_other(tmp_path: Path) -> None:
    settings = live(tmp_path)
    for text in ("one", "two"):
        file = clearance.note(settings, NOW_MS, text)
    assert file == paths.log_dir(tmp_path) / "live.log"
    lines = file.read_text().splitlines()
    assert [line.split()[1] for line in lines] == ["one", "two"] and lines[0].startswith("2026-")
    assert os.stat(file).st_mode & 0o077 == 0
