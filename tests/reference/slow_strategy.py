"""Design §4, read once more and written down as plainly as possible: slow, in Decimals and lists, sharing no code.

It exists to disagree. Whatever the pipeline decides on a list of market records, this must decide too; it imports
nothing of the project, so that a mistake in one of the two is not a mistake in both. The rules, as they are read here:

Candles
 1. A trade belongs to the bucket `exchange time // TIMEFRAME`. The forming candle's close is the last trade.
 2. A candle closes when the first trade of a later bucket arrives; buckets in between become flat candles at its close.
 3. LATE trades (before the forming bucket) are no trades. Trades out of order inside the bucket are ordinary ones.
 4. A CANDLE record is the venue's word for its bucket: it takes the place of a forming candle and closes at once, or
    with FORMING is what trades go on with. Of a bucket that is closed it changes nothing.
 5. A HOLE forgets everything and the warm-up starts again; on a live tape so do more than 500 missing buckets
    (`missing_limit`), in a file of trades they do not.
Indicators, at each trade, with the forming close as the newest close
 6. Bollinger: mean and population deviation of the last BB_PERIOD closes; lower = mean - BB_STDDEV * deviation.
 7. RSI wilder: mean of the first RSI_PERIOD gains and losses of the segment, then (avg * (n - 1) + x) / n.
 8. RSI ema: gains and losses start at 0.1 with the first close, then x * k + avg * (1 - k), k = 2 / (n + 1).
 9. RSI = 100 * gain / (gain + loss), which is 100 without losses; without any movement 50.
10. No decision before max(WARMUP_CANDLES, BB_PERIOD - 1, RSI_PERIOD) closed candles. The trailing stop asks no
    indicator and decides whenever there is a position.
Each trade, in this order
11. The broker matches the pair's working order, fills are applied.
12. If a position was held before this trade: highest = max(highest, price). It starts at the market price of the first
    entry fill, before slippage. A BACKFILL trade from before that fill (in ms) is the past told once more: it moves
    no `highest`.
13. If this trade filled an order, or one is working: no decision; but while an entry works, the trailing stop may
    cancel the rest and sell what is held.
14. Long: price <= highest * (1 - TRAILING_STOP_PCT) is trailing_stop, else rsi > RSI_SELL is take_profit.
    Flat: rsi < RSI_CRASH is crash_catch, else rsi < RSI_BUY and price < lower is mean_reversion.
15. BACKFILL trades and blind spans do everything but decide; in degraded spans only the trailing stop decides;
    STALE and UNTAPED trades and blocked spans make no entry.
Orders
16. Quantity: TRADE_CAPITAL / price, or what the unreserved balance can pay at the worsened price with fee and tax,
    whichever is less, rounded down to the step. Below the market's minimum: no order. No order, exits included, is
    larger than the market takes at once.
17. PAPER_FILL=instant: filled at the deciding trade's price, worsened.
18. PAPER_FILL=tape: filled by trades of the pair whose time is at least decision time + PAPER_LATENCY_MS, up to
    PAPER_PARTICIPATION of their quantity rounded down to the step, at their price, worsened. An entry takes no more
    than its reserve and the unreserved balance can pay.
19. An entry's rest is cancelled at the first trade ENTRY_TIMEOUT_MS after it could fill, which does not fill it; that
    trade may decide again.
20. What remains of a position below the market's minimum is dust: it is held no more and not sold.
21. At most MAX_ORDERS_PER_MINUTE entries in the last 60 s, MAX_OPEN_POSITIONS pairs at once; other limits must be 0.
The operator; a command counts from the record after the one it was given at
22. pause, flatten and halt let no entry through until resume. flatten and halt cancel working entries at the pair's
    last price.
23. flatten also has each position that is held then sold at the pair's next trade at which anything may be decided, in
    a degraded span too, before any other exit rule is asked; resume takes that back.
Money
24. Worsened: a buy's price * (1 + SLIPPAGE_BPS), up to the tick; a sell's * (1 - SLIPPAGE_BPS), down to the tick.
25. A buy pays its notional, rounded up at 1e-8, a sell gets it rounded down; fee and tax are each rounded up at 1e-8.
"""

import csv
import gzip
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, localcontext
from pathlib import Path
from typing import Any

