"""The bot on a small disk that fills up, and on one that fails: the stop goes on, and what was recorded is read."""

import shutil
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from bus import control
from bus.frames import STATUS
from bus.messages import Status
from bus.tape import TapeReader
from core.errors import RemoteError
from tests.pipeline import audit
from tests.pipeline.pipeline import Pipeline, running_from
from tests.pipeline.saw import saw
from tests.small_disk import SmallDisk, failing_disk, small_disk
from tests.up_helpers import short_folder

# Holds a position but for the moments after each fall of the market.
RESTLESS: dict[str, object] = {
    "RSI_BUY": "99",
    "RSI_CRASH": "98",
    "RSI_SELL": "99.9",
    "TRAILING_STOP_PCT": "0.002",
    "TIMEFRAME": "1s",
    "WARMUP_CANDLES": "20",
    "SANDBOX_SPEED": "4",
}
MB = 1_000_000


def settings_on(disk: SmallDisk, template: Path) -> dict[str, object]:
    """The settings of a bot whose var is the small disk, its kernels compiled already."""
    shutil.copytree(template / "var" / "cache", disk.path / "cache", dirs_exist_ok=True)
    return {**RESTLESS, "VAR_DIR": disk.path, "SANDBOX_TAPE": saw(disk.path.parent / "saw.csv")}


def with_a_new_position(bot: Pipeline) -> None:
    """Starts the bot and waits until it has bought anew: the next fall is some seconds away then."""
    bot.start()
    done = sells(bot)  # there may be some by now, nobody knows how long ago
    bot.wait(lambda: sells(bot) > done, "an exit")
    bot.wait(lambda: status(bot) == "in_position", "a position")


def status(bot: Pipeline) -> str:
    code, stats = bot.get("/api/stats")
    return str(stats["status"]) if code == 200 else ""


def untaped(bot: Pipeline) -> int:
    """Records that the feeder says it has published and not taped."""
    _, text = bot.get("/metrics")
    lines = [line for line in (text or b"").decode().splitlines() if "untaped" in line and not line.startswith("#")]
    return int(float(lines[0].split()[-1])) if lines else -1


def sells(bot: Pipeline) -> int:
    return int(bot.rows("SELECT count(*) FROM trades WHERE action = 'sell'")[0][0])


def follows(bot: Pipeline) -> bool:
    """Whether the trader itself says that it has the market's updates."""
    try:
        _, snapshot = control.ask_snapshot(bot.run_dir, "trader", STATUS)
    except RemoteError:
        return False
    return [row.feed for row in msgspec.msgpack.decode(snapshot or b"\x90", type=list[Status])] == ["normal"]


def assert_readable(book: Path) -> None:
    """Tape, journal and database open and are whole, while the bot runs and the disk takes nothing."""
    with closing(TapeReader(book / "tape")) as tape:
        assert tape.last > 0
    assert audit.journal(book)
    for name in ("journal.db", "bot_data.db"):
        with closing(sqlite3.connect(f"file:{book / name}?mode=ro", uri=True, timeout=10)) as file:
            assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.timeout(400)
def test_a_disk_that_fills_up_stops_entries_and_nothing_else(template: Path) -> None:
    with (
        short_folder() as place,
        small_disk(place / "v", 400) as disk,
        running_from(template, settings_on(disk, template)) as bot,
    ):
        with_a_new_position(bot)
        pids = bot.pids()

        disk.fill()
        bot.wait(lambda: untaped(bot) > 0, "the tape stops")
        bot.wait(lambda: status(bot) == "idle", "the stop sells on a full disk")
        assert_readable(bot.book.resolve())
        done = sells(bot)

        disk.fill(leave=250 * MB)
        bot.wait(lambda: sells(bot) > done, "the journal goes on with what waited")
        refused = "SELECT count(*) FROM signals WHERE outcome = 'refused:untaped'"
        bot.wait(lambda: bot.rows(refused)[0][0], "the refusal is on record")
        assert untaped(bot) > 0
        assert bot.pids() == pids, "no stage died of it"

        disk.empty()
        bot.wait(lambda: untaped(bot) == 0, "the tape goes on")
        done = sells(bot)
        bot.wait(lambda: sells(bot) > done, "it trades on")
        assert bot.rows("SELECT * FROM gaps") == []
        bot.wait_healthy()
        assert bot.stop().returncode == 0
        assert_nothing_is_missing(bot.book.resolve())


