"""The account of a backtest as packed records, and how they are made out of settings and market rules.

`backtest.book` works on them, compiled or as plain Python. Money is in units, prices in ticks, quantities in lots,
rates in parts (`core.money`), times in ns of market time.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from backtest.result import DECISION, EQUITY, FILL, ORDER
from trader import costs
from trader.terms import MarketTerms, Terms

Array = np.ndarray[Any, Any]
Record = Any  # one record of a structured array, read and written by field name

NONE = -1  # no order, no decision

# Why an entry is not taken, by code: index in `account.refused`.
STALE_TRADE, UNTAPED_TRADE, MARKET_INACTIVE, HALTED = 1, 2, 3, 4
MAX_DAILY_LOSS, COOLDOWN, MAX_ORDERS_PER_MINUTE, MAX_OPEN_POSITIONS, BELOW_MINIMUM = 5, 6, 7, 8, 9
COSTS_EXCEED_STOP = 10
REFUSALS = (
    "",
    "stale",
    "untaped",
    "market_inactive",
    "halted",
    "max_daily_loss",
    "cooldown",
    "max_orders_per_minute",
    "max_open_positions",
    "below_minimum",
    costs.COSTS_EXCEED_STOP,
)

# Why trading is halted, by code.
ACTIVE, MAX_DRAWDOWN_PCT, MAX_CONSECUTIVE_LOSSES = 0, 1, 2
HALTS = ("", "max_drawdown_pct", "max_consecutive_losses")

# `trader.terms.Terms` without what the account does not ask; 0 switches a limit off.
TERMS = np.dtype(
    [
        ("keep", "<f8"),
        ("trade_capital", "<i8"),
        ("instant", "<i8"),  # 1: PAPER_FILL=instant
        ("latency_ns", "<i8"),
        ("participation", "<i8"),
        ("timeout_ns", "<i8"),
        ("slippage", "<i8"),
        ("tax_buy", "<i8"),
        ("tax_sell", "<i8"),
        ("max_daily_loss", "<i8"),
        ("max_drawdown", "<i8"),
        ("max_consecutive_losses", "<i8"),
        ("cooldown_ns", "<i8"),
        ("max_orders_per_minute", "<i8"),
        ("max_open_positions", "<i8"),
        ("day_offset_ns", "<i8"),
    ]
)

MARKET = np.dtype(
    [
        ("num", "<i8"),
        ("den", "<i8"),
        ("min_lots", "<i8"),
        ("min_notional", "<i8"),
        ("max_lots", "<i8"),
        ("active", "<i8"),
    ]
)

# One pair: what is held, and the order that works; of that order the rest stands in its row of `orders`.
POSITION = np.dtype(
    [
        ("lots", "<i8"),
        ("cost", "<i8"),  # fees and taxes included
        ("highest", "<f8"),  # price seen since the first entry fill; 0 when flat
        ("opened_ms", "<i8"),  # 0 when flat
        ("ticks", "<i8"),  # of the last trade
        ("dust_lots", "<i8"),
        ("dust_cost", "<i8"),
        ("order", "<i8"),  # index in `orders` of the one that works, or NONE
        ("decided_ns", "<i8"),  # of it
        ("reserve", "<i8"),  # of the wallet, for what it has not yet bought
        ("unjudged", "<i8"),  # first entry decision of `candle` that waits for its close, or NONE
        ("candle", "<i8"),
    ]
)

ACCOUNT = np.dtype(
    [
        ("wallet", "<i8"),  # reserves included
        ("reserved", "<i8"),
        ("realized", "<i8"),
        ("fee", "<i8"),  # taker fee in force, parts
        ("costly", "<i8"),  # 1: COST_GATE takes no entry at this fee
        ("market_ns", "<i8"),  # newest exchange time seen
        ("minute", "<i8"),  # of market time, of the last equity row; -1 before the first
        ("halted", "<i8"),  # ACTIVE, MAX_DRAWDOWN_PCT or MAX_CONSECUTIVE_LOSSES
        ("day", "<i8"),
        ("day_realized", "<i8"),
        ("losses", "<i8"),  # in a row
        ("peak", "<i8"),  # highest equity
        ("cool_until_ns", "<i8"),
        ("entries", "<i8"),  # sent so far
        ("decisions", "<i8"),  # rows written so far; orders have as many
        ("fills", "<i8"),
        ("equities", "<i8"),
    ]
)

assert all(kind.itemsize % 8 == 0 for kind in (TERMS, MARKET, POSITION, ACCOUNT))


class Book(NamedTuple):
    """Everything the account reads and writes. The last four only grow: a row is changed until its order is over."""

    terms: Record
    account: Record
    markets: Array  # MARKET, one a pair
    positions: Array  # POSITION, one a pair
    entries_ns: Array  # int64: market times of the latest entries, a ring of MAX_ORDERS_PER_MINUTE
    refused: Array  # int64: entries not taken so far, by code
    decisions: Array
    orders: Array
    fills: Array
    equity: Array


class Trade(NamedTuple):
    """One trade as the account sees it."""

    pair: int
    flags: int
    number: int
    ns: int
    price: float
    ticks: int
    lots: int
    rsi: float
    bb_lower: float
    codes: int  # as in an UPDATE; 0 where it decides nothing
    candle: int  # tells the forming candle from all others of its pair


def write_terms(record: Record, terms: Terms) -> None:
    """The settings into a TERMS record."""
    for name in TERMS.names or ():
        record[name] = getattr(terms, name)


def write_market(record: Record, market: MarketTerms) -> None:
    """A market's rules into a MARKET record."""
    for name in MARKET.names or ():
        record[name] = getattr(market, name)


def write_fee(account: Record, fee: int, terms: Terms) -> None:
    """The fee in force, in parts, into an ACCOUNT, with what the cost gate says to it."""
    account["fee"] = fee
    account["costly"] = 1 if costs.refusal(fee, terms) else 0


def new_book(terms: Terms, markets: Sequence[MarketTerms], fee: int, room: int = 1024) -> Book:
    """An empty book; fee in parts. `room` is the first length of decisions, orders, fills and equity."""
    terms_array, account_array = np.zeros(1, TERMS), np.zeros(1, ACCOUNT)
    write_terms(terms_array[0], terms)
    account = account_array[0]
    account["wallet"] = account["peak"] = terms.paper_balance
    write_fee(account, fee, terms)
    account["minute"] = account["day"] = -1
    rules = np.zeros(len(markets), MARKET)
    for record, market in zip(rules, markets, strict=True):
        write_market(record, market)
    return Book(
        terms=terms_array[0],
        account=account,
        markets=rules,
        positions=new_positions(len(markets)),
        entries_ns=np.zeros(max(1, terms.max_orders_per_minute), np.int64),
        refused=np.zeros(len(REFUSALS), np.int64),
        decisions=np.zeros(room, DECISION),
        orders=np.zeros(room, ORDER),
        fills=np.zeros(room, FILL),
        equity=np.zeros(room, EQUITY),
    )


def new_positions(count: int) -> Array:
    """POSITIONs of pairs that hold nothing."""
    positions = np.zeros(count, POSITION)
    positions["order"] = positions["unjudged"] = positions["candle"] = NONE
    return positions
