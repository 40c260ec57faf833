"""The floor of the feeder: `websockets` and `msgspec` in a loop that takes each trade and does nothing with it.

`python -m tools.bench.bare_stream PROTOCOL URL PAIR …` joins the pairs and reads until the connection ends.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence

import msgspec
from websockets.asyncio.client import connect


class BinanceTrade(msgspec.Struct, gc=False):
    e: str = ""
    s: str = ""
    t: int = 0
    p: float = 0.0
    q: float = 0.0
    T: int = 0
    m: bool = False


class BinanceFrame(msgspec.Struct, gc=False):
    stream: str = ""
    data: BinanceTrade | None = None


class KrakenTrade(msgspec.Struct, gc=False):
    symbol: str
    side: str
    price: float
    qty: float
    trade_id: int
    timestamp: str


class KrakenFrame(msgspec.Struct, gc=False):
    channel: str = ""
    data: list[KrakenTrade] = []


class CoinDcxTrade(msgspec.Struct, gc=False):
    T: float
    p: float
    q: float
    m: bool
    s: str


class CoinDcxEvent(msgspec.Struct, gc=False):
    data: str


PATHS = {"binance": "/stream", "kraken": "/v2", "coindcx": "/socket.io/?EIO=4&transport=websocket"}
_binance = msgspec.json.Decoder(BinanceFrame, strict=False).decode
_kraken = msgspec.json.Decoder(KrakenFrame, strict=False).decode
_arguments = msgspec.json.Decoder(tuple[str, CoinDcxEvent]).decode
_coindcx = msgspec.json.Decoder(CoinDcxTrade, strict=False).decode


def requests(protocol: str, pairs: Sequence[str]) -> list[str]:
    """Frames that join the pairs."""
    if protocol == "binance":
        names = [f"{pair.lower()}@trade" for pair in pairs]
        return [msgspec.json.encode({"method": "SUBSCRIBE", "params": names, "id": 1}).decode()]
    if protocol == "kraken":
        asked = {"channel": "trade", "symbol": list(pairs), "snapshot": False}
        return [msgspec.json.encode({"method": "subscribe", "params": asked, "req_id": 1}).decode()]
    joins = [msgspec.json.encode(["join", {"channelName": f"{pair}@trades"}]).decode() for pair in pairs]
    return ["40", *(f"42{text}" for text in joins)]


def decoder(protocol: str) -> Callable[[str], object]:
    """Reads one frame."""
    if protocol == "binance":
        return _binance
    if protocol == "kraken":
        # Acknowledgements and heartbeats are of other shapes.
        return lambda text: _kraken(text) if text.startswith('{"channel":"trade"') else None
    return lambda text: _coindcx(_arguments(text[2:])[1].data) if text.startswith("42") else None


async def main(protocol: str, url: str, pairs: Sequence[str]) -> None:
    decode = decoder(protocol)
    options = {"compression": None, "ping_interval": None, "max_queue": 256, "proxy": None}
    async with connect(url + PATHS[protocol], **options) as connection:  # type: ignore[arg-type]
        for text in requests(protocol, pairs):
            await connection.send(text)
        async for frame in connection:
            decode(str(frame))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
