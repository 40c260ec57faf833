"""Orders as Kraken takes them: fields of AddOrder in, the exchange's order or the venue's error out. Pure."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import msgspec

from sandbox.exchange.orders import FeeIn, InForce, Kind, NewOrder, Order, Reason, Refusal, Side, Trigger, steps_of
from sandbox.faces.kraken_names import Pair

ORDER_TYPES = {
    "market": (Kind.MARKET, None),
    "limit": (Kind.LIMIT, None),
    "stop-loss": (Kind.MARKET, Trigger.STOP),
    "stop-loss-limit": (Kind.LIMIT, Trigger.STOP),
    "take-profit": (Kind.MARKET, Trigger.TAKE_PROFIT),
    "take-profit-limit": (Kind.LIMIT, Trigger.TAKE_PROFIT),
}
TYPE_OF = {pair: name for name, pair in ORDER_TYPES.items()}
FLAGS = ("post", "fcib", "fciq", "nompp", "viqc")
FEES = {"fcib": FeeIn.BASE, "fciq": FeeIn.QUOTE}
SELF_TRADE = ("cancel-newest", "cancel-oldest", "cancel-both")
DEADLINE_MOST_MS = 60_000

ERRORS = {
    Reason.UNKNOWN_PAIR: "EQuery:Unknown asset pair",
    Reason.MARKET_HALTED: "EService:Market in cancel_only mode",
    Reason.CANCEL_ONLY: "EService:Market in cancel_only mode",
    Reason.KIND_NOT_ALLOWED: "EGeneral:Invalid arguments:ordertype",
    Reason.PRICE_MISSING: "EGeneral:Invalid arguments:price",
    Reason.PRICE_TICK: "EOrder:Tick size check failed",
    Reason.PRICE_BAND: "EOrder:Invalid price",
    Reason.QUANTITY_MISSING: "EGeneral:Invalid arguments:volume",
    Reason.QUANTITY_STEP: "EGeneral:Invalid arguments:volume",
    Reason.QUANTITY_TOO_SMALL: "EOrder:Order minimum not met",
    Reason.QUANTITY_TOO_LARGE: "EGeneral:Invalid arguments:volume",
    Reason.NOTIONAL_TOO_SMALL: "EOrder:Cost minimum not met",
    Reason.INSUFFICIENT_FUNDS: "EOrder:Insufficient funds",
    Reason.BAD_CLIENT_ID: "EGeneral:Invalid arguments:cl_ord_id",
    Reason.DUPLICATE_CLIENT_ID: "EOrder:Duplicate cl_ord_id",  # the venue's own text is not known
    Reason.TOO_MANY_ORDERS: "EOrder:Orders limit exceeded",
    Reason.TOO_MANY_STOPS: "EOrder:Orders limit exceeded",
    Reason.WOULD_TAKE: "EOrder:Post only order",
    Reason.WOULD_TRIGGER: "EOrder:Invalid price",
    Reason.UNKNOWN_ORDER: "EOrder:Unknown order",
    Reason.ORDER_FINISHED: "EOrder:Unknown order",
}


class Refused(Exception):
    """What the venue answers in place of a result."""


class Tag(msgspec.Struct, omit_defaults=True):
    """What Kraken knows of an order and the exchange does not."""

    flags: str = ""
    userref: int | None = None
    in_force: str = "GTC"


class Wanted(NamedTuple):
    """An order as asked for, and its description."""

    new: NewOrder
    text: str
    validate: bool


def invalid(argument: str = "") -> Refused:
    return Refused("EGeneral:Invalid arguments" + (f":{argument}" if argument else ""))


def refusal_text(refusal: Refusal, pair: Pair | None = None, price: Decimal | None = None) -> str:
    """The venue's error for a refusal."""
    if refusal.reason is Reason.PRICE_TICK and pair is not None and price is not None:
        digits = pair.rules.price_digits
        if price.is_finite() and steps_of(price, digits) is None:
            return f"EOrder:Invalid price:{pair.altname} price can only be specified up to {digits} decimals."
    return ERRORS[refusal.reason]


def decimal(fields: Mapping[str, str], name: str) -> Decimal | None:
    """A number of a request; None where it is not there. Raises Refused where it is none."""
    text = fields.get(name, "")
    if text == "":
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise invalid(name) from None
    if len(text) > 40 or not value.is_finite() or abs(value.adjusted()) > 30:
        raise invalid(name)
    return value


def flag(fields: Mapping[str, str], name: str, default: bool = False) -> bool:
    """true or false, in any case. Raises Refused for anything else."""
    text = fields.get(name, "").lower()
    if text not in ("", "true", "false", "1", "0"):
        raise invalid(name)
    return text in ("true", "1") if text else default


def whole(fields: Mapping[str, str], name: str, default: int) -> int:
    text = fields.get(name, "")
    if text == "":
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise invalid(name)
    return int(text)


def userref_of(fields: Mapping[str, str]) -> int | None:
    text = fields.get("userref", "")
    if text in ("", "0"):
        return None
    if not text.isascii() or not text.lstrip("-").isdigit() or not -(1 << 31) <= int(text) < 1 << 31:
        raise invalid("userref")
    return int(text)


