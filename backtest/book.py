"""The account of a backtest: what `trader.engine` with the paper broker does at one trade, in plain scalar functions.

The same steps in the same order with the same whole numbers, over the packed records of `backtest.layout`; runs as
plain Python and compiled. Who calls `tick` for every trade that is not LATE gets what the engine would do; who calls
it only for those that `matters` names, and `pass_over` for the others, gets the same.

At one trade (`tick`):

1. the working order of the pair meets the trade: time-out of an entry, latency, participation, what the wallet can pay
2. `highest` moves where a position was held before this trade; not for a BACKFILL trade from before the entry
3. with a fill at this trade or an order that works, no decision; but the trailing stop may cancel a working entry and
   sell what is held; BACKFILL decides nothing
4. long: trailing_stop before take_profit; flat: crash_catch before mean_reversion
5. a row of equity at each fill and where a minute of market time begins; there the limits that halt are looked at

Why an entry is refused, first match: stale, untaped, market_inactive, halted, costs_exceed_stop,
max_daily_loss, cooldown, max_orders_per_minute, max_open_positions, below_minimum. At most one decision, order, fill
and row of equity come of one trade: see `room`.
"""

from backtest import wallet
from backtest.layout import (
    ACTIVE,
    BELOW_MINIMUM,
    HALTED,
    MARKET_INACTIVE,
    NONE,
    STALE_TRADE,
    UNTAPED_TRADE,
    Book,
    Record,
    Trade,
)
from backtest.result import (
    CANCELLED,
    CANCELLED_BY_HALT,
    CANCELLED_BY_STOP,
    CAPPED_BY_WALLET,
    CONFIRMED,
    CRASH_CATCH,
    DUST,
    ENTER,
    ENTRY_TIMEOUT,
    EXIT,
    FILLED,
    GHOST,
    GHOST_UNKNOWN,
    MEAN_REVERSION,
    TAKE_PROFIT,
    TRAILING_STOP,
    WORKING,
)
from backtest.wallet import NS_PER_MINUTE
from bus.layouts import BACKFILL, ENTER_CRASH_CATCH, ENTER_MEAN_REVERSION, EXIT_TAKE_PROFIT, STALE, UNTAPED, WARM
from core.money import notional_ceil, notional_floor, parts_ceil, share_ceil, worsened
from indicators import rules
from trader import fills

NS_PER_MS = 1_000_000
ENTRY_CODES = ENTER_MEAN_REVERSION | ENTER_CRASH_CATCH

# Compiled these are put into their caller: they are short, and asked at every trade or every run of trades.
INLINED = ("room", "watched", "minute_ends_ns", "matters", "pass_over", "raise_highest")


# --- which trades there is something to do at ------------------------------------------------------


def watched(position: Record) -> int:
    """The codes that a pair waits for: entries when flat, take-profit when long. A pair with an order waits for all."""
    if position["lots"] > 0:
        return EXIT_TAKE_PROFIT
    return ENTRY_CODES


def minute_ends_ns(account: Record) -> int:
    """The market time at which the next row of equity is due."""
    return int((account["minute"] + 1) * NS_PER_MINUTE)


def matters(book: Book, pair: int, ns: int, price: float, codes: int) -> bool:
    """Whether `tick` would do more at this trade than `pass_over`."""
    position = book.positions[pair]
    if position["order"] != NONE or ns >= minute_ends_ns(book.account) or codes & watched(position) != 0:
        return True
    if position["lots"] > 0:
        highest = position["highest"]
        if price > highest:
            highest = price
        return rules.trailing_stop(price, highest, book.terms["keep"])
    return False


def pass_over(book: Book, pair: int, flags: int, ns: int, price: float, ticks: int) -> None:
    """A trade that decides nothing: prices, `highest` and the market's time move."""
    position = book.positions[pair]
    if ns > book.account["market_ns"]:
        book.account["market_ns"] = ns
    position["ticks"] = ticks
    if position["lots"] > 0:
        raise_highest(position, flags, ns, price)


def raise_highest(position: Record, flags: int, ns: int, price: float) -> None:
    """`highest` of a position that was held before this trade."""
    told_again = flags & BACKFILL != 0 and ns // NS_PER_MS < position["opened_ms"]
    if price > position["highest"] and not told_again:
        position["highest"] = price


