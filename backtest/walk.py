"""The fused loop over recorded market data: candles, indicators, rules and the account in one pass.

Plain functions: `walk_kernel` compiles `walk` with all it calls, and it runs uncompiled with the same result, to the
bit. A stretch of trades of one pair that need nothing but their forming candle moved is taken in blocks: indicators
for every trade of it (`indicators.folding.indicate`), then the account (`backtest.book`) only where something happens.
Everything else goes through `indicators.folding`, record by record. How records are cut into chunks changes nothing.

Where something happens, given what the pair holds:

* flat: an entry code
* long: take-profit, or a price at or below the running highest times `keep`
* an order works: every trade
* a minute of market time begins
"""

from typing import NamedTuple

import numpy as np

from backtest import book
from backtest.layout import NONE, Array, Book, Record, Trade
from bus.layouts import LATE, TRADE
from indicators import folding, rules
from indicators.candles import TOO_HIGH
from indicators.folding import RUN_MASK
from indicators.layout import BLOCK

RUN_LEAST = 4  # trades: a shorter run costs less record by record
AHEAD = 128  # trades: so far ahead of the one it reads the loop has memory fetched

# The functions of a run. Compiled they are inlined: handing the views over would cost more than what they do.
INLINED = (
    "run_of",
    "gather",
    "take_run",
    "newest_of",
    "next_of",
    "first_code",
    "first_time",
    "first_stop",
    "see",
    "candle_of",
)

# First and last trade of a pair that counted.
SEEN = np.dtype(
    [
        ("trades", "<i8"),  # 0: none yet
        ("first_ns", "<i8"),
        ("last_ns", "<i8"),
        ("first_price", "<f8"),
        ("last_price", "<f8"),
    ]
)

WALK = np.dtype(
    [
        ("known", "<i8"),  # pairs that the START in force names
        ("bars", "<i8"),  # 1: closed candles are wanted, with high, low and volume
        ("others", "<i8"),  # records so far that are no TRADE
    ]
)


# Where compiled code finds the arrays of Views and Book: addresses, and lengths where they are not given.
LENGTHS = ("entries_ns", "refused", "decisions", "orders", "fills", "equity", "closes", "rows")
ADDRESSES = (*LENGTHS, "terms", "account", "markets", "positions", "walk", "seen", "params", "heads", "work", "columns")
TABLE = np.dtype(
    [("pairs", "<i8"), ("dirty", "<i8"), ("update", "<i8")]
    + [(name, "<i8") for name in ADDRESSES]
    + [(f"{name}_length", "<i8") for name in LENGTHS]
)


class Views(NamedTuple):
    """Everything that `walk` reads and writes: the records under three readings, the indicators' state, the account."""

    trades: Array  # indicators.layout.TRADE_WORDS
    records: Array
    candles: Array  # CANDLE_RECORD
    walk: Record
    seen: Array  # SEEN, one a pair
    params: Record
    heads: Array
    closes: Array
    work: Record
    columns: Array  # int64; see `indicators.layout.BLOCK`
    values: Array  # the same as float64
    dirty: Array
    rows: Array  # ROW: closed candles, of which `work.rows` are there
    update: Array  # one UPDATE to write into
    book: Book


def walk(v: Views, first: int, start: int) -> int:
    """Take records from index `start` on, of which index 0 is number `first`; returns the first one not taken.

    That is before the end where an array has no more room: rows of closed candles are to be taken, the account's arrays
    to be replaced by longer ones with the same beginning.
    """
    count = v.trades.size
    at = start
    while 0 <= at < count and book.room(v.book) >= BLOCK:
        run = run_of(v, at)
        if run >= RUN_LEAST:
            take_run(v, at, run, first + at)
            at += run
        elif take_one(v, at, first + at):
            at += 1
        else:
            break
    return at


# --- runs of trades -----------------------------------------------------------------------------------


def run_of(v: Views, at: int) -> int:
    """How many trades from `at` on, at most a BLOCK, are of one pair and stay in its forming candle, once it is warm.

    Their prices are put together in `values`.
    """
    word = v.trades[at]["head"]
    pair = word >> 32
    expected = pair << 32 | TRADE
    if not 0 <= pair < v.walk["known"] or word & RUN_MASK != expected:
        return 0
    head = v.heads[pair]
    if head["closed"] < v.params["needed"]:
        return 0
    return gather(v.trades[at : at + BLOCK], v.values, expected, head["open_ns"], head["end_ns"])