def wanted(fields: Mapping[str, str], pair: Pair, now_ms: int, server_ms: int | None = None) -> Wanted:
    """The order that AddOrder's fields ask for; deadlines are judged by `server_ms`, where the venue's clock is skewed.

    Raises Refused where they contradict themselves or ask for what the sandbox does not do (leverage, trailing stops,
    conditional closes, icebergs, delayed starts).
    """
    side, kind, trigger = _type(fields)
    flags = _flags(fields, kind, side)
    in_force, expires_ms = _in_force(fields, now_ms)
    cl_ord_id, userref = fields.get("cl_ord_id", ""), userref_of(fields)
    if cl_ord_id and userref is not None:
        raise invalid("cl_ord_id")
    _deadline(fields, now_ms if server_ms is None else server_ms)
    _not_done(fields)
    volume, price, price2 = decimal(fields, "volume"), decimal(fields, "price"), decimal(fields, "price2")
    if volume is None:
        raise invalid("volume")
    limit = (price2 if trigger else price) if kind is Kind.LIMIT else None
    if kind is Kind.LIMIT and limit is None:
        raise invalid("price2" if trigger else "price")
    if trigger and price is None:
        raise invalid("price")
    in_quote = "viqc" in flags
    fee_in = next((FEES[one] for one in flags if one in FEES), FeeIn.QUOTE if side is Side.BUY else FeeIn.BASE)
    shown = [*(one for one in flags if one not in FEES), "fciq" if fee_in is FeeIn.QUOTE else "fcib"]
    tag = Tag(",".join(shown), userref, fields.get("timeinforce", "").upper() or "GTC")
    new = NewOrder(
        pair=pair.pair,
        side=side,
        kind=kind,
        quantity=None if in_quote else volume,
        quote_quantity=volume if in_quote else None,
        price=limit,
        in_force=in_force,
        post_only="post" in flags,
        trigger=trigger,
        stop_price=price if trigger else None,
        client_id=cl_ord_id,
        fee_in=fee_in,
        expires_ms=expires_ms,
        tag=msgspec.json.encode(tag).decode(),
    )
    text = described(side, volume, pair, fields["ordertype"], price, price2)
    return Wanted(new, text, flag(fields, "validate"))


def described(side: Side, volume: Decimal, pair: Pair, kind: str, price: Decimal | None, price2: Decimal | None) -> str:
    """`buy 1.25000000 XBTUSD @ limit 37500.0`."""
    head = f"{side.value} {volume:.8f} {pair.altname} @ {kind.removesuffix('-limit').replace('-', ' ')}"
    if kind == "market" or price is None:
        return head
    digits = pair.rules.price_digits
    return f"{head} {price:.{digits}f}" + (f" -> limit {price2:.{digits}f}" if price2 is not None else "")


def tag_of(order: Order) -> Tag:
    return msgspec.json.decode(order.tag, type=Tag) if order.tag else Tag()


def type_of(order: Order) -> str:
    """`limit`, `market`, `stop-loss`, ..."""
    return TYPE_OF[order.kind, order.trigger]


def _type(fields: Mapping[str, str]) -> tuple[Side, Kind, Trigger | None]:
    if fields.get("type") not in ("buy", "sell"):
        raise invalid("type")
    found = ORDER_TYPES.get(fields.get("ordertype", ""))
    if found is None:
        raise invalid("ordertype")
    return Side(fields["type"]), *found


def _flags(fields: Mapping[str, str], kind: Kind, side: Side) -> list[str]:
    flags = [one for one in fields.get("oflags", "").replace(" ", "").split(",") if one]
    wrong = any(one not in FLAGS for one in flags) or {"fcib", "fciq"} <= set(flags)
    if "post" in flags and fields["ordertype"] != "limit":
        wrong = True
    if "viqc" in flags and (kind is not Kind.MARKET or side is not Side.BUY):
        wrong = True
    if wrong:
        raise invalid("oflags")
    return flags


def _in_force(fields: Mapping[str, str], now_ms: int) -> tuple[InForce, int | None]:
    """(how long, until when)."""
    name = fields.get("timeinforce", "").upper() or "GTC"
    expires = fields.get("expiretm", "") or "0"
    digits = expires.removeprefix("+")
    if name not in ("GTC", "IOC", "GTD") or (name == "IOC" and "post" in fields.get("oflags", "")):
        raise invalid("timeinforce")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 12:
        raise invalid("expiretm")
    seconds = int(digits)
    if (name == "GTD") != (seconds > 0):
        raise invalid("expiretm")
    expires_ms = (now_ms if expires.startswith("+") else 0) + seconds * 1000 if seconds else None
    if expires_ms is not None and expires_ms <= now_ms:
        raise invalid("expiretm")
    return (InForce.IOC if name == "IOC" else InForce.GTC), expires_ms


def _deadline(fields: Mapping[str, str], now_ms: int) -> None:
    """Raises Refused where the deadline is over, too far away or no time."""
    text = fields.get("deadline", "")
    if not text:
        return
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise invalid("deadline") from None
    if at.tzinfo is None or at.timestamp() * 1000 > now_ms + DEADLINE_MOST_MS:
        raise invalid("deadline")
    if at.timestamp() * 1000 <= now_ms:
        raise Refused("EService:Deadline elapsed")


def _not_done(fields: Mapping[str, str]) -> None:
    """Raises Refused for what the sandbox does not do."""
    if fields.get("leverage", "none") not in ("", "none"):
        raise invalid("leverage")
    if fields.get("stptype", "") not in ("", *SELF_TRADE):
        raise invalid("stptype")
    if fields.get("trigger", "last") not in ("", "last"):
        raise invalid("trigger")
    if fields.get("starttm", "0") not in ("", "0", "+0"):
        raise invalid("starttm")
    for name in ("displayvol", "reduce_only"):
        if fields.get(name, "false").lower() not in ("", "false", "0"):
            raise invalid(name)
    if any(name.startswith("close") and text for name, text in fields.items()):
        raise invalid("close")
