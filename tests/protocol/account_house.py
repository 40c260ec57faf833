"""An Account and the sandbox of its protocol in one house: real sockets, a clock in the test's hands, open books."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import msgspec

from core import money
from core.clock import NS_PER_MS, NS_PER_S, Clock, ManualClock
from core.sandbox_keys import API_KEY
from core.settings import Settings
from core.settings_load import from_texts
from sandbox import app as sandbox_app
from sandbox import faults as kinds
from sandbox.clock import RealClock
from sandbox.exchange import orders as books
from sandbox.exchange.exchange import Exchange
from sandbox.faces.binance import add_binance
from sandbox.faces.kraken import add_kraken
from sandbox.faces.kraken_limits import Counter
from sandbox.listings import Listing, listings_of
from sandbox.market import Synthetic
from tests.protocol import sandbox_served
from venues.account import Account, Fill, NewOrder, Order
from venues.choose import account, market_data
from venues.venue import Rules, Trade

BORN_MS = 1_795_356_912_345
NOW_MS = BORN_MS + 4_000_017
PAIR = "B-BTC_USDT"
NO_LIMIT = Counter(1e9, 0.0)
BREATH_NS = 60 * NS_PER_S


class Ways(NamedTuple):
    """How a venue's wire differs where a fault has to hit it, or an expectation has to know."""

    create: str  # path of a new order
    cancel: tuple[str, str]  # method and path
    balances: str
    stream: str  # path of the account's socket
    market_stream: str
    trades: str  # path of recent trades
    long_id: str  # the longest client id
    bad_id: str  # one that is not allowed
    expired: str  # what the venue calls an order that ended by itself, or was rejected late
    rejected: str
    maker_told: bool = True  # whether fills of REST say who was the maker


WAYS = {
    "coindcx": Ways(
        "/exchange/v1/orders/create",
        ("POST", "/exchange/v1/orders/cancel"),
        "/exchange/v1/users/balances",
        "/socket.io/*",
        "/socket.io/*",
        "/market_data/trade_history",
        "a" * 36,
        "a b",
        "cancelled",
        "rejected",
        maker_told=False,
    ),
    "binance": Ways(
        "/api/v3/order",
        ("DELETE", "/api/v3/order"),
        "/api/v3/account",
        "/ws-api/*",
        "/stream*",
        "/api/v3/*rades",
        "a" * 36,
        "a b",
        "expired",
        "rejected",
    ),
    "kraken": Ways(
        "/0/private/AddOrder",
        ("POST", "/0/private/CancelOrder"),
        "/0/private/BalanceEx",
        "/v2",
        "/v2",
        "/0/public/Trades",
        "a" * 18,
        "a" * 19,
        "cancelled",
        "cancelled",
    ),
}
FACES: dict[str, sandbox_app.Face] = {
    "coindcx": sandbox_app.FACES["coindcx"],
    "binance": partial(add_binance, weight_a_minute=10**9, orders=(10**9, 10**9)),
    "kraken": partial(add_kraken, public=NO_LIMIT, private=NO_LIMIT, connects=10**6),
}


_leaving: list[threading.Thread] = []


class Served(sandbox_served.Served):
    """One face without limits of its own, over books that a test may look into."""

    def __init__(
        self, protocol: str, clock: Clock, born_ms: int = BORN_MS, listings: Sequence[Listing] | None = None
    ) -> None:
        world = sandbox_app.World(Synthetic(1, born_ms, listings or listings_of(protocol)), RealClock(clock), None)
        self.open(world, clock, protocol, sandbox_app.open_exchange(world, protocol, None))

    def open(self, world: sandbox_app.World, clock: Clock, protocol: str, exchange: Exchange) -> None:
        """Serves an exchange over a world."""
        self.market = world.market
        self.listing = world.market.rules[PAIR]
        self.exchange = exchange
        self._loop: asyncio.AbstractEventLoop | None = None
        super().__init__(world, clock, protocol, self.exchange)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        world, clock, protocol, exchange, faults = self._parts
        log = logging.getLogger("sandbox")
        before = sandbox_app.FACES[protocol]
        sandbox_app.FACES[protocol] = FACES[protocol]
        try:
            app, hub = sandbox_app.build_app(world, clock, log, None, protocol, exchange, faults)
        finally:
            sandbox_app.FACES[protocol] = before
        self._server = sandbox_app.Server(sandbox_app.config(app, sandbox_app.PINGS.get(protocol)))
        self._ready.set()
        await self._server.serve(sockets=[self._listener])
        hub.close()
        app.close()

    def close(self) -> None:
        """Tells it to end; that takes tenths of a second, which the next test need not wait for."""
        assert self._server is not None
        self._server.should_exit = True
        _leaving.append(self._thread)
        for thread in _leaving[:-2]:
            thread.join(20)
            assert not thread.is_alive()
        del _leaving[:-2]

    def within(self, work: Callable[[], Any]) -> Any:
        """Does something in the loop's thread, where the exchange lives."""

        async def done() -> Any:
            return work()

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(20)


