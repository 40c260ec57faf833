"""The trigger-price form of the backtest: from one interesting trade to the next over plain columns.

Per candle each rule's trigger price is computed once (`backtest.trigger_prices`). While flat the walk looks for the
next price at or below the entry trigger, while long for one at the stop or at the take-profit trigger, a block of
prices at a time; what it finds goes through `backtest.book`, with what the rules themselves say of it. Everything in
between changes nothing but `highest`. Plain functions, compiled by `backtest.compiled`.
"""

from typing import NamedTuple

import numpy as np

from backtest.book import judge_entries, room, tick
from backtest.gather import BLOCK, NS_PER_MINUTE
from backtest.layout import NONE, Book, Trade
from backtest.trigger_prices import ALWAYS, NEVER, entry_edges, exit_edges, reading
from bus.layouts import WARM
from indicators import rules
from indicators.candles import NOT_YET
from indicators.layout import Array, Record

# Where a walk stands: the next trade, the candle it forms in, the next minute to begin, the triggers of the candle.
CURSOR = np.dtype(
    [
        ("at", "<i8"),
        ("candle", "<i8"),  # index in the table of the candle that forms; -1 before the first trade
        ("ends", "<i8"),  # first trade behind it
        ("minute", "<i8"),  # index in `minutes` of the next one
        ("seen", "<i8"),  # trades whose times `market_ns` has seen, where times go back
        ("enters", "<f8"),  # no entry above this price; nan where not yet computed for this candle
        ("sells", "<f8"),  # no take-profit below this price; nan likewise
    ]
)

# Where compiled code finds the arrays of a book and of a market: addresses and lengths.
BOOK_ARRAYS = Book._fields
MARKET_ARRAYS = ("ns", "price", "ticks", "lots", "minutes", "table")
WALK_ARRAYS = (*BOOK_ARRAYS, *MARKET_ARRAYS, "params", "cursor")
TABLE = np.dtype(
    [("ordered", "<i8")] + [(name, "<i8") for name in WALK_ARRAYS] + [(f"{name}_length", "<i8") for name in WALK_ARRAYS]
)


class Market(NamedTuple):
    """What a walk reads: the columns of `backtest.columns`, and the candles of one setting."""

    ns: Array
    price: Array
    ticks: Array
    lots: Array
    ordered: bool
    minutes: Array
    table: Array  # gather.CANDLE_ROW


def new_cursor() -> Array:
    """A cursor before the first trade, an array of one."""
    cursor = np.zeros(1, CURSOR)
    cursor["candle"] = -1
    return cursor


def walk(book: Book, params: Record, market: Market, cursor: Record) -> bool:
    """Walk until the trades are over, or until the arrays of the book may not hold what comes next: then False."""
    count = int(market.price.size)
    position = book.positions[0]
    at = int(cursor["at"])
    while at < count:
        if at == cursor["ends"]:
            next_candle(book, params, market, cursor, at)
        minute = int(market.minutes[cursor["minute"]]) if cursor["minute"] < market.minutes.size else count
        working, held = position["order"] != NONE, position["lots"] > 0
        if not working and at != minute:
            stop = min(int(cursor["ends"]), minute)
            if held:
                at = look_long(book, params, market, cursor, at, stop)
            else:
                at = look_flat(params, market, cursor, at, stop)
            if at == stop:
                continue
        cursor["at"] = at
        if room(book) < 1:
            return False
        if working or held or market.price[at] <= entry_trigger(params, market, cursor) or is_limited(book):
            act(book, params, market, cursor, at)
        else:
            rest(book, market, at)
        if at == minute:
            cursor["minute"] += 1
        at += 1
    cursor["at"] = at
    if count > 0:
        position["ticks"] = market.ticks[count - 1]
    return True


def next_candle(book: Book, params: Record, market: Market, cursor: Record, at: int) -> None:
    """Trade `at` closes a candle and opens the next; entries taken in the closed one are judged by its close."""
    if cursor["candle"] >= 0 and book.positions[0]["unjudged"] != NONE:
        close = market.price[at - 1]
        rsi, lower = reading(market.table[cursor["candle"]], params, close)
        judge_entries(book, 0, cursor["candle"], rsi, close, lower, params["rsi_buy"], params["rsi_crash"])
    cursor["candle"] += 1
    following = cursor["candle"] + 1
    cursor["ends"] = market.table[following]["first"] if following < market.table.size else market.price.size
    cursor["enters"] = NOT_YET
    cursor["sells"] = NOT_YET


