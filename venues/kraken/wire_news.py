"""Kraken's account stream: frames of the channels `executions` and `balances`. Pure but for what `Reports` remembers.

    > {"method":"subscribe","params":{"channel":"executions","token":"<t>","snap_orders":true,"snap_trades":true,
       "order_status":true},"req_id":1}
    < {"channel":"executions","type":"update","sequence":10,"data":[{"order_id":"O...","exec_type":"trade",...}]}

* A report of an order has all its fields once; later ones carry the id and what changed, so they are merged by order.
* Fills are told once: a snapshot repeats the last fifty.
* `sequence` counts up by one within a channel: a jump means that something was lost, and the truth is to be had over
  REST alone.
* A fill may say `partially_filled` even where it was the last one: completion is a report of its own.
* A fill is told where it is told whole: side, market, price, quantity, time and a fee in one currency. Of any other one
  its order's news are all that is told; REST, where fees are in the quote currency, has the rest.
* Balances come as totals, and what of them orders hold is not told: that something changed is all the news.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from core.clock import NS_PER_MS
from venues.account import (
    CANCELLED,
    EXPIRED,
    FILLED,
    OPEN,
    PARTIALLY_FILLED,
    PENDING,
    BalanceNews,
    Fill,
    FillNews,
    News,
    OrderNews,
)
from venues.engineio import UNREADABLE
from venues.kraken import naming
from venues.kraken.frames import Frame, Moment, WireError, ns_of, subscribe

EXECUTIONS, BALANCES = "executions", "balances"
REMEMBERED = 2000  # orders, and fills

_ZERO = Decimal(0)
_STATUS = {
    "pending_new": PENDING,
    "new": OPEN,
    "trade": PARTIALLY_FILLED,
    "partially_filled": PARTIALLY_FILLED,
    "filled": FILLED,
    "canceled": CANCELLED,
    "expired": EXPIRED,
}


class Lost(ValueError):
    """Frames of the account stream are missing."""


class _Charge(msgspec.Struct):
    asset: str
    qty: Decimal


class _Report(msgspec.Struct):
    """One report on an order; everything but the ids may be missing."""

    order_id: str
    exec_type: str = ""
    order_status: str = ""
    cl_ord_id: str | None = None
    symbol: str | None = None
    side: str | None = None
    exec_id: str | None = None
    last_qty: Decimal | None = None
    last_price: Decimal | None = None
    liquidity_ind: str | None = None
    fees: list[_Charge] | None = None
    timestamp: Moment | None = None


class _Holding(msgspec.Struct):
    asset: str


class _Known(msgspec.Struct):
    """What earlier reports told of an order."""

    client_order_id: str = ""
    symbol: str = ""  # v2
    side: str = ""


_reports = msgspec.json.Decoder(list[_Report])
_holdings = msgspec.json.Decoder(list[_Holding])


def subscriptions(token: str) -> dict[int, tuple[str, Sequence[str]]]:
    """Frames that ask for both channels, by number of the request; they name no symbols.

    Open orders come in a snapshot; fills of before are asked for over REST.
    """
    orders = subscribe(1, EXECUTIONS, token=token, snap_orders=True, snap_trades=False, order_status=True)
    money = subscribe(2, BALANCES, token=token, snapshot=True)
    return {1: (orders, [""]), 2: (money, [""])}


class Reports:
    """Turns frames into news. `symbols`: `Rules.symbol` by v2 symbol, for markets that are of interest."""

    def __init__(self, symbols: Mapping[str, str]) -> None:
        self._symbols = symbols
        self._orders: OrderedDict[str, _Known] = OrderedDict()
        self._fills: OrderedDict[str, None] = OrderedDict()
        self._sequences: dict[str, int] = {}

    def read(self, frame: Frame, text: str) -> list[News] | None:
        """News in a frame; None where it is of neither channel. Raises WireError, and Lost where frames are missing."""
        if frame.channel not in (EXECUTIONS, BALANCES):
            return None
        self._check(frame)
        try:
            if frame.channel == BALANCES:
                return _balances(_holdings.decode(frame.data))
            reports = _reports.decode(frame.data)
        except UNREADABLE as error:
            raise error if isinstance(error, WireError) else WireError(f"{frame.channel}: {error}", text) from error
        return [news for report in reports for news in self._news(report, text)]

    def _check(self, frame: Frame) -> None:
        """Numbers begin anew with each subscription, which begins with a snapshot."""
        if frame.sequence is None:
            return
        before = self._sequences.get(frame.channel)
        self._sequences[frame.channel] = frame.sequence
        if before is not None and frame.sequence != before + 1 and frame.type != "snapshot":
            raise Lost(f"{frame.channel}: number {frame.sequence} came after {before}")

    def _news(self, report: _Report, text: str) -> list[News]:
        known = self._merged(report)
        symbol = self._symbols.get(known.symbol) or naming.altname(known.symbol)
        found: list[News] = []
        if report.exec_type == "trade" and report.exec_id and report.exec_id not in self._fills:
            fill = _fill(report, known, symbol, text)
            _remember(self._fills, report.exec_id)
            if fill is not None:
                found.append(FillNews(fill))
        status = _STATUS.get(report.order_status) or _STATUS.get(report.exec_type, "")
        found.append(OrderNews(known.client_order_id, report.order_id, symbol, status))
        return found

    def _merged(self, report: _Report) -> _Known:
        known = self._orders.setdefault(report.order_id, _Known())
        self._orders.move_to_end(report.order_id)
        known.client_order_id = report.cl_ord_id or known.client_order_id
        known.symbol = report.symbol or known.symbol
        known.side = report.side or known.side
        while len(self._orders) > REMEMBERED:
            self._orders.popitem(last=False)
        return known


def _remember(seen: "OrderedDict[str, None]", key: str) -> None:
    seen[key] = None
    while len(seen) > REMEMBERED:
        seen.popitem(last=False)


def _fill(report: _Report, known: _Known, symbol: str, text: str) -> Fill | None:
    """None where it is not told whole. Raises WireError where price or quantity are missing, or an amount is none."""
    if report.last_price is None or report.last_qty is None:
        raise WireError("executions: a fill without price or quantity", text)
    charges = [(naming.asset(charge.asset), _amount(charge.qty, text)) for charge in report.fees or []]
    price, quantity = _amount(report.last_price, text), _amount(report.last_qty, text)
    currencies = {currency for currency, fee in charges if fee}
    time_ms = ns_of(report.timestamp) // NS_PER_MS if report.timestamp else 0
    if report.fees is None or len(currencies) > 1 or not (known.symbol and known.side and time_ms):
        return None
    return Fill(
        venue_fill_id=report.exec_id or "",
        venue_order_id=report.order_id,
        client_order_id=known.client_order_id,
        symbol=symbol,
        side=known.side,
        price=price,
        quantity=quantity,
        fee=sum((fee for _, fee in charges), _ZERO),
        fee_currency=next(iter(currencies), naming.asset(known.symbol.rpartition("/")[2])),
        time_ms=time_ms,
        maker={"m": True, "t": False}.get(report.liquidity_ind or ""),
    )


def _balances(rows: Sequence[_Holding]) -> list[News]:
    return [BalanceNews(())] if any(naming.balance_asset(row.asset) for row in rows) else []


def _amount(value: Decimal, text: str) -> Decimal:
    if not value.is_finite() or abs(value.adjusted()) > 30:
        raise WireError(f"{value!s:.40} is no amount", text)
    return value
