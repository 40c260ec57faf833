"""Each stage killed once with -9 while the bot trades: it comes back, and nothing is lost, doubled or decided anew."""

import time
from collections.abc import Callable
from decimal import Decimal

import pytest

from core.paths import STAGES
from tests.pipeline import audit
from tests.pipeline.pipeline import Pipeline


def sells(bot: Pipeline) -> int:
    return int(bot.rows("SELECT count(*) FROM trades WHERE action = 'sell'")[0][0])


@pytest.mark.timeout(900)
def test_each_stage_killed_once_while_trading(make_pipeline: Callable[..., Pipeline]) -> None:
    bot = make_pipeline()
    bot.start()
    bot.wait(lambda: bot.rows("SELECT * FROM trades WHERE action = 'buy'"), "a first entry", seconds=240)
    for stage in ("sandbox", *STAGES):
        before = bot.kill(stage)
        killed = time.monotonic()
        bot.wait(lambda s=stage, old=before: bot.pid(s) not in (None, old), f"{stage} is back", seconds=30)
        bot.wait_healthy(60)
        print(f"{stage}: healthy {time.monotonic() - killed:.1f} s after kill -9")
        time.sleep(3)
    done = sells(bot)
    bot.wait(lambda: sells(bot) > done, "it trades on: another exit", seconds=300)
    bot.stop()

    book = bot.book.resolve()
    entries = audit.journal(book)
    rows, markets, fee_bps = audit.tape(book)
    assert bot.rows("SELECT * FROM gaps") == []
    assert not [row for row in rows if isinstance(row, audit.slow.Hole)]
    audit.assert_ledger_adds_up(book, entries, Decimal(10500))
    applied = entries[-1].event.at.record
    rows = [row for row in rows if row.number <= applied]
    result = audit.reference(rows, markets, fee_bps, entries, {}, missing_limit=500)
    audit.assert_same_decisions(entries, result)
    balance = Decimal(10500) + sum(audit.cash_of(fill) for fill in audit.events_of(entries, audit.FillEvent))
    assert result.wallet == balance
