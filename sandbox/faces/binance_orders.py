"""Orders between Binance's words and the exchange's: parameters in, rows and events out, refusals in the venue's text.

* LIMIT needs timeInForce, quantity and price; LIMIT_MAKER takes no timeInForce; MARKET needs one of the two quantities
  and its rest expires; the four stops need stopPrice. What does not belong is refused with -1106.
* An order without a client id gets one of 22 letters and digits.
Pure, but for the chance in that id.
"""

import json
import secrets
from decimal import Decimal
from typing import Any

from sandbox.exchange.orders import (
    ATOM_DIGITS,
    Fill,
    InForce,
    Kind,
    NewOrder,
    Order,
    Reason,
    Refusal,
    Side,
    Status,
    Trigger,
)
from sandbox.faces.binance_params import NAME, Params, illegal, missing
from sandbox.faces.binance_wire import DECIMALS, Refused
from sandbox.trades import text_of

CREATE_TAKES = (
    "timeInForce",
    "quantity",
    "quoteOrderQty",
    "price",
    "newClientOrderId",
    "stopPrice",
    "newOrderRespType",
    "selfTradePreventionMode",
)
NONE = f"{0:.{DECIMALS}f}"

# By type: (kind, trigger, what it needs, what it takes besides).
TYPES: dict[str, tuple[Kind, Trigger | None, tuple[str, ...], tuple[str, ...]]] = {
    "LIMIT": (Kind.LIMIT, None, ("timeInForce", "quantity", "price"), ()),
    "LIMIT_MAKER": (Kind.LIMIT, None, ("quantity", "price"), ()),
    "MARKET": (Kind.MARKET, None, (), ("quantity", "quoteOrderQty")),
    "STOP_LOSS": (Kind.MARKET, Trigger.STOP, ("quantity", "stopPrice"), ()),
    "STOP_LOSS_LIMIT": (Kind.LIMIT, Trigger.STOP, ("timeInForce", "quantity", "price", "stopPrice"), ()),
    "TAKE_PROFIT": (Kind.MARKET, Trigger.TAKE_PROFIT, ("quantity", "stopPrice"), ()),
    "TAKE_PROFIT_LIMIT": (Kind.LIMIT, Trigger.TAKE_PROFIT, ("timeInForce", "quantity", "price", "stopPrice"), ()),
}
NUMBERS = ("quantity", "quoteOrderQty", "price", "stopPrice")
STATES = {
    Status.OPEN: "NEW",
    Status.PARTIAL: "PARTIALLY_FILLED",
    Status.FILLED: "FILLED",
    Status.CANCELED: "CANCELED",
    Status.EXPIRED: "EXPIRED",
    Status.REJECTED: "REJECTED",
}
FILTERS = {
    Reason.PRICE_TICK: "PRICE_FILTER",
    Reason.PRICE_BAND: "PERCENT_PRICE_BY_SIDE",
    Reason.QUANTITY_STEP: "LOT_SIZE",
    Reason.QUANTITY_TOO_SMALL: "LOT_SIZE",
    Reason.NOTIONAL_TOO_SMALL: "NOTIONAL",
    Reason.TOO_MANY_ORDERS: "MAX_NUM_ORDERS",
    Reason.TOO_MANY_STOPS: "MAX_NUM_ALGO_ORDERS",
}
REJECTIONS = {
    Reason.MARKET_HALTED: "Market is closed.",
    Reason.CANCEL_ONLY: "Market is closed.",
    Reason.KIND_NOT_ALLOWED: "Unsupported order combination",
    Reason.INSUFFICIENT_FUNDS: "Account has insufficient balance for requested action.",
    Reason.DUPLICATE_CLIENT_ID: "Duplicate order sent.",
    Reason.WOULD_TAKE: "Order would immediately match and take.",
    Reason.WOULD_TRIGGER: "Order would trigger immediately.",
}