class Unhurried:
    """The account, with time for its limits to refill before every call."""

    def __init__(self, inner: Account, breathe: Callable[[], None]) -> None:
        self._inner = inner
        self._breathe = breathe

    def __getattr__(self, name: str) -> Any:
        self._breathe()
        return getattr(self._inner, name)


class House:
    """One venue: its sandbox, our adapters, one market."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.ways = WAYS[protocol]
        self.venue_clock = ManualClock(NOW_MS * NS_PER_MS)
        self.clock = ManualClock(NOW_MS * NS_PER_MS)
        self.served = Served(protocol, self.venue_clock)
        self.hasty = account(self.settings, self.clock)
        self.account: Any = Unhurried(self.hasty, self.breathe)
        self.market = market_data(self.settings, self.clock)
        self.rules = self.resolved()

    @property
    def settings(self) -> Settings:
        return msgspec.structs.replace(from_texts({}), sandbox_protocol=self.protocol, sandbox_port=self.served.port)

    def resolved(self) -> Rules:
        """The market's rules as the venue lists them now."""
        self.breathe()

        async def ask() -> Rules:
            return self.market.resolve([PAIR], await self.market.markets())[0]

        return asyncio.run(ask())

    def close(self) -> None:
        self.hasty.close()
        self.market.close()
        self.served.close()

    # --- time and the market ---

    def breathe(self, ns: int = BREATH_NS) -> None:
        """Lets our limits refill: their time goes on, the market's does not."""
        wall_ns = self.clock.wall_ns()
        self.clock.advance(ns)
        self.clock.set_wall_ns(wall_ns)

    def step(self, ms: int) -> None:
        """Lets market time pass, and its prints reach the orders."""
        self.step_clocks(ms)
        self.served.within(lambda: self.served.exchange.advance(self.venue_clock.wall_ms()))

    def step_clocks(self, ms: int) -> None:
        """Lets market time pass; its prints reach the orders, and the streams, when the sandbox looks at its clock."""
        self.venue_clock.advance(ms * NS_PER_MS)
        self.clock.advance(ms * NS_PER_MS)

    def happened(self) -> list[Trade]:
        """The market's prints since NOW_MS."""
        digits, units = self.served.listing.price_digits, self.served.listing.quantity_digits
        found = self.served.market.span(PAIR, NOW_MS, self.venue_clock.wall_ms() + 1)
        rows = zip(found.ts_ms.tolist(), found.ticks.tolist(), found.units.tolist(), strict=True)
        return [Trade(PAIR, ms * NS_PER_MS, t / 10**digits, u / 10**units, 0, 0, 0) for ms, t, u in rows]

    def until(self, over: Callable[[], bool], step_ms: int = 1_000, steps: int = 3_000) -> None:
        """Lets the market go on until something came about."""
        for _ in range(steps):
            if over():
                return
            self.step(step_ms)
        raise AssertionError(f"it never came about in {steps * step_ms} ms of the market")

    def price(self, factor: str) -> Decimal:
        """The last price times a factor, on the tick."""
        last = self.served.within(lambda: self.served.exchange.last_ticks(PAIR, self.venue_clock.wall_ms()))
        digits = self.served.listing.price_digits
        return money.price_on_tick(books.decimal_of(last, digits) * Decimal(factor), self.rules.tick, up=False)

    # --- orders ---

    def order(self, client_id: str, kind: str = "market", quantity: str = "0.002", **more: Any) -> NewOrder:
        return NewOrder(
            **{"side": "buy", **more},
            rules=self.rules,
            client_order_id=client_id,
            kind=kind,
            quantity=Decimal(quantity),
        )

    def deposit(self, asset: str, amount: str) -> None:
        self.served.deposit(asset, amount)

    def calls(self, path: str = "", method: str = "POST") -> Callable[[], int]:
        """Counts requests from now on: a fault that does nothing counts what it could have struck."""
        number = self.served.fault(kinds.LATENCY, path=path or self.ways.create, method=method, ms=0)
        return lambda: self.served.struck(number)

    # --- the books ---

    def booked(self, client_id: str) -> books.Order | None:
        """The newest order of a client id."""
        found: books.Order | None = self.served.within(lambda: self.served.exchange.order(API_KEY, client_id=client_id))
        return found

    def all_booked(self) -> list[books.Order]:
        found: list[books.Order] = self.served.within(lambda: self.served.exchange.orders(API_KEY, limit=1000))
        return found

    def fills_booked(self) -> list[books.Fill]:
        found: list[books.Fill] = self.served.within(lambda: self.served.exchange.fills(API_KEY, limit=1000))
        return found

    def balances_booked(self) -> dict[str, tuple[Decimal, Decimal]]:
        found = self.served.within(lambda: self.served.exchange.balances(API_KEY))
        return {
            asset: (balance.free_amount, balance.locked_amount)
            for asset, balance in found.items()
            if balance.free or balance.locked
        }

    def balances_told(self) -> dict[str, tuple[Decimal, Decimal]]:
        return {item.currency: (item.free, item.locked) for item in self.account.balances()}

    def row(self, order: books.Order) -> tuple[Any, ...]:
        """What the account has to tell of an order in the books."""
        return (order.client_id, order.side.value, order.quantity, order.filled, self.status(order))

    def status(self, order: books.Order) -> str:
        return {
            books.Status.OPEN: "open",
            books.Status.PARTIAL: "partially_filled",
            books.Status.FILLED: "filled",
            books.Status.CANCELED: "cancelled",
            books.Status.EXPIRED: self.ways.expired,
            books.Status.REJECTED: self.ways.rejected,
        }[order.status]

    def fill_row(self, fill: books.Fill) -> tuple[Any, ...]:
        """What the account has to tell of a fill in the books."""
        row = (fill.side.value, fill.price, fill.quantity, fill.fee_amount, fill.fee_asset, fill.time_ms)
        return (*row, fill.maker) if self.ways.maker_told else row

    def fill_told(self, fill: Fill) -> tuple[Any, ...]:
        row = (fill.side, fill.price, fill.quantity, fill.fee, fill.fee_currency, fill.time_ms)
        return (*row, fill.maker) if self.ways.maker_told else row

    def agree(self) -> None:
        """The account tells of every order, fill and balance what the books say, to the last digit."""
        newest = {order.client_id: order for order in self.all_booked()}
        for client_id, booked in newest.items():
            told = self.account.order(self.rules, client_id)
            assert told is not None and order_told(told) == self.row(booked)
        live = [order.client_id for order in self.all_booked() if order.status.working]
        assert sorted(order.client_order_id for order in self.account.open_orders(self.rules)) == sorted(live)
        fills = self.account.fills(self.rules, BORN_MS)
        assert sorted(map(self.fill_told, fills)) == sorted(map(self.fill_row, self.fills_booked()))
        assert len({fill.venue_fill_id for fill in fills}) == len(fills)
        assert [fill.time_ms for fill in fills] == sorted(fill.time_ms for fill in fills)
        assert self.balances_told() == self.balances_booked()


def order_told(order: Order) -> tuple[Any, ...]:
    return (order.client_order_id, order.side, order.quantity, order.filled, order.status)


@contextmanager
def house_of(protocol: str) -> Iterator[House]:
    """A fresh house."""
    made = House(protocol)
    try:
        yield made
    finally:
        made.close()
