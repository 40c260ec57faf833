"""What Kraken's private REST answers mean. Pure; every parser raises WireError alone, with the raw text kept."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from venues.account import (
    CANCELLED,
    EXPIRED,
    FILLED,
    IOC,
    LIMIT,
    MARKET,
    OPEN,
    PARTIALLY_FILLED,
    PENDING,
    POST_ONLY,
    STOP,
    Balance,
    Fill,
    KeyRights,
    NewOrder,
    Order,
)
from venues.engineio import UNREADABLE
from venues.errors import Rejected
from venues.kraken import naming
from venues.kraken.frames import WireError
from venues.kraken.wire_public import result_of
from venues.venue import Rules

FILLS_A_PAGE = ORDERS_A_PAGE = 50
MAY_TRADE = "modify-trades"  # the permission to create and modify orders

_ZERO = Decimal(0)


class _Added(msgspec.Struct):
    txid: list[str]


class _Cancelled(msgspec.Struct):
    count: int = 0
    pending: bool = False


class _KeyInfo(msgspec.Struct):
    permissions: list[str]
    ipAllowlist: list[str]


class _Described(msgspec.Struct):
    pair: str = ""
    type: str = ""
    ordertype: str = ""
    price: Decimal | None = None


class _OrderRow(msgspec.Struct):
    """An order of OpenOrders, ClosedOrders or QueryOrders. Amounts are text, in some examples numbers."""

    status: str
    vol: Decimal
    vol_exec: Decimal
    descr: _Described
    cl_ord_id: str | None = None
    reason: str | None = None
    opentm: Decimal = _ZERO
    closetm: Decimal | None = None
    price: Decimal | None = None
    stopprice: Decimal | None = None
    oflags: str = ""
    timeinforce: str | None = None


class _OpenOrders(msgspec.Struct):
    open: dict[str, msgspec.Raw] = {}


class _ClosedOrders(msgspec.Struct):
    closed: dict[str, msgspec.Raw] = {}


class _FillRow(msgspec.Struct):
    ordertxid: str
    pair: str
    time: Decimal
    type: str
    price: Decimal
    vol: Decimal
    fee: Decimal
    maker: bool | None = None


class _Fills(msgspec.Struct):
    trades: dict[str, msgspec.Raw] = {}
    count: int | None = None


class _BalanceRow(msgspec.Struct):
    balance: Decimal
    hold_trade: Decimal = _ZERO
    credit: Decimal = _ZERO
    credit_used: Decimal = _ZERO


class _Fee(msgspec.Struct):
    fee: Decimal


class _Volume(msgspec.Struct):
    fees: dict[str, _Fee] | None = None
    fees_maker: dict[str, _Fee] | None = None


class _Token(msgspec.Struct):
    token: str


class FillsPage(NamedTuple):
    """Fills of one market in one page, how many of all markets it held, and how many all pages hold; None: not told."""

    fills: list[Fill]
    size: int
    total: int | None


def _decoder(kind: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(kind, strict=False)


_added, _cancelled, _token, _volume = _decoder(_Added), _decoder(_Cancelled), _decoder(_Token), _decoder(_Volume)
_key_info = _decoder(_KeyInfo)
_open, _closed, _table = _decoder(_OpenOrders), _decoder(_ClosedOrders), _decoder(dict[str, msgspec.Raw])
_order_row, _fill_row, _fills, _balance_row = (
    _decoder(_OrderRow),
    _decoder(_FillRow),
    _decoder(_Fills),
    _decoder(_BalanceRow),
)


def parse_added(body: bytes, order: NewOrder) -> Order:
    """The order as accepted; the answer says nothing of fills."""
    added = _read(_added, result_of(body, "AddOrder"), "AddOrder", body)
    if not added.txid:
        raise WireError("AddOrder: no order id", body)
    price = order.price if order.kind in (LIMIT, IOC, POST_ONLY) else None
    return Order(
        client_order_id=order.client_order_id,
        venue_order_id=added.txid[0],
        symbol=order.rules.symbol,
        side=order.side,
        kind=order.kind,
        quantity=order.quantity,
        filled=_ZERO,
        status=PENDING,
        price=price,
    )


def parse_cancelled(body: bytes) -> int:
    """How many orders are being cancelled."""
    found: _Cancelled = _read(_cancelled, result_of(body, "CancelOrder"), "CancelOrder", body)
    return max(found.count, int(found.pending))


def parse_open_orders(body: bytes) -> list[Order]:
    found = _read(_open, result_of(body, "OpenOrders"), "OpenOrders", body)
    return _orders(found.open, "OpenOrders", body)


def parse_closed_orders(body: bytes) -> list[Order]:
    """Newest first as the venue sends them."""
    found = _read(_closed, result_of(body, "ClosedOrders"), "ClosedOrders", body)
    return _orders(found.closed, "ClosedOrders", body)


def parse_orders_by_id(body: bytes) -> list[Order]:
    found = _read(_table, result_of(body, "QueryOrders"), "QueryOrders", body)
    return _orders(found, "QueryOrders", body)


def _orders(rows: Mapping[str, msgspec.Raw], what: str, body: bytes) -> list[Order]:
    return [_order(txid, _read(_order_row, raw, what, body), what, body) for txid, raw in rows.items()]


def _order(txid: str, row: _OrderRow, what: str, body: bytes) -> Order:
    quantity, filled = _amount(row.vol, what, body), _amount(row.vol_exec, what, body)
    limit = _amount(row.descr.price or _ZERO, what, body)
    average = _amount(row.price or _ZERO, what, body)
    kind = _kind_of(row)
    created_ms = _seconds_ms(row.opentm)
    return Order(
        client_order_id=row.cl_ord_id or "",
        venue_order_id=txid,
        symbol=row.descr.pair,
        side=row.descr.type,
        kind=kind,
        quantity=quantity,
        filled=filled,
        status=_status_of(row.status, quantity, filled, what, body),
        price=limit if limit and kind in (LIMIT, IOC, POST_ONLY) else None,
        average_price=average if average and filled else None,
        created_ms=created_ms,
        updated_ms=_seconds_ms(row.closetm) if row.closetm else created_ms,
        reason=row.reason or "",
    )


def _kind_of(row: _OrderRow) -> str:
    if row.descr.ordertype == "limit":
        if "post" in row.oflags.split(","):
            return POST_ONLY
        return IOC if (row.timeinforce or "").upper() == "IOC" else LIMIT
    return {"market": MARKET, "stop-loss": STOP}.get(row.descr.ordertype, "")


def _status_of(status: str, quantity: Decimal, filled: Decimal, what: str, body: bytes) -> str:
    match status:
        case "pending":
            return PENDING
        case "open":
            return PARTIALLY_FILLED if filled else OPEN
        case "closed":
            return FILLED if filled >= quantity else CANCELLED
        case "canceled" | "cancelled":
            return CANCELLED
        case "expired":
            return EXPIRED
    raise WireError(f"{what}: an order in the unknown state {status!r}", body)


def parse_fills(body: bytes, rules: Rules) -> FillsPage:
    """Own fills of one market in a page, in the venue's order."""
    what = "TradesHistory"
    page = _read(_fills, result_of(body, what), what, body)
    fills = []
    for trade_id, raw in page.trades.items():
        row = _read(_fill_row, raw, what, body)
        if naming.is_of(rules, row.pair):
            fills.append(
                Fill(
                    venue_fill_id=trade_id,
                    venue_order_id=row.ordertxid,
                    client_order_id="",
                    symbol=rules.symbol,
                    side=row.type,
                    price=_amount(row.price, what, body),
                    quantity=_amount(row.vol, what, body),
                    fee=_amount(row.fee, what, body, negative=True),  # a maker's rebate
                    fee_currency=rules.quote,
                    time_ms=_seconds_ms(row.time),
                    maker=row.maker,
                )
            )
    return FillsPage(fills, len(page.trades), page.count)


