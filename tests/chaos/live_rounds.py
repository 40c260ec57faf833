"""Kill rounds with real orders at the sandbox: the trader is killed at random while the venue has its bad days.

Half of the kills come at a random moment after the trader's start, the other half right after the exchange took an
order. Faults of the venue come and go between them, and at each change the trader may live for long enough to learn
what became of an order whose answer was lost. At the end the faults are lifted, the trader must enter once more, what
is held is sold, and the exchange's own books are held against the journal.
"""

import json
import random
import sqlite3
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from tests.chaos import judge_live
from tests.chaos.findings import Finding
from tests.chaos.judge_decisions import judge_trading_on
from tests.chaos.judge_live import state_of
from tests.pipeline import audit
from tests.pipeline.lively import LIVELY
from tests.pipeline.pipeline import Pipeline
from trader import base
from trader.orders import OrderState

SETTINGS: Mapping[str, object] = MappingProxyType(
    dict(LIVELY)
    | {"SIMULATION_MODE": "false", "TRADE_CAPITAL": 1000, "SHADOW_LIMIT_BPS": 0, "MAX_ORDERS_PER_MINUTE": 0}
)
EARLIEST_S, LATEST_S = 0.1, 6.0
ORDER_WAIT_S = 8.0  # within which the exchange takes an order, else it is killed all the same
AFTER_ORDER_S = 0.05
SETTLE_S = 120.0

# The venue's bad days, one at a time; each for a few kills.
DAYS: tuple[tuple[dict[str, Any], ...], ...] = (
    (),
    ({"kind": "dropped_reply", "path": "*order*", "method": "POST", "chance": 0.4},),
    ({"kind": "lost_request", "path": "*", "chance": 0.15},),
    ({"kind": "status", "status": 502, "path": "*order*", "acted": True, "chance": 0.3},),
    ({"kind": "status", "status": 503, "path": "*", "chance": 0.2},),
    ({"kind": "latency", "ms": 300, "path": "*"}, {"kind": "cut_reply", "path": "*", "chance": 0.1}),
    ({"kind": "partial_fills", "share": 0.05},),
    ({"kind": "query_lag", "ms": 1500},),
    ({"kind": "late_rejection", "ms": 200, "chance": 0.3},),
    ({"kind": "silent", "chance": 0.2}, {"kind": "disconnect", "every_s": 5}),
    ({"kind": "html", "path": "*", "chance": 0.1}, {"kind": "slow_reply", "ms": 900, "path": "*", "chance": 0.2}),
)
KILLS_A_DAY = 5
BREATH_S = 40.0
DOUBTFUL = (OrderState.SUBMITTING, OrderState.UNKNOWN)


class LiveRounds:
    """One bot with real orders; `say` prints."""

    def __init__(self, bot: Pipeline, say: Callable[[str], object], seed: int) -> None:
        self.bot = bot
        self.done: Counter[str] = Counter()
        self._say = say
        self._random = random.Random(seed)

    def play(self, kills: int) -> None:
        """Starts the bot and kills its trader so many times, then lets it come to rest."""
        self.bot.start()
        self.bot.wait(lambda: self._orders() > 0, "a first order", 120)
        for number in range(kills):
            if number % KILLS_A_DAY == 0:
                self._breathe()
                self._set(DAYS[number // KILLS_A_DAY % len(DAYS)])
            self._kill(number)
        self._set(())
        self._trade_on()
        self.settle()

    def _trade_on(self) -> None:
        """A trader that takes no entries any more has not survived: waits for one after the last kill."""
        book = self.bot.book.resolve()
        after = audit.journal(book)[-1].number
        self.bot.wait(lambda: judge_trading_on(audit.journal(book), after).ok, "an entry after the last kill", SETTLE_S)

    def settle(self) -> None:
        """No more entries, everything sold, journal and venue agree, nothing works."""
        self.bot.wait(lambda: self._flattened(), "a trader that takes the command", SETTLE_S)
        self.bot.wait(self._at_rest, "all orders over, nothing held, journal and venue agreed", SETTLE_S)
        done = self.bot.stop()
        assert done.returncode == 0, done.stdout + done.stderr

    def judge(self) -> list[Finding]:
        """The exchange's books against the journal, and the journal against the database."""
        book = self.bot.book.resolve()
        entries, state = audit.journal(book), state_of(book / "journal.db")
        books = judge_live.books_of(book)
        held: dict[str, Decimal] = {}
        assert state.start is not None
        coins = {market.pair: market.base for market in state.start.markets}
        for pair in state.pairs.values():
            coin = coins[pair.pair]
            held[coin] = held.get(coin, Decimal(0)) + base.held(pair) + base.dust(pair)
        return [
            judge_live.judge_orders(books, entries, state.settings["BOT_NAME"]),
            judge_live.judge_fills(books, entries),
            judge_live.judge_money(books, state.wallet / judge_live.ATOMS, held, "USDT"),
            judge_live.judge_sells(books, entries),
        ]

    def close(self) -> None:
        """Ends what still runs."""
        self.bot.stop()

    def summary(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in sorted(self.done.items()))

    def _kill(self, number: int) -> None:
        at_order = number % 2 == 1
        began, orders = time.monotonic(), self._orders()
        if at_order:
            while self._orders() == orders and time.monotonic() - began < ORDER_WAIT_S:
                time.sleep(0.002)
            time.sleep(self._random.uniform(0, AFTER_ORDER_S))
        else:
            time.sleep(self._random.uniform(EARLIEST_S, LATEST_S))
        took = self._orders() > orders
        (self.bot.run_dir / "trader.json").unlink(missing_ok=True)  # so that it does not wait for longer each time
        before = self.bot.kill("trader")
        self.bot.wait(lambda: self.bot.pid("trader") not in (None, before), "the trader is back", 60)
        self.done["kills right after an order" if at_order and took else "kills at random"] += 1
        if number % 20 == 19:
            self._say(f"{number + 1} kills, {self._orders()} orders at the exchange")

    def _breathe(self) -> None:
        """Lets the trader live for as long as the venue may leave an order's outcome open, without asking for more."""
        until = time.monotonic() + BREATH_S
        while time.monotonic() < until and not self._agreed():
            time.sleep(0.2)
        self.done["times it came to agree before the next day"] += self._agreed()

    def _agreed(self) -> bool:
        state = state_of(self.bot.book.resolve() / "journal.db")
        unknown = [pair for pair in state.pairs.values() if pair.order is not None and pair.order.state in DOUBTFUL]
        return not state.blocks and not unknown

    def _flattened(self) -> bool:
        return self.bot.tool("tools.control", "flatten").returncode == 0

    def _at_rest(self) -> bool:
        state = state_of(self.bot.book.resolve() / "journal.db")
        pairs = state.pairs.values()
        return not state.blocks and not any(pair.lots or pair.order is not None for pair in pairs)

    def _orders(self) -> int:
        with closing(sqlite3.connect(f"file:{self.bot.book / 'exchange.db'}?mode=ro", uri=True, timeout=10)) as file:
            return int(file.execute("SELECT coalesce(max(number), 0) FROM orders").fetchone()[0])

    def _set(self, faults: tuple[dict[str, Any], ...]) -> None:
        self._call("DELETE")
        if faults:
            self._call("POST", json.dumps(faults).encode())

    def _call(self, method: str, body: bytes | None = None) -> None:
        url = f"http://127.0.0.1:{self.bot.settings['SANDBOX_PORT']}/sandbox/faults"
        request = urllib.request.Request(url, data=body, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
