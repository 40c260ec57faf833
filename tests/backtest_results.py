"""Results made by hand: a small account that buys and sells as it is told, kept by the bot's own money functions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backtest.result import (
    BAR,
    CONFIRMED,
    DECISION,
    ENTER,
    EQUITY,
    EXIT,
    FILL,
    FILLED,
    MEAN_REVERSION,
    ORDER,
    TAKE_PROFIT,
    Held,
    Result,
    Span,
)
from bus.messages import Market, Start
from core.money import UNIT, notional_floor, share_ceil, to_parts
from trader.fills import buy_cost, sell_proceeds
from trader.terms import MarketTerms, market_terms

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
T0 = 1_704_067_200 * SECOND  # 2024-01-01 00:00 UTC, a Monday


def a_market(pair: str = "B-BTC_USDT", tick: str = "1", step: str = "1") -> Market:
    """A market in which a lot at a tick is worth one of the quote currency, unless said otherwise."""
    return Market(pair, "BTC", "USDT", tick, step, "0", "0")


def a_start(*markets: Market, fee: str = "0") -> Start:
    """Body of a START record."""
    return Start("sandbox", "sim-sandbox-test", list(markets) or [a_market()], fee, fee, False, T0)


@dataclass
class Pair:
    """What the account knows of one pair."""

    terms: MarketTerms
    lots: int = 0
    cost: int = 0
    dust_lots: int = 0
    dust_cost: int = 0
    ticks: int = 0
    first: tuple[int, float] | None = None
    last: tuple[int, float] | None = None


@dataclass
class Account:
    """Writes down a run: times in ns after T0, prices in ticks, quantities in lots."""

    opening: int = 1_000  # of the quote currency
    fee_bps: str = "0"
    tax_buy_bps: str = "0"
    tax_sell_bps: str = "0"
    markets: Sequence[Market] = ()
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start = a_start(*self.markets, fee=self.fee_bps)
        self.pairs = [Pair(market_terms(market)) for market in self.start.markets]
        self.wallet = self.opening * UNIT
        self.realized = 0
        self.number = 0
        self.decisions: list[tuple[Any, ...]] = []
        self.orders: list[list[Any]] = []
        self.fills: list[tuple[Any, ...]] = []
        self.equity: list[tuple[int, ...]] = []
        self.bars: list[tuple[Any, ...]] = []
        self.fee = to_parts(self.fee_bps, "fee")
        self.tax_buy = to_parts(self.tax_buy_bps, "tax")
        self.tax_sell = to_parts(self.tax_sell_bps, "tax")

    def quote(self, at: int, ticks: int, pair: int = 0, *, row: bool = True) -> "Account":
        """A trade at a price; with `row` an equity row after it."""
        self._see(at, ticks, pair)
        if row:
            self._row(at)
        return self

    def buy(
        self, at: int, ticks: int, lots: int = 1, pair: int = 0, *, reason: int = MEAN_REVERSION, ghost: int = CONFIRMED
    ) -> "Account":
        """An entry that fills at once."""
        self._see(at, ticks, pair)
        terms, order = self.pairs[pair].terms, self._decide(at, ticks, lots, pair, ENTER, reason, ghost)
        cash = buy_cost(ticks, lots, terms.num, terms.den, self.fee, self.tax_buy)
        self.pairs[pair].lots += lots
        self.pairs[pair].cost += cash
        self.wallet -= cash
        self._fill(order, at, ticks, lots, cash, self.tax_buy)
        return self

    def sell(
        self,
        at: int,
        ticks: int,
        lots: int | None = None,
        pair: int = 0,
        *,
        reason: int = TAKE_PROFIT,
        dust: bool = False,
    ) -> "Account":
        """An exit that fills at once: of everything unless `lots` is said; with `dust` what stays is put aside."""
        self._see(at, ticks, pair)
        held = self.pairs[pair]
        lots = held.lots if lots is None else lots
        order = self._decide(at, ticks, lots, pair, EXIT, reason, 0)
        cash = sell_proceeds(ticks, lots, held.terms.num, held.terms.den, self.fee, self.tax_sell)
        share = share_ceil(held.cost, lots, held.lots)
        held.lots -= lots
        held.cost -= share
        self.wallet += cash
        self.realized += cash - share
        self.orders[order][6] = share
        if dust:
            held.dust_lots, held.dust_cost = held.dust_lots + held.lots, held.dust_cost + held.cost
            held.lots = held.cost = 0
        self._fill(order, at, ticks, lots, cash, self.tax_sell)
        return self

    def leg(self, at: int, bought: int, sold: int, *, held_ns: int = MINUTE, **entry: Any) -> "Account":
        """One lot bought and sold."""
        return self.buy(at, bought, **entry).sell(at + held_ns, sold, pair=entry.get("pair", 0))

    def bar(self, at: int, ohlc: tuple[float, float, float, float], pair: int = 0, volume: float = 1.0) -> "Account":
        """A candle for the chart."""
        self.bars.append((T0 + at, *ohlc, volume, pair, 1))
        return self

    def result(self, **more: Any) -> Result:
        """The run so far."""
        settings = {
            "PAPER_BALANCE": str(self.opening),
            "TRADE_CAPITAL": str(self.opening),
            "TIMEFRAME": "1m",
            "TAKER_FEE_BPS": "",
            "SLIPPAGE_BPS": "0",
            "TAX_BUY_BPS": self.tax_buy_bps,
            "TAX_SELL_BPS": self.tax_sell_bps,
            "DAY_OFFSET_MINUTES": "0",
            "PAPER_FILL": "tape",
            "PAPER_LATENCY_MS": "100",
        } | self.settings
        held = [
            Held(at, pair.lots, pair.cost, pair.dust_lots, pair.dust_cost, None, pair.ticks)
            for at, pair in enumerate(self.pairs)
        ]
        spans = [
            Span(at, pair.first[0], pair.last[0], pair.first[1], pair.last[1])
            for at, pair in enumerate(self.pairs)
            if pair.first is not None and pair.last is not None
        ]
        return Result(
            start=self.start,
            settings=settings,
            decisions=np.array(self.decisions, DECISION),
            orders=np.array([tuple(order) for order in self.orders], ORDER),
            fills=np.array(self.fills, FILL),
            equity=np.array(self.equity, EQUITY),
            bars=np.array(self.bars, BAR),
            trades=self.number,
            late=0,
            unknown=0,
            wallet=self.wallet,
            realized=self.realized,
            fee=self.fee,
            held=held,
            spans=spans,
            **more,
        )

    def _see(self, at: int, ticks: int, pair: int) -> None:
        self.number += 1
        seen = self.pairs[pair]
        seen.ticks = ticks
        price = ticks * float(seen.terms.scale.tick)
        seen.first = seen.first or (T0 + at, price)
        seen.last = (T0 + at, price)

    def _decide(self, at: int, ticks: int, lots: int, pair: int, action: int, reason: int, ghost: int) -> int:
        price = ticks * float(self.pairs[pair].terms.scale.tick)
        self.decisions.append((T0 + at, self.number, price, 25.0, price + 1, lots, pair, action, reason, ghost, 0))
        self.orders.append([T0 + at, self.number, ticks, lots, lots, 0, 0, pair, action, FILLED, 0, 0])
        return len(self.orders) - 1

    def _fill(self, order: int, at: int, ticks: int, lots: int, cash: int, tax: int) -> None:
        self.orders[order][5] = cash
        terms = self.pairs[self.orders[order][7]].terms
        buying = self.orders[order][8] == ENTER
        whole = buy_cost if buying else sell_proceeds
        bare = whole(ticks, lots, terms.num, terms.den, 0, 0)
        fee = abs(whole(ticks, lots, terms.num, terms.den, self.fee, 0) - bare)
        taxed = abs(whole(ticks, lots, terms.num, terms.den, 0, tax) - bare)
        self.fills.append((T0 + at, self.number, order, ticks, lots, cash, fee, taxed))
        self._row(at)

    def _row(self, at: int) -> None:
        value = unrealized = 0
        for pair in self.pairs:
            if pair.lots:
                scale = (pair.ticks, pair.lots, pair.terms.num, pair.terms.den)
                value += notional_floor(*scale)
                unrealized += sell_proceeds(*scale, self.fee, self.tax_sell) - pair.cost
        self.equity.append((T0 + at, self.number, self.wallet, value, unrealized, self.realized))
