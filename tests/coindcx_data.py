"""CoinDCX's documented and captured rows, a market and orders made up, for its tests."""

import json
from decimal import Decimal

from venues.account import LIMIT, NewOrder
from venues.venue import Rules

RULES = Rules(
    pair="B-BTC_USDT",
    symbol="BTCUSDT",
    base="BTC",
    quote="USDT",
    tick=Decimal("0.01"),
    step=Decimal("0.00001"),
    min_quantity=Decimal("0.00001"),
    min_notional=Decimal(5),
)

CAPTURED = {
    "id": "fcaae278-2a73-11ef-a2d5-5374ccb4f829",
    "client_order_id": None,
    "order_type": "market_order",
    "side": "buy",
    "status": "open",
    "fee_amount": 0.0,
    "fee": 0.0,
    "maker_fee": 0.0,
    "taker_fee": 0.0,
    "total_quantity": 0.0001,
    "remaining_quantity": 0.0001,
    "source": "web",
    "avg_price": 0.0,
    "price_per_unit": 65483.14,
    "stop_price": 0.0,
    "market": "BTCUSDT",
    "time_in_force": "good_till_cancel",
    "base_currency_name": None,
    "target_currency_name": None,
    "created_at": 1718386312000,
    "updated_at": 1718386312000,
    "trades": None,
}

FILL = {
    "id": 252949810,
    "order_id": "284195365",
    "side": "buy",
    "fee_amount": 2.9469615,
    "ecode": "I",
    "quantity": 4.97,
    "price": 100.5,
    "symbol": "BTCUSDT",
    "timestamp": 1780415747836,
}

UPDATE = {"T": 1739840633115.661, "c": None, "f": "1.46342355", "m": True, "o": "38780e28", "p": "248037.89"}
UPDATE |= {"q": "0.001", "s": "ETHINR", "t": "209292754", "x": "filled"}
ORDER = {**CAPTURED, "id": 7, "client_order_id": "sb-1", "status": "filled", "remaining_quantity": 0}
BALANCE = {"id": "x", "balance": "80.0", "locked_balance": "5", "currency_id": "y", "currency_short_name": "USDT"}


def new_order(kind=LIMIT, **changes):
    fields = {
        "rules": RULES,
        "client_order_id": "sb-20260101-000001",
        "side": "buy",
        "kind": kind,
        "quantity": Decimal("0.00050"),
        "price": Decimal("60000.50"),
    }
    return NewOrder(**fields | changes)


def as_json(value):
    return json.dumps(value).encode()
