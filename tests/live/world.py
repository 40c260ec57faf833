"""A trader with real orders at the sandbox: its market, its exchange and its peers are in the test's hands.

Everything goes over real sockets and in real time: feeder and indicators are played as in the tests of the stage, the
trader lives in this process, or in one of its own that can be killed (`tests.live.crashing`).
"""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from bus.messages import CheckedEvent, Entry, OrderEvent, Start, StartedEvent, Status, TradeEvent, TraderEvent
from core.clock import NS_PER_S, LiveClock
from core.paths import ROOT
from core.settings import Settings
from core.settings_load import from_texts
from feeder import desk as feeder_desk
from sandbox import faults as kinds
from sandbox.exchange import orders as books
from tests.bus.rig import Listener, Rig
from tests.bus.test_trader_stage import Stage, has, status_of
from tests.chaos import judge_live
from tests.live.hand_market import DEEP, HandServed
from tests.pipeline import audit
from tests.protocol import account_house
from tests.trader_world import Tape, of
from trader import base
from trader.orders import TERMINAL, OrderState
from trader.state import ENTRY, State
from venues.account import Account, NewOrder
from venues.choose import account, market_data
from venues.venue import Rules

PRICE = "100.00"
LOOK_S = 0.02  # how often what is waited for is looked at


def texts_of(port: int, protocol: str, changed: dict[str, str]) -> dict[str, str]:
    """The settings of a test: real orders at the sandbox, 1,000 a position."""
    texts = {
        "SIMULATION_MODE": "false",
        "SANDBOX_PORT": str(port),
        "SANDBOX_PROTOCOL": protocol,
        "TRADE_CAPITAL": "1000",
        "PAPER_BALANCE": "10000",
        "PAPER_FILL": "instant",
        "RECONCILE_SECONDS": "30",
        "SHADOW_LIMIT_BPS": "0",
        "NATIVE_STOP": "false",  # exits are the trader's own, where a test does not say otherwise
    }
    return texts | {name.upper(): value for name, value in changed.items()}