def room(book: Book) -> int:
    """For how many more trades the arrays have room, whatever they bring."""
    account = book.account
    left = min(book.decisions.size, book.orders.size) - account["decisions"]
    left = min(left, book.fills.size - account["fills"])
    return int(min(left, book.equity.size - account["equities"]))


# --- one trade ---------------------------------------------------------------------------------------


def tick(book: Book, trade: Trade) -> None:
    """Everything that one trade of a known pair, not flagged LATE, does to the account."""
    account, position = book.account, book.positions[trade.pair]
    pass_over(book, trade.pair, trade.flags, trade.ns, trade.price, trade.ticks)
    minute = account["market_ns"] >= minute_ends_ns(account)
    equities = account["equities"]
    filled = False
    if position["order"] != NONE:
        filled = match(book, trade)
    if trade.flags & BACKFILL == 0:
        decide(book, trade, filled)
    if minute:
        account["minute"] = account["market_ns"] // NS_PER_MINUTE
        if account["equities"] == equities:
            wallet.write_equity(book, trade)
    if minute or filled:
        check_limits(book, trade)


def decide(book: Book, trade: Trade, filled: bool) -> None:
    """Exit rules if long, entry rules if flat; `filled`: an order filled at this trade."""
    position = book.positions[trade.pair]
    long = position["lots"] > 0
    stopped = long and rules.trailing_stop(trade.price, position["highest"], book.terms["keep"])
    if position["order"] != NONE:
        if stopped and book.orders[position["order"]]["purpose"] == ENTER:
            end(book, trade, trade.pair, CANCELLED, CANCELLED_BY_STOP)
            if position["lots"] > 0:
                leave(book, trade, TRAILING_STOP)
        return
    if filled:
        return
    warm = trade.codes & WARM != 0
    if long:
        if stopped:
            leave(book, trade, TRAILING_STOP)
        elif warm and trade.codes & EXIT_TAKE_PROFIT != 0:
            leave(book, trade, TAKE_PROFIT)
    elif warm:
        if trade.codes & ENTER_CRASH_CATCH != 0:
            enter(book, trade, CRASH_CATCH)
        elif trade.codes & ENTER_MEAN_REVERSION != 0:
            enter(book, trade, MEAN_REVERSION)


def leave(book: Book, trade: Trade, reason: int) -> None:
    """Sell the position, or as much of it as the market takes in one order; dust is put aside."""
    position, market = book.positions[trade.pair], book.markets[trade.pair]
    if is_dust(position, market):
        to_dust(position)
        return
    submit(book, trade, EXIT, reason, min(position["lots"], market["max_lots"]), 0, 0)


def enter(book: Book, trade: Trade, reason: int) -> None:
    """Buy for TRADE_CAPITAL, or for what the wallet can pay at the worsened price; or count why not."""
    terms, account, market = book.terms, book.account, book.markets[trade.pair]
    refusal = refusal_of(book, trade)
    if refusal != 0:
        book.refused[refusal] += 1
        return
    num, den, fee, tax = market["num"], market["den"], account["fee"], terms["tax_buy"]
    wanted = min(fills.lots_for(trade.ticks, terms["trade_capital"], num, den), market["max_lots"])
    worst = worsened(trade.ticks, terms["slippage"], True)
    lots = fills.affordable_lots(worst, wanted, num, den, fee, tax, wallet.free(account))
    if fills.below_minimum(trade.ticks, lots, num, den, market["min_lots"], market["min_notional"]):
        book.refused[BELOW_MINIMUM] += 1
        return
    notes = CAPPED_BY_WALLET if lots < wanted else 0
    submit(book, trade, ENTER, reason, lots, fills.buy_cost(worst, lots, num, den, fee, tax), notes)


def refusal_of(book: Book, trade: Trade) -> int:
    """Why no entry may be sent at this trade, or 0."""
    if trade.flags & STALE != 0:
        return STALE_TRADE
    if trade.flags & UNTAPED != 0:
        return UNTAPED_TRADE
    if book.markets[trade.pair]["active"] == 0:
        return MARKET_INACTIVE
    if book.account["halted"] != ACTIVE:
        return HALTED
    return wallet.limit_reached(book)