LATE, BACKFILL, STALE, UNTAPED = 1, 2, 4, 8  # flags of a trade
FORMING = 32  # flag of a candle
TIMEFRAMES = {"1s": 1, "5s": 5, "15s": 15, "1m": 60, "3m": 180, "5m": 300, "15m": 900, "1h": 3600}
CENT_OF_CENT = Decimal("0.00000001")
BASIS_POINT = Decimal("0.0001")
BILLIONTH = Decimal("0.000000001")
EXACT = Context(prec=60)
NAN = math.nan


# --- what comes in --------------------------------------------------------------------------------


@dataclass(slots=True)
class Trade:
    """One public trade; `number` is its place on the tape."""

    number: int
    pair: str
    ts_ns: int
    price: Decimal
    quantity: Decimal
    flags: int = 0


@dataclass(slots=True)
class Candle:
    """One candle of the venue's history."""

    number: int
    pair: str
    open_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    flags: int = 0
    trades: int = 0


@dataclass(slots=True)
class Hole:
    """Trades of `pair` between the two times are missing before here."""

    number: int
    pair: str
    from_ns: int = 0
    to_ns: int = 0


@dataclass(slots=True, frozen=True)
class Market:
    """What a pair may be traded in."""

    tick: Decimal = CENT_OF_CENT
    step: Decimal = CENT_OF_CENT
    min_quantity: Decimal = Decimal(0)
    min_notional: Decimal = Decimal(0)
    max_quantity: Decimal | None = None  # of one order


# --- what comes out -------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Decision:
    """One approved order, as in decisions.csv."""

    ts_ns: int
    action: str
    reason: str
    price: float
    rsi: float
    bb_lower: float
    pair: str


@dataclass(slots=True, frozen=True)
class Fill:
    """One fill; `cash` is what it took from the wallet, or brought."""

    ts_ns: int
    pair: str
    side: str
    price: Decimal
    quantity: Decimal
    cash: Decimal


@dataclass(slots=True)
class Result:
    """What the strategy did."""

    decisions: list[Decision] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    wallet: Decimal = Decimal(0)
    held: dict[str, Decimal] = field(default_factory=dict)
    dust: dict[str, Decimal] = field(default_factory=dict)
    highest: dict[str, float | None] = field(default_factory=dict)
    closed_candles: dict[str, list[list[Any]]] = field(default_factory=dict)  # start_ns, o, h, l, c, volume, trades
    broken_off: dict[str, list[list[Any]]] = field(default_factory=dict)  # as above, but forming when all was forgotten
    near: set[int] = field(default_factory=set)  # trades where an indicator missed its threshold by a billionth
    far: list[str] = field(default_factory=list)  # indicators that were told, and are none to a billionth


# --- candles and indicators -----------------------------------------------------------------------