def parse_balances(body: bytes) -> list[Balance]:
    """What can be traded with: USDT and USDT.F together; free is balance + credit - credit_used - hold_trade."""
    what = "BalanceEx"
    free: dict[str, Decimal] = {}
    locked: dict[str, Decimal] = {}
    for code, raw in _read(_table, result_of(body, what), what, body).items():
        name = naming.balance_asset(code)
        if not name:
            continue
        row = _read(_balance_row, raw, what, body)
        amounts = [_amount(value, what, body, negative=True) for value in (row.balance, row.credit, row.credit_used)]
        held = _amount(row.hold_trade, what, body)
        free[name] = free.get(name, _ZERO) + amounts[0] + amounts[1] - amounts[2] - held
        locked[name] = locked.get(name, _ZERO) + held
    return [Balance(name, free[name], locked[name]) for name in sorted(free) if free[name] or locked[name]]


def parse_fees_bps(body: bytes, rules: Rules) -> tuple[Decimal, Decimal] | None:
    """(taker, maker) in basis points; None where the venue says nothing of this market."""
    what = "TradeVolume"
    found = _read(_volume, result_of(body, what), what, body)
    rates = [
        next(
            (
                _amount(fee.fee, what, body, negative=True)
                for name, fee in (fees or {}).items()
                if naming.is_of(rules, name)
            ),
            None,
        )
        for fees in (found.fees, found.fees_maker)
    ]
    taker, maker = rates
    if taker is None:
        return None
    return taker * 100, (taker if maker is None else maker) * 100


