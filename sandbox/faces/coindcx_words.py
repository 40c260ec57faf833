"""CoinDCX's words for orders, fills, balances and refusals, written from the fact sheet. Pure.

Amounts are JSON numbers without exponents, but text in balances and on the stream; a venue id is decimal text beyond
nine digits. "Target" is the coin that is traded, "base" the one in which the price is told.
"""

import json
from decimal import Decimal
from typing import Any

import msgspec

from core.clock import iso_utc
from sandbox.exchange.orders import ATOM_DIGITS, Balance, Fill, Kind, Order, Reason, Status, decimal_of
from sandbox.exchange.profiles import PARTS, TradingRules
from sandbox.faces.coindcx_public import Refused, invalid_request
from sandbox.trades import Rules

ORDER_IDS, FILL_IDS = 796_071_145, 252_949_810  # of the first order and fill, less one
NO_EDIT = "Edit order is not available yet for this exchange"

_LIVE = {Status.OPEN: "open", Status.PARTIAL: "partially_filled", Status.FILLED: "filled", Status.REJECTED: "rejected"}


def order_id(number: int) -> str:
    return str(ORDER_IDS + number)


def number_of(identifier: int) -> int:
    """The exchange's number of a venue id; 0 or less for an id of no order."""
    return identifier - ORDER_IDS


def plain(value: Decimal) -> str:
    """Decimal text without exponent and useless zeros, with one decimal at least, as the venue has it."""
    text = f"{value:f}"
    whole, _, part = text.partition(".")
    return f"{whole}.{part.rstrip('0') or '0'}"


def raw(value: Decimal) -> msgspec.Raw:
    """A JSON number of exactly this text."""
    return msgspec.Raw(plain(value).encode())


def status_word(order: Order) -> str:
    """The venue's state; what expired by itself is cancelled to it as well."""
    word = _LIVE.get(order.status)
    return word or ("partially_cancelled" if order.filled_units else "cancelled")


def _average(order: Order) -> Decimal:
    return round(order.average_price, ATOM_DIGITS)


def order_row(order: Order, rules: Rules, price: Decimal, *, iso: bool = False) -> dict[str, Any]:
    """An order as REST tells it; `price`: what price_per_unit says, of a market order the last price."""
    created_ms, updated_ms = order.created_ms // 1000 * 1000, order.updated_ms // 1000 * 1000
    return {
        "id": order_id(order.number),
        "client_order_id": order.client_id or None,
        "order_type": "limit_order" if order.kind is Kind.LIMIT else "market_order",
        "side": order.side.value,
        "status": status_word(order),
        "fee_amount": raw(order.fee_amount),
        "fee": raw(_percent(order.taker_parts)),
        "maker_fee": raw(_percent(order.maker_parts)),
        "taker_fee": raw(_percent(order.taker_parts)),
        "total_quantity": raw(order.quantity),
        "remaining_quantity": raw(order.quantity - order.filled),
        "source": "web",
        "avg_price": raw(_average(order)),
        "price_per_unit": raw(price),
        "stop_price": raw(Decimal(0)),
        "market": rules.market,
        "time_in_force": "good_till_cancel",
        "base_currency_name": None,
        "target_currency_name": None,
        "created_at": iso_utc(created_ms) if iso else created_ms,
        "updated_at": iso_utc(updated_ms) if iso else updated_ms,
        "trades": None,
    }


def fill_row(fill: Fill, rules: Rules) -> dict[str, Any]:
    """A row of trade_history."""
    return {
        "id": FILL_IDS + fill.number,
        "order_id": order_id(fill.order),
        "side": fill.side.value,
        "fee_amount": raw(fill.fee_amount),
        "ecode": rules.ecode,
        "quantity": raw(fill.quantity),
        "price": raw(fill.price),
        "symbol": rules.market,
        "timestamp": fill.time_ms,
    }


def balance_rows(balances: dict[str, Balance]) -> list[dict[str, Any]]:
    return [
        {"currency": asset, "balance": plain(free.free_amount), "locked_balance": plain(free.locked_amount)}
        for asset, free in sorted(balances.items())
    ]


