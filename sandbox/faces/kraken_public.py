"""Kraken's public REST face, written from the fact sheet: names, shapes, order, units and refusals, quirks included.

HTTP 200 also for refusals; answers keyed by the pair's key whatever name was asked for; candles ascending, the forming
one always last, flat rows for quiet minutes, 720 at most; trades ascending with ids, paged by nanoseconds.
"""

import asyncio
import json
from email.utils import formatdate
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from core.clock import NS_PER_MS, NS_PER_S
from sandbox.faces.kraken_channels import INTERVALS
from sandbox.faces.kraken_limits import Counter, Counters
from sandbox.faces.kraken_listing import Listing
from sandbox.faces.kraken_market import book_levels, depth_levels, ticker_day, trade_rows
from sandbox.faces.kraken_names import Pair, asset_altname, asset_code, rfc3339_s
from sandbox.faces.kraken_orders import Refused, invalid

TRADES_MOST = 1000
DEPTH_DEFAULT, DEPTH_MOST = 100, 500  # asked for; there are no more than the sandbox matches with
SECONDS_BELOW = 1_000_000_000_000  # a smaller `since` of Trades is in seconds


class PublicFace:
    """The public endpoints over one market source."""

    def __init__(self, listing: Listing, limit: Counter) -> None:
        self._listing = listing
        self._place = listing.place
        self._counters = Counters(limit)

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes and the venue's way to say no."""
        for name, handler in {
            "Time": self.time,
            "SystemStatus": self.status,
            "Assets": self.assets,
            "AssetPairs": self.asset_pairs,
            "Ticker": self.ticker,
            "OHLC": self.ohlc,
            "Trades": self.trades,
            "Depth": self.depth,
        }.items():
            app.add_api_route(f"/0/public/{name}", handler, methods=["GET", "POST"])
        app.add_exception_handler(Refused, self._refused)
        app.add_exception_handler(HTTPException, self._not_found)
        app.add_exception_handler(Exception, self._failed)

    async def time(self, request: Request) -> Response:
        self._count(request)
        now_s = self._place.server_ms() // 1000
        text = formatdate(now_s, usegmt=True).replace("GMT", "+0000")
        return self.answer({"unixtime": now_s, "rfc1123": f"{text[:12]}{text[14:]}"})  # two digits of the year

    async def status(self, request: Request) -> Response:
        self._count(request)
        return self.answer({"status": self._listing.system(), "timestamp": rfc3339_s(self._now_ms())})

    async def assets(self, request: Request) -> Response:
        self._count(request)
        wanted = request.query_params.get("asset", "")
        known = {asset_code(asset): asset for asset in self._listing.names.assets}
        if wanted:
            spellings = known | {asset_altname(asset): asset for asset in known.values()}
            spellings |= {asset: asset for asset in known.values()}
            asked = wanted.split(",")
            if any(name not in spellings for name in asked):
                raise Refused("EQuery:Unknown asset")
            known = {asset_code(spellings[name]): spellings[name] for name in asked}
        return self.answer({code: self._listing.asset_row(asset) for code, asset in known.items()})

    async def asset_pairs(self, request: Request) -> Response:
        self._count(request)
        pairs = self._asked(request) or list(self._listing.names.pairs.values())
        return self.answer({pair.key: self._listing.pair_row(pair) for pair in pairs})

    async def ticker(self, request: Request) -> Response:
        self._count(request)
        pairs = self._asked(request) or list(self._listing.names.pairs.values())
        now_ms = self._now_ms()
        return self.answer(await asyncio.to_thread(self._tickers, pairs, now_ms))

    async def ohlc(self, request: Request) -> Response:
        pair = self._pair(request)
        self._count(request, pair)
        minutes, since_s = _integer(request, "interval", 1), _integer(request, "since", 0)
        if minutes not in INTERVALS:
            raise invalid("interval")
        now_ms = self._now_ms()
        rows, last_s = await asyncio.to_thread(self._listing.candles.rows, pair, minutes * 60_000, since_s, now_ms)
        return self.answer_text(f'{{"{pair.key}":[{",".join(rows)}],"last":{last_s}}}')

    async def trades(self, request: Request) -> Response:
        pair = self._pair(request)
        self._count(request, pair)
        count = _integer(request, "count", TRADES_MOST)
        since = _since_ns(request)
        if not 1 <= count <= TRADES_MOST:
            raise invalid("count")
        rows, last_ns = await asyncio.to_thread(self._trades, pair, since, count, self._now_ms())
        return self.answer_text(f'{{"{pair.key}":[{",".join(rows)}],"last":"{last_ns}"}}')

    async def depth(self, request: Request) -> Response:
        pair = self._pair(request)
        self._count(request)
        count = _integer(request, "count", DEPTH_DEFAULT)
        if not 1 <= count <= DEPTH_MOST:
            raise invalid("count")
        now_ms = self._now_ms()
        step = self._place.exchange.trading(pair.pair).step_units
        bids, asks = (
            depth_levels(side, pair, now_ms, count) for side in book_levels(self._place.market, pair, now_ms, step)
        )
        return self.answer({pair.key: {"asks": asks, "bids": bids}})

    def _trades(self, pair: Pair, since_ns: int | None, count: int, now_ms: int) -> tuple[list[str], int]:
        """(rows, cursor): the newest `count` trades, or the first ones after `since_ns`.

        A page never ends inside a millisecond, so that the cursor, a time, loses nobody; only one that holds more
        trades than a page does is cut.
        """
        if since_ns is None:
            trades = self._place.market.last(pair.pair, now_ms, count)
            first = self._listing.ids.at(pair.pair, now_ms + 1) - len(trades)
        else:
            first = self._listing.ids.at(pair.pair, since_ns // NS_PER_MS + 1)
            first, trades = self._listing.ids.since(pair.pair, first, now_ms, count + 1)
            if len(trades) > count:
                whole = int(trades.ts_ms.searchsorted(trades.ts_ms[count]))
                trades = trades.slice(0, whole or count)
        if not len(trades):
            return [], since_ns or 0
        return trade_rows(pair, trades, first), int(trades.ts_ms[-1]) * NS_PER_MS

    def _tickers(self, pairs: list[Pair], now_ms: int) -> dict[str, Any]:
        rows = {}
        for pair in pairs:
            day = ticker_day(self._place.market, self._listing.candles, pair, now_ms)
            if day is not None:
                rows[pair.key] = day.rest()
        return rows

    def _now_ms(self) -> int:
        return self._place.clock.now_ms()

    def _asked(self, request: Request) -> list[Pair]:
        names = request.query_params.get("pair", "")
        found = [self._listing.names.find(name) for name in names.split(",")] if names else []
        if None in found:
            raise Refused("EQuery:Unknown asset pair")
        return [pair for pair in found if pair is not None]

    def _pair(self, request: Request) -> Pair:
        name = request.query_params.get("pair", "")
        if not name:
            raise invalid()
        pair = self._listing.names.find(name)
        if pair is None:
            raise Refused("EQuery:Unknown asset pair")
        return pair

    def _count(self, request: Request, pair: Pair | None = None) -> None:
        """Raises Refused where the client calls too often."""
        client = request.client.host if request.client else ""
        counter = f"{client} {request.url.path} {pair.key}" if pair else client
        if not self._counters.take(counter, 1.0, self._place.wall.monotonic_ns() / NS_PER_S):
            raise Refused("EGeneral:Too many requests")

    def answer(self, result: Any) -> Response:
        return self.answer_text(json.dumps(result, separators=(",", ":")))

    def answer_text(self, result: str) -> Response:
        """A result that is JSON text already."""
        return self._enveloped(f'{{"error":[],"result":{result}}}')

    def refusal(self, error: str) -> Response:
        return self._enveloped(json.dumps({"error": [error]}, separators=(",", ":")))

    def _enveloped(self, body: str, status: int = 200) -> Response:
        headers = {"date": formatdate(self._now_ms() / 1000.0, usegmt=True), "cache-control": "no-cache"}
        return Response(body, status, headers, "application/json; charset=utf-8")

    async def _refused(self, request: Request, error: Exception) -> Response:
        return self.refusal(str(error))

    async def _not_found(self, request: Request, error: Exception) -> Response:
        return self.refusal("EGeneral:Unknown method")

    async def _failed(self, request: Request, error: Exception) -> Response:
        """A fault of ours: starlette has it logged; the client gets the venue's word for its own."""
        return self.refusal("EGeneral:Internal error")


def _integer(request: Request, name: str, default: int) -> int:
    """A whole number of the query; unknown parameters are nobody's business, malformed ones are refused."""
    text = request.query_params.get(name)
    if text is None or text == "":
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise invalid(name)
    return int(text)


def _since_ns(request: Request) -> int | None:
    """`since` of Trades, in nanoseconds or, as the specification's example has it, in seconds."""
    value = _integer(request, "since", -1)
    if value < 0:
        return None
    return value * NS_PER_S if value < SECONDS_BELOW else value
