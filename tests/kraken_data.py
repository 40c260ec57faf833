"""Kraken's recorded answers, and markets and orders made up, for its tests."""

import gzip
import json
from decimal import Decimal
from typing import Any

import msgspec

from tests.shared_data import shared_data
from venues import account
from venues.account import NewOrder
from venues.venue import Rules

RULES = Rules(
    pair="BTC/USDT",
    symbol="XBTUSDT",
    base="BTC",
    quote="USDT",
    tick=Decimal("0.1"),
    step=Decimal("1E-8"),
    min_quantity=Decimal("0.00005"),
    min_notional=Decimal("0.5"),
)
USD = msgspec.structs.replace(RULES, pair="BTC/USD", symbol="XBTUSD", quote="USD")


def asset_pairs() -> dict[str, dict[str, Any]]:
    """All rows of the recorded AssetPairs by pair key."""
    path = shared_data("raw/kraken_AssetPairs_20210417.http-capture.txt.gz")
    with gzip.open(path, "rt") as file:
        body = file.readline().partition(": ")[2]
    return json.loads(body)["result"]


def listed() -> dict[str, dict[str, Any]]:
    """The same without dark pools, which have no stream and no wsname."""
    return {key: row for key, row in asset_pairs().items() if "wsname" in row}


def answer(result: object) -> bytes:
    return json.dumps({"error": [], "result": result}).encode()


def recorded(name: str) -> bytes:
    with gzip.open(shared_data(f"raw/{name}"), "rb") as file:
        return file.read()


def order(kind: str = account.IOC, **changes: Any) -> NewOrder:
    """An order of a kind, with other fields where told."""
    fields: dict[str, Any] = {"price": Decimal("60000.5"), "stop_price": Decimal("59000")}
    fields |= {"rules": RULES, "client_order_id": "scalpabcdefghijk", "side": "buy", "quantity": Decimal("0.0005")}
    return NewOrder(kind=kind, **(fields | changes))
