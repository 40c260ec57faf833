"""Rows of CoinDCX's private answers and account events, and what each means in our terms. Pure.

Numbers come as JSON numbers or as text, times as ms (perhaps with a fraction, perhaps as text) or as ISO-8601. Each
function raises WireError for a row that cannot be true: a wrong amount must not become a position.
"""

from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import NamedTuple

import msgspec

from venues.account import (
    BUY,
    CANCELLED,
    FILLED,
    LIMIT,
    MARKET,
    OPEN,
    PARTIALLY_FILLED,
    PENDING,
    REJECTED,
    SELL,
    Balance,
    Fill,
    Order,
)
from venues.coindcx.wire_public import WireError
from venues.venue import Rules

KINDS = {MARKET: "market_order", LIMIT: "limit_order"}
STATES = {
    "init": PENDING,
    "open": OPEN,
    "partially_filled": PARTIALLY_FILLED,
    "filled": FILLED,
    "partially_cancelled": CANCELLED,
    "cancelled": CANCELLED,
    "rejected": REJECTED,
}

_OUR_KINDS = {theirs: ours for ours, theirs in KINDS.items()}
_SIDES = frozenset({BUY, SELL})
_AMOUNT_MAX = Decimal("1e18")
_DIGITS = 40  # no text of a real amount is longer, nor are there more places behind the point
_EXACT = Context(prec=100)  # sums of such amounts are not rounded


class OrderRow(msgspec.Struct):
    """An order as REST and the stream tell it; fees are rates in percent."""

    id: str | int
    market: str
    side: str
    status: str
    total_quantity: Decimal
    remaining_quantity: Decimal
    client_order_id: str | None = None
    order_type: str = ""
    cancelled_quantity: Decimal | None = None
    avg_price: Decimal | None = None
    price_per_unit: Decimal | None = None
    maker_fee: Decimal | None = None
    taker_fee: Decimal | None = None
    created_at: float | str | None = None
    updated_at: float | str | None = None


class ErrorRow(msgspec.Struct):
    """What stands in place of an order that was not taken."""

    error_message: str


class FillRow(msgspec.Struct):
    """An own trade; no client id, no maker flag, and the fee is in the currency of the price."""

    id: str | int
    order_id: str | int
    side: str
    price: Decimal
    quantity: Decimal
    fee_amount: Decimal
    symbol: str
    timestamp: float | str


class BalanceRow(msgspec.Struct):
    """`balance` can be spent; `locked_balance` is held by open orders besides."""

    balance: Decimal
    currency: str = ""
    currency_short_name: str = ""
    locked_balance: Decimal = Decimal(0)


class TradeRow(msgspec.Struct):
    """A fill as the stream tells it: without a side, and in part of the samples without fee and status."""

    o: str | int
    s: str
    c: str | None = None
    x: str | None = None


class CancelAnswer(msgspec.Struct):
    """Accepted is not yet cancelled."""

    message: str = ""
    status: str | int = ""


class Told(NamedTuple):
    """An order, and the rates it is charged in percent where it says (None or 0: it does not)."""

    order: Order
    taker_pct: Decimal | None
    maker_pct: Decimal | None


def order_of(row: OrderRow) -> Told:
    status = STATES.get(row.status)
    if status is None:
        raise WireError(f"an order in the unknown state {row.status!r:.40}")
    total = amount(row.total_quantity)
    # Of a cancelled order the rest is either still "remaining" or moved to "cancelled": never counted as filled. Told
    # twice, it is subtracted once: twice would hide what was filled.
    remaining, cancelled = amount(row.remaining_quantity), amount(row.cancelled_quantity or Decimal(0))
    left = _EXACT.add(remaining, cancelled)
    if remaining == cancelled or left > total:
        left = max(remaining, cancelled)
    filled = max(_EXACT.subtract(total, left), Decimal(0))
    if status == OPEN and filled:
        status = PARTIALLY_FILLED
    elif status == REJECTED and filled:
        status = CANCELLED
    kind = _OUR_KINDS.get(row.order_type, "")
    order = Order(
        client_order_id=row.client_order_id or "",
        venue_order_id=str(row.id),
        symbol=row.market,
        side=_side(row.side),
        kind=kind,
        quantity=total,
        filled=filled,
        status=status,
        price=_price(row.price_per_unit) if kind != MARKET else None,
        average_price=_price(row.avg_price),
        created_ms=_time_ms(row.created_at),
        updated_ms=_time_ms(row.updated_at),
        reason=row.status if status in (CANCELLED, REJECTED) else "",
    )
    return Told(order, _price(row.taker_fee), _price(row.maker_fee))


def fill_time_ms(row: FillRow) -> int:
    time_ms = _time_ms(row.timestamp)
    if not time_ms:
        raise WireError(f"a trade at no time: {row.timestamp!r:.40}")
    return time_ms


def fill_of(row: FillRow, rules: Rules) -> Fill:
    return Fill(
        venue_fill_id=str(row.id),
        venue_order_id=str(row.order_id),
        client_order_id="",
        symbol=rules.symbol,
        side=_side(row.side),
        price=amount(row.price),
        quantity=amount(row.quantity),
        fee=amount(row.fee_amount),
        fee_currency=rules.quote,
        time_ms=fill_time_ms(row),
    )


def balance_of(row: BalanceRow) -> Balance:
    currency = row.currency or row.currency_short_name
    if not currency:
        raise WireError("a balance of no currency")
    return Balance(currency, amount(row.balance), amount(row.locked_balance))


def _side(text: str) -> str:
    if text not in _SIDES:
        raise WireError(f"an unknown side {text!r:.40}")
    return text


def amount(value: Decimal) -> Decimal:
    """The value where it is an amount: 0 or more, finite, of a size and length that can be reckoned with."""
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or abs(exponent) > _DIGITS or len(digits) > _DIGITS:
        raise WireError(f"no amount: {value!s:.40}")
    if not 0 <= value < _AMOUNT_MAX:
        raise WireError(f"no amount: {value!s:.40}")
    return value


def _price(value: Decimal | None) -> Decimal | None:
    """None where it is 0: not known."""
    return amount(value) or None if value is not None else None


def _time_ms(value: float | str | None) -> int:
    """Milliseconds since 1970; 0 where none are said."""
    if isinstance(value, str):
        try:
            return _time_ms(float(value))
        except ValueError:
            return _iso_ms(value)
    return int(value) if value is not None and 0 < value < 9e12 else 0


def _iso_ms(text: str) -> int:
    try:
        when = datetime.fromisoformat(text)
        return max(0, int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000))
    except (ValueError, OverflowError):
        return 0
