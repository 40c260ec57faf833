"""What the bench's venue says and answers in each protocol; written plainly from the fact sheets, sharing no code with
adapters or sandbox."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Protocol as Shape

PAGE = 1_000  # trades in an answer
MINUTE_MS = 60_000

Trade = tuple[int, int, int, bool]  # id, time in ms, price in cents, the buyer was the maker
Bar = tuple[int, list[float], int, int]  # start in ms, the four prices, lots, trades
Json = dict[str, object] | list[object]


class Happened(Shape):
    """What a market tells of what happened."""

    @property
    def trades(self) -> Mapping[str, Sequence[Trade]]: ...

    def bars(self, pair: str, from_ms: int, to_ms: int) -> list[Bar]: ...


class Protocol:
    """One venue's names, frames and answers; `lots` of a trade are its id, so that contents tell trades apart."""

    def __init__(self, pairs: int | Sequence[str]) -> None:
        """So many markets, or these."""
        self.pairs = [self.name(number) for number in range(pairs)] if isinstance(pairs, int) else list(pairs)

    def name(self, number: int) -> str:
        raise NotImplementedError

    def event(self, pair: str, trade: Trade) -> str:
        raise NotImplementedError

    def answer(self, path: str, query: dict[str, str], market: Happened) -> Json:
        raise NotImplementedError

    def hello(self) -> list[str]:
        """Sent to who connects."""
        return []

    def reply(self, text: str) -> tuple[list[str], set[str]]:
        """Frames in answer to one of a client, and the pairs that it joined."""
        raise NotImplementedError


class Binance(Protocol):
    def name(self, number: int) -> str:
        return f"C{number}USDT"

    def event(self, pair: str, trade: Trade) -> str:
        number, at_ms, cents, maker = trade
        return (
            f'{{"stream":"{pair.lower()}@trade","data":{{"e":"trade","E":{at_ms},"s":"{pair}","t":{number},'
            f'"p":"{cents / 100:.8f}","q":"{number / 100_000:.8f}","T":{at_ms},"m":{str(maker).lower()},"M":true}}}}'
        )

    def answer(self, path: str, query: dict[str, str], market: Happened) -> Json:
        if path == "/api/v3/time":
            return {"serverTime": now_ms()}
        if path == "/api/v3/exchangeInfo":
            return {"symbols": [self._row(pair) for pair in self.pairs], "rateLimits": []}
        if path == "/api/v3/klines":
            bars = market.bars(query["symbol"], int(query["startTime"]), int(query.get("endTime", 2**62)))
            return [
                [at_ms, *map(str, prices), f"{lots / 100_000:.5f}", at_ms + MINUTE_MS - 1, "0", trades, "0", "0", "0"]
                for at_ms, prices, lots, trades in bars
            ]
        rows = list(market.trades[query["symbol"]])
        if path == "/api/v3/historicalTrades":
            rows = [row for row in rows if row[0] >= int(query["fromId"])][:PAGE]
        return [
            {
                "id": number,
                "price": f"{cents / 100:.8f}",
                "qty": f"{number / 100_000:.8f}",
                "quoteQty": "1",
                "time": at_ms,
                "isBuyerMaker": maker,
                "isBestMatch": True,
            }
            for number, at_ms, cents, maker in rows[-PAGE:]
        ]

    def _row(self, pair: str) -> dict[str, object]:
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
        ]
        base = {"symbol": pair, "status": "TRADING", "baseAsset": pair[:-4], "quoteAsset": "USDT"}
        return {**base, "baseAssetPrecision": 8, "quoteAssetPrecision": 8, "filters": filters}

    def reply(self, text: str) -> tuple[list[str], set[str]]:
        asked = json.loads(text)
        joined = {name.partition("@")[0].upper() for name in asked["params"]}
        return [json.dumps({"result": None, "id": asked["id"]})], joined