def new_order(params: Params, pair: str) -> NewOrder:
    """The order that a client asks for.

    Raises Refused where its parameters do not make one.
    """
    if params["side"] not in ("BUY", "SELL"):
        raise Refused(-1117, "Invalid side.")
    if params["type"] not in TYPES:
        raise Refused(-1116, "Invalid orderType.")
    if params.get("newOrderRespType", "FULL") not in ("ACK", "RESULT", "FULL"):
        raise Refused(-1130, "Data sent for parameter 'newOrderRespType' is not valid.")
    if params.get("selfTradePreventionMode", "NONE") != "NONE":
        raise Refused(-1130, "Data sent for parameter 'selfTradePreventionMode' is not valid.")
    kind, trigger, needs, besides = TYPES[params["type"]]
    for name in needs:
        if name not in params:
            raise missing(name)
    for name in (*NUMBERS, "timeInForce"):
        if name in params and name not in needs and name not in besides:
            raise Refused(-1106, f"Parameter '{name}' sent when not required.")
    if params["type"] == "MARKET" and ("quantity" in params) == ("quoteOrderQty" in params):
        if "quantity" in params:
            raise Refused(-1128, "Combination of optional parameters invalid.")
        raise Refused(-1102, "Param 'quantity' or 'quoteOrderQty' must be sent, but both were empty/null!")
    in_force = params.get("timeInForce", "IOC" if params["type"] == "MARKET" else "GTC")
    if in_force not in ("GTC", "IOC", "FOK"):
        raise Refused(-1115, "Invalid timeInForce.")
    quantity, quote_quantity, price, stop_price = (_number(params, name) for name in NUMBERS)
    return NewOrder(
        pair=pair,
        side=Side.BUY if params["side"] == "BUY" else Side.SELL,
        kind=kind,
        quantity=quantity,
        quote_quantity=quote_quantity,
        price=price,
        in_force=InForce[in_force],
        post_only=params["type"] == "LIMIT_MAKER",
        trigger=trigger,
        stop_price=stop_price,
        client_id=params.get("newClientOrderId") or new_client_id(),
    )


def new_client_id() -> str:
    return secrets.token_hex(11)


def _number(params: Params, name: str) -> Decimal | None:
    text = params.get(name)
    if text is None:
        return None
    if len(text.partition(".")[2].rstrip("0")) > DECIMALS:
        raise Refused(-1111, f"Parameter '{name}' has too much precision.")
    value = Decimal(text)
    if not value:
        what = "price" if "rice" in name else "quantity"
        raise Refused(-1013, f"Invalid {what}.")
    return value


def refused(refusal: Refusal, new: NewOrder) -> Refused:
    """The exchange's refusal of a new order in the venue's words."""
    reason = refusal.reason
    if reason in REJECTIONS:
        return Refused(-2010, REJECTIONS[reason])
    if reason in FILTERS:
        return Refused(-1013, f"Filter failure: {FILTERS[reason]}")
    if reason is Reason.QUANTITY_TOO_LARGE:
        return Refused(-1013, f"Filter failure: {'LOT_SIZE' if new.kind is Kind.LIMIT else 'MARKET_LOT_SIZE'}")
    if reason is Reason.BAD_CLIENT_ID:
        return illegal("newClientOrderId", NAME)
    if reason is Reason.UNKNOWN_PAIR:
        return Refused(-1121, "Invalid symbol.")
    return missing("price" if reason is Reason.PRICE_MISSING else "quantity")


# --- orders as rows --------------------------------------------------------------------------------------------------


def type_of(order: Order) -> str:
    if order.post_only:
        return "LIMIT_MAKER"
    for name, (kind, trigger, *_) in TYPES.items():
        if kind is order.kind and trigger is order.trigger:
            return name
    return "LIMIT"


def in_force_of(order: Order) -> str:
    return "GTC" if order.kind is Kind.MARKET else order.in_force.name


