"""An account's orders, fills and balances as Kraken's private REST tells them. Pure."""

from collections.abc import Iterable, Sequence
from decimal import ROUND_DOWN, Decimal
from itertools import groupby
from typing import Any, NamedTuple

from sandbox.exchange.orders import ATOM_DIGITS, Balance, FeeIn, Fill, InForce, Order, Status
from sandbox.faces.kraken_ids import text_of_number
from sandbox.faces.kraken_names import COST_DIGITS, Pair, asset_code, asset_decimals
from sandbox.faces.kraken_orders import described, tag_of, type_of
from sandbox.trades import text_of

AVERAGE_DIGITS = 8
Json = dict[str, Any]


def state_of(order: Order) -> str:
    """open, closed, canceled or expired. What was left of an IOC order is cancelled here, not expired."""
    if order.status.working:
        return "open"
    if order.status is Status.FILLED:
        return "closed"
    timed_out = order.status is Status.EXPIRED and order.expires_ms is not None and order.in_force is InForce.GTC
    return "expired" if timed_out and order.updated_ms >= (order.expires_ms or 0) else "canceled"


def reason_of(order: Order) -> str | None:
    if order.status is Status.CANCELED:
        return "User requested"
    return order.ended or None


def quote_fee(fee: Decimal, in_base: bool, price: Decimal) -> Decimal:
    """A fee in the quote currency, as REST tells it whatever it was taken in."""
    return (fee * price if in_base else fee).quantize(Decimal(1).scaleb(-COST_DIGITS), ROUND_DOWN)


def average(price: Decimal) -> Decimal:
    """An average price, which may have no end, with 8 digits."""
    return price.quantize(Decimal(1).scaleb(-AVERAGE_DIGITS), ROUND_DOWN)


def seconds(ms: int) -> float:
    """ms as float seconds; its shortest text is exact to the ms."""
    return ms / 1000.0


def order_row(order: Order, pair: Pair, trades: Iterable[str] | None = None) -> Json:
    """One order; `trades`: the ids of its fills, where they were asked for."""
    tag, in_base = tag_of(order), order.fee_in is FeeIn.BASE
    digits = pair.rules.price_digits
    price, price2 = (order.stop_price, order.price) if order.trigger else (order.price, Decimal(0))
    volume = order.quote_quantity if order.quote_atoms else order.quantity
    limited = price2 if price2 and order.trigger else None
    state = state_of(order)
    row: Json = {
        "refid": None,
        "userref": tag.userref,
        "status": state,
        "opentm": seconds(order.created_ms),
        "starttm": 0,
        "expiretm": seconds(order.expires_ms) if order.expires_ms else 0,
        "descr": {
            "pair": pair.altname,
            "type": order.side.value,
            "ordertype": type_of(order),
            "price": f"{price:.{digits}f}" if price else "0",
            "price2": f"{price2:.{digits}f}" if price2 else "0",
            "leverage": "none",
            "order": described(order.side, volume, pair, type_of(order), price, limited),
            "close": "",
        },
        "vol": f"{volume:.8f}",
        "vol_exec": f"{order.filled:.8f}",
        "cost": f"{order.cost_amount:.{COST_DIGITS}f}",
        "fee": f"{quote_fee(order.fee_amount, in_base, order.average_price):f}",
        "price": f"{average(order.average_price):f}",
        "stopprice": "0.00000",
        "limitprice": "0.00000",
        "misc": "partial" if order.status is Status.PARTIAL else "",
        "oflags": tag.flags,
    }
    if state != "open":
        row |= {"reason": reason_of(order), "closetm": seconds(order.updated_ms)}
    if order.client_id:
        row["cl_ord_id"] = order.client_id
    if trades is not None:
        row["trades"] = list(trades)
    return row


class Trade(NamedTuple):
    """One fill, or all taker fills of an order as one."""

    first: Fill
    units: int
    cost: int
    fee: int
    time_ms: int
    trade_id: int

    @property
    def id(self) -> str:
        return text_of_number("T", self.first.number)


def trades_of(fills: Sequence[Fill], consolidated: bool) -> list[Trade]:
    """Fills, oldest first, as trades, oldest first."""
    singles = [Trade(one, one.units, one.cost, one.fee, one.time_ms, one.number) for one in fills]
    if not consolidated:
        return singles
    found: list[Trade] = []
    for (_, maker), group in groupby(
        sorted(singles, key=lambda one: (one.first.order, one.first.number)),
        key=lambda one: (one.first.order, one.first.maker),
    ):
        parts = list(group)
        if maker:
            found += parts
        else:
            units, cost, fee = (sum(column) for column in zip(*(part[1:4] for part in parts), strict=True))
            found.append(Trade(parts[0].first, units, cost, fee, parts[-1].time_ms, parts[-1].trade_id))
    return sorted(found, key=lambda one: one.trade_id)


def trade_row(trade: Trade, pair: Pair, order: Order | None) -> Json:
    """One row of TradesHistory."""
    fill = trade.first
    cost, in_base = Decimal(trade.cost).scaleb(-ATOM_DIGITS), fill.fee_asset == pair.rules.base
    volume = Decimal(trade.units).scaleb(-fill.quantity_digits)
    price = fill.price if trade.units == fill.units else cost / volume
    fee = quote_fee(Decimal(trade.fee).scaleb(-ATOM_DIGITS), in_base, price)
    return {
        "ordertxid": text_of_number("O", fill.order),
        "postxid": text_of_number("T", fill.order),
        "pair": pair.key,
        "time": seconds(trade.time_ms),
        "type": fill.side.value,
        "ordertype": type_of(order) if order else "limit",
        "price": pair.long_price(fill.ticks) if trade.units == fill.units else f"{average(price):f}",
        "cost": f"{cost:.{COST_DIGITS}f}",
        "fee": f"{fee:f}",
        "vol": f"{volume:.8f}",
        "margin": "0.00000",
        "leverage": "0",
        "misc": "",
        "trade_id": trade.trade_id,
        "maker": fill.maker,
    }


def amount_text(asset: str, atoms: int) -> str:
    """Atoms of an asset as the balances tell them."""
    return text_of(atoms, ATOM_DIGITS, asset_decimals(asset))


def balance_rows(balances: dict[str, Balance]) -> Json:
    """Balance: what is there, what orders hold included."""
    return {asset_code(asset): amount_text(asset, one.free + one.locked) for asset, one in balances.items()}


def extended_rows(balances: dict[str, Balance]) -> Json:
    """BalanceEx."""
    return {
        asset_code(asset): {
            "balance": amount_text(asset, one.free + one.locked),
            "hold_trade": amount_text(asset, one.locked),
        }
        for asset, one in balances.items()
    }


def fee_row(percent: Decimal) -> Json:
    """One market's fees in TradeVolume: there is one tier alone."""
    text = f"{percent:.4f}"
    return {
        "fee": text,
        "minfee": text,
        "maxfee": text,
        "nextfee": None,
        "nextvolume": None,
        "tiervolume": "0.0000",
    }