class Chart:
    """The candles of one pair since the last HOLE and what is computed of them, in Decimals of 60 digits."""

    def __init__(self, settings: Mapping[str, Any], missing_limit: int | None) -> None:
        self.missing_limit = missing_limit
        self.frame_ns = TIMEFRAMES[settings["TIMEFRAME"]] * 1_000_000_000
        self.rsi_period = int(settings["RSI_PERIOD"])
        self.wilder = settings["RSI_SMOOTHING"] == "wilder"
        self.bb_period = int(settings["BB_PERIOD"])
        self.bb_stddev = Decimal(str(settings["BB_STDDEV"]))
        self.needed = max(int(settings["WARMUP_CANDLES"]), self.bb_period - 1, self.rsi_period)
        self.everything: list[list[Any]] = []
        self.broken_off: list[list[Any]] = []
        self.forming: list[Any] | None = None  # start_ns, open, high, low, close, volume, trades
        self.forget()

    def forget(self) -> None:
        if self.forming is not None:
            self.broken_off.append(self.forming)
        self.opens_ns: int | None = None  # the first bucket that trades may still go into
        self.closes: list[Decimal] = []
        self.forming = None
        self.averages = (Decimal(0), Decimal(0))  # of the gains and losses between closed candles

    def is_late(self, ts_ns: int) -> bool:
        return self.opens_ns is not None and ts_ns < self.opens_ns

    def trade(self, ts_ns: int, price: Decimal, quantity: Decimal) -> None:
        start = ts_ns // self.frame_ns * self.frame_ns
        self.advance_to(start)
        if self.forming is None:
            self.forming = [start, price, price, price, price, Decimal(0), 0]
            self.opens_ns = start
        candle = self.forming
        candle[2] = max(candle[2], price)
        candle[3] = min(candle[3], price)
        candle[4] = price
        candle[5] += quantity
        candle[6] += 1

    def history(self, record: Candle) -> None:
        if self.is_late(record.open_ns):
            return
        self.advance_to(record.open_ns)
        self.opens_ns = record.open_ns
        values = (record.open, record.high, record.low, record.close, record.volume)
        self.forming = [record.open_ns, *(Decimal(repr(value)) for value in values), record.trades]
        if not record.flags & FORMING:
            self.close()

    def advance_to(self, start: int) -> None:
        """Closes the forming candle, and flat ones after it, as far as `start` is later."""
        if self.forming is not None and start > self.forming[0]:
            self.close()
        missing = 0 if self.opens_ns is None else (start - self.opens_ns) // self.frame_ns
        if self.missing_limit is not None and missing > self.missing_limit:
            self.forget()
        if self.forming is None and self.closes:
            while self.opens_ns is not None and self.opens_ns < start:
                last = self.closes[-1]
                self.forming = [self.opens_ns, last, last, last, last, Decimal(0), 0]
                self.close()

    def close(self) -> None:
        assert self.forming is not None
        self.everything.append(self.forming)
        self.closes.append(self.forming[4])
        self.averages = self.averages_with(self.closes)
        self.opens_ns = self.forming[0] + self.frame_ns
        self.forming = None

    def averages_with(self, closes: list[Decimal]) -> tuple[Decimal, Decimal]:
        """Average gain and loss with the last of `closes` in; self.averages are those without it."""
        n = self.rsi_period
        gain, loss = gain_and_loss(closes[-2], closes[-1]) if len(closes) > 1 else (Decimal(0), Decimal(0))
        if not self.wilder:
            if len(closes) == 1:
                return Decimal("0.1"), Decimal("0.1")
            k = Decimal(2) / (n + 1)
            return k * gain + (1 - k) * self.averages[0], k * loss + (1 - k) * self.averages[1]
        if len(closes) <= n:
            return Decimal(0), Decimal(0)
        if len(closes) == n + 1:
            both = [gain_and_loss(closes[i - 1], closes[i]) for i in range(1, len(closes))]
            return sum((gain for gain, _ in both), Decimal(0)) / n, sum((loss for _, loss in both), Decimal(0)) / n
        return (self.averages[0] * (n - 1) + gain) / n, (self.averages[1] * (n - 1) + loss) / n

    def rsi(self) -> Decimal | None:
        if self.forming is None or len(self.closes) < self.rsi_period:
            return None
        gain, loss = self.averages_with([*self.closes, self.forming[4]])
        if gain + loss == 0:
            return Decimal(50)
        return 100 * gain / (gain + loss)

    def lower_band(self) -> Decimal | None:
        if self.forming is None or len(self.closes) < self.bb_period - 1:
            return None
        window = [*self.closes[len(self.closes) - self.bb_period + 1 :], self.forming[4]]
        mean = sum(window, Decimal(0)) / self.bb_period
        variance = sum(((close - mean) ** 2 for close in window), Decimal(0)) / self.bb_period
        return mean - self.bb_stddev * variance.sqrt()

    def warm(self) -> bool:
        return len(self.closes) >= self.needed


def gain_and_loss(before: Decimal, after: Decimal) -> tuple[Decimal, Decimal]:
    change = after - before
    return (change, Decimal(0)) if change > 0 else (Decimal(0), -change)


# --- orders and money -----------------------------------------------------------------------------


@dataclass(slots=True)
class Order:
    """A working order of one pair."""

    side: str
    quantity: Decimal
    decided_ns: int
    reserve: Decimal = Decimal(0)


@dataclass(slots=True)
class Position:
    """What one pair holds and waits for."""

    held: Decimal = Decimal(0)
    dust: Decimal = Decimal(0)
    highest: float | None = None
    opened_ms: int = 0
    order: Order | None = None
    price: Decimal = Decimal(0)  # of the last trade
    flatten: bool = False  # an operator wants it sold


