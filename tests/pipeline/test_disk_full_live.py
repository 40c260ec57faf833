"""Real orders on a disk that fills up: what is held is sold all the same, once, and booked when there is room."""

import time
from pathlib import Path

import pytest

from core.paths import book_dir
from core.settings_load import from_texts
from tests.chaos.judge_live import books_of, quantity_of
from tests.chaos.live_rounds import LiveRounds
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


def keeps_its_books_in(folder: Path, settings: dict[str, object]) -> None:
    """Has the exchange keep its books on another disk, as it would: its file in the bot's book is a link."""
    book = book_dir(from_texts({name: str(value) for name, value in settings.items()}))
    book.mkdir(parents=True)
    folder.mkdir()
    (book / "exchange.db").symlink_to(folder / "exchange.db")


def count(bot: Pipeline, side: str) -> int:
    return sum(fill["side"] == side for fill in books_of(bot.book).fills)


def holds(bot: Pipeline) -> bool:
    fills = books_of(bot.book).fills
    return sum(quantity_of(fill) * (1 if fill["side"] == "buy" else -1) for fill in fills) > 0


@pytest.mark.timeout(400)
def test_what_is_held_for_real_is_sold_on_a_full_disk_and_booked_once(template: Path) -> None:
    with short_folder() as place, small_disk(place / "v", 400) as disk:
        settings = settings_on(disk, template) | LIVE
        saw(disk.path.parent / "saw.csv", period_s=PERIOD_S, quantity="1.00000")
        keeps_its_books_in(place / "venue", settings)
        with running_from(template, settings) as bot:
            bot.start()
            sells_on_a_full_disk(bot, disk)
            rounds = LiveRounds(bot, print, seed=1)
            rounds.settle()
            findings = rounds.judge()
    assert all(found.ok for found in findings), [line for found in findings for line in found.lines()]


def sells_on_a_full_disk(bot: Pipeline, disk: SmallDisk) -> None:
    bot.wait(lambda: count(bot, "sell"), "a first round trip", 120)
    bot.wait(lambda: holds(bot), "a position: the next fall is some seconds away", 60)
    pids = bot.pids()

    disk.fill()
    bot.wait(lambda: untaped(bot) > 0, "the tape stops")
    bought = count(bot, "buy")
    assert holds(bot)
    bot.wait(lambda: not holds(bot), "sold on a full disk", 60)
    assert_readable(bot.book.resolve())
    time.sleep(PERIOD_S)  # a whole turn of the market
    assert count(bot, "buy") == bought, "nothing is entered meanwhile"

    disk.empty()
    bot.wait(lambda: untaped(bot) == 0, "the tape goes on")
    bot.wait(lambda: count(bot, "buy") > bought, "it trades on", 120)
    assert bot.pids() == pids, "no stage died of it"
