"""Real orders on a disk that fills up: what is held is sold all the same, once, and booked when there is room."""

import time
from pathlib import Path

import pytest

from core.paths import book_dir
from core.settings_load import from_texts
from tests.chaos import judge_live
from tests.chaos.judge_live import Books, books_of, state_of
from tests.pipeline import audit
from tests.pipeline.pipeline import Pipeline, running_from
from tests.pipeline.saw import saw
from tests.pipeline.test_disk_full import RESTLESS, assert_readable, settings_on, untaped
from tests.small_disk import SmallDisk, small_disk
from tests.up_helpers import short_folder

PERIOD_S = 24
LIVE: dict[str, object] = {
    **RESTLESS,
    "SANDBOX_SPEED": 1,
    "SANDBOX_PROTOCOL": "coindcx",  # without stops of its own: the trader sells
    "SIMULATION_MODE": "false",
    "TRADE_CAPITAL": 1000,
    "SHADOW_LIMIT_BPS": 0,
    "MAX_ORDERS_PER_MINUTE": 0,
}


def elsewhere(settings: dict[str, object], folder: Path) -> Path:
    """Has the exchange keep its books on another disk, as it would: its file in the bot's book is a link."""
    book = book_dir(from_texts({name: str(value) for name, value in settings.items()}))
    book.mkdir(parents=True)
    folder.mkdir()
    (book / "exchange.db").symlink_to(folder / "exchange.db")
    return folder


def count(books: Books, side: str) -> int:
    return sum(fill["side"] == side for fill in books.fills)


def holds(books: Books) -> bool:
    moved = [judge_live.quantity_of(fill) * (1 if fill["side"] == "buy" else -1) for fill in books.fills]
    return sum(moved) > 0


def at_rest(book: Path) -> bool:
    state = state_of(book / "journal.db")
    return not state.blocks and not any(pair.lots or pair.order is not None for pair in state.pairs.values())


@pytest.mark.timeout(400)
def test_what_is_held_for_real_is_sold_on_a_full_disk_and_booked_once(template: Path) -> None:
    with short_folder() as place, small_disk(place / "v", 400) as disk:
        settings = settings_on(disk, template) | LIVE
        saw(disk.path.parent / "saw.csv", period_s=PERIOD_S, quantity="1.00000")
        venue = elsewhere(settings, place / "venue")
        with running_from(template, settings) as bot:
            sells_on_a_full_disk(bot, disk, venue)
            assert bot.stop().returncode == 0
            agrees(bot.book.resolve(), venue)


def sells_on_a_full_disk(bot: Pipeline, disk: SmallDisk, venue: Path) -> None:
    bot.start()
    bot.wait(lambda: count(books_of(venue), "sell"), "a first round trip", 120)
    bot.wait(lambda: holds(books_of(venue)), "a position: the next fall is some seconds away", 60)
    pids = bot.pids()

    disk.fill()
    bot.wait(lambda: untaped(bot) > 0, "the tape stops")
    bought = count(books_of(venue), "buy")
    assert holds(books_of(venue))
    bot.wait(lambda: not holds(books_of(venue)), "sold on a full disk", 60)
    assert_readable(bot.book.resolve())
    time.sleep(PERIOD_S)  # a whole turn of the market
    assert count(books_of(venue), "buy") == bought, "nothing is entered meanwhile"

    disk.empty()
    bot.wait(lambda: untaped(bot) == 0, "the tape goes on")
    bot.wait(lambda: count(books_of(venue), "buy") > bought, "it trades on", 120)
    assert bot.pids() == pids, "no stage died of it"
    bot.wait(lambda: bot.tool("tools.control", "flatten").returncode == 0, "a trader that takes the command")
    bot.wait(lambda: at_rest(bot.book.resolve()), "all is sold, journal and venue agree", 60)


def agrees(book: Path, venue: Path) -> None:
    """The venue's own books against the journal."""
    entries, state, books = audit.journal(book), state_of(book / "journal.db"), books_of(venue)
    findings = [
        judge_live.judge_orders(books, entries, state.settings["BOT_NAME"]),
        judge_live.judge_fills(books, entries),
        judge_live.judge_money(books, state.wallet / judge_live.ATOMS, {}, "USDT"),
        judge_live.judge_sells(books, entries),
    ]
    assert all(found.ok for found in findings), [line for found in findings for line in found.lines()]
