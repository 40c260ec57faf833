"""CoinDCX's public REST face, written from the fact sheet: names, shapes, order, units and refusals, quirks included.

Newest first in trade_history and candles, no trade ids, never more than 500 trades; four intervals alone; INR markets
tell whole seconds; the ticker counts in seconds, is text, and is rebuilt once a second at most.
"""

import asyncio
import itertools
import json
from email.utils import formatdate
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from sandbox.exchange.orders import ATOMS
from sandbox.exchange.profiles import Trading, TradingRules
from sandbox.faces.limits import Allowance
from sandbox.noise import key_of, unit, words
from sandbox.place import Place
from sandbox.trades import Bars, Rules, Trades, text_of

INTERVALS_MS = {"1m": 60_000, "15m": 900_000, "1h": 3_600_000, "1d": 86_400_000}
RESOLUTIONS_MS = {"1": 60_000, "15": 900_000, "60": 3_600_000, "1D": 86_400_000}
DEPTHS = (1, 5, 10, 20, 50, 100, 200)
TRADES_DEFAULT, TRADES_MOST = 30, 500
CANDLES_DEFAULT, CANDLES_MOST = 500, 1000
DAY_MS = 86_400_000
REACH_EVERY_MS = 300_000  # the day's high and low are looked for anew so often