# --- the private stream -------------------------------------------------------------------------------------------


def event_frame(name: str, rows: list[dict[str, Any]]) -> str:
    """An event: the rows are JSON text inside JSON."""
    data = msgspec.json.encode(rows).decode()
    return "42" + json.dumps([name, {"event": name, "data": data}], separators=(",", ":"))


def order_news_row(order: Order, rules: Rules, price: Decimal) -> dict[str, Any]:
    """An order as the stream tells it: what was cancelled is told apart and no longer remains."""
    cancelled = Decimal(0) if order.status.working else order.quantity - order.filled
    row = order_row(order, rules, price)
    keys = ("fee", "fee_amount", "maker_fee", "taker_fee", "total_quantity", "avg_price", "price_per_unit")
    shown = {key: bytes(row[key]).decode() for key in keys}  # text here
    return {
        "id": row["id"],
        "client_order_id": row["client_order_id"],
        "market": row["market"],
        "order_type": row["order_type"],
        "side": row["side"],
        "status": row["status"],
        **shown,
        "remaining_quantity": plain(order.quantity - order.filled - cancelled),
        "cancelled_quantity": plain(cancelled),
        "time_in_force": row["time_in_force"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def fill_news_row(fill: Fill, order: Order, rules: Rules) -> dict[str, Any]:
    """A fill as the stream tells it; its time is a float."""
    return {
        "T": float(fill.time_ms),
        "c": fill.client_id or None,
        "f": plain(fill.fee_amount),
        "m": fill.maker,
        "o": order_id(fill.order),
        "p": plain(fill.price),
        "q": plain(fill.quantity),
        "s": rules.market,
        "t": str(FILL_IDS + fill.number),
        "x": status_word(order),
    }


def balance_news_rows(balances: dict[str, Balance]) -> list[dict[str, Any]]:
    return [
        {
            "id": f"wallet-{asset.lower()}",
            "balance": plain(balance.free_amount),
            "locked_balance": plain(balance.locked_amount),
            "currency_id": asset.lower(),
            "currency_short_name": asset,
        }
        for asset, balance in sorted(balances.items())
    ]


# --- refusals -----------------------------------------------------------------------------------------------------


def refused(reason: Reason, rules: Rules, trading: TradingRules) -> Refused:
    """The venue's answer to an order that was not accepted."""
    least = plain(decimal_of(trading.min_units, rules.quantity_digits))
    notional = plain(decimal_of(trading.min_notional, ATOM_DIGITS))
    texts = {
        Reason.PRICE_BAND: ("Price should be within the permitted range", "OMS-VF-0001"),
        Reason.QUANTITY_TOO_SMALL: (f"Quantity should be greater than {least}", "OMS-VF-0004"),
        Reason.QUANTITY_TOO_LARGE: ("Quantity should be less than the maximum", "OMS-VF-0005"),
        Reason.PRICE_TICK: (f"Price precision should be {rules.price_digits}", "OMS-VF-0006"),
        Reason.QUANTITY_STEP: (f"Quantity precision should be {rules.quantity_digits}", "OMS-VF-0006"),
        Reason.NOTIONAL_TOO_SMALL: (f"Minimum order value should be {notional} {rules.quote}", "OMS-VF-0041"),
        Reason.INSUFFICIENT_FUNDS: ("Insufficient funds", "CA1013"),
        Reason.DUPLICATE_CLIENT_ID: ("Client order id already exists", ""),
        Reason.TOO_MANY_ORDERS: ("Maximum open orders limit reached for this market", ""),
        Reason.MARKET_HALTED: ("Market is not active", ""),
        Reason.CANCEL_ONLY: ("Market is not active", ""),
        Reason.KIND_NOT_ALLOWED: ("Order type not allowed", ""),
    }
    if reason not in texts:
        return invalid_request()
    text, code = texts[reason]
    return Refused(422, text, code)


def _percent(parts: int) -> Decimal:
    return Decimal(parts) * 100 / PARTS
