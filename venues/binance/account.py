"""Binance spot's private side behind the contract of `venues.account`; also the sandbox when it speaks this protocol.

Orders go over REST, signed with a plain HMAC key; own fills are told on the WebSocket API. A client order id protects
against a second order only while the first one is live, so a lost answer is looked up and never sent anew.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from core import sandbox_keys
from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.settings import Settings
from core.settings_parse import Secret
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
from venues.bans import bans_of
from venues.binance import wire_answers as answers
from venues.binance import wire_news, wire_public
from venues.binance import wire_private as wire
from venues.binance.judge import ARCHIVED, NO_ORDER, judge, refusal
from venues.binance.rate_limits import DAILY_ORDERS, FIXED, ORDERS, REQUESTS, WEIGHT, Share, left_of, limits_of
from venues.binance.wire_public import named
from venues.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Retry, Skewed, VenueError
from venues.limits import Left, Limits
from venues.offset import Offset, Stamp
from venues.rest import RestClient
from venues.signed import Signed
from venues.venue import Notice, Rules

if TYPE_CHECKING:  # the trader calls over REST and never loads the websockets client
    from venues.stream import Socket

API = "https://api.binance.com"

# The account's side of what the whole address may use (see `adapter`), and nearly all orders of the account.
OF_THE_ADDRESS, OF_THE_ACCOUNT = Share(0.05, 0.15, kept_for_exits=0.3), Share(0.4, 0.5, kept_for_exits=0.3)
PRIVATE_SHARES = {
    WEIGHT: OF_THE_ADDRESS,
    REQUESTS: OF_THE_ADDRESS,
    ORDERS: OF_THE_ACCOUNT,
    DAILY_ORDERS: OF_THE_ACCOUNT,
}
LIMITS_AGE_S, LIMITS_AGAIN_S = 86_400.0, 300.0  # when the venue's limits are asked for again; after a failure
FILLS_PAGES_MAX = 60  # requests for own fills
WINDOWS_MAX = 30  # days that are asked for one by one
ACK_S = 5.0  # within which the subscription is acknowledged
# The venue pings every 20 s, and an account without orders hears nothing else: without three of them it is lost.
SILENT_S, LOOK_S = 70.0, 20.0

RATE_PAUSE_S = 60.0
REQUEST_ID = "account"
NOT_FOUND = "404"
ERRORS: dict[str, type[VenueError]] = {
    "retry": Retry,
    "unknown": Retry,
    "rejected": Rejected,
    "skewed": Skewed,
    "misconfigured": Misconfigured,
}

Opener = Callable[[str, str], Awaitable["Socket"]]


class BinanceAccount:
    """The account. `opener` opens a socket; tests hand in their own."""

    capabilities = AccountCapabilities(
        native_stop=True,  # STOP_LOSS, where the market lists it among its order types
        native_trailing=False,  # trailingDelta exists; a NewOrder has no word for it
        ioc=True,
        post_only=True,
        client_id_unique=UNIQUE_WHILE_OPEN,
        client_id_max=wire.CLIENT_ID_MAX,
        client_id_lookup=True,
        fills_reach_ms=None,
        stream=True,
        clock_step_ms=1,
        request_lives_s=6.0,  # recvWindow, and a second that a stamp may lie ahead of the venue's clock
    )

    def __init__(self, settings: Settings, clock: Clock, opener: Opener | None = None) -> None:
        self.name = settings.venue
        self._opener = opener
        self._keys = _keys(settings)
        sandbox = settings.venue == "sandbox"
        local = f"127.0.0.1:{settings.sandbox_port}"
        self._api = settings.venue_rest_url.rstrip("/") or (f"http://{local}" if sandbox else API)
        given = settings.venue_stream_url.rstrip("/")
        local_or_real = f"ws://{local}" if sandbox else wire_news.HOST
        self._socket_api = wire_news.host_beside(given) if given else local_or_real
        self._clock = clock
        self._windows = FIXED
        self._limits = Limits(limits_of(FIXED, PRIVATE_SHARES))
        self._limits_due_ns = 0  # monotonic; when the venue's limits are asked for
        self._rest = RestClient(
            self.name,
            clock,
            judge,
            self._limits,
            left=self._left,
            bans=bans_of(settings, self._api),
            edge_pause_s=wire_public.EDGE_PAUSE_S,
        )
        self._offset = Offset()
        self._signed = Signed(self._rest, clock, self._offset, self._measure)

    def server_time_ms(self) -> int:
        """The venue's clock; what signed requests go by is measured anew."""
        self._signed.measure_now()
        return self._signed.time_ms()

    def balances(self, *, urgent: bool = False) -> list[Balance]:
        """Currencies of which there is something."""
        reply = self._signed.send(lambda time_ms: wire.account_call(self._api, self._keys, time_ms, urgent=urgent))
        return named(self.name, answers.parse_balances, reply.body)

    def create(self, order: NewOrder) -> Order:
        """Sends an order, once. OutcomeUnknown where it may have been taken; an answer that cannot be read, or that is
        about another order, leaves that open too."""
        try:
            wire.order_parameters(order)
        except ValueError as error:
            raise Rejected(self.name, f"not sent: {error}") from error
        reply = self._signed.send(lambda time_ms: wire.create_call(self._api, self._keys, order, time_ms))
        try:
            return named(self.name, answers.parse_created, reply.body, order.rules.symbol, order.client_order_id)
        except Retry as error:
            raise OutcomeUnknown(self.name, error.text, "look up what became of it", error.code) from error

    def order(
        self, rules: Rules, client_order_id: str, venue_order_id: str = "", *, urgent: bool = False
    ) -> Order | None:
        """By the client id (of several orders of one id the last), else by the venue's; None where there is none.

        Always urgent: it costs little.
        """
        symbol = rules.symbol
        try:
            reply = self._signed.send(
                lambda time_ms: wire.query_call(self._api, self._keys, symbol, client_order_id, venue_order_id, time_ms)
            )
        except Rejected as error:
            if error.code == NO_ORDER:
                return None
            if error.code == ARCHIVED:
                return answers.archived_order(symbol, client_order_id, venue_order_id, error.text)
            raise
        found = named(self.name, answers.parse_order, reply.body)
        # Asked for by our id it is the order of that id, also where the answer names the cancel that ended it.
        return msgspec.structs.replace(found, client_order_id=client_order_id or found.client_order_id)

    def cancel(self, rules: Rules, client_order_id: str, venue_order_id: str = "") -> None:
        """Asks to cancel. Rejected (-2011) where nothing is to cancel: `order` tells whether it was filled."""
        symbol = rules.symbol
        self._signed.send(
            lambda time_ms: wire.cancel_call(self._api, self._keys, symbol, client_order_id, venue_order_id, time_ms)
        )

    def open_orders(self, rules: Rules, *, urgent: bool = False) -> list[Order]:
        """All live orders of a market."""
        symbol = rules.symbol
        if not urgent:
            self._keep_limits(symbol)
        reply = self._signed.send(
            lambda time_ms: wire.open_orders_call(self._api, self._keys, symbol, time_ms, urgent=urgent)
        )
        return named(self.name, answers.parse_open_orders, reply.body)

    def fills(self, rules: Rules, since_ms: int, *, urgent: bool = False) -> list[Fill]:
        """Own fills since a time: windows of a day up to the first fill, from there on by id.

        Which part of a window with too many fills is answered, its oldest or its newest, the venue does not say: such
        a window is cut short at the first fill answered until all of it fits into one answer. Raises Retry where that
        takes more than FILLS_PAGES_MAX requests: nothing is left out silently.
        """
        symbol, start_ms = rules.symbol, max(0, since_ms)
        end_ms = start_ms + wire.FILLS_WINDOW_MS - 1
        found: list[Fill] = []
        from_id = -1
        if not urgent:
            self._keep_limits(symbol)
        if self._signed.time_ms() - start_ms > WINDOWS_MAX * wire.FILLS_WINDOW_MS:
            from_id = 0  # from the very first one on is less to ask than day by day
        for _ in range(FILLS_PAGES_MAX):
            page = self._fills_page(symbol, start_ms, end_ms, from_id, urgent)
            full = len(page) >= wire.FILLS_MAX
            if full and from_id < 0:
                if page[0].time_ms < end_ms:
                    end_ms = page[0].time_ms
                else:
                    from_id = 0  # too many in one millisecond
                continue
            found += [fill for fill in page if fill.time_ms >= since_ms]
            newest = end_ms >= self._signed.time_ms()
            if not full and (from_id >= 0 or newest):
                return found
            if page:
                from_id = int(page[-1].venue_fill_id) + 1
            else:
                start_ms, end_ms = end_ms + 1, end_ms + wire.FILLS_WINDOW_MS
        raise Retry(self.name, f"myTrades {symbol}: not at the end after {FILLS_PAGES_MAX} requests")

    def _fills_page(self, symbol: str, start_ms: int, end_ms: int, from_id: int, urgent: bool) -> list[Fill]:
        reply = self._signed.send(
            lambda time_ms: wire.fills_call(
                self._api,
                self._keys,
                symbol,
                time_ms,
                since_ms=start_ms,
                until_ms=end_ms,
                from_id=from_id,
                urgent=urgent,
            )
        )
        return named(self.name, answers.parse_fills, reply.body)

    def fees_bps(self, rules: Rules) -> tuple[Decimal, Decimal] | None:
        """(taker, maker) of this account in this market."""
        self._keep_limits(rules.symbol)
        reply = self._signed.send(lambda time_ms: wire.commission_call(self._api, self._keys, rules.symbol, time_ms))
        return named(self.name, answers.parse_fees_bps, reply.body)

    def key_rights(self) -> KeyRights:
        """The account may trade, and the key; test exchanges have no word for the key (404)."""
        reply = self._signed.send(lambda time_ms: wire.account_call(self._api, self._keys, time_ms))
        account_may = named(self.name, answers.parse_can_trade, reply.body)
        try:
            reply = self._signed.send(lambda time_ms: wire.key_rights_call(self._api, self._keys, time_ms))
        except (Rejected, Retry) as error:  # in JSON, or as a page
            if error.code == NOT_FOUND:
                return KeyRights(trade=None if account_may else False)
            raise
        return named(self.name, answers.parse_key_rights, reply.body, account_may)

    async def open_stream(self, rules: Sequence[Rules]) -> AccountStream:
        """Connects and subscribes; tells of the whole account, whatever the markets."""
        opener = self._opener
        if opener is None:
            from venues.stream import open_socket

            opener = open_socket
        if not self._offset.known:
            await asyncio.to_thread(self._signed.measure_now)
        try:
            return await self._subscribed(opener)
        except Skewed:
            await asyncio.to_thread(self._signed.measure_now, alone=True)
        return await self._subscribed(opener)

    async def _subscribed(self, opener: Opener) -> AccountStream:
        socket = await opener(self.name, self._socket_api + wire_news.PATH)
        stream = BinanceAccountStream(self.name, socket)
        try:
            await stream.subscribe(self._keys, self._signed.time_ms())
        except BaseException:
            await stream.close()
            raise
        return stream

    def close(self) -> None:
        self._rest.close()

    def _left(self, headers: Mapping[str, str]) -> dict[str, Left]:
        return left_of(headers, self._windows)

    def _keep_limits(self, symbol: str) -> None:
        """Asks for the venue's limits before a question that can wait; those known so far hold where that fails."""
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._limits_due_ns:
            return
        self._limits_due_ns = now_ns + int(LIMITS_AGAIN_S * NS_PER_S)
        with contextlib.suppress(VenueError):  # the question itself meets what is wrong, and tells
            reply = self._rest.send_blocking(wire_public.limits_call(self._api, symbol))
            self._windows = wire_public.parse_limits(reply.body)
            self._limits.change(limits_of(self._windows, PRIVATE_SHARES))
            self._limits_due_ns = now_ns + int(LIMITS_AGE_S * NS_PER_S)

    def _measure(self) -> Stamp:
        reply = self._rest.send_blocking(wire_public.time_call(self._api, urgent=True))  # an exit may wait for it
        return Stamp(reply.sent_ns, reply.received_ns, named(self.name, wire_public.parse_time, reply.body) * NS_PER_MS)


