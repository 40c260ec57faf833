"""CoinDCX's public side behind the contract of `venues.venue`; also the sandbox when it speaks this protocol.

REST hosts: `api` for the market list, `public` for trades and candles; VENUE_REST_URL replaces both, VENUE_STREAM_URL
the stream.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal

from core.clock import NS_PER_MS, Clock
from core.settings import Settings
from venues import engineio, names
from venues.coindcx import wire_public as wire
from venues.errors import Retry
from venues.limits import Limit, Limits
from venues.offset import Offset
from venues.rest import Reply, RestClient
from venues.stream import Socket, open_socket
from venues.venue import Bar, Capabilities, Notice, Rules, Stream, Trade, TradesAnswer

API = "https://api.coindcx.com"
PUBLIC = "https://public.coindcx.com"
STREAM = "wss://stream.coindcx.com"

REQUESTS_PER_S = 10.0
BURST = 20.0
MAX_WAIT_S = 300.0  # hundreds of pairs take their turns at the start
MAX_BATCH = 1000  # trades handed over at once
TICK_S = 1.0
JOINS_AT_ONCE = 50
SANDBOX_FEE_BPS = Decimal(5)
FEES_BPS = {"INR": Decimal(59), "USDT": Decimal(24)}  # 0.5 % and 0.2 %, each plus 18 % GST
OTHER_FEE_BPS = Decimal(59)  # the dearer one where nothing is known
BOOKS = ("B", "I", "KC", "G")  # preferred in this order where BASE/QUOTE fits several

Opener = Callable[[str, str], Awaitable[Socket]]


class CoinDcx:
    """The venue. `opener` opens a socket; tests hand in their own."""

    capabilities = Capabilities(
        recent_trades_max=wire.TRADES_MAX,
        intervals_ms=tuple(wire.INTERVALS),
        candles_max=wire.CANDLES_MAX,
        trade_ids=False,
    )

    def __init__(self, settings: Settings, clock: Clock, opener: Opener = open_socket) -> None:
        self.name = settings.venue
        self._clock = clock
        self._opener = opener
        self._offset = Offset()
        self._version = 4
        self._unread: tuple[str, ...] = ()  # markets whose row could not be read the last time, and why
        self._problem = ""
        sandbox = settings.venue == "sandbox"
        self._sandbox = sandbox
        self.tape_clock = sandbox and (settings.sandbox_speed > 1 or bool(settings.sandbox_tape))
        local = f"127.0.0.1:{settings.sandbox_port}"
        rest = settings.venue_rest_url.rstrip("/")
        self._api = rest or (f"http://{local}" if sandbox else API)
        self._public = rest or (f"http://{local}" if sandbox else PUBLIC)
        self._stream = settings.venue_stream_url.rstrip("/") or (f"ws://{local}" if sandbox else STREAM)
        limits = Limits({"requests": Limit(REQUESTS_PER_S, BURST)})
        self._rest = RestClient(
            self.name, clock, wire.judge, limits, rate_pause_s=wire.RATE_PAUSE_S, max_wait_s=MAX_WAIT_S
        )

    async def markets(self) -> list[Rules]:
        """Every market that can be read."""
        reply = await self._get(self._api + wire.markets_path())
        parsed = self._named(wire.parse_markets, reply.body)
        self._unread, self._problem = parsed.unread, parsed.problem
        return parsed.rows

    async def recent_trades(self, rules: Rules, since: Trade | None = None) -> TradesAnswer:
        """The last 500; there is no asking for older ones."""
        path, query = wire.trades_request(rules.pair)
        reply = await self._get(self._public + path, query)
        parsed = self._named(wire.parse_trades, reply.body, rules.pair, reply.received_ns)
        return TradesAnswer(parsed.rows, len(parsed.rows) + parsed.bad < wire.TRADES_MAX, parsed.bad)

    async def candles(self, rules: Rules, interval_ms: int, start_ms: int, end_ms: int) -> list[Bar]:
        """In as many requests as it takes, the newest part first (what is missing is then the oldest)."""
        bars: dict[int, Bar] = {}
        last_ms = end_ms - 1
        while last_ms >= start_ms:
            first_ms = max(start_ms, last_ms - (wire.CANDLES_MAX - 1) * interval_ms)
            path, query = wire.candles_request(rules.pair, interval_ms, first_ms, last_ms)
            reply = await self._get(self._public + path, query)
            rows: list[Bar] = self._named(wire.parse_candles, reply.body, rules.pair).rows
            rows = [bar for bar in rows if start_ms <= bar.open_ns // NS_PER_MS < end_ms]
            bars.update({bar.open_ns: bar for bar in rows})
            if not rows:
                break
            last_ms = first_ms - 1
        return [bars[start] for start in sorted(bars)]

    async def open_stream(self, rules: Sequence[Rules]) -> Stream:
        try:
            socket = await self._opener(self.name, self._stream + wire.stream_path(self._version))
        except Retry as error:
            if error.code == "400":  # this server speaks the other version only
                self._version = 7 - self._version
            raise
        stream = CoinDcxStream(self.name, socket, self._clock, self._version, rules)
        try:
            await stream.join()
        except BaseException:
            await stream.close()
            raise
        return stream

    def resolve(self, wanted: Sequence[str], markets: Sequence[Rules]) -> list[Rules]:
        broken = [name for name in wanted if name.strip().upper() in self._unread]
        if broken:
            what = f"markets_details: the row of {', '.join(broken)} cannot be read ({self._problem})"
            raise Retry(self.name, what)
        return names.resolve(self.name, wanted, markets, _rank)

    def fees_bps(self, quote: str) -> tuple[Decimal, Decimal]:
        fee = SANDBOX_FEE_BPS if self._sandbox else FEES_BPS.get(quote, OTHER_FEE_BPS)
        return fee, fee

    def clock_offset_ns(self) -> int:
        return 0 if self.tape_clock else self._offset.ns

    def close(self) -> None:
        self._rest.close()

    async def _get(self, url: str, query: Mapping[str, str] | None = None) -> Reply:
        reply = await self._rest.get(url, query, requests=1)
        if reply.date_s is not None:
            self._offset.add(reply.sent_ns, reply.received_ns, reply.date_s)
        return reply

    def _named(self, parse: Callable[..., wire.Parsed], *arguments: object) -> wire.Parsed:
        """Parses; a wrong shape is told under our venue's name (the sandbox is not coindcx)."""
        try:
            return parse(*arguments)
        except Retry as error:
            raise Retry(self.name, error.text, error.next_step, error.code) from error


