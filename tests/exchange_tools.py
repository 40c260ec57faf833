"""A market made of written-down prints, and an exchange over it, for tests of the sandbox's matching."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.exchange.books import Books
from sandbox.exchange.exchange import Exchange
from sandbox.exchange.orders import ATOMS, Kind, NewOrder, News, Order, OrderNews, Refusal, Side
from sandbox.exchange.profiles import PROFILES
from sandbox.tape_market import Recording, TapeMarket
from sandbox.trades import Trades

PAIR = "B-BTC_USDT"
ME = "me"
D = Decimal


def market_of(prints: list[tuple[int, int, int]], digits: tuple[int, int] = (2, 5)) -> TapeMarket:
    """A market of (ms, ticks, units); prices have two decimals and quantities five unless said otherwise."""
    at, ticks, units = (np.array(column, np.int64) for column in zip(*prints, strict=True))
    return TapeMarket(Recording(Trades(at, ticks, units, np.zeros(len(prints), np.bool_)), *digits, 0), PAIR)


class Desk:
    """An exchange with what it told, and short words for orders."""

    def __init__(
        self,
        prints: list[tuple[int, int, int]],
        venue: str = "binance",
        path: Path | Books | None = None,
        now_ms: int = 1_000,
        quote: int = 100_000,
        base: int = 10,
        digits: tuple[int, int] = (2, 5),
    ) -> None:
        start = {"USDT": quote * ATOMS, "BTC": base * ATOMS}
        self.market = market_of(prints, digits)
        books = path if isinstance(path, Books) else Books(path)
        self.exchange = Exchange(self.market, PROFILES[venue], books, {ME: "s", "other": "s"}, start, now_ms)
        self.news: list[News] = []
        self.exchange.listen(ME, self.news.append)

    def ask(self, side: Side, now_ms: int, account: str = ME, **fields: Any) -> Order | Refusal:
        """Asks for an order; numbers as text, a limit order where there is a price."""
        for name in ("quantity", "quote_quantity", "price", "stop_price"):
            if name in fields:
                fields[name] = Decimal(fields[name])
        kind = Kind.LIMIT if "price" in fields else Kind.MARKET
        return self.exchange.create(account, NewOrder(pair=PAIR, side=side, kind=kind, **fields), now_ms)

    def placed(self, side: Side, now_ms: int, account: str = ME, **fields: Any) -> Order:
        order = self.ask(side, now_ms, account, **fields)
        assert isinstance(order, Order), order
        return order

    def buy(self, now_ms: int, **fields: Any) -> Order:
        return self.placed(Side.BUY, now_ms, **fields)

    def sell(self, now_ms: int, **fields: Any) -> Order:
        return self.placed(Side.SELL, now_ms, **fields)

    def at(self, now_ms: int, order: Order) -> Order:
        """The order as it stands at a time."""
        self.exchange.advance(now_ms)
        found = self.exchange.order(order.account, number=order.number)
        assert found is not None
        return found

    def fills(self, order: Order) -> list[tuple[int, int, bool]]:
        """(ticks, units, maker) of the order's fills."""
        return [(f.ticks, f.units, f.maker) for f in self.exchange.fills(order.account, order=order.number)]

    def told(self) -> list[tuple[str, str]]:
        """(what, status) of the order news."""
        return [(one.what.value, one.order.status.value) for one in self.news if isinstance(one, OrderNews)]


def imbalance(exchange: Exchange) -> dict[str, int]:
    """What each asset lacks of summing to 0 over all accounts; nothing when all is well."""
    sums: dict[str, int] = {}
    for (_, asset), balance in exchange.everything().items():
        sums[asset] = sums.get(asset, 0) + balance.free + balance.locked
    return {asset: amount for asset, amount in sums.items() if amount}
