"""Kraken's private streams: `executions` and `balances`, and orders given over the socket.

A later update of an order carries its ids and what changed, nothing else; each channel of a socket counts its messages
from 1.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from sandbox.exchange.orders import (
    ATOM_DIGITS,
    Balance,
    BalanceNews,
    FeeIn,
    Fill,
    News,
    Order,
    OrderNews,
    Status,
    What,
    decimal_of,
)
from sandbox.faces.kraken_account import Json, average, reason_of, state_of
from sandbox.faces.kraken_door import text_of
from sandbox.faces.kraken_ids import number_of_text, text_of_number
from sandbox.faces.kraken_limits import ENGINE
from sandbox.faces.kraken_names import Pair, rfc3339
from sandbox.faces.kraken_orders import Refused, invalid, tag_of, type_of
from sandbox.faces.kraken_private import PrivateFace
from sandbox.hub import Client

CHANNELS = ("executions", "balances")
METHODS = ("add_order", "cancel_order", "cancel_all")
SNAPSHOT_TRADES = 50
FIELDS = {  # of add_order: the name that AddOrder has for it
    "order_type": "ordertype",
    "side": "type",
    "order_qty": "volume",
    "limit_price": "price",
    "time_in_force": "timeinforce",
    "cl_ord_id": "cl_ord_id",
    "order_userref": "userref",
    "deadline": "deadline",
    "validate": "validate",
    "expire_time": "expiretm",
    "stp_type": "stptype",
}
OTHER_FIELDS = {"token", "symbol", "post_only", "fee_preference", "triggers", "cash_order_qty"}
_JSON = msgspec.json.Encoder(decimal_format="number")


class User:
    """The private side of the stream."""

    def __init__(self, private: PrivateFace) -> None:
        self._private = private

    def subscribe(self, params: Mapping[str, Any], client: Client) -> tuple[Json, list[str], Callable[[], None]]:
        """(what is acknowledged, snapshot frames, what ends it). Raises Refused."""
        account, token = self._account(params)
        self._private.exchange.advance(self._private.now_ms())
        begin = self._executions if params["channel"] == "executions" else self._balances
        acknowledged, feed, frames = begin(account, params, client)
        ends = [self._private.exchange.listen(account, feed.heard), self._private.tokens.use(token)]

        def leave() -> None:
            for end in ends:
                end()

        return {"channel": params["channel"]} | acknowledged, frames, leave

    def _executions(
        self, account: str, params: Mapping[str, Any], client: Client
    ) -> tuple[Json, "Executions", list[str]]:
        exchange = self._private.exchange
        wants = {name: _flag(params, name, name == "snap_orders") for name in ("snap_orders", "snap_trades")}
        feed = Executions(client, self._private.listing.names.pairs, _flag(params, "order_status", True))
        orders = exchange.open_orders(account) if wants["snap_orders"] else []
        fills = exchange.fills(account, limit=SNAPSHOT_TRADES, newest=True) if wants["snap_trades"] else []
        pairs = [(exchange.order(account, number=fill.order), fill) for fill in fills]
        told = [(order, fill) for order, fill in pairs if order]
        frames = feed.snapshot(orders, told) if any(wants.values()) else []
        return {"maxratecount": int(ENGINE.most)} | wants, feed, frames

    def _balances(self, account: str, params: Mapping[str, Any], client: Client) -> tuple[Json, "Balances", list[str]]:
        wants = _flag(params, "snapshot", True)
        feed = Balances(client, self._private.exchange.balances(account))
        return {"snapshot": wants}, feed, feed.snapshot() if wants else []

    def act(self, method: str, params: Mapping[str, Any]) -> Json:
        """The result of an order or a cancel. Raises Refused."""
        account, _ = self._account(params)
        if method == "add_order":
            order, _ = self._private.created(account, self._fields(params))
            client_id = {"cl_ord_id": params["cl_ord_id"]} if params.get("cl_ord_id") else {}
            return ({"order_id": text_of_number("O", order.number)} if order else {}) | client_id
        mine = self._private.exchange.open_orders(account)
        if method == "cancel_all":
            return {"count": self._private.cancelled(account, mine) if mine else 0}
        numbers = {number_of_text("O", one) for one in _texts(params, "order_id")}
        client_ids = set(_texts(params, "cl_ord_id"))
        chosen = [order for order in mine if order.number in numbers or (order.client_id in client_ids)]
        self._private.cancelled(account, chosen)
        return {
            name: one
            for name, one in (
                ("order_id", text_of_number("O", chosen[0].number)),
                ("cl_ord_id", chosen[0].client_id),
            )
            if one
        }

    def _account(self, params: Mapping[str, Any]) -> tuple[str, str]:
        """(account, token). Raises Refused."""
        token = params.get("token")
        account = self._private.tokens.account(token, self._private.now_s())
        if account is None:
            raise Refused("ESession:Invalid session")
        return account, str(token)

    @staticmethod
    def _fields(params: Mapping[str, Any]) -> Mapping[str, str]:
        """add_order's parameters as AddOrder's fields. Raises Refused."""
        unknown = (
            params.keys()
            - FIELDS.keys()
            - {"token", "symbol", "post_only", "fee_preference", "triggers", "cash_order_qty"}
        )
        if unknown:
            raise invalid(sorted(unknown)[0])
        fields = {FIELDS[name]: text_of(value) for name, value in params.items() if name in FIELDS}
        fields["pair"] = text_of(params.get("symbol"))
        flags = ["post"] if params.get("post_only") is True else []
        flags += {"base": ["fcib"], "quote": ["fciq"]}.get(text_of(params.get("fee_preference")), [])
        if params.get("cash_order_qty") is not None:
            fields["volume"] = text_of(params["cash_order_qty"])
            flags.append("viqc")
        triggers = params.get("triggers")
        if isinstance(triggers, dict):
            fields["price2"] = fields.get("price", "")
            fields["price"] = text_of(triggers.get("price"))
        return fields | {"oflags": ",".join(flags)}


class _Feed:
    """One channel of one socket."""

    channel = ""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._sequence = 0

    def _frame(self, kind: str, data: list[Json]) -> str:
        self._sequence += 1
        return _JSON.encode({"channel": self.channel, "type": kind, "data": data, "sequence": self._sequence}).decode()


class Executions(_Feed):
    """What happens to an account's orders."""

    channel = "executions"

    def __init__(self, client: Client, pairs: Mapping[str, Pair], every_status: bool) -> None:
        super().__init__(client)
        self._pairs = pairs
        self._every_status = every_status

    def snapshot(self, orders: list[Order], fills: list[tuple[Order, Fill]]) -> list[str]:
        data = [
            self._whole(order) | {"exec_type": "new", "order_status": _status(order)} | _sums(order) for order in orders
        ]
        data += [self._trade(order, fill) for order, fill in fills]
        return [self._frame("snapshot", data)]

    def heard(self, news: News) -> None:
        if isinstance(news, OrderNews):
            self._client.offer([self._frame("update", [one]) for one in self._events(news)])

    def _events(self, news: OrderNews) -> list[Json]:
        order, stamp = news.order, {"timestamp": rfc3339(news.time_ms)}
        ids = _ids(order)
        if news.what is What.NEW:
            new = ids | {"exec_type": "new", "order_status": "new"} | stamp
            if not self._every_status:
                return [self._whole(order) | new]
            return [self._whole(order) | {"exec_type": "pending_new", "order_status": "pending_new"} | stamp, new]
        if news.what is What.TRIGGERED:
            changed = ids | {"exec_type": "status", "order_status": "triggered"} | stamp
            return [changed] if self._every_status else []
        if news.what is What.FILL and news.fill is not None:
            events = [self._trade(order, news.fill)]
            if order.status is Status.FILLED:
                events.append(ids | {"exec_type": "filled", "order_status": "filled"} | _sums(order) | stamp)
            return events
        ended = "expired" if state_of(order) == "expired" else "canceled"
        why = {"reason": reason_of(order) or ""}
        return [ids | {"exec_type": ended, "order_status": ended} | _sums(order) | why | stamp]

    def _whole(self, order: Order) -> Json:
        """All that is known of an order when it is new."""
        tag, pair = tag_of(order), self._pairs[order.pair]
        row = _ids(order) | {
            "symbol": pair.symbol,
            "side": order.side.value,
            "order_type": type_of(order),
            "time_in_force": tag.in_force,
            "fee_ccy_pref": "fciq" if order.fee_in is FeeIn.QUOTE else "fcib",
            "cum_cost": Decimal(0),
            "stop_price": order.stop_price,
            "fee_usd_equiv": Decimal(0),
            "timestamp": rfc3339(order.created_ms),
        }
        if order.quote_atoms:
            row["cash_order_qty"] = order.quote_quantity
        else:
            row["order_qty"] = order.quantity
        if order.ticks:
            row |= {"limit_price": order.price, "limit_price_type": "static"}
        if order.trigger is not None:
            row["triggers"] = {"price": order.stop_price, "price_type": "static", "reference": "last"}
        if order.post_only:
            row["post_only"] = True
        return row

    def _trade(self, order: Order, fill: Fill) -> Json:
        pair = self._pairs[order.pair]
        fee = fill.fee_amount if fill.fee_asset == order.quote else fill.fee_amount * fill.price
        return (
            _ids(order)
            | {
                "exec_id": text_of_number("T", fill.number),
                "exec_type": "trade",
                "trade_id": fill.number,
                "symbol": pair.symbol,
                "side": fill.side.value,
                "last_qty": fill.quantity,
                "last_price": fill.price,
                "liquidity_ind": "m" if fill.maker else "t",
                "cost": fill.cost_amount,
                "order_status": "partially_filled",
                "order_type": type_of(order),
                "fee_usd_equiv": fee,
                "fees": [{"asset": fill.fee_asset, "qty": fill.fee_amount}],
                "timestamp": rfc3339(fill.time_ms),
            }
            | _sums(order)
        )


