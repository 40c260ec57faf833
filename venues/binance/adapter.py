"""Binance spot's public side behind the contract of `venues.venue`; also the sandbox when it speaks this protocol.

Hosts: those for market data only, which cannot carry an account and are open where api.binance.com is not; but trades
back to a known one (`historicalTrades`) are served by api.binance.com alone. VENUE_REST_URL and VENUE_STREAM_URL
replace all of them.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from core import pairs
from core.clock import NS_PER_MS, Clock
from core.settings import Settings
from venues import names
from venues.bans import bans_of
from venues.binance import wire_public as wire
from venues.binance import wire_stream
from venues.binance.judge import judge
from venues.binance.rate_limits import FIXED, REQUESTS, WEIGHT, Share, left_of, limits_of
from venues.call import Call, Reply
from venues.errors import Misconfigured, Rejected, Retry
from venues.fees import fees_bps
from venues.limits import Left, Limits
from venues.offset import Offset, Stamp
from venues.rest import RestClient
from venues.stream import Socket, open_socket
from venues.venue import SHUTDOWN, Bar, Capabilities, Notice, PastAnswer, Rules, Stream, Trade, TradesAnswer

DATA = "https://data-api.binance.vision"
API = "https://api.binance.com"
STREAM = "wss://data-stream.binance.vision"

# Of what the whole address may use: of 6000 of weight a minute this side takes 4600, the account's side 1200.
PUBLIC_SHARES = {WEIGHT: Share(1 / 6, 0.6), REQUESTS: Share(1 / 6, 0.6)}
MAX_WAIT_S = 300.0  # hundreds of pairs take their turns at the start
NO_PATH = "404"  # the code of a host without `historicalTrades`
NOT_HERE = ("404", "451")  # the same, and of one that refuses a region
OLDER_PAGES_MAX = 20  # requests for trades back to a known one
STREAM_LIFE_S = 86_400.0
ACK_S = 5.0  # within which a subscription is acknowledged
SENDS_APART_S = 1.2 / (wire_stream.MESSAGES_PER_S - 1)  # one of the five is left for a pong

Opener = Callable[[str, str], Awaitable[Socket]]
Answer = TypeVar("Answer")


class Binance:
    """The venue. `opener` opens a socket; tests hand in their own."""

    capabilities = Capabilities(
        recent_trades_max=wire.TRADES_MAX,
        intervals_ms=tuple(wire.INTERVALS),
        candles_max=wire.CANDLES_MAX,
        trade_ids=True,
        stream_life_s=STREAM_LIFE_S,
    )

    def __init__(self, settings: Settings, clock: Clock, opener: Opener = open_socket) -> None:
        self.name = settings.venue
        self._clock = clock
        self._opener = opener
        self._offset = Offset()
        self._unread: tuple[str, ...] = ()  # markets whose row could not be read the last time, and why
        self._problem = ""
        self._older_refused = False
        sandbox = settings.venue == "sandbox"
        self._sandbox = sandbox
        self.tape_clock = sandbox and (settings.sandbox_speed > 1 or bool(settings.sandbox_tape))
        local = f"127.0.0.1:{settings.sandbox_port}"
        rest = settings.venue_rest_url.rstrip("/")
        self._data = rest or (f"http://{local}" if sandbox else DATA)
        self._api = rest or (f"http://{local}" if sandbox else API)
        self._stream = settings.venue_stream_url.rstrip("/") or (f"ws://{local}" if sandbox else STREAM)
        self._windows = FIXED
        self._limits = Limits(limits_of(FIXED, PUBLIC_SHARES))
        self._rest = RestClient(
            self.name,
            clock,
            judge,
            self._limits,
            left=self._left,
            bans=bans_of(settings, self._data),
            edge_pause_s=wire.EDGE_PAUSE_S,
            max_wait_s=MAX_WAIT_S,
        )

    async def markets(self) -> list[Rules]:
        """Every market that can be read; measures the clock besides."""
        reply = await self._get(wire.time_call(self._data))
        self._offset.measured(
            Stamp(reply.sent_ns, reply.received_ns, wire.named(self.name, wire.parse_time, reply.body) * NS_PER_MS)
        )
        reply = await self._get(wire.markets_call(self._data))
        parsed = wire.named(self.name, wire.parse_markets, reply.body)
        self._unread, self._problem = parsed.unread, parsed.problem
        self._windows = parsed.windows
        self._limits.change(limits_of(parsed.windows, PUBLIC_SHARES))
        return parsed.rows

    async def recent_trades(self, rules: Rules, since: Trade | None = None) -> TradesAnswer:
        """The newest 1000; from `since` on where that lies further back, the oldest part of it if it is too much."""
        reply = await self._get(wire.trades_call(self._data, rules.symbol))
        newest = wire.named(self.name, wire.parse_trades, reply.body, rules.pair, reply.received_ns)
        complete = len(newest.rows) + newest.bad < wire.TRADES_MAX
        answer = TradesAnswer(newest.rows, complete, newest.bad)
        if since is None or since.trade_id <= 0 or complete or self._older_refused:
            return answer
        if not newest.rows or newest.rows[0].trade_id <= since.trade_id:
            return answer
        try:
            return await self._from(rules, since.trade_id, answer)
        except Misconfigured:
            self._older_refused = True  # without a key, or from here, nobody is served: what lies between stays a hole
        except (Rejected, Retry) as error:
            self._older_refused = error.code == NO_PATH  # any other reason is one of this market or of this moment
            if isinstance(error, Retry) and not self._older_refused:
                raise
        return answer

    async def _from(self, rules: Rules, from_id: int, newest: TradesAnswer) -> TradesAnswer:
        """Trades from an id on up to the newest, page by page."""
        trades: list[Trade] = []
        bad = newest.bad_rows
        join_id = newest.trades[0].trade_id
        for _ in range(OLDER_PAGES_MAX):
            try:
                reply = await self._get(wire.older_trades_call(self._api, rules.symbol, from_id))
                page = wire.named(self.name, wire.parse_trades, reply.body, rules.pair, reply.received_ns)
            except Retry:
                if not trades:
                    raise
                break  # what came so far counts; whoever asks for the rest hears of it
            bad += page.bad
            rows = [trade for trade in page.rows if from_id <= trade.trade_id < join_id]
            trades += rows
            if page.rows and page.rows[-1].trade_id + 1 >= join_id:
                return TradesAnswer(trades + newest.trades, False, bad)
            if not rows:  # it lags behind, or has lost what lies between
                break
            from_id = rows[-1].trade_id + 1
        return TradesAnswer(trades, False, bad) if trades else newest

    async def past_trades(self, rules: Rules, from_ns: int, last: Trade | None) -> PastAnswer:
        """By `historicalTrades` from an id on; which one is the first of a time is known of the aggregates.

        Raises Misconfigured where the venue serves them to nobody here.
        """
        from_id: int | None = last.trade_id if last is not None else None
        if from_id is None:
            from_ms = -(-from_ns // NS_PER_MS)
            first = await self._get(wire.first_trade_call(self._data, rules.symbol, from_ms))
            from_id = wire.named(self.name, wire.parse_first_trade, first.body, rules.pair)
            if from_id is None:
                return PastAnswer([], 0)
        try:
            reply = await self._get(wire.older_trades_call(self._api, rules.symbol, from_id))
        except (Misconfigured, Rejected, Retry) as error:
            if isinstance(error, Retry) and error.code not in NOT_HERE:
                raise
            step = "its archives of trades from data.binance.vision are read as they are"
            raise Misconfigured(
                self.name, f"older trades are not served here: {error.text}", step, error.code
            ) from error
        page = wire.named(self.name, wire.parse_trades, reply.body, rules.pair, reply.received_ns)
        trades = {trade.trade_id: trade for trade in page.rows if trade.trade_id >= from_id}
        return PastAnswer(list(trades.values()), page.bad)

    async def candles(self, rules: Rules, interval_ms: int, start_ms: int, end_ms: int) -> list[Bar]:
        """In as many requests as it takes, oldest first as the venue serves them; the forming one included."""
        bars: dict[int, Bar] = {}
        while start_ms < end_ms:
            call = wire.candles_call(self._data, rules.symbol, interval_ms, start_ms, end_ms)
            page = wire.named(self.name, wire.parse_candles, (await self._get(call)).body, rules.pair)
            rows = [bar for bar in page.rows if start_ms <= bar.open_ns // NS_PER_MS < end_ms]
            bars.update({bar.open_ns: bar for bar in rows})
            if not rows or len(page.rows) + page.bad < wire.CANDLES_MAX:  # a bad row is no end
                break
            start_ms = rows[-1].open_ns // NS_PER_MS + interval_ms
        return [bars[start] for start in sorted(bars)]

    async def open_stream(self, rules: Sequence[Rules]) -> Stream:
        """As many connections as the venue needs for so many markets, every subscription acknowledged."""
        most = wire_stream.STREAMS_MAX
        parts = [rules[place : place + most] for place in range(0, len(rules), most)]
        stream = BinanceStream(self.name, self._clock)
        try:
            for part in parts:
                await stream.add(await self._opener(self.name, self._stream + wire_stream.PATH), part)
        except BaseException:
            await stream.close()
            raise
        return stream

    def resolve(self, wanted: Sequence[str], markets: Sequence[Rules]) -> list[Rules]:
        own = [_own_name(name) for name in wanted]
        broken = [name for name in own if name.upper().replace("/", "") in self._unread]
        if broken:
            raise Retry(self.name, f"exchangeInfo: the row of {', '.join(broken)} cannot be read ({self._problem})")
        return names.resolve(self.name, own, markets, _rank)

    def fees_bps(self, quote: str) -> tuple[Decimal, Decimal]:
        return fees_bps("sandbox" if self._sandbox else "binance", quote)

    def clock_offset_ns(self) -> int:
        return 0 if self.tape_clock else self._offset.ns

    def close(self) -> None:
        self._rest.close()

    def _left(self, headers: Mapping[str, str]) -> dict[str, Left]:
        return left_of(headers, self._windows)

    async def _get(self, call: Call) -> Reply:
        reply = await self._rest.send(call)
        if reply.date_s is not None:
            self._offset.add(reply.sent_ns, reply.received_ns, reply.date_s)
        return reply


class BinanceStream:
    """One or more connections with the trades of all joined pairs."""

    def __init__(self, venue: str, clock: Clock) -> None:
        self._venue = venue
        self._clock = clock
        self._sockets: list[Socket] = []
        self._readers: list[wire_stream.Reader] = []
        self._early: list[Trade | Notice] = []  # what came before the last acknowledgement
        self._reading: dict[asyncio.Task[list[str | None]], int] = {}

    async def add(self, socket: Socket, rules: Sequence[Rules]) -> None:
        """Subscribes on one more connection; Retry where it is refused or not acknowledged in time."""
        self._sockets.append(socket)
        reader = wire_stream.Reader({market.symbol: market.pair for market in rules})
        self._readers.append(reader)
        for number, text in wire_stream.subscriptions([market.symbol for market in rules]):
            if number > 1:
                await asyncio.sleep(SENDS_APART_S)
            await socket.send(text)
            await self._acknowledged(socket, reader, number)

    async def _acknowledged(self, socket: Socket, reader: wire_stream.Reader, number: int) -> None:
        try:
            async with asyncio.timeout(ACK_S):
                while True:
                    frames = await socket.receive_many()
                    self._early += reader.read(frames, self._clock.wall_ns())
                    acks, reader.acks = reader.acks, []
                    for ack in acks:
                        if ack.refusal:
                            raise Retry(self._venue, f"a subscription was refused: {ack.refusal}", code=ack.code)
                    if any(ack.id == number for ack in acks):
                        return
        except TimeoutError as error:
            raise Retry(self._venue, f"no acknowledgement of a subscription within {ACK_S:.0f} s") from error

    async def read(self) -> Sequence[Trade | Notice]:
        """All that arrived, at least one; Retry once a connection is lost and everything was handed over."""
        if self._early:
            early, self._early = self._early, []
            return early
        while True:
            arrived = await self._or_ending(self._arrived())
            received_ns = self._clock.wall_ns()
            items: list[Trade | Notice] = []
            for reader, frames in arrived:
                items += _items(reader, frames, received_ns)
            if items:
                return items

    async def hand_over(self, take: Callable[[Sequence[Trade | Notice]], object]) -> None:
        """Has `take` called with what `read` would give, in the moment it arrives; ends as `read` does, by `Retry`.

        With more than one connection, each thousand pairs need one, it waits as `read` does.
        """

        def handed(frames: list[str | None]) -> bool:
            items = _items(self._readers[0], frames, self._clock.wall_ns())
            if items:
                take(items)
            return True

        while True:
            take(await self.read())
            if len(self._sockets) == 1:
                await self._or_ending(self._sockets[0].deliver(handed))

    async def _or_ending(self, reading: Coroutine[Any, Any, Answer]) -> Answer:
        """Waits for it; a connection that is lost after its end was announced says so."""
        try:
            return await reading
        except Retry as error:
            if any(reader.ending for reader in self._readers):
                raise Retry(self._venue, error.text, error.next_step, SHUTDOWN) from error
            raise

    async def _arrived(self) -> list[tuple[wire_stream.Reader, list[str | None]]]:
        """Frames of every connection that has some. Raises Retry where a connection is lost and none has any."""
        if len(self._sockets) == 1:
            return [(self._readers[0], await self._sockets[0].receive_many())]
        waiting = set(self._reading.values())
        for place, socket in enumerate(self._sockets):
            if place not in waiting:
                self._reading[asyncio.create_task(socket.receive_many())] = place
        done, _ = await asyncio.wait(self._reading, return_when=asyncio.FIRST_COMPLETED)
        whole = [task for task in done if task.exception() is None]
        if not whole:
            done.pop().result()
        return [(self._readers[self._reading.pop(task)], task.result()) for task in whole]

    async def close(self) -> None:
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)
        self._reading.clear()
        await asyncio.gather(*(socket.close() for socket in self._sockets))


def _items(reader: wire_stream.Reader, frames: list[str | None], received_ns: int) -> list[Trade | Notice]:
    items: list[Trade | Notice] = list(reader.read(frames, received_ns))
    acks, reader.acks = reader.acks, []
    return items + [Notice("unexpected answer", f"{ack.id}: {ack.refusal or 'granted'}") for ack in acks]


def _own_name(name: str) -> str:
    """`B-BTC_USDT` and its like as the venue says it; other names as they are."""
    text = name.strip()
    if "-" in text and "_" in text:
        with contextlib.suppress(ValueError):
            return pairs.own_name(text, "binance")
    return text


def _rank(rules: Rules) -> int:
    return 0 if rules.active else 1