def parse_token(body: bytes) -> str:
    """The token for the account stream; no error shows it."""
    try:
        token: str = _token.decode(result_of(body, "GetWebSocketsToken")).token
    except UNREADABLE:
        token = ""
    if not token:
        raise WireError(f"GetWebSocketsToken: no token in {len(body)} bytes")
    return token


def parse_key_rights(body: bytes) -> KeyRights:
    """What the key may do, by the documented names; no error shows the answer, which repeats the key."""
    try:
        found: _KeyInfo = _key_info.decode(result_of(body, "GetApiKeyInfo"))
    except UNREADABLE:  # of which our own error is one
        raise WireError(f"GetApiKeyInfo: {len(body)} bytes of an unknown shape") from None
    withdraw = any("withdraw" in name for name in found.permissions)
    return KeyRights(MAY_TRADE in found.permissions, withdraw, bool(found.ipAllowlist))


def already_there(error: Rejected, client_order_id: str) -> bool:
    """Whether a refusal may mean that an order of this client id is open already; its words are not documented."""
    text = error.code.casefold()
    letters = "".join(filter(str.isalpha, text))
    mentions_it = client_order_id.casefold() in text or "clordid" in letters or "clientorderid" in letters
    return text.startswith("eorder") and (mentions_it or "duplicate" in letters)


def newest(orders: Sequence[Order]) -> Order | None:
    """A client id can be used again once its order is over: the last one counts."""
    return max(orders, key=lambda order: order.created_ms, default=None)


def _read(decoder: "msgspec.json.Decoder[Any]", raw: msgspec.Raw, what: str, body: bytes) -> Any:
    try:
        return decoder.decode(raw)
    except UNREADABLE as error:
        raise WireError(f"{what}: an answer of an unknown shape ({error})", body) from error


def _amount(value: Decimal, what: str, body: bytes, *, negative: bool = False) -> Decimal:
    """An amount of usual size: nan, infinities and absurd exponents are none."""
    if not value.is_finite() or abs(value.adjusted()) > 30 or (value < 0 and not negative):
        raise WireError(f"{what}: {value!s:.40} is no amount", body)
    return value


def _seconds_ms(seconds: Decimal) -> int:
    """Milliseconds of decimal seconds; 0 where they are no time."""
    if not seconds.is_finite() or not 0 < seconds < 9_000_000_000:
        return 0
    return int(seconds * 1000)