class LiveWorld:
    """One exchange, one market, one trader. The market stands at 100.00 until the test moves it."""

    def __init__(self, rig: Rig, var: Path, protocol: str, **changed: str) -> None:
        self.protocol = protocol
        folder = var / "exchange"
        folder.mkdir()
        self.served = HandServed(protocol, folder, PRICE)
        self.exchange_folder = folder
        self.clock = LiveClock()
        self.texts = texts_of(self.served.port, protocol, changed)
        settings = from_texts(self.texts)
        self.rules = rules_of(settings, self.clock)
        self.stage = Stage(rig, var, Tape(start_of(self.rules, self.clock.wall_ns())), **self.texts)
        self.rig = rig
        self.heard: Listener = self.stage.listen()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.begun = 0
        self._hand: Account | None = None
        self.ways = account_house.WAYS[protocol]
        self.stage.start_indicators()

    # --- the trader ---

    @property
    def book(self) -> Path:
        return self.stage.context.book_dir

    def start(self, *, ready: bool = True) -> None:
        """Starts the trader in this process; by default until it may trade."""
        self.stage.start_trader()
        self.begun += 1
        self.until(lambda: len(self.starts()) >= self.begun)
        if ready:
            self.until(self.may_trade)
            if "warming_up" in self.status().blocked:
                self.trade()
                self.until(lambda: self.status().blocked == [])

    def stop(self) -> None:
        """An orderly stop."""
        self.stage.stop_trader()

    def spawn(self, point: str = "", purpose: str = "") -> "subprocess.Popen[bytes]":
        """Starts the trader in a process of its own, which kills itself at `point` of the first order for `purpose`."""
        wanted = {
            "texts": self.texts | {"VAR_DIR": str(self.stage.settings.var_dir)},
            "run_dir": str(self.rig.run_dir),
            "path": " ".join(self.ways.cancel if purpose == "cancel" else ("POST", self.ways.create)),
            "point": point,
            "purpose": purpose,
        }
        command = [sys.executable, "-m", "tests.live.crashing", json.dumps(wanted)]
        process = subprocess.Popen(command, cwd=ROOT)
        self.processes.append(process)
        self.begun += 1
        self.until(lambda: len(self.starts()) >= self.begun)
        return process

    def kill(self, process: "subprocess.Popen[bytes]") -> None:
        """kill -9, and its end is awaited."""
        os.kill(process.pid, signal.SIGKILL)
        self.until(lambda: process.poll() is not None)

    def may_trade(self) -> bool:
        """Whether nothing stands in the way of an entry, but for trades that were not seen yet."""
        status = self.status()
        return set(status.blocked) <= {"warming_up"} and status.feed == "normal"

    # --- the market ---

    def trade(self, price: str = PRICE, codes: str = "warm", quantity: Decimal = DEEP) -> None:
        """The market trades: at the exchange, on the tape and as an update of the indicators."""
        self.served.price(price, quantity)
        self.tick(price, codes)

    def tick(self, price: str, codes: str = "warm") -> None:
        """The same told to the trader alone."""
        tape = self.stage.tape
        tape.ms = max(tape.ms, self.clock.wall_ms() - 1000)
        self.stage.trade(float(price), codes)

    def shallow(self, quantity: str) -> None:
        """The book has no more than so much at each level."""
        for _ in range(25):
            self.served.price(PRICE, Decimal(quantity))

    def buys(self, price: str = PRICE) -> None:
        """The rules want to buy, and the order is over; a stop may be on its way by then."""
        before = len(self.events(TradeEvent))
        self.trade(price, "mr")

        def bought() -> bool:
            order = self.pair().order
            return len(self.events(TradeEvent)) > before and (order is None or order.purpose != ENTRY)

        self.until(bought)

    def sells(self, price: str, codes: str = "tp") -> None:
        """The market moves, and the position is sold."""
        self.trade(price, codes)
        self.until(lambda: not self.pair().lots and self.pair().order is None)

    def calls(self, path: str = "", method: str = "POST") -> Callable[[], int]:
        """Counts requests from now on, those to create an order by default."""
        number = self.served.fault(kinds.LATENCY, path=path or self.ways.create, method=method, ms=0)
        return lambda: self.served.struck(number)

    # --- what is to be seen ---

    def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Lets everything run until something came about; the limit only ends a test that fails."""
        looked = 0.0

        def look() -> bool:
            nonlocal looked
            now_s = self.clock.monotonic_ns() / NS_PER_S
            if now_s - looked < LOOK_S:
                return False
            looked = now_s
            return has(self.heard, lambda _: bool(condition()))

        self.rig.run_until(look, seconds)

    def status(self) -> Status:
        return status_of(self.heard)

    @property
    def entries(self) -> list[Entry]:
        """The journal, as it is on the disk; empty before there is one."""
        if not (self.book / "journal.db").exists():
            return []
        try:
            return audit.journal(self.book)
        except sqlite3.OperationalError as error:  # its tables are about to be made
            if "no such table" not in str(error):
                raise
            return []

    def events(self, kind: type) -> list[Any]:
        return of([entry.event for entry in self.entries], kind)

    def starts(self) -> list[TraderEvent]:
        """Of the trader, oldest first."""
        return self.events(StartedEvent)

    def state(self) -> State:
        return judge_live.state_of(self.book / "journal.db")

    def statuses(self, side: str) -> list[str]:
        """What became of the latest order of a side, by the journal."""
        events = [event for event in self.events(OrderEvent) if event.side == side]
        return [event.status for event in events if event.client_order_id == events[-1].client_order_id]

    def became(self, order_id: str) -> str:
        """The latest status of an order, by the journal."""
        return next(one.status for one in reversed(self.events(OrderEvent)) if one.client_order_id == order_id)

    def held(self) -> Decimal:
        """Base coin in the position, dust aside."""
        return base.held(self.pair()) if self.state().pairs else Decimal(0)

    def pair(self) -> Any:
        return next(iter(self.state().pairs.values()))

    def stop_rests(self) -> bool:
        """Whether a stop works at the venue, by the journal."""
        order = self.pair().order
        return order is not None and order.resting and order.state == OrderState.WORKING

    def at_exchange(self, side: str = "") -> list[books.Order]:
        """Orders of the account, oldest first."""
        found = self.served.within(lambda: self.served.exchange.orders(account_house.API_KEY, limit=1000))
        return [order for order in found if side in ("", order.side.value)]

    def coin(self) -> Decimal:
        """Base coin at the exchange."""
        return self._balance(self.rules.base)

    def quote(self) -> Decimal:
        """Quote at the exchange."""
        return self._balance(self.rules.quote)

    def _balance(self, asset: str) -> Decimal:
        found = self.served.within(lambda: self.served.exchange.balances(account_house.API_KEY)).get(asset)
        return Decimal(0) if found is None else Decimal(found.free_amount + found.locked_amount)

    def reports(self) -> list[CheckedEvent]:
        """The recovery reports of the latest start, oldest first."""
        return [event for event in self.since_start() if isinstance(event, CheckedEvent) and event.at_start]

    def since_start(self) -> list[TraderEvent]:
        """What the journal says from the latest start on."""
        events = [entry.event for entry in self.entries]
        last = max(place for place, event in enumerate(events) if isinstance(event, StartedEvent))
        return events[last:]

    # --- by hand ---

    @property
    def hand(self) -> Account:
        """A person's own access to the account."""
        if self._hand is None:
            self._hand = account(from_texts(self.texts), self.clock, beside=True)
        return self._hand

    def sell_by_hand(self, quantity: Decimal) -> None:
        order = NewOrder(self.rules, "by-hand", "sell", "market", quantity, None)
        self.hand.create(order)

    def judge(self, prefix: str = "scalp") -> None:
        """Orders once, fills once, the same money to the last digit, never more sold than held, every intent ended."""
        found = judge_live.books_of(self.exchange_folder)
        entries, state = self.entries, self.state()
        pair = self.pair()
        held = {self.rules.base: base.held(pair) + base.dust(pair)}
        findings = [
            judge_live.judge_orders(found, entries, prefix),
            judge_live.judge_fills(found, entries),
            judge_live.judge_money(found, state.wallet / judge_live.ATOMS, held, self.rules.quote),
            judge_live.judge_sells(found, entries),
        ]
        assert all(one.ok for one in findings), [one.lines() for one in findings if not one.ok]
        last = {event.client_order_id: event.status for event in self.events(OrderEvent)}
        assert all(status in TERMINAL for status in last.values()), last

    def close(self) -> None:
        """Ends everything of this world."""
        for context in self.stage.contexts:
            context.close()
        for process in self.processes:
            process.kill()
            process.wait()
        if self._hand is not None:
            self._hand.close()
        self.stage.writer.close()
        self.stage.reader.close()
        self.served.close()


def rules_of(settings: Settings, clock: LiveClock) -> Rules:
    """The market's rules as the exchange lists them."""
    venue = market_data(settings, clock)
    try:
        markets = asyncio.run(venue.markets())
        return venue.resolve(settings.pairs, markets)[0]
    finally:
        venue.close()


def start_of(rules: Rules, now_ns: int) -> Start:
    """The tape's START record for that market, with the sandbox's fees."""
    return Start(
        venue="sandbox",
        book="live-sandbox-test",
        markets=[feeder_desk.market(rules)],
        taker_fee_bps="5",
        maker_fee_bps="5",
        tape_clock=False,
        time_ns=now_ns,
    )
