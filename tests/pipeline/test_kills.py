"""Each stage killed once with -9 while the bot trades: it comes back, and nothing is lost, doubled or decided anew."""

import time
from collections.abc import Callable
from decimal import Decimal

import pytest

from core.paths import STAGES
from tests.pipeline import audit
from tests.pipeline.lively import LIVELY
from tests.pipeline.pipeline import Pipeline


def sells(bot: Pipeline) -> int:
    return int(bot.rows("SELECT count(*) FROM trades WHERE action = 'sell'")[0][0])


def holds(bot: Pipeline) -> bool:
    """Whether what it did last was to buy."""
    return bot.rows("SELECT action FROM trades ORDER BY id DESC LIMIT 1") == [("buy",)]


@pytest.mark.timeout(900)
def test_each_stage_killed_once_while_trading(make_pipeline: Callable[..., Pipeline]) -> None:
    bot = make_pipeline(**LIVELY)
    bot.start()
    for stage in ("sandbox", *STAGES):
        bot.wait(lambda: holds(bot), "a position")
        before = bot.kill(stage)
        killed = time.monotonic()
        bot.wait(lambda s=stage, old=before: bot.pid(s) not in (None, old), f"{stage} is back", seconds=30)
        bot.wait_healthy(60)
        print(f"{stage}: healthy {time.monotonic() - killed:.1f} s after kill -9")
        done = sells(bot)
        bot.wait(lambda done=done: sells(bot) > done, "it trades on: another exit")
    bot.stop()

    book = bot.book.resolve()
    entries = audit.journal(book)
    rows, markets, fee_bps = audit.tape(book)
    assert bot.rows("SELECT * FROM gaps") == []
    assert not [row for row in rows if isinstance(row, audit.slow.Hole)]
    audit.assert_ledger_adds_up(book, entries, Decimal(10500))
    applied = entries[-1].event.at.record
    rows = [row for row in rows if row.number <= applied]
    result = audit.reference(rows, markets, fee_bps, entries, dict(LIVELY), missing_limit=500)
    audit.assert_same_decisions(entries, result)
    balance = Decimal(10500) + sum(audit.cash_of(fill) for fill in audit.events_of(entries, audit.FillEvent))
    assert result.wallet == balance
    audit.assert_parity(book)