class CoinDcxStream:
    """One socket.io connection with the trades of all joined pairs."""

    def __init__(self, venue: str, socket: Socket, clock: Clock, version: int, rules: Sequence[Rules]) -> None:
        self._venue = venue
        self._socket = socket
        self._clock = clock
        self._session = engineio.Session(version, clock.monotonic_ns())
        self._joined = [market.pair for market in rules]
        self._only = self._joined[0] if len(self._joined) == 1 else ""
        self._pairs = {name: market.pair for market in rules for name in (market.symbol, market.pair)}
        self._items: list[Trade | Notice] = []
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._failure: BaseException | None = None
        self._connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._tick())]

    async def join(self) -> None:
        """Waits for the session and asks for every channel."""
        await self._connected
        for place, pair in enumerate(self._joined):
            await self._socket.send(wire.join_frame(pair))
            if place % JOINS_AT_ONCE == JOINS_AT_ONCE - 1:
                await asyncio.sleep(0.05)  # hundreds at once look like an attack

    async def read(self) -> Sequence[Trade | Notice]:
        """All that arrived, at least one; Retry once the connection is lost and everything was handed over."""
        while not self._items:
            if self._failure is not None:
                raise self._failure
            self._arrived.clear()
            await self._arrived.wait()
        items, self._items = self._items, []
        self._taken.set()
        return items

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connected.done():
            if not self._connected.cancelled():
                self._connected.exception()
        else:
            self._connected.cancel()
        await self._socket.close()

    async def _receive(self) -> None:
        try:
            while True:
                for frame in await self._socket.receive_many():
                    if frame is None:
                        self._put(Notice("unknown frame", "a binary frame"))
                        continue
                    for action in self._session.receive(frame, self._clock.monotonic_ns()):
                        await self._do(action)
                if len(self._items) >= MAX_BATCH:
                    self._taken.clear()
                    await self._taken.wait()  # the reader is slow: unread frames wait at the venue's side
        except Retry as error:
            self._fail(error)

    async def _tick(self) -> None:
        try:
            while True:
                await asyncio.sleep(TICK_S)
                for action in self._session.tick(self._clock.monotonic_ns()):
                    await self._do(action)
        except Retry as error:
            self._fail(error)

    async def _do(self, action: engineio.Action) -> None:
        match action:
            case engineio.Arrived(name, body):
                self._event(name, body)
            case engineio.Send(text):
                await self._socket.send(text)
            case engineio.Connected():
                if not self._connected.done():
                    self._connected.set_result(None)
            case engineio.Unknown(text):
                self._put(Notice("unknown frame", text))
            case engineio.Closed(reason):
                raise Retry(self._venue, f"the stream ended: {reason}")

    def _event(self, name: str, body: bytes) -> None:
        try:
            trade = wire.parse_event(name, body, self._clock.wall_ns(), self._pairs, self._only)
        except wire.WireError as error:
            self._put(Notice("unreadable trade", str(error)))
            return
        if trade is not None:
            self._put(trade)
        else:
            self._put(Notice("unknown event", f"{name}: {engineio.shorten(body.decode(errors='replace'))}"))

    def _put(self, item: Trade | Notice) -> None:
        self._items.append(item)
        self._arrived.set()

    def _fail(self, error: Retry) -> None:
        if self._failure is None:
            self._failure = error
        self._arrived.set()
        if not self._connected.done():
            self._connected.set_exception(error)


def _rank(rules: Rules) -> int:
    book = rules.pair.partition("-")[0]
    return (BOOKS.index(book) if book in BOOKS else len(BOOKS)) + (0 if rules.active else 100)