def entry_trigger(params: Record, market: Market, cursor: Record) -> float:
    """The price above which no entry rule holds in this candle."""
    enters = float(cursor["enters"])
    if enters != enters:
        row = market.table[cursor["candle"]]
        enters = entry_edges(row, params)[1] if row["closed"] >= params["needed"] else NEVER
        cursor["enters"] = enters
    return enters


def look_flat(params: Record, market: Market, cursor: Record, at: int, stop: int) -> int:
    """The first trade from `at` on that may enter; `stop` where there is none before it."""
    price, enters = market.price, entry_trigger(params, market, cursor)
    while at + BLOCK <= stop:
        hits = 0
        for k in range(at, at + BLOCK):
            hits += price[k] <= enters
        if hits > 0:
            break
        at += BLOCK
    while at < stop and price[at] > enters:
        at += 1
    return at


def look_long(book: Book, params: Record, market: Market, cursor: Record, at: int, stop: int) -> int:
    """The first trade from `at` on that may exit; `stop` where there is none before it. `highest` moves on the way."""
    if cursor["sells"] != cursor["sells"]:
        row = market.table[cursor["candle"]]
        cursor["sells"] = exit_edges(row, params)[0] if row["closed"] >= params["needed"] else ALWAYS
    price, sells, keep = market.price, cursor["sells"], book.terms["keep"]
    highest = book.positions[0]["highest"]
    stopped = highest * keep
    while at < stop:
        end = min(at + BLOCK, stop)
        hits = 0
        for k in range(at, end):
            hits += (price[k] <= stopped) | (price[k] >= sells) | (price[k] > highest)
        while hits > 0 and at < end:
            if price[at] > highest:
                highest = price[at]
                stopped = highest * keep
            if price[at] >= sells or rules.trailing_stop(price[at], highest, keep):
                book.positions[0]["highest"] = highest
                return at
            at += 1
        at = end
    book.positions[0]["highest"] = highest
    return at


def is_limited(book: Book) -> bool:
    """Whether the account must be looked at each minute even while it holds nothing and waits for nothing."""
    return bool(book.terms["max_drawdown"] > 0)


def rest(book: Book, market: Market, at: int) -> None:
    """A minute begins for an account that holds nothing and waits for nothing: a row of equity, as `tick` writes it."""
    account = book.account
    ns = market.ns[at]
    account["market_ns"] = ns
    account["minute"] = ns // NS_PER_MINUTE
    row = book.equity[account["equities"]]
    row["ns"] = ns
    row["number"] = at
    row["balance"] = account["wallet"]
    row["position_value"] = 0
    row["unrealized"] = 0
    row["realized"] = account["realized"]
    account["equities"] += 1


def act(book: Book, params: Record, market: Market, cursor: Record, at: int) -> None:
    """One trade goes through the account, with what the rules say of it."""
    row = market.table[cursor["candle"]]
    price = market.price[at]
    rsi, lower = reading(row, params, price)
    codes = 0
    if row["closed"] >= params["needed"]:
        codes = WARM | rules.entry_reason(rsi, price, lower, params["rsi_buy"], params["rsi_crash"])
        codes |= rules.exit_code(rsi, params["rsi_sell"])
    if not market.ordered:
        newest = book.account["market_ns"]
        for k in range(cursor["seen"], at):
            newest = max(newest, market.ns[k])
        book.account["market_ns"] = newest
        cursor["seen"] = at
    # What a flat account does not ask is not read: far apart, a column costs more to reach than all of the above.
    ticks = lots = 0
    if codes & ~WARM != 0 or book.positions[0]["lots"] > 0 or book.positions[0]["order"] != NONE:
        ticks = market.ticks[at]
    if book.positions[0]["order"] != NONE:
        lots = market.lots[at]
    tick(book, Trade(0, 0, at, market.ns[at], price, ticks, lots, rsi, lower, codes, cursor["candle"]))
