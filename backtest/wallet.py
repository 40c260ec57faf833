"""Wallet, equity and the limits of a backtest's account: plain scalar functions, compiled together with `book`.

All limits count over all pairs, in market time, as in `trader.risk`; 0 switches one off.
"""

from backtest.layout import (
    ACTIVE,
    COOLDOWN,
    COSTS_EXCEED_STOP,
    MAX_CONSECUTIVE_LOSSES,
    MAX_DAILY_LOSS,
    MAX_DRAWDOWN_PCT,
    MAX_OPEN_POSITIONS,
    MAX_ORDERS_PER_MINUTE,
    NONE,
    Book,
    Record,
    Trade,
)
from backtest.result import ENTER, EXIT
from core.money import PARTS, notional_floor, parts_floor
from trader import fills

NS_PER_MINUTE = 60_000_000_000
NS_PER_DAY = 86_400_000_000_000


def free(account: Record) -> int:
    """Units of the wallet that no working entry has reserved."""
    return int(max(0, account["wallet"] - account["reserved"]))


def value_of(book: Book) -> int:
    """Units that all positions are worth at the last prices."""
    value = 0
    for pair in range(book.positions.size):
        position, market = book.positions[pair], book.markets[pair]
        if position["lots"] > 0:
            value += notional_floor(position["ticks"], position["lots"], market["num"], market["den"])
    return value


def unrealized_of(book: Book) -> int:
    """Units that selling everything at the last prices would win, net of the exit fee; part-sold orders too."""
    unrealized = 0
    for pair in range(book.positions.size):
        position, market = book.positions[pair], book.markets[pair]
        if position["order"] != NONE:
            order = book.orders[position["order"]]
            if order["purpose"] == EXIT:
                unrealized += order["cash"] - order["share"]
        if position["lots"] > 0:
            unrealized -= position["cost"]
            unrealized += fills.sell_proceeds(
                position["ticks"],
                position["lots"],
                market["num"],
                market["den"],
                book.account["fee"],
                book.terms["tax_sell"],
            )
    return unrealized


def write_equity(book: Book, trade: Trade) -> None:
    """One row of equity."""
    account = book.account
    row = book.equity[account["equities"]]
    row["ns"] = trade.ns
    row["number"] = trade.number
    row["balance"] = account["wallet"]
    row["position_value"] = value_of(book)
    row["unrealized"] = unrealized_of(book)
    row["realized"] = account["realized"]
    account["equities"] += 1


def entry_sent(book: Book) -> None:
    """Count an entry for MAX_ORDERS_PER_MINUTE: the ring holds as many as the limit lets through in a minute."""
    account = book.account
    book.entries_ns[account["entries"] % book.entries_ns.size] = account["market_ns"]
    account["entries"] += 1


def limit_reached(book: Book) -> int:
    """The first limit that stops an entry now, or 0."""
    terms, account = book.terms, book.account
    now_ns = account["market_ns"]
    if account["costly"] != 0:
        return COSTS_EXCEED_STOP
    if 0 < terms["max_daily_loss"] <= day_loss(book, now_ns):
        return MAX_DAILY_LOSS
    if terms["cooldown_ns"] > 0 and now_ns < account["cool_until_ns"]:
        return COOLDOWN
    if 0 < terms["max_orders_per_minute"] <= account["entries"]:
        oldest_ns = book.entries_ns[account["entries"] % book.entries_ns.size]
        if oldest_ns > now_ns - NS_PER_MINUTE:
            return MAX_ORDERS_PER_MINUTE
    if terms["max_open_positions"] > 0 and open_positions(book) >= terms["max_open_positions"]:
        return MAX_OPEN_POSITIONS
    return 0


def day_loss(book: Book, market_ns: int) -> int:
    """Units lost on the day of a market time; a gain is negative or 0."""
    if book.account["day"] != day_of(market_ns, book.terms):
        return 0
    return int(-book.account["day_realized"])


def day_of(market_ns: int, terms: Record) -> int:
    """The day of a market time, counted from 1970; days begin at UTC midnight less DAY_OFFSET_MINUTES."""
    return int((market_ns + terms["day_offset_ns"]) // NS_PER_DAY)


def open_positions(book: Book) -> int:
    """Pairs with a position or a working entry."""
    count = 0
    for pair in range(book.positions.size):
        position = book.positions[pair]
        entering = position["order"] != NONE and book.orders[position["order"]]["purpose"] == ENTER
        if position["lots"] > 0 or entering:
            count += 1
    return count


def exit_done(book: Book, profit: int) -> None:
    """Count a completed exit: the day's result, losses in a row, the cooldown."""
    terms, account = book.terms, book.account
    day = day_of(account["market_ns"], terms)
    if account["day"] != day:
        account["day"] = day
        account["day_realized"] = 0
    account["day_realized"] += profit
    if profit < 0:
        account["losses"] += 1
    else:
        account["losses"] = 0
    if terms["cooldown_ns"] > 0:
        account["cool_until_ns"] = account["market_ns"] + terms["cooldown_ns"]


def breach(book: Book) -> int:
    """The limit that halts trading at this equity, or ACTIVE; also moves the peak."""
    terms, account = book.terms, book.account
    equity = account["wallet"] + value_of(book)
    if equity > account["peak"]:
        account["peak"] = equity
    # equity * PARTS <= peak * (PARTS - max_drawdown), without products beyond 64 bits
    if terms["max_drawdown"] > 0 and equity <= parts_floor(account["peak"], PARTS - terms["max_drawdown"]):
        return MAX_DRAWDOWN_PCT
    if 0 < terms["max_consecutive_losses"] <= account["losses"]:
        return MAX_CONSECUTIVE_LOSSES
    return ACTIVE