def submit(book: Book, trade: Trade, purpose: int, reason: int, lots: int, reserve: int, notes: int) -> None:
    """Send an order: it works from now on, or with instant fills is filled at once."""
    account, position = book.account, book.positions[trade.pair]
    index = account["decisions"]
    write_decision(book.decisions[index], trade, purpose, reason, lots)
    order = book.orders[index]
    order["end_ns"] = 0
    order["end_number"] = NONE
    order["ticks"] = trade.ticks
    order["lots"] = lots
    order["filled"] = 0
    order["cash"] = 0
    order["share"] = 0
    order["pair"] = trade.pair
    order["purpose"] = purpose
    order["state"] = WORKING
    order["notes"] = notes
    account["decisions"] += 1
    account["reserved"] += reserve
    position["order"] = index
    position["decided_ns"] = trade.ns
    position["reserve"] = reserve
    if purpose == ENTER:
        wallet.entry_sent(book)
        if position["unjudged"] == NONE or position["candle"] != trade.candle:
            position["unjudged"] = index
            position["candle"] = trade.candle
    if book.terms["instant"] != 0:
        fill(book, trade, lots)
        check_limits(book, trade)


def write_decision(decision: Record, trade: Trade, purpose: int, reason: int, lots: int) -> None:
    """The row of an approved order."""
    decision["ns"] = trade.ns
    decision["number"] = trade.number
    decision["price"] = trade.price
    decision["rsi"] = trade.rsi
    decision["bb_lower"] = trade.bb_lower
    decision["lots"] = lots
    decision["pair"] = trade.pair
    decision["action"] = purpose
    decision["reason"] = reason
    decision["ghost"] = GHOST_UNKNOWN


# --- the broker --------------------------------------------------------------------------------------


def match(book: Book, trade: Trade) -> bool:
    """The pair's working order meets a trade; True where it filled."""
    terms, account = book.terms, book.account
    position, market = book.positions[trade.pair], book.markets[trade.pair]
    order = book.orders[position["order"]]
    entry = order["purpose"] == ENTER
    decided_ns, latency_ns = position["decided_ns"], terms["latency_ns"]
    if entry and fills.timed_out(trade.ns, decided_ns, latency_ns, terms["timeout_ns"]):
        end(book, trade, trade.pair, CANCELLED, ENTRY_TIMEOUT)
        return False
    if not fills.can_fill(trade.ns, decided_ns, latency_ns):
        return False
    num, den = market["num"], market["den"]
    lots = min(order["lots"] - order["filled"], fills.offered(trade.lots, terms["participation"]))
    if entry:
        spendable = position["reserve"] + wallet.free(account)
        price = worsened(trade.ticks, terms["slippage"], True)
        lots = fills.affordable_lots(price, lots, num, den, account["fee"], terms["tax_buy"], spendable)
    if lots <= 0:
        return False
    fill(book, trade, lots)
    left = order["lots"] - order["filled"]
    if entry or left == 0:
        return True
    if fills.below_minimum(trade.ticks, left, num, den, market["min_lots"], market["min_notional"]):
        end(book, trade, trade.pair, CANCELLED, DUST)
    return True


