"""What the answers of Binance spot's private side mean. Pure.

* Numbers come in as Decimal from the venue's text, finite and of a usual size.
* In the answer to a cancel `clientOrderId` names the cancel; the order is `origClientOrderId`.
"""

from decimal import Decimal
from typing import Any

import msgspec

from core import money
from core.errors import MisconfiguredError
from venues import account as contract
from venues.account import BUY, SELL, Balance, Fill, KeyRights, Order
from venues.binance.wire_public import LATEST_MS, broken
from venues.engineio import UNREADABLE

STATES = {
    "NEW": contract.OPEN,
    "PENDING_NEW": contract.PENDING,
    "PARTIALLY_FILLED": contract.PARTIALLY_FILLED,
    "PENDING_CANCEL": contract.OPEN,
    "FILLED": contract.FILLED,
    "CANCELED": contract.CANCELLED,
    "REJECTED": contract.REJECTED,
    "EXPIRED": contract.EXPIRED,
    "EXPIRED_IN_MATCH": contract.EXPIRED,  # against an order of our own
}
SIDES = {"BUY": BUY, "SELL": SELL}
KINDS = {"MARKET": contract.MARKET, "LIMIT_MAKER": contract.POST_ONLY, "STOP_LOSS": contract.STOP}
LIMITS_BY_TIME_IN_FORCE = {"GTC": contract.LIMIT, "IOC": contract.IOC}


class FillRow(msgspec.Struct):
    """A fill in the answer to a new order."""

    price: Decimal
    qty: Decimal
    commission: Decimal
    commissionAsset: str
    tradeId: int


class OrderBody(msgspec.Struct):
    """An order in any answer; which times it has depends on what was asked."""

    symbol: str
    orderId: int
    status: str
    type: str
    side: str
    origQty: Decimal
    executedQty: Decimal
    clientOrderId: str = ""
    origClientOrderId: str = ""
    price: Decimal = Decimal(0)
    cummulativeQuoteQty: Decimal = Decimal(-1)  # below 0: not known
    timeInForce: str = "GTC"
    time: int = 0
    transactTime: int = 0
    updateTime: int = 0
    expiryReason: str = ""
    fills: list[FillRow] = []


class TradeRow(msgspec.Struct):
    """An own fill of myTrades."""

    symbol: str
    id: int
    orderId: int
    price: Decimal
    qty: Decimal
    commission: Decimal
    commissionAsset: str
    time: int
    isBuyer: bool
    isMaker: bool


class BalanceRow(msgspec.Struct):
    """One currency of the account."""

    asset: str
    free: Decimal
    locked: Decimal


class AccountBody(msgspec.Struct):
    """The account; only what it holds."""

    balances: list[BalanceRow]


class CanTradeBody(msgspec.Struct):
    """The account: whether it may trade at all."""

    canTrade: bool


class KeyRightsBody(msgspec.Struct):
    """What a key may do."""

    enableWithdrawals: bool
    enableSpotAndMarginTrading: bool
    ipRestrict: bool


class Rates(msgspec.Struct):
    """One kind of commission, as fractions; buyer or seller come on top of maker or taker."""

    maker: Decimal
    taker: Decimal
    buyer: Decimal = Decimal(0)
    seller: Decimal = Decimal(0)


class CommissionBody(msgspec.Struct):
    """What the account pays in a market."""

    standardCommission: Rates
    specialCommission: Rates | None = None
    taxCommission: Rates | None = None


_order = msgspec.json.Decoder(OrderBody)
_orders = msgspec.json.Decoder(list[OrderBody])
_fills = msgspec.json.Decoder(list[TradeRow])
_account = msgspec.json.Decoder(AccountBody)
_commission = msgspec.json.Decoder(CommissionBody)
_can_trade = msgspec.json.Decoder(CanTradeBody)
_key_rights = msgspec.json.Decoder(KeyRightsBody)


def parse_order(body: bytes, what: str = "order") -> Order:
    """An order from the answer to create, query or cancel. Raises Retry with the raw text."""
    return _as_order(_decoded(_order, body, what), body, what)


def parse_created(body: bytes, symbol: str, client_id: str) -> Order:
    """The order from the answer to its creation. Raises Retry also where the answer is about another one."""
    what = f"new order {client_id}"
    found = parse_order(body, what)
    if (found.symbol, found.client_order_id) != (symbol, client_id):
        raise broken(what, body, f"it tells of {found.client_order_id!r} of {found.symbol}, asked for {symbol}")
    return found


def parse_open_orders(body: bytes) -> list[Order]:
    """All live orders of a market."""
    return [_as_order(row, body, "openOrders") for row in _decoded(_orders, body, "openOrders")]


