"""Binance's public REST face, written from the fact sheet: everything ascending, ids without a gap, times in ms.

Not offered: microseconds (X-MBX-TIME-UNIT), time zones of candles, block trades, the trading-day and rolling tickers.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from sandbox.aggregates import Aggregates, Answer
from sandbox.exchange.matching import LEVELS
from sandbox.faces import binance_candles
from sandbox.faces.binance_door import Door, Endpoint
from sandbox.faces.binance_params import Params
from sandbox.faces.binance_wire import (
    AVERAGE_MINUTES,
    DECIMALS,
    RATE_LIMITS,
    Level,
    Refused,
    aggregate_rows,
    book_of,
    book_ticker_row,
    kline_row,
    levels_text,
    price_text,
    quantity_text,
    symbol_row,
    trade_rows,
    worth_text,
)
from sandbox.place import Place
from sandbox.trade_ids import TradeIds
from sandbox.trades import Bars, Rules, Trades, text_of

TRADES_DEFAULT, TRADES_MOST = 500, 1000
DEPTH_DEFAULT, DEPTH_MOST = 100, 5000
DAY_MS = 86_400_000
MINUTE_MS = 60_000

Row = Callable[[Rules, int], str]
Work = Callable[[Params], Awaitable[str]]
Weight = Callable[[Params], int]


def symbols_weight(one: int, some: int, every: int) -> Weight:
    """The weight of a ticker: of one market, of up to a hundred, of all."""

    def weight(params: Params) -> int:
        if "symbol" in params:
            return one
        if "symbols" in params:
            count = params["symbols"].count(",") + 1
            return one if count <= 20 else some if count <= 100 else every
        return every

    return weight


def depth_weight(params: Params) -> int:
    text = params.get("limit", "")
    limit = int(text) if text.isascii() and text.isdigit() else DEPTH_DEFAULT
    return 5 if limit <= 100 else 25 if limit <= 500 else 50 if limit <= 1000 else 250


def limit_of(params: Params, default: int = TRADES_DEFAULT, most: int = TRADES_MOST) -> int:
    """How many rows; more than the venue gives are the most it gives.

    Raises Refused where it is none.
    """
    limit = int(params.get("limit", default))
    if limit == 0:
        raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit, most)


class PublicFace:
    """The public endpoints over one market source."""

    def __init__(self, place: Place, ids: TradeIds, aggregates: Aggregates) -> None:
        self._place = place
        self._market = place.market
        self._clock = place.clock
        self._exchange = place.exchange
        self._ids = ids
        self._aggregates = aggregates
        self._pairs = {rules.market: pair for pair, rules in place.market.rules.items()}

    def add_to(self, door: Door) -> None:
        """Adds the endpoints; what the venue has and our market has not is there and empty."""

        def get(path: str, work: Work, weight: int | Weight, takes: str = "", needs: str = "") -> None:
            async def worked(params: Params, account: str) -> str:
                return await work(params)

            door.add("GET", path, Endpoint(worked, weight, tuple(takes.split()), tuple(needs.split())))

        get("/api/v3/ping", self.ping, 1)
        get("/api/v3/time", self.time, 1)
        get(
            "/api/v3/exchangeInfo", self.exchange_info, 20, "symbol symbols permissions showPermissionSets symbolStatus"
        )
        get("/api/v3/trades", self.trades, 25, "limit", "symbol")
        get("/api/v3/historicalTrades", self.historical_trades, 25, "limit fromId", "symbol")
        get("/api/v3/aggTrades", self.aggregate_trades, 4, "fromId startTime endTime limit", "symbol")
        get("/api/v3/klines", self.klines, 2, "startTime endTime limit", "symbol interval")
        get("/api/v3/avgPrice", self.average_price, 2, "", "symbol")
        get("/api/v3/depth", self.depth, depth_weight, "limit symbolStatus", "symbol")
        get("/api/v3/ticker/price", self.price, symbols_weight(2, 4, 4), "symbol symbols symbolStatus")
        get("/api/v3/ticker/bookTicker", self.book_ticker, symbols_weight(2, 4, 4), "symbol symbols symbolStatus")
        get("/api/v3/ticker/24hr", self.day_ticker, symbols_weight(2, 40, 80), "symbol symbols type symbolStatus")
        # Other hosts of the venue, which a client library that is pointed here asks too: no futures are traded here.
        for path in ("/fapi/v1/exchangeInfo", "/dapi/v1/exchangeInfo"):
            get(path, self.no_futures, 1)
        get("/sapi/v1/system/status", self.system_status, 1)

    def pair_of(self, params: Params) -> str:
        """Raises Refused where there is no such market."""
        pair = self._pairs.get(params["symbol"])
        if pair is None:
            raise Refused(-1121, "Invalid symbol.")
        return pair

    async def ping(self, params: Params) -> str:
        return "{}"

    async def time(self, params: Params) -> str:
        return f'{{"serverTime":{self._place.server_ms()}}}'

    async def system_status(self, params: Params) -> str:
        return '{"status":0,"msg":"normal"}'

    async def no_futures(self, params: Params) -> str:
        return json.dumps({**self._frame(), "symbols": []})

    async def exchange_info(self, params: Params) -> str:
        chosen = self._chosen(params)
        if chosen is not None and ("permissions" in params or "symbolStatus" in params):
            raise Refused(-1128, "Combination of optional parameters invalid.")
        sets = params.get("showPermissionSets") != "false"
        pairs = list(self._market.rules) if chosen is None else chosen
        if "permissions" in params and "SPOT" not in params["permissions"]:
            pairs = []
        rules = self._market.rules
        rows = [symbol_row(rules[pair], self._exchange.trading(pair), sets) for pair in pairs]
        status = params.get("symbolStatus")
        rows = [row for row in rows if status is None or row["status"] == status]
        return json.dumps({**self._frame(), "symbols": rows}, separators=(",", ":"))

    async def trades(self, params: Params) -> str:
        pair, limit, now_ms = self.pair_of(params), limit_of(params), self._clock.now_ms()
        trades, first = await asyncio.to_thread(self._last, pair, now_ms, limit)
        return trade_rows(self._market.rules[pair], trades, first)

    async def historical_trades(self, params: Params) -> str:
        if "fromId" not in params:
            return await self.trades(params)
        pair, limit = self.pair_of(params), limit_of(params)
        first, trades = await asyncio.to_thread(
            self._ids.since, pair, int(params["fromId"]), self._clock.now_ms(), limit
        )
        return trade_rows(self._market.rules[pair], trades, first)

    async def aggregate_trades(self, params: Params) -> str:
        pair, limit, now_ms = self.pair_of(params), limit_of(params), self._clock.now_ms()
        if "fromId" in params and ("startTime" in params or "endTime" in params):
            raise Refused(-1128, "Combination of optional parameters invalid.")
        until_ms = min(now_ms, int(params.get("endTime", now_ms)))
        aggregates = self._aggregates
        if "fromId" in params:
            answer = await asyncio.to_thread(aggregates.since, pair, int(params["fromId"]), now_ms, limit)
        elif "startTime" in params:
            answer = await asyncio.to_thread(self._from, pair, int(params["startTime"]), until_ms, limit)
        else:
            answer = await asyncio.to_thread(aggregates.last, pair, until_ms, limit)
        return aggregate_rows(self._market.rules[pair], answer)

    async def klines(self, params: Params) -> str:
        pair, limit, now_ms = self.pair_of(params), limit_of(params), self._clock.now_ms()
        interval = params["interval"]
        if not binance_candles.known(interval):
            raise Refused(-1120, "Invalid interval.")
        span = tuple(int(params[name]) if name in params else None for name in ("startTime", "endTime"))
        starts = binance_candles.starts(interval, (span[0], span[1]), limit, self._market.oldest_ms, now_ms)
        bars = await asyncio.to_thread(binance_candles.candles, self._market, pair, interval, starts, now_ms)
        rules = self._market.rules[pair]
        rows = [kline_row(rules, bar, binance_candles.after(interval, bar[0]) - 1) for bar in bars]
        return f"[{','.join(rows)}]"

    async def average_price(self, params: Params) -> str:
        pair, now_ms = self.pair_of(params), self._clock.now_ms()
        ticks, last_ms = await asyncio.to_thread(self.average_ticks, pair, now_ms)
        price = text_of(ticks, self._market.rules[pair].price_digits, DECIMALS)
        return f'{{"mins":{AVERAGE_MINUTES},"price":"{price}","closeTime":{last_ms}}}'

    def average_ticks(self, pair: str, now_ms: int) -> tuple[int, int]:
        """(the average price of the last minutes by volume, in whole ticks; the time of the last trade)."""
        trades = self._market.span(pair, now_ms - AVERAGE_MINUTES * MINUTE_MS, now_ms + 1)
        if not len(trades):
            last = self._market.last(pair, now_ms, 1)
            return (int(last.ticks[-1]), int(last.ts_ms[-1])) if len(last) else (self._market.first_ticks(pair), now_ms)
        worth = sum(int(ticks) * int(units) for ticks, units in zip(trades.ticks, trades.units, strict=True))
        return worth // int(trades.units.sum()), int(trades.ts_ms[-1])

    async def depth(self, params: Params) -> str:
        pair, now_ms = self.pair_of(params), self._clock.now_ms()
        rules = self._market.rules[pair]
        depth = min(limit_of(params, DEPTH_DEFAULT, DEPTH_MOST), LEVELS)
        bids, asks = book_of(rules, self._market.last(pair, now_ms, depth), depth)
        return f'{{"lastUpdateId":{now_ms},"bids":[{levels_text(rules, bids)}],"asks":[{levels_text(rules, asks)}]}}'

    async def price(self, params: Params) -> str:
        return await self._tickers(params, self._price_row)

    async def book_ticker(self, params: Params) -> str:
        return await self._tickers(params, self._book_row)

    async def day_ticker(self, params: Params) -> str:
        kind = params.get("type", "FULL")
        if kind not in ("FULL", "MINI"):
            raise Refused(-1139, "Invalid ticker type.")
        return await self._tickers(params, self._day_row if kind == "FULL" else self._mini_row)

    async def _tickers(self, params: Params, row: Row) -> str:
        """One object for a symbol, else an array."""
        now_ms = self._clock.now_ms()
        if "symbol" in params:
            return await asyncio.to_thread(row, self._market.rules[self._one(params)], now_ms)
        chosen = self._chosen(params)
        rules = [self._market.rules[pair] for pair in (self._market.rules if chosen is None else chosen)]
        rows = await asyncio.to_thread(lambda: [row(one, now_ms) for one in rules])
        return f"[{','.join(rows)}]"

    def _one(self, params: Params) -> str:
        if "symbols" in params:
            raise Refused(-1128, "Combination of optional parameters invalid.")
        return self.pair_of(params)

    def _chosen(self, params: Params) -> list[str] | None:
        """The markets that `symbol` or `symbols` name; None where neither is there."""
        if "symbol" in params:
            return [self._one(params)]
        if "symbols" not in params:
            return None
        try:
            names = json.loads(params["symbols"])
        except (ValueError, RecursionError):
            names = None
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            shape = '^\\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\\]$'
            raise Refused(-1100, f"Illegal characters found in parameter 'symbols'; legal range is '{shape}'.")
        if len(set(names)) < len(names):
            raise Refused(-1151, "Symbol is present multiple times in the list.")
        return [self.pair_of({"symbol": name}) for name in names]

    def _frame(self) -> dict[str, Any]:
        now_ms = self._place.server_ms()
        return {"timezone": "UTC", "serverTime": now_ms, "rateLimits": RATE_LIMITS, "exchangeFilters": []}

    def _last(self, pair: str, until_ms: int, limit: int) -> tuple[Trades, int]:
        trades = self._market.last(pair, until_ms, limit)
        return trades, self._ids.at(pair, until_ms + 1) - len(trades)

    def _from(self, pair: str, start_ms: int, until_ms: int, limit: int) -> Answer:
        first_id = self._aggregates.at(pair, min(start_ms, until_ms + 1))
        return self._aggregates.since(pair, first_id, until_ms, limit)

    def _price_row(self, rules: Rules, now_ms: int) -> str:
        last = self._market.last(rules.pair, now_ms, 1)
        ticks = int(last.ticks[-1]) if len(last) else 0
        return f'{{"symbol":"{rules.market}","price":"{price_text(rules, ticks)}"}}'

    def _quotes(self, rules: Rules, now_ms: int) -> tuple[Level, Level]:
        bids, asks = book_of(rules, self._market.last(rules.pair, now_ms, 1), 1)
        return (bids[0] if bids else (0, 0)), (asks[0] if asks else (0, 0))

    def _book_row(self, rules: Rules, now_ms: int) -> str:
        return book_ticker_row(rules, *self._quotes(rules, now_ms))

    def _day(self, rules: Rules, now_ms: int) -> Bars:
        return self._market.bars(rules.pair, MINUTE_MS, now_ms - DAY_MS, now_ms, DAY_MS // MINUTE_MS)

    def _mini_row(self, rules: Rules, now_ms: int) -> str:
        return json.dumps(self._day_of(rules, self._day(rules, now_ms), now_ms), separators=(",", ":"))

    def _day_row(self, rules: Rules, now_ms: int) -> str:
        day = self._day(rules, now_ms)
        bid, ask = self._quotes(rules, now_ms)
        last = self._market.last(rules.pair, now_ms, 1)
        opened, close = (int(day.open[0]), int(day.close[-1])) if len(day) else (0, 0)
        volume, worth = int(day.volume.sum()), int(day.worth.sum())
        row = self._day_of(rules, day, now_ms) | {
            "priceChange": ("-" if close < opened else "") + price_text(rules, abs(close - opened)),
            "priceChangePercent": f"{(close / opened - 1.0) * 100.0 if opened else 0.0:.3f}",
            "weightedAvgPrice": price_text(rules, worth // volume if volume else 0),
            "prevClosePrice": price_text(rules, opened),
            "lastQty": quantity_text(rules, int(last.units[-1]) if len(last) else 0),
            "bidPrice": price_text(rules, bid[0]),
            "bidQty": quantity_text(rules, bid[1]),
            "askPrice": price_text(rules, ask[0]),
            "askQty": quantity_text(rules, ask[1]),
        }
        return json.dumps(row, separators=(",", ":"))

    def _day_of(self, rules: Rules, day: Bars, now_ms: int) -> dict[str, Any]:
        """The figures that both kinds of ticker tell; day: the last 1440 minutes, the running one included."""
        count = int(day.trades.sum())
        following = self._ids.at(rules.pair, now_ms + 1)
        return {
            "symbol": rules.market,
            "openPrice": price_text(rules, int(day.open[0]) if count else 0),
            "highPrice": price_text(rules, int(day.high.max()) if count else 0),
            "lowPrice": price_text(rules, int(day.low.min()) if count else 0),
            "lastPrice": price_text(rules, int(day.close[-1]) if count else 0),
            "volume": quantity_text(rules, int(day.volume.sum())),
            "quoteVolume": worth_text(rules, int(day.worth.sum())),
            "openTime": now_ms - DAY_MS,
            "closeTime": now_ms,
            "firstId": following - count if count else -1,
            "lastId": following - 1 if count else -1,
            "count": count,
        }