class Kraken(Protocol):
    def name(self, number: int) -> str:
        return f"C{number}/USD"

    def event(self, pair: str, trade: Trade) -> str:
        number, at_ms, cents, maker = trade
        return (
            f'{{"channel":"trade","type":"update","data":[{{"symbol":"{pair}","side":"{"sell" if maker else "buy"}",'
            f'"price":{cents / 100:.2f},"qty":{number / 100_000:.8f},"ord_type":"limit","trade_id":{number},'
            f'"timestamp":"{iso(at_ms)}"}}]}}'
        )

    def answer(self, path: str, query: dict[str, str], market: Happened) -> Json:
        if path.endswith("/AssetPairs"):
            return {"error": [], "result": {pair.replace("/", ""): self._row(pair) for pair in self.pairs}}
        pair = query["pair"][:-3] + "/" + query["pair"][-3:] if "/" not in query["pair"] else query["pair"]
        if path.endswith("/OHLC"):
            bars = market.bars(pair, int(query["since"]) * 1_000, 2**62)
            table = [
                [at_ms // 1_000, *map(str, prices), "0.0", f"{lots / 100_000:.5f}", trades]
                for at_ms, prices, lots, trades in bars
            ]
            return {"error": [], "result": {pair.replace("/", ""): table, "last": 0}}
        rows = list(market.trades[pair])
        rows = [row for row in rows if row[1] * 1_000_000 > int(query["since"])][:PAGE] if "since" in query else rows
        listed = [
            [f"{cents / 100:.2f}", f"{number / 100_000:.8f}", at_ms / 1000, "s" if maker else "b", "l", "", number]
            for number, at_ms, cents, maker in rows[-PAGE:]
        ]
        last = str(rows[-1][1] * 1_000_000) if rows else query.get("since", "0")
        return {"error": [], "result": {pair.replace("/", ""): listed, "last": last}}

    def _row(self, pair: str) -> dict[str, object]:
        base, _, quote = pair.partition("/")
        names = {"altname": base + quote, "wsname": pair, "base": base, "quote": f"Z{quote}", "status": "online"}
        steps = {"pair_decimals": 2, "lot_decimals": 5, "cost_decimals": 5, "tick_size": "0.01"}
        return {
            **names,
            **steps,
            "ordermin": "0.00001",
            "costmin": "0.5",
            "fees": [[0, 0.4]],
            "fees_maker": [[0, 0.25]],
        }

    def hello(self) -> list[str]:
        status = {"api_version": "v2", "connection_id": 1, "system": "online", "version": "2.0.0"}
        return [json.dumps({"channel": "status", "type": "update", "data": [status]})]

    def reply(self, text: str) -> tuple[list[str], set[str]]:
        asked = json.loads(text)
        stamps = {"time_in": iso(now_ms()), "time_out": iso(now_ms()), "req_id": asked.get("req_id")}
        if asked["method"] == "ping":
            return [json.dumps({"method": "pong", **stamps})], set()
        symbols = asked["params"]["symbol"]
        symbols = [symbols] if isinstance(symbols, str) else symbols
        acks = [
            {"method": "subscribe", "success": True, **stamps}
            | {"result": {"channel": "trade", "snapshot": False, "symbol": symbol}}
            for symbol in symbols
        ]
        return [json.dumps(ack) for ack in acks], set(symbols)


class CoinDcx(Protocol):
    def name(self, number: int) -> str:
        return f"B-C{number}_USDT"

    def event(self, pair: str, trade: Trade) -> str:
        number, at_ms, cents, maker = trade
        return (
            f'42["new-trade",{{"event":"new-trade","data":"{{\\"T\\":{at_ms},\\"p\\":\\"{cents / 100:.2f}\\",'
            f'\\"q\\":\\"{number / 100_000:.5f}\\",\\"m\\":{int(maker)},\\"s\\":\\"{pair}\\",\\"pr\\":\\"spot\\"}}"}}]'
        )

    def answer(self, path: str, query: dict[str, str], market: Happened) -> Json:
        if path.endswith("/markets_details"):
            return [self._row(pair) for pair in self.pairs]
        if path.endswith("/candles"):
            bars = market.bars(query["pair"], int(query["startTime"]), int(query["endTime"]))
            names = ("open", "high", "low", "close")
            return [
                {"time": at_ms, "volume": lots / 100_000} | dict(zip(names, prices, strict=True))
                for at_ms, prices, lots, _ in bars
            ]
        rows = list(market.trades[query["pair"]])[: -PAGE - 1 : -1]
        return [
            {"p": cents / 100, "q": number / 100_000, "s": query["pair"], "T": at_ms, "m": maker}
            for number, at_ms, cents, maker in rows
        ]

    def _row(self, pair: str) -> dict[str, object]:
        base = pair[2:-5]
        names = {"coindcx_name": f"{base}USDT", "pair": pair, "symbol": f"{base}USDT", "ecode": "B", "status": "active"}
        assets = {"base_currency_short_name": "USDT", "target_currency_short_name": base}
        steps = {"base_currency_precision": 2, "target_currency_precision": 5, "step": 1e-05, "min_quantity": 1e-05}
        return {**names, **assets, **steps, "min_notional": 5, "max_quantity_market": 9.5}

    def hello(self) -> list[str]:
        return ["0" + json.dumps({"sid": "x", "upgrades": [], "pingInterval": 25000, "pingTimeout": 20000})]

    def reply(self, text: str) -> tuple[list[str], set[str]]:
        if text == "40":
            return ['40{"sid":"y"}'], set()
        if text.startswith("42"):
            name, body = json.loads(text[2:])
            return [], {body["channelName"].partition("@")[0]} if name == "join" else set()
        return [], set()


PROTOCOLS = {"binance": Binance, "kraken": Kraken, "coindcx": CoinDcx}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def iso(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}000Z"