def _as_order(row: OrderBody, body: bytes, what: str) -> Order:
    status, side = STATES.get(row.status), SIDES.get(row.side)
    if status is None or side is None:
        raise broken(what, body, f"status {row.status!r}, side {row.side!r}")
    _check((row.origQty, row.executedQty, row.price), body, what, row.cummulativeQuoteQty)
    client_id = row.origClientOrderId or row.clientOrderId
    time_ms = row.updateTime or row.transactTime
    known = row.executedQty > 0 and row.cummulativeQuoteQty > 0
    return Order(
        client_order_id=client_id,
        venue_order_id=str(row.orderId),
        symbol=row.symbol,
        side=side,
        kind=kind_of(row.type, row.timeInForce),
        quantity=row.origQty,
        filled=row.executedQty,
        status=status,
        price=row.price or None,
        average_price=row.cummulativeQuoteQty / row.executedQty if known else None,
        created_ms=row.time or (row.transactTime if not row.origClientOrderId else 0),
        updated_ms=time_ms,
        reason=row.expiryReason or (row.status if row.status == "EXPIRED_IN_MATCH" else ""),
        fills=tuple(_fill_of(row, item, client_id, side, body, what) for item in row.fills),
    )


def kind_of(venue_type: str, time_in_force: str) -> str:
    """Our name of an order's kind; empty where it is none of ours."""
    if venue_type == "LIMIT":
        return LIMITS_BY_TIME_IN_FORCE.get(time_in_force, "")
    return KINDS.get(venue_type, "")


def _fill_of(row: OrderBody, item: FillRow, client_id: str, side: str, body: bytes, what: str) -> Fill:
    """A fill in the answer to a new order: it has no time of its own, and took what rested on the book."""
    _check((item.price, item.qty), body, what, item.commission)
    if not 0 < row.transactTime < LATEST_MS:
        raise broken(what, body, f"impossible fill {item.tradeId} at {row.transactTime}")
    return Fill(
        venue_fill_id=str(item.tradeId),
        venue_order_id=str(row.orderId),
        client_order_id=client_id,
        symbol=row.symbol,
        side=side,
        price=item.price,
        quantity=item.qty,
        fee=item.commission,
        fee_currency=item.commissionAsset,
        time_ms=row.transactTime,
        maker=False,
    )


def archived_order(symbol: str, client_id: str, venue_id: str, text: str) -> Order:
    """What -2026 says of an order: over long ago and never filled; the rest of it is forgotten."""
    none = Decimal(0)
    return Order(client_id, venue_id, symbol, "", "", none, none, contract.CANCELLED, reason=text)


def parse_fills(body: bytes) -> list[Fill]:
    """Own fills, oldest first by the venue's id."""
    what = "myTrades"
    rows = sorted(_decoded(_fills, body, what), key=lambda row: row.id)
    for row in rows:
        _check((row.price, row.qty), body, what, row.commission)
        if not (row.id >= 0 and 0 < row.time < LATEST_MS):
            raise broken(what, body, f"impossible fill {row.id} at {row.time}")
    return [
        Fill(
            venue_fill_id=str(row.id),
            venue_order_id=str(row.orderId),
            client_order_id="",
            symbol=row.symbol,
            side=BUY if row.isBuyer else SELL,
            price=row.price,
            quantity=row.qty,
            fee=row.commission,
            fee_currency=row.commissionAsset,
            time_ms=row.time,
            maker=row.isMaker,
        )
        for row in rows
    ]


def parse_balances(body: bytes) -> list[Balance]:
    """Currencies of which there is something."""
    rows = _decoded(_account, body, "account").balances
    for row in rows:
        _check((row.free, row.locked), body, "account")
    return [Balance(row.asset, row.free, row.locked) for row in rows if row.free or row.locked]


def parse_fees_bps(body: bytes) -> tuple[Decimal, Decimal]:
    """(taker, maker) in basis points: all kinds of commission, of the dearer side.

    The rebate for paying in BNB is left out: it holds only as long as there is BNB, and fills tell what was paid.
    """
    found = _decoded(_commission, body, "account/commission")
    taker = maker = Decimal(0)
    for rates in (found.standardCommission, found.specialCommission, found.taxCommission):
        if rates is not None:
            _check((rates.buyer, rates.seller, rates.taker), body, "account/commission", rates.maker)
            side = max(rates.buyer, rates.seller)
            taker += rates.taker + side
            maker += rates.maker + side
    return taker * 10_000, maker * 10_000


def parse_can_trade(body: bytes) -> bool:
    """Whether the account may trade, whatever the key may."""
    found: CanTradeBody = _decoded(_can_trade, body, "account")
    return found.canTrade


def parse_key_rights(body: bytes, account_may: bool) -> KeyRights:
    """What the key may do in an account that may trade or not."""
    found: KeyRightsBody = _decoded(_key_rights, body, "apiRestrictions")
    return KeyRights(account_may and found.enableSpotAndMarginTrading, found.enableWithdrawals, found.ipRestrict)


def _decoded(decoder: "msgspec.json.Decoder[Any]", body: bytes, what: str) -> Any:
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise broken(what, body, error) from error


def _check(amounts: tuple[Decimal, ...], body: bytes, what: str, signed: Decimal = Decimal(0)) -> None:
    """Amounts are finite, of a usual size and not negative; `signed` may be below 0 (a rebate, or not known)."""
    try:
        money.decimal_of(signed, what)
        for value in amounts:
            if money.decimal_of(value, what) < 0:
                raise broken(what, body, f"an amount below 0: {value}")
    except MisconfiguredError as error:
        raise broken(what, body, error) from error