def gather(trades: Array, prices: Array, expected: int, open_ns: int, end_ns: int) -> int:
    """As `indicators.folding.run_length`, with memory fetched ahead: indicators are computed while it comes."""
    for k in range(trades.size):
        fetch(trades, k + AHEAD)
        trade = trades[k]
        time_ns, price = trade["exchange_ns"], trade["price"]
        if trade["head"] & RUN_MASK != expected or time_ns < open_ns or time_ns >= end_ns:
            return k
        if not 0.0 < price < TOO_HIGH:
            return k
        prices[k] = price
    return int(trades.size)


def fetch(trades: Array, index: int) -> None:
    """Have a trade fetched from memory, where there is one: compiled an instruction of the processor, else nothing."""


def take_run(v: Views, at: int, run: int, number: int) -> None:
    """Take a run from `at` on, whose prices are in `values`."""
    pair = v.trades[at]["head"] >> 32
    head = v.heads[pair]
    folding.indicate(v.params, head, run, v.values, v.columns)
    if v.walk["bars"] != 0:
        move_candle(v, head, at, run)
    last = v.trades[at + run - 1]
    head["close"] = last["price"]
    head["trades"] += run
    head["number"] = number + run - 1
    head["time_ns"] = last["exchange_ns"]
    see(v.seen[pair], v.trades[at], last, run)
    newest_ns = newest_of(v.trades[at : at + run])
    place = 0
    while place < run:
        found = next_of(v, pair, at, place, run, newest_ns)
        if found == run:
            if newest_ns > v.book.account["market_ns"]:
                v.book.account["market_ns"] = newest_ns
            v.book.positions[pair]["ticks"] = last["ticks"]
            break
        if found > place:
            before_ns = newest_of(v.trades[at + place : at + found])
            if before_ns > v.book.account["market_ns"]:
                v.book.account["market_ns"] = before_ns
        tick_of_run(v, pair, at, found, number)
        place = found + 1


def newest_of(trades: Array) -> int:
    """The newest exchange time of trades."""
    newest_ns = trades[0]["exchange_ns"]
    for k in range(trades.size):
        newest_ns = max(newest_ns, trades[k]["exchange_ns"])
    return int(newest_ns)


def move_candle(v: Views, head: Record, at: int, run: int) -> None:
    """High, low and volume of the forming candle move by a run."""
    volume, high, low = head["volume"], head["high"], head["low"]
    for k in range(run):
        price = v.values[k]
        volume += v.trades[at + k]["quantity"]
        if price > high:
            high = price
        if price < low:
            low = price
    head["volume"] = volume
    head["high"] = high
    head["low"] = low


def see(seen: Record, first: Record, last: Record, count: int) -> None:
    """Note the first and the last trade of a pair."""
    if seen["trades"] == 0:
        seen["first_ns"] = first["exchange_ns"]
        seen["first_price"] = first["price"]
    seen["trades"] += count
    seen["last_ns"] = last["exchange_ns"]
    seen["last_price"] = last["price"]


def next_of(v: Views, pair: int, at: int, place: int, run: int, newest_ns: int) -> int:
    """The first place of a run, from `place` on, at which something happens, or `run`; `highest` moves up to there."""
    position, account = v.book.positions[pair], v.book.account
    if position["order"] != NONE:
        return place
    codes = v.columns[5 * BLOCK + place : 5 * BLOCK + run]
    found = place + first_code(codes, book.watched(position) << 32)
    ends_ns = book.minute_ends_ns(account)
    if newest_ns >= ends_ns:
        found = place + first_time(v.trades[at + place : at + found], ends_ns)
    if position["lots"] > 0:
        found = place + first_stop(position, v.values[place:found], v.book.terms["keep"])
    return found


# These loop over slices from 0 on: compiled, they look at several at a time.


def first_code(codes: Array, watch: int) -> int:
    """The first place whose code has one of the watched bits, or the length."""
    bits = 0
    for k in range(codes.size):
        bits |= codes[k]
    if bits & watch == 0:
        return int(codes.size)
    for k in range(codes.size):
        if codes[k] & watch != 0:
            return k
    return int(codes.size)


