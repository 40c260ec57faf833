"""Copies of a running bot's files, taken as a power cut would or by `make backup`, go on as bots of their own."""

import contextlib
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from core.paths import PROGRAMS
from tests.pipeline import audit
from tests.pipeline.lively import LIVELY
from tests.pipeline.pipeline import Pipeline, free_port

TRADES = 4  # before the copy, and again by the copy


def trades_in(pipeline: Pipeline) -> int:
    """Trades in the journal; 0 before there is one."""
    return len(audit.events_of(audit.journal(pipeline.book), audit.TradeEvent)) if pipeline.book.exists() else 0


def follow_on(original: Pipeline, template: Path, copied_var: Path) -> Pipeline:
    """A bot of its own with the var of a copy."""
    root = original.root.parent / "q"
    shutil.copytree(template, root, symlinks=True, ignore=shutil.ignore_patterns("books", "run", "log"))
    shutil.copytree(copied_var / "books", root / "var" / "books")
    ports = {"PORT": free_port(), "SANDBOX_PORT": free_port()}
    return Pipeline(root, original.settings | ports)


def stopped_copy(pipeline: Pipeline, target: Path) -> None:
    """All stages stopped for a moment, and their files copied as they are."""
    pids = [pid for stage in PROGRAMS if (pid := pipeline.pid(stage))]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        shutil.copytree(pipeline.var / "books", target / "books")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def ledger_at(book: Path) -> tuple[int, list[audit.Entry]]:
    """Last entry's number and all entries of a book at rest; the files are whole."""
    for name in ("journal.db", "bot_data.db"):
        with contextlib.closing(sqlite3.connect(book / name)) as file:
            assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    entries = audit.journal(book)
    return entries[-1].number, entries


def goes_on(copy: Pipeline, number: int, before: list[audit.Entry]) -> None:
    """The copy trades on from its ledger, which stays what it was, and at the end everything adds up."""
    try:
        copy.start()
        copy.wait(lambda: trades_in(copy) >= TRADES + len(audit.events_of(before, audit.TradeEvent)), "it trades on")
    finally:
        copy.close()
    entries = audit.journal(copy.book)
    assert entries[:number] == before and len(entries) > number
    audit.assert_ledger_adds_up(copy.book, entries, Decimal("10500"))


@pytest.mark.timeout(400)
def test_a_copy_of_all_files_at_one_moment_trades_on(make_pipeline: Callable[..., Pipeline], template: Path) -> None:
    pipeline = make_pipeline(**LIVELY)
    pipeline.start()
    pipeline.wait(lambda: trades_in(pipeline) >= TRADES, "it trades")
    published = pipeline.rows("SELECT number FROM cursors WHERE topic = 'trader/0/'")[0][0]
    kept = pipeline.root.parent / "kept"
    stopped_copy(pipeline, kept)
    pipeline.wait_healthy()
    pipeline.stop()
    number, before = ledger_at(next((kept / "books").iterdir()))
    assert number >= published
    goes_on(follow_on(pipeline, template, kept), number, before)


@pytest.mark.timeout(400)
def test_a_backup_of_a_running_bot_trades_on(make_pipeline: Callable[..., Pipeline], template: Path) -> None:
    pipeline = make_pipeline(**LIVELY)
    pipeline.start()
    pipeline.wait(lambda: trades_in(pipeline) >= TRADES, "it trades")
    made = pipeline.tool("tools.backup")
    assert made.returncode == 0, made.stdout + made.stderr
    pipeline.wait_healthy()
    pipeline.stop()
    [backup] = (pipeline.var.parent / "backups").iterdir()
    assert (backup / "settings.json").exists()
    number, before = ledger_at(next((backup / "books").iterdir()))
    goes_on(follow_on(pipeline, template, backup), number, before)
