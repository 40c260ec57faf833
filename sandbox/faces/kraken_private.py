"""Kraken's private REST face, written from the fact sheet: orders, fills, balances, fees, tokens.

POST alone, form or JSON; HTTP 200 also for refusals. What is told is as old as the request: prints up to now are
matched first.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from fastapi import FastAPI, Request, Response

from core.clock import NS_PER_S
from sandbox.exchange.checks import sized
from sandbox.exchange.exchange import Exchange
from sandbox.exchange.orders import Order, Refusal
from sandbox.faces.kraken_account import (
    Json,
    Trade,
    balance_rows,
    extended_rows,
    fee_row,
    order_row,
    trade_row,
    trades_of,
)
from sandbox.faces.kraken_door import Door, Fields
from sandbox.faces.kraken_ids import number_of_text, text_of_number
from sandbox.faces.kraken_limits import ENGINE, Counter, Counters, cancel_cost
from sandbox.faces.kraken_listing import Listing
from sandbox.faces.kraken_names import rfc3339_s
from sandbox.faces.kraken_orders import Refused, flag, invalid, refusal_text, tag_of, userref_of, wanted, whole
from sandbox.faces.kraken_public import PublicFace

PAGE = 50
IDS_MOST = 20  # in one query
HISTORY_MOST = 10_000  # orders and fills that pages are made of, the newest
TOKEN_S = 900
TOKENS_MOST = 1000

Handler = Callable[[str, Fields], Json]


class Tokens:
    """Tokens of the private streams: good for 15 minutes, and as long as a stream uses them."""

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[str, float]] = {}  # token: (account, until s)
        self._used: dict[str, int] = {}

    def make(self, account: str, now_s: float) -> str:
        live = {token: one for token, one in self._tokens.items() if one[1] > now_s or self._used.get(token)}
        self._tokens = dict(list(live.items())[-TOKENS_MOST:])
        token = secrets.token_urlsafe(32)
        self._tokens[token] = (account, now_s + TOKEN_S)
        return token

    def account(self, token: object, now_s: float) -> str | None:
        """Whose token it is; None where it is unknown or too old."""
        known = self._tokens.get(token) if isinstance(token, str) else None
        if known is None or (known[1] <= now_s and not self._used.get(str(token))):
            return None
        return known[0]

    def use(self, token: str) -> Callable[[], None]:
        """A stream begins to use a token; the answer ends that."""
        self._used[token] = self._used.get(token, 0) + 1

        def end() -> None:
            self._used[token] -= 1
            if not self._used[token]:
                del self._used[token]

        return end


class PrivateFace:
    """The private endpoints over one exchange. The account is its API key."""

    def __init__(self, listing: Listing, public: PublicFace, limit: Counter) -> None:
        self.listing = listing
        self.place = listing.place
        self.tokens = Tokens()
        self._answer = public.answer
        self._door = Door(listing.place.exchange.secret, limit)
        self._engine = Counters(ENGINE)
        self._switch: asyncio.TimerHandle | None = None

    @property
    def exchange(self) -> Exchange:
        return self.place.exchange

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes; how the venue says no, the public face knows."""
        handlers: dict[str, Handler] = {
            "AddOrder": self.add_order,
            "CancelOrder": self.cancel_order,
            "CancelAll": self.cancel_all,
            "CancelAllOrdersAfter": self.cancel_all_after,
            "OpenOrders": self.open_orders,
            "ClosedOrders": self.closed_orders,
            "QueryOrders": self.query_orders,
            "TradesHistory": self.trades_history,
            "QueryTrades": self.query_trades,
            "Balance": self.balance,
            "BalanceEx": self.balance_ex,
            "TradeVolume": self.trade_volume,
            "GetWebSocketsToken": self.token,
            "GetApiKeyInfo": self.key_info,
        }
        for name, handler in handlers.items():
            app.add_api_route(f"/0/private/{name}", self._route(name, handler), methods=["POST"])

    def _route(self, name: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            body = await request.body()
            account, fields = self._door.admitted(name, request.headers, body, self.now_s())
            self.exchange.advance(self.now_ms())
            return self._answer(handler(account, fields))

        return answer

    def now_ms(self) -> int:
        return self.place.clock.now_ms()

    def now_s(self) -> float:
        """Of the machine: what tokens and counters count in."""
        return self.place.wall.monotonic_ns() / NS_PER_S

    # --- orders ---

    def add_order(self, account: str, fields: Fields) -> Json:
        order, text = self.created(account, fields)
        return {"descr": {"order": text}} | ({"txid": [text_of_number("O", order.number)]} if order else {})

    def created(self, account: str, fields: Fields) -> tuple[Order | None, str]:
        """(the order, or None where it was to be validated alone; its description). Raises Refused."""
        pair = self.listing.names.find(fields.get("pair", ""))
        if pair is None:
            raise Refused("EQuery:Unknown asset pair")
        now_ms = self.now_ms()
        asked = wanted(fields, pair, now_ms, self.place.server_ms())
        price = asked.new.price if asked.new.price is not None else asked.new.stop_price
        if asked.validate:
            last = self.exchange.last_ticks(pair.pair, now_ms)
            found = sized(asked.new, pair.rules, self.exchange.trading(pair.pair), self.exchange.profile, last)
            if isinstance(found, Refusal):
                raise Refused(refusal_text(found, pair, price))
            return None, asked.text
        if not self._engine.take(f"{account} {pair.key}", 1, self.now_s()):
            raise Refused("EOrder:Rate limit exceeded")
        made = self.exchange.create(account, asked.new, now_ms)
        if isinstance(made, Refusal):
            raise Refused(refusal_text(made, pair, price))
        return made, asked.text

    def cancel_order(self, account: str, fields: Fields) -> Json:
        txid, client_id = fields.get("txid", ""), fields.get("cl_ord_id", "")
        if bool(txid) == bool(client_id):
            raise invalid("txid")
        number = number_of_text("O", txid)
        if client_id:
            mine = [order for order in self.exchange.open_orders(account) if order.client_id == client_id]
        elif number is not None:
            mine = [order for order in self.exchange.open_orders(account) if order.number == number]
        elif txid.lstrip("-").isdigit():
            userref = userref_of({"userref": txid})
            mine = [order for order in self.exchange.open_orders(account) if tag_of(order).userref == userref]
        else:
            mine = []
        return {"count": self.cancelled(account, mine)}

    def cancelled(self, account: str, orders: list[Order]) -> int:
        """How many of these are cancelled now. Raises Refused where none is."""
        count = 0
        for order in orders:
            now_ms = self.now_ms()
            done = self.exchange.cancel(account, now_ms, number=order.number)
            if not isinstance(done, Refusal):
                count += 1
                key = f"{account} {self.listing.names.pairs[order.pair].key}"
                self._engine.add(key, cancel_cost(now_ms - order.created_ms), self.now_s())
        if not count:
            raise Refused("EOrder:Unknown order")
        return count

    def cancel_all(self, account: str, fields: Fields) -> Json:
        orders = self.exchange.open_orders(account)
        return {"count": self.cancelled(account, orders) if orders else 0}

    def cancel_all_after(self, account: str, fields: Fields) -> Json:
        """The dead man's switch: all orders are cancelled so many seconds from now, unless it is called again."""
        if "timeout" not in fields:
            raise invalid("timeout")
        timeout_s, now_ms = whole(fields, "timeout", 0), self.now_ms()
        if timeout_s > 86_400:
            raise invalid("timeout")
        if self._switch is not None:
            self._switch.cancel()
            self._switch = None
        if timeout_s:
            delay_s = timeout_s / self.place.clock.speed
            self._switch = asyncio.get_running_loop().call_later(delay_s, self.cancel_all, account, {})
        trigger = rfc3339_s(now_ms + timeout_s * 1000) if timeout_s else "0"
        return {"currentTime": rfc3339_s(now_ms), "triggerTime": trigger}

    # --- what was ordered ---

    def open_orders(self, account: str, fields: Fields) -> Json:
        orders = [order for order in self.exchange.open_orders(account) if _fits(order, fields)]
        return {"open": self._rows(account, reversed(orders), flag(fields, "trades"))}

    def closed_orders(self, account: str, fields: Fields) -> Json:
        which = fields.get("closetime", "both") or "both"
        if which not in ("open", "close", "both"):
            raise invalid("closetime")
        start_ms, end_ms = self._bounds(fields, "O")
        found = []
        for order in self.exchange.orders(account, limit=HISTORY_MOST, newest=True):
            opened, closed = (start_ms < at <= end_ms for at in (order.created_ms, order.updated_ms))
            inside = {"open": opened, "close": closed, "both": opened or closed}[which]
            if not order.status.working and inside and _fits(order, fields):
                found.append(order)
        found.sort(key=lambda order: (order.updated_ms, order.number), reverse=True)
        first = whole(fields, "ofs", 0)
        rows = self._rows(account, found[first : first + PAGE], flag(fields, "trades"))
        return {"closed": rows} | ({} if flag(fields, "without_count") else {"count": len(found)})

    def query_orders(self, account: str, fields: Fields) -> Json:
        found = []
        for txid in _ids(fields):
            number = number_of_text("O", txid)
            order = self.exchange.order(account, number=number) if number is not None else None
            if order is None:
                raise Refused("EOrder:Unknown order")
            if userref_of(fields) in (None, tag_of(order).userref):
                found.append(order)
        return self._rows(account, found, flag(fields, "trades"))

    def _rows(self, account: str, orders: Any, with_trades: bool) -> Json:
        rows = {}
        for order in orders:
            fills = self.exchange.fills(account, order=order.number, limit=HISTORY_MOST) if with_trades else []
            ids = [text_of_number("T", fill.number) for fill in fills] if with_trades else None
            pair = self.listing.names.pairs[order.pair]
            rows[text_of_number("O", order.number)] = order_row(order, pair, ids)
        return rows

    # --- what was traded ---

    def trades_history(self, account: str, fields: Fields) -> Json:
        if fields.get("type", "all") not in ("", "all", "no position"):
            raise invalid("type")
        start_ms, end_ms = self._bounds(fields, "T")
        fills = self.exchange.fills(account, limit=HISTORY_MOST, newest=True)
        trades = trades_of(fills, flag(fields, "consolidate_taker", True))
        found = [trade for trade in reversed(trades) if start_ms < trade.time_ms <= end_ms]
        first = whole(fields, "ofs", 0)
        rows = self._trade_rows(account, found[first : first + PAGE])
        return {"trades": rows} | ({} if flag(fields, "without_count") else {"count": len(found)})

    def query_trades(self, account: str, fields: Fields) -> Json:
        found = []
        for txid in _ids(fields):
            number = number_of_text("T", txid)
            fills = self.exchange.fills(account, from_number=number, limit=1) if number is not None else []
            if not fills or fills[0].number != number:
                raise Refused("EQuery:Unknown transaction")
            found += trades_of(fills, False)
        return self._trade_rows(account, found)

    def _trade_rows(self, account: str, trades: list[Trade]) -> Json:
        names = self.listing.names
        return {
            trade.id: trade_row(
                trade, names.pairs[trade.first.pair], self.exchange.order(account, number=trade.first.order)
            )
            for trade in trades
        }

    # --- what there is ---

    def balance(self, account: str, fields: Fields) -> Json:
        return balance_rows(self.exchange.balances(account))

    def balance_ex(self, account: str, fields: Fields) -> Json:
        return extended_rows(self.exchange.balances(account))

    def trade_volume(self, account: str, fields: Fields) -> Json:
        names = [name for name in fields.get("pair", "").split(",") if name]
        pairs = [self.listing.names.find(name) for name in names]
        if None in pairs:
            raise Refused("EQuery:Unknown asset pair")
        profile = self.exchange.profile
        result: Json = {"currency": "ZUSD", "volume": "0.0000"}
        if pairs:
            for name, parts in (("fees", profile.taker_parts), ("fees_maker", profile.maker_parts)):
                result[name] = {pair.key: fee_row(Decimal(parts) / 10_000) for pair in pairs if pair}
        return result

    def token(self, account: str, fields: Fields) -> Json:
        return {"token": self.tokens.make(account, self.now_s()), "expires": TOKEN_S}

    def key_info(self, account: str, fields: Fields) -> Json:
        """The one key may ask and trade, from anywhere."""
        asks = ["query-funds", "query-open-trades", "query-closed-trades"]
        return {
            "apiKeyName": "sandbox",
            "apiKey": account,
            "nonce": fields.get("nonce", ""),
            "nonceWindow": 0,
            "permissions": [*asks, "modify-trades", "close-trades"],
            "validUntil": "0",
            "queryFrom": "0",
            "queryTo": "0",
            "ipAllowlist": [],
        }

    def _bounds(self, fields: Fields, letter: str) -> tuple[int, int]:
        """(start, end] in ms, of seconds or ids; all of time where they are not given."""
        bounds = []
        for name, default in (("start", -1), ("end", 1 << 60)):
            text = fields.get(name, "")
            number = number_of_text(letter, text)
            if number is not None:
                raise invalid(name)  # by id: not done
            try:
                bounds.append(round(Decimal(text) * 1000) if text else default)
            except ArithmeticError:
                raise invalid(name) from None
        return bounds[0], bounds[1]


def _ids(fields: Fields) -> list[str]:
    """The ids that a query names. Raises Refused where there are none or too many."""
    ids = [one for one in fields.get("txid", "").split(",") if one]
    if not 1 <= len(ids) <= IDS_MOST:
        raise invalid("txid")
    return ids


def _fits(order: Order, fields: Fields) -> bool:
    """Whether an order has the client id or userref that was asked for."""
    userref, client_id = userref_of(fields), fields.get("cl_ord_id", "")
    return (not client_id or order.client_id == client_id) and userref in (None, tag_of(order).userref)