def first_time(trades: Array, time_ns: int) -> int:
    """The first place at or after a time, or the length."""
    for k in range(trades.size):
        if trades[k]["exchange_ns"] >= time_ns:
            return k
    return int(trades.size)


def first_stop(position: Record, prices: Array, keep: float) -> int:
    """The first place at which the trailing stop fires, or the length; `highest` moves up to there."""
    highest = position["highest"]
    limit = highest * keep
    busy = 0
    for k in range(prices.size):
        busy |= int(prices[k] <= limit) | int(prices[k] > highest)
    if busy == 0:
        return int(prices.size)
    for k in range(prices.size):
        price = prices[k]
        if price > highest:
            highest = price
        if rules.trailing_stop(price, highest, keep):
            position["highest"] = highest
            return k
    position["highest"] = highest
    return int(prices.size)


def tick_of_run(v: Views, pair: int, at: int, place: int, number: int) -> None:
    """The trade at this place of a run, with its indicators, comes before the account."""
    trade, head = v.trades[at + place], v.heads[pair]
    book.tick(
        v.book,
        Trade(
            pair,
            trade["head"] >> 16 & 0xFFFF,
            number + place,
            trade["exchange_ns"],
            trade["price"],
            trade["ticks"],
            trade["lots"],
            v.values[BLOCK + place],
            v.values[2 * BLOCK + place],
            v.columns[5 * BLOCK + place] >> 32,
            candle_of(head),
        ),
    )


# --- record by record -----------------------------------------------------------------------------------


def take_one(v: Views, at: int, number: int) -> bool:
    """Take any record; False where the rows of closed candles are full: take them and come again with the same one."""
    trade = v.trades[at]
    pair = trade["head"] >> 32 & 0xFFFFFFFF
    if trade["head"] & 0xFF != TRADE:
        if not take_other(v, at, pair, number):
            return False
        v.walk["others"] += 1
        return True
    if not take_trade(v, at, number):
        return False
    flags = trade["head"] >> 16 & 0xFFFF
    if flags & LATE != 0 or pair >= v.walk["known"]:
        return True
    see(v.seen[pair], trade, trade, 1)
    update = v.update[0]
    ns, price, codes = trade["exchange_ns"], trade["price"], int(update["codes"])
    if not book.matters(v.book, pair, ns, price, codes):
        book.pass_over(v.book, pair, flags, ns, price, trade["ticks"])
        return True
    book.tick(
        v.book,
        Trade(
            pair,
            flags,
            number,
            ns,
            price,
            trade["ticks"],
            trade["lots"],
            update["rsi"],
            update["bb_lower"],
            codes,
            candle_of(v.heads[pair]),
        ),
    )
    return True


def take_trade(v: Views, at: int, number: int) -> bool:
    """Fold a trade into candles and indicators, its UPDATE written to `update`; False as `take_one`."""
    while True:
        before = v.work["rows"]
        done = folding.take_trade(
            v.params, v.heads, v.closes, v.records[at], v.update[0], v.rows, v.work, v.dirty, number
        )
        judge_rows(v, before)
        if done or v.walk["bars"] != 0:
            return done


def take_other(v: Views, at: int, pair: int, number: int) -> bool:
    """Fold a record that is no TRADE; False as `take_one`."""
    while True:
        before = v.work["rows"]
        done = folding.take_other(v.params, v.heads, v.closes, v.candles[at], pair, v.rows, v.work, v.dirty, number)
        judge_rows(v, before)
        if done or v.walk["bars"] != 0:
            return done


def judge_rows(v: Views, before: int) -> None:
    """Candles have closed: the rows from `before` on. Entries decided inside them are judged."""
    for k in range(before, v.work["rows"]):
        row = v.rows[k]
        if row["pair"] < v.walk["known"]:
            book.judge_entries(
                v.book,
                int(row["pair"]),
                int(row["segment"]) << 32 | int(row["closed"]),
                row["rsi"],
                row["close"],
                row["bb_lower"],
                v.params["rsi_buy"],
                v.params["rsi_crash"],
            )
    if v.walk["bars"] == 0:
        v.work["rows"] = 0


def candle_of(head: Record) -> int:
    """A number that tells the forming candle from all others of its pair."""
    return int(head["segment"] << 32 | head["closed"])
