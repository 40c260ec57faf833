"""Kraken's account behind the contract of `venues.account`; also the sandbox's when it speaks this protocol.

Calls of one key go out one after the other, in the order of their nonces, and urgent ones wait for no answer of another
(`nonces`). Room in the limits is waited for before a call takes its turn, so that an order never queues behind a query
that waits. A lockout of the key is obeyed after a restart too.

* The REST counter is the key's: trader, guardian and doctor count their calls together, in a file.
* What an exit or a position's protection waits for is asked from the share that ordinary calls leave alone.
* An order that buys is RateLimited, not sent, while there is no room to learn what became of it and to end it.
* A look-up that had no room for its second question goes on with that one: the order was not open a moment ago.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from core import sandbox_keys
from core.clock import NS_PER_MS, NS_PER_S, Clock, sleep
from core.settings import Settings
from venues.account import (
    UNIQUE_WHILE_OPEN,
    AccountCapabilities,
    AccountStream,
    Balance,
    Fill,
    KeyRights,
    NewOrder,
    News,
    Order,
)
from venues.bans import Bans, bans_of, lasting_file
from venues.call import Call
from venues.errors import OutcomeUnknown, RateLimited, Rejected, Retry, Skewed
from venues.kraken import frames, naming, wire_news
from venues.kraken import wire_answers as answers
from venues.kraken import wire_private as wire
from venues.kraken.connection import PATH, Connection
from venues.kraken.frames import WireError
from venues.kraken.judge import COUNTER, DEADLINE_ELAPSED, ORDERS, UNKNOWN_METHOD, is_lockout, judge
from venues.kraken.nonces import Nonce, Turns
from venues.kraken.wire_public import parse_time_s, time_path
from venues.limits import Limit, Limits
from venues.offset import Offset, Stamp
from venues.rest import RestClient, public_get
from venues.shared import SharedUse
from venues.signed import Signed
from venues.venue import Rules

if TYPE_CHECKING:
    from venues.stream import Socket

REST = "https://api.kraken.com"
STREAM = "wss://ws-auth.kraken.com"

# The Starter tier: the REST counter of the key (15), and the engine's own of one pair (60), here for all of them
# together. One less of each: calls may arrive closer to each other than they were sent. Orders and cancels cost nothing
# of the first; what is kept of it lets two orders be looked up whose answers were lost.
LIMITS = {COUNTER: Limit(0.33, 14.0, kept_for_exits=0.5), ORDERS: Limit(1.0, 59.0, kept_for_exits=0.2)}
# With less left of the counter an order that buys does not go out: it (1) and its fills (2) are to be asked for, the
# cancel of its stop (1), its exit (1) and what that filled (2), and one order more by a guardian that takes over (3).
ENTRY_LEAVES = 10.0
PATIENCE_S = 20.0
NOT_OPEN_S = 6.0  # how long an order that was not open is not looked for there again
PAGES_MAX = 100  # of own fills
REMEMBERED = 1000  # orders whose age is known

T = TypeVar("T")
Opener = Callable[[str, str], Awaitable["Socket"]]


class KrakenAccount:
    """The account. `opener` opens a socket; tests hand in their own."""

    capabilities = AccountCapabilities(
        native_stop=True,
        native_trailing=False,
        ioc=True,
        post_only=True,
        client_id_unique=UNIQUE_WHILE_OPEN,
        client_id_max=wire.CLIENT_ID_MAX,
        client_id_lookup=True,
        fills_reach_ms=None,
        stream=True,
        clock_step_ms=1000,
        request_lives_s=7.0,  # the deadline that an order carries, and what a clock told in seconds leaves open
    )

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        opener: Opener | None = None,
        *,
        keep_numbers: bool = True,
        run_dir: Path | None = None,
    ) -> None:
        """Without `keep_numbers` those of its calls come from the clock alone: then they are never ahead of another
        program's that uses the same key, which would be refused for it. In `run_dir` programs count together."""
        self.name = settings.venue
        self._clock = clock
        self._opener = opener
        sandbox = settings.venue == "sandbox"
        api_key, secret = settings.kraken_api_key.reveal(), settings.kraken_secret_key.reveal()
        if sandbox:
            api_key, secret = sandbox_keys.API_KEY, sandbox_keys.SECRET_KEY
        self._key = wire.key_of(self.name, api_key, secret)
        local = f"127.0.0.1:{settings.sandbox_port}"
        self._host = settings.venue_rest_url.rstrip("/") or (f"http://{local}" if sandbox else REST)
        self._stream = settings.venue_stream_url.rstrip("/") or (f"ws://{local}" if sandbox else STREAM)
        self._fast = sandbox and settings.sandbox_speed > 1  # a deadline would be over at once
        self._nonce = Nonce(lasting_file(settings, self._host, "nonce") if keep_numbers else None)
        self._turns = Turns(clock)
        self._sent_ns: OrderedDict[str, int] = OrderedDict()  # monotonic, by client id
        counted = {} if run_dir is None else {COUNTER: SharedUse(run_dir / f"{COUNTER}-{self.name}")}
        self._limits = Limits(LIMITS, counted)
        self._not_open: OrderedDict[str, int] = OrderedDict()  # client ids, and when (monotonic ns) they were not
        lockout = lasting_file(settings, self._host, "lockout")
        self._lockout = None if lockout is None else Bans(lockout)
        self._rest = RestClient(self.name, clock, judge, self._limits, bans=bans_of(settings, self._host, lockout))
        self._signed = Signed(self._rest, clock, Offset(), self._measure)

    def server_time_ms(self) -> int:
        """To a second, which is all the venue tells; deadlines go by it from now on."""
        self._signed.measure_now()
        return self._signed.time_ms()

    def balances(self, *, urgent: bool = False) -> list[Balance]:
        return self._ask(wire.build_balances(urgent=urgent), answers.parse_balances)

    def create(self, order: NewOrder) -> Order:
        """Sends an order with a deadline, once. A client id that is open already is OutcomeUnknown: look it up.

        RateLimited also for an order that buys, while too little could be asked about it.
        """
        if not order.urgent:
            self._leave_room(order)

        def build(venue_time_ms: int) -> wire.Ask:
            return wire.build_order(self.name, order, None if self._fast else venue_time_ms)

        self._sent_ns[order.client_order_id] = self._clock.monotonic_ns()
        while len(self._sent_ns) > REMEMBERED:
            self._sent_ns.popitem(last=False)
        try:
            return self._ask(build(self._signed.time_ms()), answers.parse_added, order, again=build)
        except Rejected as error:
            if answers.already_there(error, order.client_order_id):
                raise OutcomeUnknown(self.name, error.text, "look up what became of it", error.code) from error
            raise
        except OutcomeUnknown as error:
            if error.code.startswith(DEADLINE_ELAPSED):  # perhaps by our clock: the next order is not to fall for it
                with contextlib.suppress(Retry):
                    self._signed.measure_now(alone=True)
            raise

    def order(
        self, rules: Rules, client_order_id: str, venue_order_id: str = "", *, urgent: bool = False
    ) -> Order | None:
        """By the venue's id where it is known, which costs least; else among those open, then among those over.

        Without the venue's id nothing is known of the order, and an exit may wait for that: it is urgent. What is not
        urgent is RateLimited at once where there is no room.
        """
        urgent = urgent or not venue_order_id
        found = self._by_id(venue_order_id, urgent) if venue_order_id else None
        if found is None and client_order_id:
            found = self._by_client_id(client_order_id, urgent)
        return found and _renamed(found, rules)

    def cancel(self, rules: Rules, client_order_id: str, venue_order_id: str = "") -> None:
        ask = wire.build_cancel(client_order_id, venue_order_id)
        if not self._ask(ask, answers.parse_cancelled):
            raise Rejected(self.name, f"{ask.about}: no order to cancel", "look up what became of it")
        # A young order's cancel costs as much as eight orders: those that come next wait, so that exits have room.
        now_ns = self._clock.monotonic_ns()
        sent_ns = self._sent_ns.get(client_order_id)
        if sent_ns is not None:
            self._limits.spend({ORDERS: wire.cancel_cost((now_ns - sent_ns) / NS_PER_S)}, now_ns)

    def open_orders(self, rules: Rules, *, urgent: bool = False) -> list[Order]:
        orders = self._ask(wire.build_open_orders(urgent=urgent), answers.parse_open_orders)
        return [_renamed(order, rules) for order in orders if naming.is_of(rules, order.symbol)]

    def fills(self, rules: Rules, since_ms: int, *, urgent: bool = False) -> list[Fill]:
        """Fifty of all markets a request, the newest first; raises Retry beyond PAGES_MAX of them."""
        found: dict[str, Fill] = {}
        offset = 0
        for _ in range(PAGES_MAX):
            page = self._ask(wire.build_fills(since_ms, offset, urgent=urgent), answers.parse_fills, rules)
            # A fill that happens meanwhile moves the others on: some come twice, none is missed.
            found.update({fill.venue_fill_id: fill for fill in page.fills})
            offset += page.size
            more = page.size >= answers.FILLS_A_PAGE if page.total is None else offset < page.total
            if not more or not page.size:
                fills = [fill for fill in found.values() if fill.time_ms >= since_ms]
                return sorted(fills, key=lambda fill: (fill.time_ms, fill.venue_fill_id))
        many = PAGES_MAX * answers.FILLS_A_PAGE
        raise Retry(self.name, f"more than {many} own fills since {since_ms}", "ask for a later time")

    def fees_bps(self, rules: Rules) -> tuple[Decimal, Decimal] | None:
        return self._ask(wire.build_fees(rules), answers.parse_fees_bps, rules)

    def key_rights(self) -> KeyRights:
        """Any key may ask; nothing is told where the venue does not know the question."""
        try:
            return self._ask(wire.build_key_rights(), answers.parse_key_rights)
        except Skewed:
            raise
        except Rejected as error:
            if error.code.startswith(UNKNOWN_METHOD):
                return KeyRights()
            raise

    async def open_stream(self, rules: Sequence[Rules]) -> AccountStream:
        """With a new token each time; returns once both channels are acknowledged."""
        opener = self._opener
        if opener is None:
            from venues.stream import open_socket  # who only simulates never needs websockets

            opener = open_socket
        token = await asyncio.to_thread(self._ask, wire.build_token(), answers.parse_token)
        reports = wire_news.Reports({market.pair: market.symbol for market in rules})

        def reader(text: str, received_ns: int) -> Sequence[News] | None:
            try:
                return reports.read(frames.read(text), text)
            except wire_news.Lost as error:
                raise Retry(self.name, f"the account stream has a gap ({error})", "reconcile over REST") from error

        stream = Connection(self.name, await opener(self.name, self._stream + PATH), self._clock, reader)
        try:
            await stream.join(wire_news.subscriptions(token))
        except BaseException:
            await stream.close()
            raise
        return stream

    def close(self) -> None:
        self._rest.close()

    # --- asking ----------------------------------------------------------------------------------

    def _ask(
        self,
        ask: wire.Ask,
        parse: Callable[..., T],
        *arguments: object,
        again: Callable[[int], wire.Ask] | None = None,
    ) -> T:
        """Sends and parses. `again` makes the request anew for the venue's time in ms, where that stands in it."""
        self._wait_for_room(ask)

        def build(venue_time_ms: int) -> Call:
            nonce = self._nonce.next(max(self._clock.wall_ns(), venue_time_ms * NS_PER_MS))
            return wire.build_call(self._host, self._key, again(venue_time_ms) if again else ask, nonce)

        try:
            with self._turns.taken(ask.urgent):
                reply = self._signed.send(build)
        except RateLimited as error:
            if self._lockout is not None and is_lockout(error.code):
                now_ns = self._clock.wall_ns()
                self._lockout.add(now_ns + int(error.retry_after_s * NS_PER_S), now_ns)
            raise
        except Skewed as error:
            step = "give this program a key of its own; after a clock was set back, wait or make a new key"
            raise Skewed(self.name, error.text, step, error.code) from error
        try:
            return parse(reply.body, *arguments)
        except WireError as error:
            if ask.changes:
                raise OutcomeUnknown(self.name, str(error), "look up what became of it") from error
            raise Retry(self.name, str(error)) from error

    def _wait_for_room(self, ask: wire.Ask) -> None:
        """Blocks until the limits have room. Raises RateLimited where that would take longer than its patience."""
        waited_s, patience_s = 0.0, PATIENCE_S if ask.waits else 0.0
        while True:
            wait_s, limit = self._limits.take(
                ask.costs,
                self._clock.monotonic_ns(),
                urgent=ask.urgent,
                in_line=waited_s > 0,
                patience_s=patience_s - waited_s,
            )
            if wait_s <= 0:
                return
            if waited_s + wait_s > patience_s:
                raise RateLimited(self.name, f"{ask.method} {ask.about} not sent: no room in {limit!r}", wait_s)
            sleep(wait_s)
            waited_s += wait_s

    def _measure(self) -> Stamp:
        reply = self._rest.send_blocking(public_get(self._host + time_path()))
        try:
            seconds = parse_time_s(reply.body)
        except WireError as error:
            raise Retry(self.name, str(error)) from error
        return Stamp(reply.sent_ns, reply.received_ns, seconds * NS_PER_S, NS_PER_S)

    def _leave_room(self, order: NewOrder) -> None:
        """Raises RateLimited where what becomes of the order could not be asked for at once."""
        wait_s = self._limits.lacks_s(COUNTER, ENTRY_LEAVES, self._clock.monotonic_ns())
        if wait_s > 0:
            text = f"{order.client_order_id} not sent: too little could be asked about it (no room in {COUNTER!r})"
            raise RateLimited(self.name, text, wait_s)

    def _by_id(self, venue_order_id: str, urgent: bool) -> Order | None:
        try:
            orders = self._ask(wire.build_orders_by_id(venue_order_id, urgent=urgent), answers.parse_orders_by_id)
        except Skewed:
            raise
        except Rejected:  # it knows no such order: the client id decides
            return None
        return next((item for item in orders if item.venue_order_id == venue_order_id), None)

    def _by_client_id(self, client_order_id: str, urgent: bool) -> Order | None:
        now_ns = self._clock.monotonic_ns()
        before_ns = self._not_open.pop(client_order_id, None)
        if before_ns is None or now_ns - before_ns > NOT_OPEN_S * NS_PER_S:
            before_ns = now_ns
            ask = wire.build_open_orders(client_order_id, urgent=urgent)
            found = self._of_client_id(client_order_id, ask, self._ask(ask, answers.parse_open_orders))
            if found is not None:
                return found
        ask = wire.build_closed_orders(client_order_id, urgent=urgent)
        try:
            return self._of_client_id(client_order_id, ask, self._ask(ask, answers.parse_closed_orders))
        except RateLimited:
            self._not_open[client_order_id] = before_ns
            while len(self._not_open) > REMEMBERED:
                self._not_open.popitem(last=False)
            raise

    def _of_client_id(self, client_order_id: str, ask: wire.Ask, told: Sequence[Order]) -> Order | None:
        orders = [item for item in told if item.client_order_id == client_order_id]
        if orders:
            return answers.newest(orders)
        if len(told) >= answers.ORDERS_A_PAGE:  # of others: it was overlooked which one was asked for
            text = f"{ask.method} {client_order_id}: {len(told)} orders, none of them of that id"
            raise Retry(self.name, text, "there may be one all the same: look for it by hand")
        return None


def _renamed(order: Order, rules: Rules) -> Order:
    """The order under the name of its market that `Rules` has."""
    if order.symbol == rules.symbol or not naming.is_of(rules, order.symbol):
        return order
    return msgspec.structs.replace(order, symbol=rules.symbol)