class BinanceAccountStream:
    """One connection of the WebSocket API with the account's events."""

    def __init__(self, venue: str, socket: "Socket") -> None:
        self._venue = venue
        self._socket = socket
        self._early: list[News] = []  # what came before the acknowledgement
        self._ended = ""

    async def subscribe(self, keys: wire.Keys, time_ms: int) -> None:
        """Asks for the events and waits for the answer. Raises what a refusal calls for, Retry without an answer."""
        await self._socket.send(wire_news.subscribe_request(keys, REQUEST_ID, time_ms))
        try:
            async with asyncio.timeout(ACK_S):
                while not self._granted(await self._socket.receive_many()):
                    pass
        except TimeoutError as error:
            raise Retry(self._venue, f"account stream: no answer to the subscription within {ACK_S:.0f} s") from error

    def _granted(self, frames: Sequence[str | None]) -> bool:
        granted = False
        for frame in frames:
            for item in wire_news.parse_message(frame):
                if not isinstance(item, wire_news.Answer):
                    self._keep(item)
                elif item.code:
                    raise self._error(item)
                else:
                    granted = granted or item.id == REQUEST_ID
        return granted

    def _error(self, answer: wire_news.Answer) -> VenueError:
        kind, code, text, *_ = refusal(answer.status, answer.code, answer.text, False)
        what = f"account stream: the subscription was refused ({code} {text!r:.200})"
        if kind == "rate_limited":
            return RateLimited(self._venue, what, RATE_PAUSE_S, code)
        step = "check BINANCE_API_KEY and BINANCE_SECRET_KEY, and what they may do" if kind == "misconfigured" else ""
        return ERRORS[kind](self._venue, what, step, code)

    async def read(self) -> Sequence[News]:
        """All that arrived, at least one; Retry once the connection is lost or silent, or the subscription ended."""
        while not self._early:
            if self._ended:
                raise Retry(self._venue, self._ended)
            for frame in await self._frames():
                for item in wire_news.parse_message(frame):
                    self._keep(item)
        news, self._early = self._early, []
        return news

    async def _frames(self) -> Sequence[str | None]:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    return await self._socket.receive_many()
            silent_s = self._socket.silent_s()
            if silent_s > SILENT_S:
                raise Retry(self._venue, f"the account stream is silent: no ping for {silent_s:.0f} s")

    def _keep(self, item: News | wire_news.Answer | wire_news.Ended) -> None:
        if isinstance(item, wire_news.Ended):
            self._ended = item.text
        elif isinstance(item, wire_news.Answer):
            self._early.append(Notice("unexpected answer", f"{item.id}: {item.code} {item.text}"))
        else:
            self._early.append(item)

    async def close(self) -> None:
        await self._socket.close()


def _keys(settings: Settings) -> wire.Keys:
    if settings.venue == "sandbox":
        return wire.Keys(Secret(sandbox_keys.API_KEY), Secret(sandbox_keys.SECRET_KEY))
    if not (settings.binance_api_key and settings.binance_secret_key):
        step = "set BINANCE_API_KEY and BINANCE_SECRET_KEY in .env (chmod 600 .env)"
        raise Misconfigured(settings.venue, "orders need the keys of an account", step)
    return wire.Keys(settings.binance_api_key, settings.binance_secret_key)
