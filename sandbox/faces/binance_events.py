"""The account's news as Binance's user data stream tells them.

* Of an order it tells `executionReport`, of balances `outboundAccountPosition`, of deposits `balanceUpdate`.
* After each change of an order comes its report, then the balances that it changed, and no others.
* A change of balances that no order made is a deposit or withdrawal: `balanceUpdate` besides, with the difference.
* On a cancel `c` is the cancel's id and `C` the order's; else `C` is empty.
"""

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.exchange.orders import Balance, BalanceNews, News, Order, OrderNews, What
from sandbox.faces.binance_orders import (
    NONE,
    STATES,
    amount_of,
    asked_units,
    expiry_of,
    in_force_of,
    price_of,
    quantity_of,
    symbol_of,
    type_of,
)
from sandbox.faces.binance_wire import DECIMALS
from sandbox.trades import text_of

EXECUTIONS = {
    What.NEW: "NEW",
    What.TRIGGERED: "NEW",
    What.FILL: "TRADE",
    What.CANCELED: "CANCELED",
    What.EXPIRED: "EXPIRED",
    What.REJECTED: "REJECTED",
}
LATE_REJECTION = "INSUFFICIENT_BALANCES"


class Events:
    """Makes events of one account's news. `cancel_id`: the client id of the cancel of an order that is under way."""

    def __init__(self, balances: Mapping[str, Balance], now_ms: Callable[[], int], cancel_id: Callable[[int], str]):
        self._totals = {asset: sum(balance) for asset, balance in balances.items()}
        self._now_ms = now_ms
        self._cancel_id = cancel_id
        self._executions = itertools.count(now_ms() * 1000)
        self._orders_moved = False

    def of(self, news: News) -> list[str]:
        """The events that tell the news."""
        if isinstance(news, OrderNews):
            self._orders_moved = True
            return [self._event(self._report(news))]
        events = [] if self._orders_moved else self._deposits(news)
        self._orders_moved = False
        self._totals |= {asset: sum(balance) for asset, balance in news.balances.items()}
        rows = [
            {"a": asset, "f": amount_of(balance.free), "l": amount_of(balance.locked)}
            for asset, balance in news.balances.items()
        ]
        position = {"e": "outboundAccountPosition", "E": self._now_ms(), "u": news.time_ms, "B": rows}
        return [*events, self._event(position)]

    def _deposits(self, news: BalanceNews) -> list[str]:
        events = []
        for asset, balance in news.balances.items():
            delta = sum(balance) - self._totals.get(asset, 0)
            amount = ("-" if delta < 0 else "") + amount_of(abs(delta))
            update = {"e": "balanceUpdate", "E": self._now_ms(), "a": asset, "d": amount, "T": news.time_ms}
            events.append(self._event(update))
        return events

    def _report(self, news: OrderNews) -> dict[str, Any]:
        order, fill = news.order, news.fill
        cancel_id = self._cancel_id(order.number) if news.what is What.CANCELED else ""
        report: dict[str, Any] = {
            "e": "executionReport",
            "E": self._now_ms(),
            "s": symbol_of(order),
            "c": cancel_id or order.client_id,
            "S": order.side.name,
            "o": type_of(order),
            "f": in_force_of(order),
            "q": quantity_of(order, asked_units(order)),
            "p": price_of(order),
            "P": text_of(order.stop_ticks, order.price_digits, DECIMALS),
            "F": NONE,
            "g": -1,
            "C": order.client_id if cancel_id else "",
            "x": EXECUTIONS[news.what],
            "X": STATES[order.status],
            "r": LATE_REJECTION if news.what is What.REJECTED else "NONE",
            "i": order.number,
            "l": text_of(fill.units, fill.quantity_digits, DECIMALS) if fill else NONE,
            "z": quantity_of(order, order.filled_units),
            "L": text_of(fill.ticks, fill.price_digits, DECIMALS) if fill else NONE,
            "n": amount_of(fill.fee) if fill else "0",
            "N": fill.fee_asset if fill else None,
            "T": news.time_ms,
            "t": fill.number if fill else -1,
            "I": next(self._executions),
            "w": _on_book(order),
            "m": fill.maker if fill else False,
            "M": False,
            "O": order.created_ms,
            "Z": amount_of(order.cost),
            "Y": amount_of(fill.cost) if fill else NONE,
            "Q": amount_of(order.quote_atoms),
            "V": "NONE",
        }
        if not order.waiting:
            report["W"] = order.created_ms
        if news.what is What.EXPIRED:
            report["eR"] = expiry_of(order)
        return report

    @staticmethod
    def _event(event: dict[str, Any]) -> str:
        return json.dumps(event, separators=(",", ":"))


def _on_book(order: Order) -> bool:
    return order.status.working and not order.waiting