def _ids(order: Order) -> Json:
    row: Json = {"order_id": text_of_number("O", order.number)}
    userref = tag_of(order).userref
    if userref is not None:
        row["order_userref"] = userref
    if order.client_id:
        row["cl_ord_id"] = order.client_id
    return row


def _sums(order: Order) -> Json:
    return {"cum_qty": order.filled, "cum_cost": order.cost_amount, "avg_price": average(order.average_price)}


def _status(order: Order) -> str:
    return "partially_filled" if order.status is Status.PARTIAL else "new"


class Balances(_Feed):
    """What an account has, held by orders or not; each change as an entry of the ledger."""

    channel = "balances"

    def __init__(self, client: Client, balances: Mapping[str, Balance]) -> None:
        super().__init__(client)
        self._totals = {asset: one.free + one.locked for asset, one in balances.items()}

    def snapshot(self) -> list[str]:
        data = []
        for asset, total in self._totals.items():
            balance = decimal_of(total, ATOM_DIGITS)
            wallet = {"type": "spot", "id": "main", "balance": balance}
            data.append({"asset": asset, "asset_class": "currency", "balance": balance, "wallets": [wallet]})
        return [self._frame("snapshot", data)]

    def heard(self, news: News) -> None:
        if not isinstance(news, BalanceNews):
            return
        data = []
        for asset, one in news.balances.items():
            total = one.free + one.locked
            change = total - self._totals.get(asset, 0)
            if change:
                self._totals[asset] = total
                data.append(self._entry(asset, change, total, news.time_ms))
        if data:
            self._client.offer([self._frame("update", data)])

    def _entry(self, asset: str, change: int, total: int, time_ms: int) -> Json:
        """An entry of the ledger; fees are part of its amount."""
        number = time_ms * 1000 + self._sequence % 1000
        return {
            "ledger_id": text_of_number("L", number),
            "ref_id": text_of_number("T", number),
            "timestamp": rfc3339(time_ms),
            "type": "trade",
            "asset": asset,
            "asset_class": "currency",
            "category": "trade",
            "wallet_type": "spot",
            "wallet_id": "main",
            "amount": decimal_of(change, ATOM_DIGITS),
            "fee": Decimal(0),
            "balance": decimal_of(total, ATOM_DIGITS),
        }


def _flag(params: Mapping[str, Any], name: str, default: bool) -> bool:
    value = params.get(name, default)
    if not isinstance(value, bool):
        raise Refused(f"{name} must be true or false")
    return value


def _texts(params: Mapping[str, Any], name: str) -> list[str]:
    """A list of ids. Raises Refused where it is none."""
    value = params.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise invalid(name)
    return value