def fill(book: Book, trade: Trade, lots: int) -> None:
    """Lots of the pair's working order change hands: wallet, position, rows of the fill and of equity."""
    terms, account = book.terms, book.account
    position, market = book.positions[trade.pair], book.markets[trade.pair]
    order = book.orders[position["order"]]
    num, den = market["num"], market["den"]
    buying = order["purpose"] == ENTER
    ticks = worsened(trade.ticks, terms["slippage"], buying)
    if buying:
        notional = notional_ceil(ticks, lots, num, den)
        tax = parts_ceil(notional, terms["tax_buy"])
        cash = fills.buy_cost(ticks, lots, num, den, account["fee"], terms["tax_buy"])
        take_bought(book, position, trade, lots, cash)
    else:
        notional = notional_floor(ticks, lots, num, den)
        tax = parts_ceil(notional, terms["tax_sell"])
        cash = fills.sell_proceeds(ticks, lots, num, den, account["fee"], terms["tax_sell"])
        share = share_ceil(position["cost"], lots, position["lots"])
        position["lots"] -= lots
        position["cost"] -= share
        account["wallet"] += cash
        order["share"] += share
    order["filled"] += lots
    order["cash"] += cash
    row = book.fills[account["fills"]]
    row["ns"] = trade.ns
    row["number"] = trade.number
    row["order"] = position["order"]
    row["ticks"] = ticks
    row["lots"] = lots
    row["cash"] = cash
    row["fee"] = parts_ceil(notional, account["fee"])
    row["tax"] = tax
    account["fills"] += 1
    if order["filled"] == order["lots"]:
        end(book, trade, trade.pair, FILLED, 0)
    wallet.write_equity(book, trade)


def take_bought(book: Book, position: Record, trade: Trade, lots: int, cash: int) -> None:
    """Lots bought go into the position, their cost comes out of wallet and reserve."""
    if position["lots"] == 0:
        position["highest"] = trade.price
        position["opened_ms"] = trade.ns // NS_PER_MS
    position["lots"] += lots
    position["cost"] += cash
    used = min(cash, position["reserve"])
    position["reserve"] -= used
    book.account["reserved"] -= used
    book.account["wallet"] -= cash


def end(book: Book, trade: Trade, pair: int, state: int, note: int) -> None:
    """The working order of a pair is over: realized profit, limits, what of the position is dust."""
    account, position, market = book.account, book.positions[pair], book.markets[pair]
    order = book.orders[position["order"]]
    order["state"] = state
    order["notes"] |= note
    order["end_ns"] = trade.ns
    order["end_number"] = trade.number
    account["reserved"] -= position["reserve"]
    position["reserve"] = 0
    position["order"] = NONE
    if order["purpose"] == ENTER:
        if position["lots"] > 0 and is_dust(position, market):
            to_dust(position)
        return
    if order["filled"] > 0:
        profit = order["cash"] - order["share"]
        account["realized"] += profit
        wallet.exit_done(book, profit)
    if is_dust(position, market):
        to_dust(position)


def is_dust(position: Record, market: Record) -> bool:
    """Whether the market would refuse to buy the position off us; nothing at all counts as dust too."""
    return fills.below_minimum(
        position["ticks"],
        position["lots"],
        market["num"],
        market["den"],
        market["min_lots"],
        market["min_notional"],
    )


def to_dust(position: Record) -> None:
    """Close the position; what is left of it is kept apart and not sold."""
    position["dust_lots"] += position["lots"]
    position["dust_cost"] += position["cost"]
    position["lots"] = 0
    position["cost"] = 0
    position["highest"] = 0.0
    position["opened_ms"] = 0


def check_limits(book: Book, trade: Trade) -> None:
    """Limits that halt trading: no entry from then on, and working ones are cancelled."""
    account = book.account
    reason = wallet.breach(book)
    if reason == ACTIVE or account["halted"] != ACTIVE:
        return
    account["halted"] = reason
    for pair in range(book.positions.size):
        order = book.positions[pair]["order"]
        if order != NONE and book.orders[order]["purpose"] == ENTER:
            end(book, trade, pair, CANCELLED, CANCELLED_BY_HALT)


# --- what the closed candle says ------------------------------------------------------------------------


def judge_entries(
    book: Book, pair: int, candle: int, rsi: float, close: float, bb_lower: float, rsi_buy: float, rsi_crash: float
) -> None:
    """A candle closed: an entry taken inside it is confirmed where an entry rule holds at its close, else a ghost."""
    position = book.positions[pair]
    if position["unjudged"] == NONE or position["candle"] != candle:
        return
    verdict = CONFIRMED if rules.entry_reason(rsi, close, bb_lower, rsi_buy, rsi_crash) != 0 else GHOST
    for index in range(position["unjudged"], book.account["decisions"]):
        decision = book.decisions[index]
        if decision["pair"] == pair and decision["action"] == ENTER:
            decision["ghost"] = verdict
    position["unjudged"] = NONE