class Refused(Exception):
    """What the venue answers in place of data."""

    def __init__(self, status: int, message: str, error_code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": status, "errorCode": error_code, "message": message, "status": "error"}
        if not error_code:
            del self.body["errorCode"]


def invalid_pair(name: str) -> Refused:
    return Refused(422, f"Invalid pair {name}", "BFF-SO-004")


def invalid_request() -> Refused:
    return Refused(422, "Invalid Request")


def number(value: int, digits: int) -> str:
    """An integer of 10^-digits as JSON number text, without useless zeros."""
    text = text_of(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text else text


def trade_rows(rules: Rules, trades: Trades) -> str:
    """The trades as the venue's JSON, newest first; `m` says that the buyer was the maker."""
    coarse = 1000 if rules.quote == "INR" else 1
    rows = [
        f'{{"p":{number(ticks, rules.price_digits)},"q":{number(units, rules.quantity_digits)},"s":"{rules.market}",'
        f'"T":{ts_ms // coarse * coarse},"m":{"true" if sell else "false"}}}'
        for ts_ms, ticks, units, sell in zip(
            trades.ts_ms.tolist(), trades.ticks.tolist(), trades.units.tolist(), trades.sell.tolist(), strict=True
        )
    ]
    return f"[{','.join(reversed(rows))}]"


def candle_rows(rules: Rules, bars: Bars) -> list[str]:
    """Candles as the venue's JSON objects, oldest first."""
    digits, quantity_digits = rules.price_digits, rules.quantity_digits
    return [
        f'{{"open":{number(opened, digits)},"high":{number(high, digits)},"low":{number(low, digits)},'
        f'"volume":{number(volume, quantity_digits)},"close":{number(close, digits)},"time":{open_ms}}}'
        for open_ms, opened, high, low, close, volume in zip(*(column.tolist() for column in bars[:6]), strict=True)
    ]


def details_row(rules: Rules, last_ticks: int, trading: TradingRules) -> dict[str, Any]:
    """One row of markets_details; the price band moves with the market."""
    unit = 10**rules.quantity_digits
    price = last_ticks / 10**rules.price_digits
    lowest, highest = (float(part) for part in trading.band or (0, 0))
    return {
        "coindcx_name": rules.market,
        "base_currency_short_name": rules.quote,
        "target_currency_short_name": rules.base,
        "target_currency_name": rules.base.title(),
        "base_currency_name": {"INR": "Indian Rupee", "USDT": "Tether"}.get(rules.quote, rules.quote),
        "base_currency_precision": rules.price_digits,
        "target_currency_precision": rules.quantity_digits,
        "min_quantity": trading.min_units / unit,
        "max_quantity": trading.max_units / unit,
        "max_quantity_market": trading.max_market_units / unit,
        "min_price": round(price * lowest, rules.price_digits),
        "max_price": round(price * highest, rules.price_digits),
        "min_notional": trading.min_notional / ATOMS,
        "max_leverage": None,
        "max_leverage_short": None,
        "step": trading.step_units / unit,
        "order_types": ["limit_order", "market_order"],
        "symbol": f"{rules.base}-{rules.quote}" if rules.ecode == "KC" else rules.market,
        "ecode": rules.ecode,
        "bo_sl_safety_percent": 1,
        "pair": rules.pair,
        "status": "active" if trading.trading is Trading.ON else "inactive",
    }


class PublicFace:
    """The public endpoints over one market source."""

    def __init__(self, place: Place) -> None:
        self._market = place.market
        self._clock = place.clock
        self._wall = place.wall
        self._exchange = place.exchange
        self._allowance = Allowance()
        self._answers = itertools.count(1)
        self._ticker: tuple[int, str] = (-1, "[]")
        self._ticker_lock = asyncio.Lock()
        self._reach: dict[str, tuple[int, tuple[int, int] | None]] = {}

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes and the venue's way to say no."""
        # The newer documentation has market_data on the api host, the live one on the public host: here all are one.
        app.add_api_route("/exchange/v1/markets", self.markets, methods=["GET"])
        app.add_api_route("/exchange/v1/markets_details", self.markets_details, methods=["GET"])
        app.add_api_route("/exchange/ticker", self.ticker, methods=["GET"])
        app.add_api_route("/market_data/trade_history", self.trade_history, methods=["GET"])
        app.add_api_route("/market_data/candles", self.candles, methods=["GET"])
        app.add_api_route("/market_data/candlesticks", self.candlesticks, methods=["GET"])
        app.add_api_route("/market_data/orderbook", self.orderbook, methods=["GET"])
        app.add_api_route("/socket.io/", self.polling, methods=["GET", "POST"])
        app.add_exception_handler(Refused, self._refused)
        app.add_exception_handler(HTTPException, self._not_found)
        app.add_exception_handler(Exception, self._failed)

    async def markets(self, request: Request) -> Response:
        return self._answer(request, json.dumps([rules.market for rules in self._market.rules.values()]))

    async def markets_details(self, request: Request) -> Response:
        rows = [
            details_row(rules, self._last_ticks(pair), self._exchange.trading(pair))
            for pair, rules in self._market.rules.items()
        ]
        return self._answer(request, json.dumps(rows))

    async def trade_history(self, request: Request) -> Response:
        rules = self._rules(request)
        limit = _integer(request, "limit", TRADES_DEFAULT)
        if not 1 <= limit <= TRADES_MOST:
            raise invalid_request()
        trades = self._market.last(rules.pair, self._clock.now_ms(), limit)
        return self._answer(request, trade_rows(rules, trades))

    async def candles(self, request: Request) -> Response:
        rules = self._rules(request)
        interval_ms = INTERVALS_MS.get(request.query_params.get("interval", ""))
        limit = _integer(request, "limit", CANDLES_DEFAULT)
        start_ms, end_ms = _integer(request, "startTime", -1), _integer(request, "endTime", -1)
        if interval_ms is None or not 1 <= limit <= CANDLES_MOST:
            raise invalid_request()
        if start_ms < 0:
            end_ms = -1  # the venue does not look at endTime alone
        bars = await self._bars(rules.pair, interval_ms, start_ms, end_ms, limit)
        return self._answer(request, f"[{','.join(reversed(candle_rows(rules, bars)))}]")

    async def candlesticks(self, request: Request) -> Response:
        rules = self._rules(request)
        interval_ms = RESOLUTIONS_MS.get(request.query_params.get("resolution", ""))
        start_s, end_s = _integer(request, "from", -1), _integer(request, "to", -1)
        if interval_ms is None or start_s < 0 or end_s < 0:
            raise invalid_request()
        bars = await self._bars(rules.pair, interval_ms, start_s * 1000, end_s * 1000, CANDLES_MOST)
        return self._answer(request, f'{{"s":"ok","data":[{",".join(candle_rows(rules, bars))}]}}')

    async def orderbook(self, request: Request) -> Response:
        rules = self._rules(request)
        depth = _integer(request, "depth", 50)
        if depth not in DEPTHS:
            raise invalid_request()
        now_ms = self._clock.now_ms()
        last = self._market.last(rules.pair, now_ms, 1)
        book: dict[str, Any] = {"timestamp": now_ms, "bids": {}, "asks": {}}
        if len(last):
            middle, usual = int(last.ticks[0]), int(last.units[0])
            sizes = unit(words(key_of(rules.pair, now_ms // 1000), last.ts_ms[:1] * 0 + range(2 * depth)))
            gap = max(1, middle // 100_000)
            for level in range(depth):
                for side, ticks, chance in (
                    ("bids", middle - gap * (level + 1), sizes[level]),
                    ("asks", middle + gap * (level + 1), sizes[depth + level]),
                ):
                    units = max(1, int(usual * (0.2 + 3.0 * float(chance)))) // rules.step_units * rules.step_units
                    if ticks > 0:
                        amount = text_of(max(units, rules.step_units), rules.quantity_digits)
                        book[side][text_of(ticks, rules.price_digits)] = amount
        return self._answer(request, json.dumps(book))

    async def ticker(self, request: Request) -> Response:
        now_ms = self._clock.now_ms()
        async with self._ticker_lock:
            if self._ticker[0] != now_ms // 1000:
                self._ticker = (now_ms // 1000, await asyncio.to_thread(self._ticker_text, now_ms))
        return self._answer(request, self._ticker[1])

    async def polling(self, request: Request) -> Response:
        """The stream is to be had over a websocket alone."""
        return self._answer(request, '{"code":1,"message":"Session ID unknown"}', 400)

    def _ticker_text(self, now_ms: int) -> str:
        rows = []
        for pair, rules in self._market.rules.items():
            last = self._market.last(pair, now_ms, 1)
            kept = self._reach.get(pair)
            if kept is None or not 0 <= now_ms - kept[0] < REACH_EVERY_MS:
                kept = self._reach[pair] = (now_ms, self._market.reach(pair, now_ms))
            if not len(last) or kept[1] is None:
                continue
            ticks, digits = int(last.ticks[0]), rules.price_digits
            before = self._market.last(pair, now_ms - DAY_MS, 1)
            then = int(before.ticks[0]) if len(before) else ticks
            rows.append(
                {
                    "market": rules.market,
                    "change_24_hour": f"{(ticks / then - 1.0) * 100.0:.3f}",
                    "high": text_of(max(kept[1][1], ticks), digits, 1),
                    "low": text_of(min(kept[1][0], ticks), digits, 1),
                    "volume": str(ticks / 10**digits * int(last.units[0]) / 10**rules.quantity_digits * 500_000.0),
                    "last_price": text_of(ticks, digits, 12),
                    "bid": text_of(max(ticks - max(1, ticks // 100_000), 1), digits, 12),
                    "ask": text_of(ticks + max(1, ticks // 100_000), digits, 12),
                    "timestamp": now_ms // 1000,
                }
            )
        return json.dumps(rows)

    async def _bars(self, pair: str, interval_ms: int, start_ms: int, end_ms: int, limit: int) -> Bars:
        """The newest `limit` candles that start within start to end; negative: open."""
        now_ms = self._clock.now_ms()
        end_ms = now_ms if end_ms < 0 else min(end_ms, now_ms)
        newest_ms = end_ms // interval_ms * interval_ms
        until_ms = min(now_ms, newest_ms + interval_ms - 1)
        return await asyncio.to_thread(self._market.bars, pair, interval_ms, start_ms, until_ms, limit)

    def _rules(self, request: Request) -> Rules:
        pair = request.query_params.get("pair", "")
        rules = self._market.rules.get(pair)
        if rules is None:
            raise invalid_pair(pair)
        return rules

    def _last_ticks(self, pair: str) -> int:
        return self._exchange.last_ticks(pair, self._clock.now_ms())

    def _answer(self, request: Request, body: str, status: int = 200) -> Response:
        """Any answer: counted against the client's allowance, with the venue's headers and the market's date."""
        client = request.client.host if request.client else ""
        left, reset_s = self._allowance.take(client, self._wall.monotonic_ns() // 1_000_000_000)
        if left < 0 and status == 200:
            status, body = 429, '{"code":429,"message":"Too Many Requests","status":"error"}'
        headers = {
            "date": formatdate(self._clock.now_ms() / 1000.0, usegmt=True),
            "ratelimit-policy": self._allowance.policy,
            "ratelimit": f"limit={self._allowance.most}, remaining={max(left, 0)}, reset={reset_s}",
            "x-request-id": f"sandbox-{next(self._answers)}",
        }
        return Response(body, status, headers, "application/json; charset=utf-8")

    async def _refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return self._answer(request, json.dumps(error.body), error.status)

    async def _not_found(self, request: Request, error: Exception) -> Response:
        return self._answer(request, '{"code":404,"message":"not_found","status":"error"}', 404)

    async def _failed(self, request: Request, error: Exception) -> Response:
        """A fault of ours: starlette has it logged; the client gets the venue's kind of 500."""
        return self._answer(request, '{"code":500,"message":"Internal Server Error","status":"error"}', 500)


def _integer(request: Request, name: str, default: int) -> int:
    """A whole number of the query; unknown parameters are nobody's business, malformed ones are refused."""
    text = request.query_params.get(name)
    if text is None or text == "":
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise invalid_request()
    return int(text)
