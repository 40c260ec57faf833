"""A real bot with real orders at the sandbox: the trader stands still in a position, the guardian sells it."""

import json
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest

from core.lease import Position, read_claim, read_lease
from tests.pipeline.lively import LIVELY
from tests.pipeline.pipeline import Pipeline

REAL = {"SIMULATION_MODE": "false", "LIVE_CONFIRM": "yes", "NATIVE_STOP": "false"}
KILLERS = ("watchdog", "storage", "dashboard")  # who would end a trader that stands still, and who would end them
UNITS = Decimal(10) ** 5  # of the sandbox's quantities


class Books:
    """The exchange's own, read from its file."""

    def __init__(self, bot: Pipeline) -> None:
        self._bot = bot

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self._bot.book / 'exchange.db'}?mode=ro", uri=True, timeout=10)) as file:
            return file.execute(query).fetchall()

    def orders(self) -> list[dict[str, Any]]:
        return [json.loads(body) for (body,) in self._rows("SELECT body FROM orders WHERE account = 'sandbox'")]

    def sold(self, *ids: str) -> Decimal:
        """Base coin that the orders of these ids sold."""
        fills = [json.loads(body) for (body,) in self._rows("SELECT body FROM fills WHERE account = 'sandbox'")]
        return sum((fill["units"] for fill in fills if fill["client_id"] in ids), Decimal(0)) / UNITS

    def quote(self) -> int:
        """Units of quote, free and locked."""
        query = "SELECT free, locked FROM balances WHERE account = 'sandbox' AND asset = 'USDT'"
        return sum(map(int, self._rows(query)[0]))


def held(bot: Pipeline) -> Position | None:
    """The position of which nothing is on its way."""
    lease = read_lease(bot.run_dir)
    found = lease.positions[0] if lease is not None and lease.positions else None
    return found if found is not None and not found.past and not found.exiting else None


@pytest.mark.timeout(400)
@pytest.mark.parametrize("protocol", ["coindcx", "kraken"])
def test_the_trader_stands_still_and_the_guardian_sells_and_the_trader_takes_it_up(
    make_pipeline: Callable[..., Pipeline], protocol: str
) -> None:
    bot = make_pipeline(**(LIVELY | REAL | {"SANDBOX_PROTOCOL": protocol}))
    bot.start()
    books = Books(bot)
    bot.wait(lambda: held(bot), "a position", 180)
    for stage in KILLERS:
        bot.kill(stage, signal.SIGSTOP)
    trader = bot.kill("trader", signal.SIGSTOP)
    position = held(bot)
    if position is None:
        pytest.skip("it was sold in the moment before")
    bot.wait(lambda: books.sold(*position.exit_ids) == Decimal(position.quantity), "the guardian sold it", 120)
    bot.wait(lambda: not (claim := read_claim(bot.run_dir)) or not claim.sales, "and is done with it")
    assert "the guardian holds the stop" in bot.log("guardian")
    os.kill(trader, signal.SIGCONT)
    for stage in KILLERS:
        bot.kill(stage, signal.SIGCONT)
    bot.wait(lambda: bot.rows("SELECT * FROM trades WHERE reason = 'guardian'"), "the trader takes it up", 60)
    assert bot.pid("trader") == trader
    assert bot.tool("tools.control", "flatten").returncode == 0

    def flat() -> bool:
        stats = bot.stats()
        return stats.get("status") == "idle" and stats.get("stop_holder") is None

    bot.wait(flat, "flat", 60)
    ids = [order["client_id"] for order in books.orders() if order["client_id"].startswith("scalp")]
    assert len(ids) == len(set(ids))
    assert books.sold(*position.exit_ids) == Decimal(position.quantity)
    wallet = lambda: Decimal(str(bot.stats().get("wallet_quote", "nan"))) * 10**8  # noqa: E731
    bot.wait(lambda: wallet() == books.quote(), "the ledger equals the books", 60)