class Strategy:
    """The whole of §4 over any number of pairs that share one wallet.

    told: rsi and lower band as float64 by trade, where somebody published them. They are held against the exact ones,
    and where those are at a threshold, the told ones decide: exact and float64 arithmetic may differ there.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        markets: Mapping[str, Market],
        blind: Iterable[tuple[int, int]] = (),
        degraded: Iterable[tuple[int, int]] = (),
        taker_fee_bps: Decimal = Decimal(0),
        blocked: Iterable[tuple[int, int]] = (),
        missing_limit: int | None = None,
        commands: Iterable[tuple[int, str]] = (),
        told: Mapping[int, tuple[float, float]] | None = None,
    ) -> None:
        for name in ("MAX_DAILY_LOSS", "MAX_DRAWDOWN_PCT", "MAX_CONSECUTIVE_LOSSES", "COOLDOWN_SECONDS"):
            assert not float(settings[name]), f"the reference knows no {name}"
        self.settings = settings
        self.markets = markets
        self.blind, self.degraded, self.blocked = list(blind), list(degraded), list(blocked)
        self.charts = {pair: Chart(settings, missing_limit) for pair in markets}
        self.positions = {pair: Position() for pair in markets}
        self.wallet = Decimal(str(settings["PAPER_BALANCE"]))
        self.fee = taker_fee_bps * BASIS_POINT
        self.slippage = Decimal(str(settings["SLIPPAGE_BPS"])) * BASIS_POINT
        self.tax = {
            "buy": Decimal(str(settings["TAX_BUY_BPS"])) * BASIS_POINT,
            "sell": Decimal(str(settings["TAX_SELL_BPS"])) * BASIS_POINT,
        }
        self.instant = settings["PAPER_FILL"] == "instant"
        self.keep = 1.0 - float(settings["TRAILING_STOP_PCT"])
        self.latency_ns = int(settings["PAPER_LATENCY_MS"]) * 1_000_000
        self.timeout_ns = int(settings["ENTRY_TIMEOUT_MS"]) * 1_000_000
        self.participation = Decimal(str(settings["PAPER_PARTICIPATION"]))
        self.commands = list(commands)  # (record after which it counts, what), in order
        self.told = told or {}
        self.entering = True  # no command is in force that forbids entries
        self.entries_ns: list[int] = []
        self.newest_ns = 0
        self.result = Result()

    def run(self, records: Iterable[Trade | Candle | Hole]) -> Result:
        with localcontext(EXACT):
            for record in records:
                while self.commands and self.commands[0][0] < record.number:
                    self.obey(self.commands.pop(0)[1])
                if isinstance(record, Trade):
                    self.trade(record)
                elif isinstance(record, Candle):
                    self.charts[record.pair].history(record)
                else:
                    self.charts[record.pair].forget()
            for _, command in self.commands:
                self.obey(command)
        self.result.wallet = self.wallet
        for pair, position in self.positions.items():
            self.result.held[pair] = position.held
            self.result.dust[pair] = position.dust
            self.result.highest[pair] = position.highest
            self.result.closed_candles[pair] = self.charts[pair].everything
            self.result.broken_off[pair] = self.charts[pair].broken_off
        return self.result

    def trade(self, trade: Trade) -> None:
        chart, position = self.charts[trade.pair], self.positions[trade.pair]
        if trade.flags & LATE or chart.is_late(trade.ts_ns):
            return
        self.newest_ns = max(self.newest_ns, trade.ts_ns)
        price = float(trade.price)
        position.price = trade.price
        chart.trade(trade.ts_ns, trade.price, trade.quantity)
        held_before = position.held > 0
        filled = self.match(trade, position)
        told_again = trade.flags & BACKFILL and trade.ts_ns // 1_000_000 < position.opened_ms
        if held_before and position.held > 0 and not told_again:
            assert position.highest is not None
            position.highest = max(position.highest, price)
        if trade.flags & BACKFILL or within(trade.number, self.blind):
            return
        stopped = position.held > 0 and position.highest is not None and price <= position.highest * self.keep
        if position.order is not None:
            if position.order.side == "buy" and stopped:
                position.order = None
                self.sell(trade, position, "trailing_stop", chart)
            return
        if filled:
            return
        if position.held > 0:
            if position.flatten:
                self.sell(trade, position, "flatten", chart)
            elif stopped:
                self.sell(trade, position, "trailing_stop", chart)
            elif self.may_ask_indicators(trade, chart) and self.takes_profit(trade, chart):
                self.sell(trade, position, "take_profit", chart)
        elif self.may_ask_indicators(trade, chart) and not trade.flags & (STALE | UNTAPED):
            reason = self.entry_reason(trade, chart)
            if reason:
                self.buy(trade, position, reason, chart)

    def obey(self, command: str) -> None:
        """An operator's word."""
        assert command in ("pause", "resume", "flatten", "halt"), command
        self.entering = command == "resume"
        for pair, position in self.positions.items():
            if command == "resume":
                position.flatten = False
            if command in ("flatten", "halt") and position.order is not None and position.order.side == "buy":
                position.order = None
                if position.held > 0 and self.below_minimum(position.held, position.price, self.markets[pair]):
                    self.turn_to_dust(position)
            if command == "flatten" and position.held > 0:
                position.flatten = True

    def may_ask_indicators(self, trade: Trade, chart: Chart) -> bool:
        return chart.warm() and not within(trade.number, self.degraded)

    def takes_profit(self, trade: Trade, chart: Chart) -> bool:
        return self.less(trade, self.number("RSI_SELL"), self.indicator(trade, "rsi", chart.rsi()))

    def entry_reason(self, trade: Trade, chart: Chart) -> str:
        rsi, lower = self.indicator(trade, "rsi", chart.rsi()), self.indicator(trade, "lower", chart.lower_band())
        if self.less(trade, rsi, self.number("RSI_CRASH")):
            return "crash_catch"
        if self.less(trade, rsi, self.number("RSI_BUY")) and self.less(trade, trade.price, lower):
            return "mean_reversion"
        return ""

    def indicator(self, trade: Trade, name: str, exact: Decimal | None) -> Decimal | None:
        """The indicator as it was told, where it was and is right to a billionth; else the exact one."""
        if exact is None or trade.number not in self.told:
            return exact
        value = self.told[trade.number][name == "lower"]
        if not abs(value - float(exact)) <= 1e-9 * max(abs(float(exact)), name == "rsi"):
            self.result.far.append(f"trade {trade.number} of {trade.pair}: {name} {value}, expected {float(exact)}")
            return exact
        return Decimal(value)

    def less(self, trade: Trade, a: Decimal | None, b: Decimal | None) -> bool:
        """a < b; where float64 could see it otherwise than exact arithmetic, the trade is noted as near."""
        assert a is not None and b is not None
        if abs(a - b) <= BILLIONTH * max(abs(a), abs(b)):
            self.result.near.add(trade.number)
            if trade.number in self.told:
                return float(a) < float(b)
        return a < b

    def number(self, name: str) -> Decimal:
        return Decimal(str(self.settings[name]))

    # orders

    def buy(self, trade: Trade, position: Position, reason: str, chart: Chart) -> None:
        if not self.entering or not self.entry_allowed() or within(trade.number, self.blocked):
            return
        market = self.markets[trade.pair]
        free = self.free_balance()
        quantity = down(Decimal(str(self.settings["TRADE_CAPITAL"])) / trade.price, market.step)
        worst = self.worsened(trade.price, "buy", market)
        quantity = self.largest(quantity, market)
        quantity = min(quantity, self.payable(worst, market, free))
        if self.below_minimum(quantity, trade.price, market):
            return
        self.entries_ns.append(self.newest_ns)
        self.decided(trade, "enter", reason, chart)
        if self.instant:
            self.fill(trade, position, "buy", quantity)
        else:
            position.order = Order("buy", quantity, trade.ts_ns, self.cost(worst, quantity))

    def sell(self, trade: Trade, position: Position, reason: str, chart: Chart) -> None:
        if self.below_minimum(position.held, trade.price, self.markets[trade.pair]):
            self.turn_to_dust(position)
            return
        self.decided(trade, "exit", reason, chart)
        quantity = self.largest(position.held, self.markets[trade.pair])
        if self.instant:
            self.fill(trade, position, "sell", quantity)
        else:
            position.order = Order("sell", quantity, trade.ts_ns)

    def entry_allowed(self) -> bool:
        most = int(self.settings["MAX_ORDERS_PER_MINUTE"])
        recent = [sent for sent in self.entries_ns if sent > self.newest_ns - 60_000_000_000]
        if most and len(recent) >= most:
            return False
        most = int(self.settings["MAX_OPEN_POSITIONS"])
        engaged = [position for position in self.positions.values() if position.held > 0 or position.order is not None]
        return not most or len(engaged) < most

    def match(self, trade: Trade, position: Position) -> bool:
        """The broker's part of a trade; whether it filled anything."""
        order = position.order
        if order is None:
            return False
        market = self.markets[trade.pair]
        can_fill_ns = order.decided_ns + self.latency_ns
        if order.side == "buy" and trade.ts_ns >= can_fill_ns + self.timeout_ns:
            position.order = None
            if position.held > 0 and self.below_minimum(position.held, trade.price, market):
                self.turn_to_dust(position)
            return False
        if trade.ts_ns < can_fill_ns:
            return False
        quantity = min(order.quantity, down(trade.quantity * self.participation, market.step))
        if order.side == "buy":
            price = self.worsened(trade.price, "buy", market)
            quantity = min(quantity, self.payable(price, market, self.free_balance() + order.reserve))
        if quantity <= 0:
            return False
        order.quantity -= quantity
        cash = self.fill(trade, position, order.side, quantity)
        order.reserve = max(Decimal(0), order.reserve - cash) if order.side == "buy" else Decimal(0)
        if order.quantity == 0:
            position.order = None
            if position.held > 0 and self.below_minimum(position.held, trade.price, market):
                self.turn_to_dust(position)
        elif order.side == "sell" and self.below_minimum(position.held, trade.price, market):
            position.order = None
            self.turn_to_dust(position)
        return True

    def fill(self, trade: Trade, position: Position, side: str, quantity: Decimal) -> Decimal:
        price = self.worsened(trade.price, side, self.markets[trade.pair])
        if side == "buy":
            cash = self.cost(price, quantity)
            self.wallet -= cash
            if position.held == 0:
                position.highest = float(trade.price)
                position.opened_ms = trade.ts_ns // 1_000_000
            position.held += quantity
        else:
            cash = self.proceeds(price, quantity)
            self.wallet += cash
            position.held -= quantity
            if position.held == 0:
                position.highest = None
                position.flatten = False
        self.result.fills.append(Fill(trade.ts_ns, trade.pair, side, price, quantity, cash))
        return cash

    @staticmethod
    def turn_to_dust(position: Position) -> None:
        position.dust += position.held
        position.held = Decimal(0)
        position.highest = None
        position.flatten = False

    def decided(self, trade: Trade, action: str, reason: str, chart: Chart) -> None:
        rsi, lower = (NAN if value is None else float(value) for value in (chart.rsi(), chart.lower_band()))
        price = float(trade.price)
        self.result.decisions.append(Decision(trade.ts_ns, action, reason, price, rsi, lower, trade.pair))

    # money

    def free_balance(self) -> Decimal:
        return self.wallet - sum(position.order.reserve for position in self.positions.values() if position.order)

    def worsened(self, price: Decimal, side: str, market: Market) -> Decimal:
        if side == "buy":
            return up(price * (1 + self.slippage), market.tick)
        return down(price * (1 - self.slippage), market.tick)

    def cost(self, price: Decimal, quantity: Decimal) -> Decimal:
        notional = up(price * quantity, CENT_OF_CENT)
        return notional + up(notional * self.fee, CENT_OF_CENT) + up(notional * self.tax["buy"], CENT_OF_CENT)

    def proceeds(self, price: Decimal, quantity: Decimal) -> Decimal:
        notional = down(price * quantity, CENT_OF_CENT)
        return notional - up(notional * self.fee, CENT_OF_CENT) - up(notional * self.tax["sell"], CENT_OF_CENT)

    def payable(self, price: Decimal, market: Market, money: Decimal) -> Decimal:
        """The greatest quantity that costs no more than `money`."""
        if money <= 0:
            return Decimal(0)
        quantity = up(money / (price * (1 + self.fee + self.tax["buy"])), market.step)
        while quantity > 0 and self.cost(price, quantity) > money:
            quantity -= market.step
        return quantity

    @staticmethod
    def largest(quantity: Decimal, market: Market) -> Decimal:
        """The quantity, or the most that the market takes in one order."""
        most = None if market.max_quantity is None else down(market.max_quantity, market.step)
        return min(quantity, most) if most else quantity

    @staticmethod
    def below_minimum(quantity: Decimal, price: Decimal, market: Market) -> bool:
        return (
            quantity <= 0
            or quantity < market.min_quantity
            or down(quantity * price, CENT_OF_CENT) < market.min_notional
        )


def within(number: int, spans: list[tuple[int, int]]) -> bool:
    return any(first <= number <= last for first, last in spans)


def down(value: Decimal, step: Decimal) -> Decimal:
    return (value / step).to_integral_value(ROUND_FLOOR) * step


def up(value: Decimal, step: Decimal) -> Decimal:
    return (value / step).to_integral_value(ROUND_CEILING) * step


# --- files ----------------------------------------------------------------------------------------


def read_ticks(path: Path, pair: str) -> list[Trade]:
    """The trades of a .csv or .csv.gz file with a header that names ts_ns or ts_ms, price and qty."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", newline="") as file:
        trades = []
        for number, row in enumerate(csv.DictReader(file)):
            ts_ns = int(row["ts_ns"]) if "ts_ns" in row else int(row["ts_ms"]) * 1_000_000
            trades.append(Trade(number, pair, ts_ns, Decimal(row["price"]), Decimal(row["qty"])))
        return trades
