"""Kraken's public side behind the contract of `venues.venue`; also the sandbox when it speaks this protocol.

VENUE_REST_URL replaces the REST host, VENUE_STREAM_URL the host of the streams. Trades and candles are limited by
market besides, at the documented safe call a second.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any

from core import pairs
from core.clock import NS_PER_MS, Clock
from core.settings import Settings
from venues import names
from venues.bans import bans_of
from venues.errors import RateLimited, Retry
from venues.fees import fees_bps
from venues.kraken import frames, naming
from venues.kraken import wire_public as wire
from venues.kraken.connection import PACE, PATH, Connection, Pace
from venues.kraken.frames import WireError
from venues.kraken.judge import judge
from venues.limits import Limit, Limits
from venues.offset import Offset
from venues.rest import Reply, RestClient
from venues.stream import Socket, open_socket
from venues.venue import Bar, Capabilities, Notice, PastAnswer, Rules, Stream, Trade, TradesAnswer

REST = "https://api.kraken.com"
STREAM = "wss://ws.kraken.com"

PUBLIC = "public"
EVERYTHING = Limit(10.0, 20.0)
A_MARKET = Limit(1.0, 5.0)  # of Trades and OHLC
PATIENCE_S = 30.0
PAGES_MAX = 20
BEFORE_NS = NS_PER_MS  # how much earlier than a known trade to ask: the two ways cut its time off differently

Opener = Callable[[str, str], Awaitable[Socket]]


class Kraken:
    """The venue. `opener` opens a socket, `a_market` is how often Trades and OHLC of one market are asked for."""

    capabilities = Capabilities(
        recent_trades_max=wire.TRADES_MAX,
        intervals_ms=tuple(wire.INTERVALS),
        candles_max=wire.CANDLES_MAX,
        trade_ids=True,
    )

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        opener: Opener = open_socket,
        pace: Pace = PACE,
        a_market: Limit = A_MARKET,
        pages_max: int = PAGES_MAX,
    ) -> None:
        self.name = settings.venue
        self._clock = clock
        self._opener = opener
        self._pace = pace
        self._a_market = a_market
        self._pages_max = pages_max
        self._offset = Offset()
        self._unread: tuple[str, ...] = ()  # pair keys of markets whose row could not be read the last time, and why
        self._problem = ""
        self._markets: dict[str, Limits] = {}
        self._sandbox = settings.venue == "sandbox"
        self.tape_clock = self._sandbox and (settings.sandbox_speed > 1 or bool(settings.sandbox_tape))
        local = f"127.0.0.1:{settings.sandbox_port}"
        self._host = settings.venue_rest_url.rstrip("/") or (f"http://{local}" if self._sandbox else REST)
        self._stream = settings.venue_stream_url.rstrip("/") or (f"ws://{local}" if self._sandbox else STREAM)
        bans = bans_of(settings, self._host)
        self._rest = RestClient(self.name, clock, judge, Limits({PUBLIC: EVERYTHING}), bans=bans)

    async def markets(self) -> list[Rules]:
        """Every market that can be read; dark pools are none."""
        reply = await self._get(wire.markets_path())
        parsed: wire.Parsed = self._named(wire.parse_markets, reply.body)
        self._unread, self._problem = parsed.unread, parsed.problem
        return parsed.rows

    async def recent_trades(self, rules: Rules, since: Trade | None = None) -> TradesAnswer:
        """The newest thousand, or those from `since` on (itself included), as far as 20 answers reach."""
        if since is None:
            page = await self._page(rules, None)
            return TradesAnswer(page.rows, page.size < wire.TRADES_MAX, page.bad)
        trades: dict[int, Trade] = {}
        bad = 0
        cursor_ns = since.time_ns - BEFORE_NS
        for _ in range(self._pages_max):
            page = await self._page(rules, cursor_ns)
            bad += page.bad
            known = len(trades)
            trades.update({trade.trade_id: trade for trade in page.rows if trade.trade_id >= since.trade_id})
            if page.size < wire.TRADES_MAX or (known and len(trades) == known):
                break
            # One nanosecond back: trades of one match share their time, and a page may end amid them.
            cursor_ns = max(page.last_ns - 1, cursor_ns + 1)
        return TradesAnswer([trades[number] for number in sorted(trades)], False, bad)

    async def past_trades(self, rules: Rules, from_ns: int, last: Trade | None) -> PastAnswer:
        """From a time on; where more trades than an answer holds have the time of `last`, those behind it."""
        if last is None:
            page = await self._page(rules, from_ns - 1)
            return PastAnswer([trade for trade in page.rows if not 0 < trade.time_ns < from_ns], page.bad)
        known: list[Trade] = []
        for since_ns in (last.time_ns - BEFORE_NS, last.time_ns - 1, last.time_ns):
            page = await self._page(rules, since_ns)
            trades = [trade for trade in page.rows if trade.trade_id >= last.trade_id]
            if trades and trades[-1].trade_id > last.trade_id:
                return PastAnswer(trades, page.bad)
            known = known or trades
        return PastAnswer(known, 0)

    async def candles(self, rules: Rules, interval_ms: int, start_ms: int, end_ms: int) -> list[Bar]:
        """Of the newest 720, there are no older ones; the forming one included."""
        path, query = wire.candles_request(naming.request_name(rules), interval_ms, start_ms)
        await self._turn_of(rules)
        reply = await self._get(path, query)
        rows: list[Bar] = self._named(wire.parse_candles, reply.body, rules.pair).rows
        return [bar for bar in rows if start_ms <= bar.open_ns // NS_PER_MS < end_ms]

    async def open_stream(self, rules: Sequence[Rules]) -> Stream:
        """Returns once every subscription is acknowledged; what the venue refuses is told by the first `read`."""
        socket = await self._opener(self.name, self._stream + PATH)
        pairs_by_symbol = {market.pair: market.pair for market in rules}

        def reader(text: str, received_ns: int) -> Sequence[Trade | Notice] | None:
            return read_trades(text, received_ns, pairs_by_symbol)

        stream = Connection(self.name, socket, self._clock, reader, self._pace)
        try:
            await stream.join(wire.subscriptions([market.pair for market in rules]))
        except BaseException:
            await stream.close()
            raise
        return stream

    def resolve(self, wanted: Sequence[str], markets: Sequence[Rules]) -> list[Rules]:
        spelled = [_v2_symbol(name, markets) for name in wanted]
        broken = [name for name in spelled if self._unreadable(name)]
        if broken:
            raise Retry(self.name, f"AssetPairs: the row of {', '.join(broken)} cannot be read ({self._problem})")
        return names.resolve(self.name, spelled, markets, lambda market: 0 if market.active else 1)

    def fees_bps(self, quote: str) -> tuple[Decimal, Decimal]:
        return fees_bps("sandbox" if self._sandbox else "kraken", quote)

    def clock_offset_ns(self) -> int:
        return 0 if self.tape_clock else self._offset.ns

    def close(self) -> None:
        self._rest.close()

    async def _page(self, rules: Rules, since_ns: int | None) -> wire.TradesPage:
        path, query = wire.trades_request(naming.request_name(rules), since_ns)
        await self._turn_of(rules)
        reply = await self._get(path, query)
        page: wire.TradesPage = self._named(wire.parse_trades, reply.body, rules.pair, reply.received_ns)
        return page

    async def _turn_of(self, rules: Rules) -> None:
        """Waits for this market's room. Raises RateLimited where that would take too long."""
        limits = self._markets.setdefault(rules.pair, Limits({rules.pair: self._a_market}))
        waited_s = 0.0
        while True:
            wait_s, _ = limits.take(
                {rules.pair: 1.0}, self._clock.monotonic_ns(), in_line=waited_s > 0, patience_s=PATIENCE_S - waited_s
            )
            if wait_s <= 0:
                return
            if waited_s + wait_s > PATIENCE_S:
                raise RateLimited(self.name, f"{rules.pair} not asked for: too often before", wait_s)
            await asyncio.sleep(wait_s)
            waited_s += wait_s

    async def _get(self, path: str, query: dict[str, str] | None = None) -> Reply:
        reply = await self._rest.get(self._host + path, query, **{PUBLIC: 1.0})
        if reply.date_s is not None:
            self._offset.add(reply.sent_ns, reply.received_ns, reply.date_s)
        return reply

    def _unreadable(self, name: str) -> bool:
        base, _, quote = name.upper().partition("/")
        return any(key in self._unread for key in naming.keys(base, quote)) if quote else name in self._unread

    def _named(self, parse: Callable[..., Any], *arguments: object) -> Any:
        """Parses; an answer of a wrong shape may be right the next time."""
        try:
            return parse(*arguments)
        except WireError as error:
            raise Retry(self.name, str(error)) from error


def read_trades(text: str, received_ns: int, pairs_by_symbol: dict[str, str]) -> Sequence[Trade | Notice] | None:
    """What a frame of the trade channel brings; None for any other. Raises WireError."""
    if not text.startswith(wire.TRADE_FRAME) and (
        '"trade"' not in text or frames.read(text).channel != wire.TRADE_CHANNEL
    ):
        return None  # as good as always a heartbeat
    trades, problem = wire.parse_trade_frame(text, received_ns, pairs_by_symbol)
    return [*trades, Notice("unreadable trade", problem)] if problem else trades


def _v2_symbol(name: str, markets: Sequence[Rules]) -> str:
    """The name that `Rules.pair` has, of any spelling; an unknown one stays as it is."""
    upper = name.strip().upper()
    try:
        likely = pairs.own_name(upper, "kraken")
    except ValueError:
        likely = upper
    found = [market.pair for market in markets if market.pair == likely]
    found = found or [market.pair for market in markets if naming.is_of(market, upper)]
    return found[0] if found else likely
