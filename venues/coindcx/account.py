"""CoinDCX's private side behind the contract of `venues.account`; also the sandbox when it speaks this protocol.

Market and limit orders only: no IOC, no post-only, no stop at the venue. An order's answer never tells fills: poll
`order` and `fills`. The venue's clock is known by the Date of its answers alone: whole seconds, narrowed over many.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import TypeVar

from core import sandbox_keys
from core.clock import NS_PER_S, Clock
from core.settings import Settings
from venues.account import (
    UNIQUE_UNKNOWN,
    AccountCapabilities,
    Balance,
    BalanceNews,
    Fill,
    KeyRights,
    NewOrder,
    Order,
    OrderNews,
)
from venues.answers import LOOK_UP
from venues.bans import bans_of
from venues.call import Call, Reply
from venues.coindcx import wire_private as wire
from venues.coindcx.hosts import hosts
from venues.coindcx.rows import Told
from venues.coindcx.stream import EventStream, Opener, Versions, connect, unknown_event
from venues.coindcx.wire_public import RATE_PAUSE_S, REQUESTS, WireError, judge, stream_path
from venues.engineio import DISCONNECTED
from venues.errors import Misconfigured, OutcomeUnknown, Rejected, Retry, Skewed
from venues.limits import Limit, Limits
from venues.offset import Offset, Stamp
from venues.rest import RestClient
from venues.signed import Signed
from venues.venue import Notice, Rules

# The help pages say 16 a second and 960 a minute, the tables of the API far more; per key or per address is not known.
LIMITS = {
    REQUESTS: Limit(rate_per_s=8.0, burst=8.0, kept_for_exits=0.25),
    wire.ACTIVE_ORDERS: Limit(rate_per_s=2.0, burst=2.0),
}
FILL_PAGES = 40  # of 500 fills each
FILLS_AHEAD_MS = 60_000  # the newest fills are asked for by a clock that may be behind
FEE_RATES_MAX = 1000  # markets whose rates are remembered
REFUSED_S = 1.0  # within which the venue ends a session whose signature is wrong

Parsed = TypeVar("Parsed")


class CoinDcxAccount:
    """The account. `opener` opens a socket; tests hand in their own."""

    capabilities = AccountCapabilities(
        native_stop=False,
        native_trailing=False,
        ioc=False,
        post_only=False,
        client_id_unique=UNIQUE_UNKNOWN,  # a repeat is refused, by one source; for how long nobody says
        client_id_max=wire.CLIENT_ID_MAX,
        client_id_lookup=True,
        fills_reach_ms=None,
        stream=True,
        clock_step_ms=1000,
    )

    def __init__(self, settings: Settings, clock: Clock, opener: Opener | None = None) -> None:
        self.name = settings.venue
        self._clock = clock
        self._opener = opener
        self._keys = _keys(settings)
        self._hosts = hosts(settings)
        self._versions = Versions()
        self._rates: dict[str, tuple[Decimal, Decimal]] = {}  # (taker, maker) in bps by market
        bans = bans_of(settings, self._hosts.api)
        self._rest = RestClient(self.name, clock, judge, Limits(LIMITS), bans=bans, rate_pause_s=RATE_PAUSE_S)
        self._signed = Signed(self._rest, clock, Offset(), self._stamp, by_date=True)

    def server_time_ms(self) -> int:
        """By the Date header: to about half a second, better after some answers."""
        self._signed.measure_now()
        return self._signed.time_ms()

    def balances(self, *, urgent: bool = False) -> list[Balance]:
        build = partial(wire.build_balances, self._hosts.api, self._keys, urgent=urgent)
        return self._ask(build, wire.parse_balances)

    def create(self, order: NewOrder) -> Order:
        """Sends it, once; the answer says at most that it was taken.

        Raises OutcomeUnknown also after 429, and where an order of that client id is there already.
        """
        try:
            wire.build_create(self._hosts.api, order, self._keys, 0)
        except ValueError as error:
            raise Rejected(self.name, f"not sent: {error}", code="unsupported") from error
        try:
            reply = self._send(partial(wire.build_create, self._hosts.api, order, self._keys))
            told = wire.parse_created(reply.body, order.client_order_id)
        except Rejected as error:
            if wire.id_is_taken(error.text):  # proof that there is an order of that id, perhaps this very one
                raise OutcomeUnknown(self.name, error.text, LOOK_UP, error.code) from error
            raise
        except wire.NotTaken as error:
            if wire.id_is_taken(str(error)):
                raise OutcomeUnknown(self.name, f"order {order.client_order_id}: {error}", LOOK_UP) from error
            raise Rejected(self.name, f"order {order.client_order_id} refused: {error}") from error
        except WireError as error:
            raise OutcomeUnknown(self.name, f"order {order.client_order_id}: {error}", LOOK_UP) from error
        self._learn(told)
        return told.order

    def order(
        self, rules: Rules, client_order_id: str, venue_order_id: str = "", *, urgent: bool = False
    ) -> Order | None:
        """Asked for by our id, and where that is unknown by theirs. None may be lag: ask for 2 s and more.

        Without their id nothing is known of the order, and an exit may wait for that: it is urgent.
        """
        urgent = urgent or not venue_order_id
        for name in _names(client_order_id, venue_order_id):
            try:
                reply = self._send(partial(wire.build_status, self._hosts.api, name, self._keys, urgent=urgent))
            except Rejected as error:
                if wire.knows_no_order(error.text):
                    continue
                raise
            told = self._read(lambda body: wire.parse_status(body, client_order_id), reply)
            self._learn(told)
            return told.order
        return None

    def cancel(self, rules: Rules, client_order_id: str, venue_order_id: str = "") -> None:
        """Accepted is not terminal: `order` tells how much was filled. Rejected also for an order that is over."""
        names = _names(client_order_id, venue_order_id)
        for place, name in enumerate(names, 1):
            try:
                reply = self._send(partial(wire.build_cancel, self._hosts.api, name, self._keys))
            except Rejected as error:
                if place < len(names) and wire.knows_no_order(error.text):
                    continue
                raise
            self._read(wire.parse_cancelled, reply)
            return

    def open_orders(self, rules: Rules, *, urgent: bool = False) -> list[Order]:
        build = partial(wire.build_open_orders, self._hosts.api, rules.symbol, self._keys, urgent=urgent)
        told = self._ask(build, wire.parse_orders)
        return [item.order for item in told if item.order.symbol == rules.symbol and item.order.live]

    def fills(self, rules: Rules, since_ms: int, *, urgent: bool = False) -> list[Fill]:
        """Pages on from the last time seen until an answer has nothing new.

        Whether the venue sorts as it is asked to, cuts its answers shorter than asked for, or counts the first time
        in, does not matter: each page begins a millisecond before the end of the last one.
        """
        found: dict[str, Fill] = {}
        seen: set[str] = set()
        from_ms, until_ms = max(0, since_ms - 1), 0

        def build(time_ms: int) -> Call:
            # The newest are asked for by the time of the call itself: before the first one ours may be far behind.
            to_ms = until_ms or time_ms + FILLS_AHEAD_MS
            api, symbol = self._hosts.api, rules.symbol
            return wire.build_fills(api, symbol, from_ms, to_ms, self._keys, time_ms, urgent=urgent)

        for _ in range(FILL_PAGES):
            page = self._ask(build, lambda body: wire.parse_fills(body, rules))
            found.update({fill.venue_fill_id: fill for fill in page.fills})
            new = page.ids - seen
            seen |= new
            if not new:
                if len(page.times) >= wire.FILLS_MAX:
                    raise Retry(self.name, f"fills of {rules.symbol}: more than {wire.FILLS_MAX} at one time")
                break
            if page.times[0] <= page.times[-1]:
                from_ms = max(page.times) - 1
            else:
                until_ms = min(page.times) + 1
        else:
            raise Retry(self.name, f"fills of {rules.symbol}: more than {FILL_PAGES} pages", "ask for a later time")
        fills = [fill for fill in found.values() if fill.time_ms >= since_ms]
        return sorted(fills, key=lambda fill: (fill.time_ms, len(fill.venue_fill_id), fill.venue_fill_id))

    def fees_bps(self, rules: Rules) -> tuple[Decimal, Decimal] | None:
        """As seen in own orders of that market; None before the first that says."""
        return self._rates.get(rules.symbol)

    def key_rights(self) -> KeyRights:
        """Nothing is told; every key may do all that the account may."""
        return KeyRights()

    async def open_stream(self, rules: Sequence[Rules]) -> "CoinDcxAccountStream":
        """Joining is not acknowledged. Raises Rejected where the venue ends the session at once: wrong keys."""
        opener = self._opener
        if opener is None:
            from venues.stream import open_socket  # only who opens a stream pays for the library

            opener = open_socket
        stream = await connect(
            self.name,
            lambda version: self._hosts.stream + stream_path(version),
            self._versions,
            opener,
            lambda socket, version: CoinDcxAccountStream(self.name, socket, self._clock, version),
        )
        try:
            await stream.join(self._keys)
        except BaseException:
            await stream.close()
            raise
        return stream

    def close(self) -> None:
        self._rest.close()

    # --- inside ---

    def _ask(self, build: Callable[[int], Call], parse: Callable[[bytes], Parsed]) -> Parsed:
        return self._read(parse, self._send(build))

    def _send(self, build: Callable[[int], Call]) -> Reply:
        try:
            return self._signed.send(build)
        except Skewed as error:  # again, with the clock measured anew: then it is the keys
            raise Misconfigured(
                self.name,
                error.text,
                "check the venue's API key and secret, its allowed addresses, and the clock",
                error.code,
            ) from error

    def _read(self, parse: Callable[[bytes], Parsed], reply: Reply) -> Parsed:
        try:
            return parse(reply.body)
        except WireError as error:
            raise Retry(self.name, str(error)) from error

    def _stamp(self) -> Stamp:
        reply = self._rest.send_blocking(wire.build_clock(self._hosts.api))
        if reply.date_s is None:
            raise Retry(self.name, "an answer without a Date: the venue's clock is not known")
        return Stamp(reply.sent_ns, reply.received_ns, reply.date_s * NS_PER_S, NS_PER_S)

    def _learn(self, told: Told) -> None:
        if told.taker_pct is None or told.maker_pct is None:
            return
        if len(self._rates) < FEE_RATES_MAX or told.order.symbol in self._rates:
            self._rates[told.order.symbol] = (told.taker_pct * 100, told.maker_pct * 100)


class CoinDcxAccountStream(EventStream[OrderNews | BalanceNews]):
    """The account's channel. It has neither numbers nor a snapshot: a hint to ask, never the truth."""

    async def join(self, keys: wire.Keys) -> None:
        """Joins and waits as long as a refusal takes to come."""
        await self.send(wire.join_frame(keys))
        error = await self.lost_within(REFUSED_S)
        if error is None:
            return
        if isinstance(error, Retry) and error.code == DISCONNECTED:
            raise Rejected(
                self._venue, "the account stream was refused", "check the venue's API key and secret", DISCONNECTED
            )
        raise error

    def _event(self, name: str, body: bytes) -> Sequence[OrderNews | BalanceNews | Notice]:
        try:
            news = wire.parse_account_event(name, body)
        except WireError as error:
            return [Notice("unreadable news", str(error))]
        return [unknown_event(name, body)] if news is None else news


def _keys(settings: Settings) -> wire.Keys:
    """The sandbox's own, or those of the settings. Raises Misconfigured where they are missing."""
    if settings.venue == "sandbox":
        return wire.Keys(sandbox_keys.API_KEY, sandbox_keys.SECRET_KEY)
    if not settings.coindcx_api_key or not settings.coindcx_secret_key:
        raise Misconfigured(
            settings.venue, "its API key and secret are not set", "set COINDCX_API_KEY, COINDCX_SECRET_KEY"
        )
    return wire.Keys(settings.coindcx_api_key.reveal(), settings.coindcx_secret_key.reveal())


def _names(client_order_id: str, venue_order_id: str) -> list[dict[str, object]]:
    """The ways to name an order, ours first: their ids have changed form over the years."""
    ours = [wire.which(client_order_id)] if client_order_id else []
    return ours + ([wire.which("", venue_order_id)] if venue_order_id else [])