def assert_nothing_is_missing(book: Path) -> None:
    """The tape has every number, untaped ones among them; the ledger is whole; the reference decides the same."""
    entries = audit.journal(book)
    rows, markets, fee_bps = audit.tape(book)
    with closing(TapeReader(book / "tape")) as tape:
        assert len(tape.read_back(tape.last + 1)[1]) == tape.last + 1, "no number is missing"
    marked = [row.number for row in rows if isinstance(row, audit.slow.Trade) and row.flags & audit.slow.UNTAPED]
    assert marked
    decided = audit.decided(entries)
    inside = [event for event in decided if marked[0] <= event.at.record <= marked[-1]]
    assert [event.action for event in inside] == ["exit"], "without the tape nothing was entered"
    audit.assert_ledger_adds_up(book, entries, Decimal(10500))
    applied = entries[-1].event.at.record
    rows = [row for row in rows if row.number <= applied]
    result = audit.reference(rows, markets, fee_bps, entries, RESTLESS)
    audit.assert_same_decisions(entries, result)
    audit.assert_parity(book)


@pytest.mark.timeout(400)
def test_trader_and_feeder_killed_without_a_tape_leave_no_position_unwatched(template: Path) -> None:
    with (
        short_folder() as place,
        small_disk(place / "v", 400) as disk,
        running_from(template, settings_on(disk, template)) as bot,
    ):
        with_a_new_position(bot)
        disk.fill(leave=250 * MB)
        bot.wait(lambda: untaped(bot) > 0, "the tape stops")
        for stage in ("trader", "feeder"):
            before = bot.kill(stage)
            bot.wait(lambda s=stage, old=before: bot.pid(s) not in (None, old), f"{stage} is back", seconds=30)
            bot.wait(lambda: follows(bot), "the trader follows the market again")
        bot.wait(lambda: "trades were published that are not on the tape" in bot.log("feeder"), "the feeder tells")
        bot.wait(lambda: follows(bot), "the trader follows the new feeder")
        bot.wait(lambda: status(bot) == "idle", "the stop sells")
        disk.empty()
        bot.wait(lambda: untaped(bot) == 0, "the tape goes on")
        bot.wait(lambda: status(bot) == "in_position", "it trades on")
        assert bot.stop().returncode == 0
        entries = audit.journal(bot.book.resolve())
        audit.assert_ledger_adds_up(bot.book.resolve(), entries, Decimal(10500))
        verdict = audit.assert_parity(bot.book.resolve(), whole=False)
        assert verdict.not_judged, "what was never taped is named"


@pytest.mark.timeout(400)
def test_a_disk_that_fails_stops_entries_and_a_start_after_it_was_mended_goes_on(template: Path) -> None:
    with short_folder() as place:
        image = place / "image"
        with failing_disk(place / "v", image, 500) as disk, running_from(template, settings_on(disk, template)) as bot:
            with_a_new_position(bot)
            pids = bot.pids()
            disk.fail()
            bot.wait(lambda: untaped(bot) > 0, "the tape stops")
            bot.wait(lambda: status(bot) == "idle", "the stop sells without a disk")
            assert bot.pids() == pids, "no stage died of it"
            assert_readable(bot.book.resolve())
            known = audit.journal(bot.book.resolve())
            bot.stop()
            assert bot.processes() == {}
        with failing_disk(place / "v", image, 500) as disk, running_from(template, settings_on(disk, template)) as bot:
            bot.start()
            done = sells(bot)
            bot.wait(lambda: sells(bot) > done, "it trades on")
            assert bot.stop().returncode == 0
            book = bot.book.resolve()
            entries = audit.journal(book)
            assert entries[: len(known)] == known, "what was on record stays"
            audit.assert_ledger_adds_up(book, entries, Decimal(10500))
            audit.assert_parity(book, whole=False)
