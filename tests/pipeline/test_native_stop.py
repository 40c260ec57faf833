"""Real orders at the sandbox with a stop that rests at the venue: it protects while the trader does not run."""

import json
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from bus.messages import OrderEvent, TradeEvent
from tests.chaos.judge_live import state_of
from tests.chaos.live_rounds import SETTINGS, LiveRounds
from tests.pipeline import audit
from tests.pipeline.pipeline import Pipeline

KILLERS = ("watchdog", "storage", "dashboard")  # who would end a trader that stands still, and who would end them
PROTOCOLS = pytest.mark.parametrize("protocol", ["binance", "kraken"])


LAST = 20  # one pair is traded: what rests is among its latest orders


def stops(bot: Pipeline) -> list[dict[str, Any]]:
    """The latest stops at the exchange, out of its own books, oldest first."""
    with closing(sqlite3.connect(f"file:{bot.book / 'exchange.db'}?mode=ro", uri=True, timeout=10)) as file:
        rows = file.execute("SELECT body FROM orders ORDER BY number DESC LIMIT ?", (LAST,)).fetchall()
    return [order for order in (json.loads(body) for (body,) in reversed(rows)) if order["trigger"]]


def waiting(bot: Pipeline) -> list[dict[str, Any]]:
    return [order for order in stops(bot) if order["waiting"] and order["status"] == "open"]


def ended(bot: Pipeline, client_id: str) -> dict[str, Any] | None:
    """The stop once it is over: the print that wakes it is not yet the one that fills it."""
    over = (order for order in stops(bot) if order["status"] not in ("open", "partial"))
    return next((order for order in over if order["client_id"] == client_id), None)


def orders_of(bot: Pipeline) -> dict[str, OrderEvent]:
    """What the journal has of each order last."""
    entries = audit.journal(bot.book.resolve())
    return {event.client_order_id: event for event in audit.events_of(entries, OrderEvent)}


def back(bot: Pipeline, killed: int) -> bool:
    return bot.pid("trader") not in (None, killed)


def judged(rounds: LiveRounds) -> None:
    """Everything sold, all over, and the exchange's books are the journal's."""
    rounds.settle()
    findings = rounds.judge()
    for found in findings:
        print("\n".join(found.lines()))
    assert all(found.ok for found in findings)


@pytest.mark.timeout(600)
@PROTOCOLS
def test_the_venue_sells_while_the_trader_is_stopped_and_it_books_that_once(
    make_pipeline: Callable[..., Pipeline], protocol: str
) -> None:
    bot = make_pipeline(**SETTINGS, SANDBOX_PROTOCOL=protocol)
    bot.start()
    for stage in KILLERS:
        bot.kill(stage, signal.SIGSTOP)
    trader = bot.pid("trader")
    sold: dict[str, Any] = {}
    for _ in range(10):  # until one is stopped while its stop rests
        (resting, *_) = bot.wait(lambda: waiting(bot), "a stop that rests at the exchange", 120)
        bot.kill("trader", signal.SIGSTOP)
        if waiting(bot):
            sold = bot.wait(partial(ended, bot, resting["client_id"]), "a price that falls through the stop", 240)
        bot.kill("trader", signal.SIGCONT)
        if sold and sold["status"] == "filled":  # else its cancel was on its way
            break
    for stage in KILLERS:
        bot.kill(stage, signal.SIGCONT)
    assert sold and sold["status"] == "filled"
    name = sold["client_id"]
    bot.wait(lambda: orders_of(bot)[name].status == "filled", "the trader books it", 60)
    trades = audit.events_of(audit.journal(bot.book.resolve()), TradeEvent)
    assert [(trade.action, trade.reason) for trade in trades if trade.client_order_id == name] == [
        ("sell", "trailing_stop")
    ]
    assert bot.pid("trader") == trader
    judged(LiveRounds(bot, print, seed=7))


@pytest.mark.timeout(600)
@PROTOCOLS
def test_killed_between_the_cancel_and_the_next_stop_it_is_protected_again_and_flatten_sells_what_is_held(
    make_pipeline: Callable[..., Pipeline], protocol: str
) -> None:
    held_long: dict[str, object] = {"TRAILING_STOP_PCT": 0.01, "RSI_SELL": 100}  # only a deep fall ends a position
    bot = make_pipeline(**(dict(SETTINGS) | held_long), SANDBOX_PROTOCOL=protocol)
    bot.start()
    before, between = "", False
    for _ in range(10):
        before = bot.wait(lambda: waiting(bot), "a stop that rests at the exchange", 120)[0]["client_id"]
        end = time.monotonic() + 240
        while [order["client_id"] for order in waiting(bot)] == [before] and time.monotonic() < end:
            time.sleep(0.002)
        killed = bot.kill("trader")
        between = not waiting(bot) and "stop_climbs" in orders_of(bot)[before].reason
        if between:
            break
        bot.wait(partial(back, bot, killed), "the trader is back", 60)
    assert between
    (stop,) = bot.wait(lambda: waiting(bot), "protected again", 60)
    assert stop["client_id"] != before
    (held,) = (pair for pair in state_of(bot.book.resolve() / "journal.db").pairs.values() if pair.lots)
    assert Decimal(stop["units"]).scaleb(-stop["quantity_digits"]) == held.lots * held.step
    judged(LiveRounds(bot, print, seed=7))  # flatten with a stop that rests