def expiry_of(order: Order) -> str:
    """Why an order expired, in the venue's words."""
    if order.kind is Kind.LIMIT and order.in_force is InForce.IOC:
        return "UNFILLED_IOC_QUANTITY_EXPIRED"
    return "UNFILLED_FOK_ORDER_EXPIRED" if order.in_force is InForce.FOK else "INSUFFICIENT_LIQUIDITY"


def price_of(order: Order) -> str:
    return text_of(order.ticks, order.price_digits, DECIMALS)


def quantity_of(order: Order, units: int) -> str:
    return text_of(units, order.quantity_digits, DECIMALS)


def amount_of(atoms: int) -> str:
    return text_of(atoms, ATOM_DIGITS, DECIMALS)


def asked_units(order: Order) -> int:
    """The quantity asked for; of an order over an amount of quote what it came to."""
    return order.units or order.filled_units


def _state(order: Order) -> dict[str, Any]:
    row: dict[str, Any] = {
        "price": price_of(order),
        "origQty": quantity_of(order, asked_units(order)),
        "executedQty": quantity_of(order, order.filled_units),
        "origQuoteOrderQty": amount_of(order.quote_atoms),
        "cummulativeQuoteQty": amount_of(order.cost),
        "status": STATES[order.status],
        "timeInForce": in_force_of(order),
        "type": type_of(order),
        "side": order.side.name,
        "selfTradePreventionMode": "NONE",
    }
    if order.trigger is not None:
        row["stopPrice"] = text_of(order.stop_ticks, order.price_digits, DECIMALS)
    if order.status is Status.EXPIRED:
        row["expiryReason"] = expiry_of(order)
    return row


def symbol_of(order: Order) -> str:
    return order.base + order.quote


def created_row(order: Order, fills: list[Fill], kind: str) -> str:
    """The answer to a new order: ACK, RESULT or FULL."""
    row: dict[str, Any] = {
        "symbol": symbol_of(order),
        "orderId": order.number,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "transactTime": order.updated_ms,
    }
    if kind != "ACK":
        row |= _state(order)
        if not order.waiting:
            row["workingTime"] = order.created_ms
    if kind == "FULL":
        row["fills"] = [
            {
                "price": text_of(fill.ticks, fill.price_digits, DECIMALS),
                "qty": text_of(fill.units, fill.quantity_digits, DECIMALS),
                "commission": amount_of(fill.fee),
                "commissionAsset": fill.fee_asset,
                "tradeId": fill.number,
            }
            for fill in fills
        ]
    return json.dumps(row, separators=(",", ":"))


def canceled_row(order: Order, cancel_id: str) -> dict[str, Any]:
    """The answer to a cancel: `clientOrderId` names the cancel."""
    return {
        "symbol": symbol_of(order),
        "origClientOrderId": order.client_id,
        "orderId": order.number,
        "orderListId": -1,
        "clientOrderId": cancel_id,
        "transactTime": order.updated_ms,
        **_state(order),
    }


def order_row(order: Order) -> dict[str, Any]:
    """An order as queries tell it."""
    return {
        "symbol": symbol_of(order),
        "orderId": order.number,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "stopPrice": NONE,
        "icebergQty": NONE,
        **_state(order),
        "time": order.created_ms,
        "updateTime": order.updated_ms,
        "isWorking": not order.waiting,
        "workingTime": -1 if order.waiting else order.created_ms,
    }


def fill_row(fill: Fill, symbol: str) -> dict[str, Any]:
    """An own trade."""
    return {
        "symbol": symbol,
        "id": fill.number,
        "orderId": fill.order,
        "orderListId": -1,
        "price": text_of(fill.ticks, fill.price_digits, DECIMALS),
        "qty": text_of(fill.units, fill.quantity_digits, DECIMALS),
        "quoteQty": amount_of(fill.cost),
        "commission": amount_of(fill.fee),
        "commissionAsset": fill.fee_asset,
        "time": fill.time_ms,
        "isBuyer": fill.side is Side.BUY,
        "isMaker": fill.maker,
        "isBestMatch": True,
    }
