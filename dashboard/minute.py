"""A minute of one pair judged once more: each condition at its nearest miss, over every trade. Pure.

* What is asked at a trade is what the trader asked there: the exit rules where something was held before it, the entry
  rules where nothing was; nothing at BACKFILL trades, nothing while an order worked, unless it ended there unfilled.
* Where the trader stood comes from its journal (`positions`, `order_steps`, `reasons` of the database) by the number of
  the record, `highest` is carried on over the trades since.
* Conditions are judged in blind and degraded spans and while entries are blocked as well; how many trades fell into
  such a span is counted.
"""

from collections.abc import Callable, Iterable, Mapping
from math import inf, isnan
from typing import Any

import msgspec

from bus.layouts import BACKFILL
from indicators.rules import entry_reason, keep_factor, take_profit, trailing_stop
from indicators.told import Told

Row = dict[str, Any]
Place = tuple[int, ...]  # epoch and number of a record; of a candle its end in ms
NS_PER_MS = 1_000_000
TERMINAL = ("filled", "cancelled", "rejected")


class Condition(msgspec.Struct):
    """One comparison at its nearest miss. margin: what was missing, in the unit of `value`; 0 or less where it held."""

    name: str
    text: str
    value: float | None = None
    threshold: float | None = None
    margin: float | None = None
    margin_pct: float | None = None  # of the price, where prices are compared
    met: bool = False
    time_ms: int | None = None
    price: float | None = None
    number: int | None = None
    trades: int = 0  # at how many trades it was asked

    def take(self, trade: Told, value: float, threshold: float, missing: float, met: bool) -> None:
        """One more trade; kept where less was missing than at those before."""
        self.trades += 1
        if self.margin is not None and missing >= self.margin:
            return
        self.value, self.threshold, self.margin, self.met = value, threshold, missing, met
        self.time_ms, self.price, self.number = trade.ns // NS_PER_MS, trade.price, trade.number


class Rule(msgspec.Struct):
    """A rule with its conditions, all of which it needs; `held`: at how many trades it held, from `first_ms` on."""

    rule: str
    action: str  # enter, exit
    conditions: list[Condition]
    held: int = 0
    held_blind: int = 0  # of these, in spans in which it decides nothing
    first_ms: int | None = None
    first: Place | None = None

    def take(self, trade: Told, place: Place, met: bool, blind: bool) -> None:
        if not met:
            return
        self.held += 1
        self.held_blind += blind
        if self.first is None:
            self.first, self.first_ms = place, trade.ns // NS_PER_MS


class Span(msgspec.Struct):
    """A blind or degraded span, with the minute's trades in it."""

    kind: str
    why: str
    epoch: int
    first: int
    last: float
    trades: int = 0
    from_ms: int | None = None
    to_ms: int | None = None


class Standing:
    """What was held, what worked and how wide the stop was, moved on from record to record."""

    def __init__(self, rows: Iterable[Row], place_of: Callable[[Row], Place]) -> None:
        self._rows = sorted(rows, key=lambda row: row["id"])
        self._place_of = place_of
        self._next = 0
        self.quantity = 0.0
        self.highest: float | None = None
        self.opened_ms = 0
        self.order = ""  # id of the one that works
        self.side = ""
        self.filled = 0.0
        self.keep: float | None = None

    def move_before(self, place: Place) -> None:
        """Applies everything that was told before this record."""
        while self._next < len(self._rows) and self._place_of(self._rows[self._next]) < place:
            self._apply(self._rows[self._next])
            self._next += 1

    def settle(self, place: Place) -> bool:
        """Applies what this record did to the order that worked before it; True where it filled something."""
        order, before = self.order, self.filled
        while self._next < len(self._rows) and self._place_of(self._rows[self._next]) == place:
            row = self._rows[self._next]
            if row.get("client_order_id", order) != order:
                break  # what is decided at this record comes after
            self._apply(row)
            self._next += 1
        return self.filled > before

    def _apply(self, row: Row) -> None:
        if "status" in row:
            ended = row["status"] in TERMINAL
            if row["client_order_id"] != self.order:
                self.filled = 0.0
            self.order, self.side = ("", "") if ended else (row["client_order_id"], row["side"])
            self.filled = row["filled"]
        elif "quantity" in row:
            self.quantity, self.highest = row["quantity"], row["highest"]
            self.opened_ms = row["opened"] or 0
        else:
            settings = msgspec.json.decode(row["why"])
            self.keep = keep_factor(float(settings["TRAILING_STOP_PCT"]))


class Minute:
    """The judgement; fed with trades in the order of the tape, from before the minute on where something was held."""

    def __init__(self, rows: Mapping[str, list[Row]], from_ms: int, place_of: Callable[[Row], Place]) -> None:
        starts = [row for row in rows["reasons"] if row["kind"] == "start"]
        self._standing = Standing([*rows["positions"], *rows["order_steps"], *starts], place_of)
        self._from_ns = from_ms * NS_PER_MS
        self.rules: dict[str, Rule] = {}
        self.spans = spans_of(rows["reasons"])
        self.trades = self.refilled = self.asked_flat = self.asked_held = self.working = 0
        self.cold = 0  # trades before the warm-up was over
        self.cold_from_ms: int | None = None
        self.cold_to_ms: int | None = None
        self.low: float | None = None
        self.high: float | None = None
        self.states: list[str] = []  # flat, held, entering, exiting: in the order in which they were met

    def take(self, trade: Told, place: Place) -> None:
        """One more trade."""
        now = self._standing
        now.move_before(place)
        held, order, side, ms = now.quantity > 0, now.order, now.side, trade.ns // NS_PER_MS
        if held and not (trade.flags & BACKFILL and ms < now.opened_ms):
            now.highest = max(now.highest or 0.0, trade.price)
        filled = now.settle(place) if order else False
        if trade.ns < self._from_ns:
            return
        self._count(trade, ms)
        if trade.flags & BACKFILL:
            self.refilled += 1
            return
        blind = self._in_spans(trade, place, ms)
        if order and (now.order or filled):
            self.working += 1
            self._state("entering" if side == "buy" else "exiting")
        elif now.quantity > 0:
            self.asked_held += 1
            self._state("held")
            self._exits(trade, place, blind)
        else:
            self.asked_flat += 1
            self._state("flat")
            self._entries(trade, place, blind)

    def _count(self, trade: Told, ms: int) -> None:
        self.trades += 1
        self.low = trade.price if self.low is None else min(self.low, trade.price)
        self.high = trade.price if self.high is None else max(self.high, trade.price)
        if not trade.warm:
            self.cold += 1
            self.cold_from_ms = ms if self.cold_from_ms is None else self.cold_from_ms
            self.cold_to_ms = ms

    def _state(self, word: str) -> None:
        if not self.states or self.states[-1] != word:
            self.states.append(word)

    def _in_spans(self, trade: Told, place: Place, ms: int) -> bool:
        found = False
        for span in self.spans:
            if len(place) == 2 and place[0] == span.epoch and span.first <= place[1] <= span.last:
                found = True
                span.trades += 1
                span.from_ms = ms if span.from_ms is None else span.from_ms
                span.to_ms = ms
        return found

    def _entries(self, trade: Told, place: Place, blind: bool) -> None:
        by, rsi, lower, price = trade.by, trade.rsi, trade.bb_lower, trade.price
        if isnan(rsi) or isnan(lower):
            return
        reversion = self._rule(
            "mean_reversion", "enter", ("rsi", f"RSI < {by.rsi_buy:g}"), ("band", "price < lower band")
        )
        crash = self._rule("crash_catch", "enter", ("rsi", f"RSI < {by.rsi_crash:g}"))
        reversion.conditions[0].take(trade, rsi, by.rsi_buy, rsi - by.rsi_buy, rsi < by.rsi_buy)
        reversion.conditions[1].take(trade, price, lower, price - lower, price < lower)
        crash.conditions[0].take(trade, rsi, by.rsi_crash, rsi - by.rsi_crash, rsi < by.rsi_crash)
        if trade.warm:
            reversion.take(trade, place, entry_reason(rsi, price, lower, by.rsi_buy, -inf) != 0, blind)
            crash.take(trade, place, entry_reason(rsi, price, lower, -inf, by.rsi_crash) != 0, blind)

    def _exits(self, trade: Told, place: Place, blind: bool) -> None:
        by, rsi, price, now = trade.by, trade.rsi, trade.price, self._standing
        stop = self._rule("trailing_stop", "exit", ("stop", "price ≤ stop"))
        if now.highest is not None and now.keep is not None:
            threshold = now.highest * now.keep
            met = trailing_stop(price, now.highest, now.keep)
            stop.conditions[0].take(trade, price, threshold, price - threshold, met)
            stop.take(trade, place, met, blind)
        profit = self._rule("take_profit", "exit", ("rsi", f"RSI > {by.rsi_sell:g}"))
        if not isnan(rsi):
            met = take_profit(rsi, by.rsi_sell)
            profit.conditions[0].take(trade, rsi, by.rsi_sell, by.rsi_sell - rsi, met)
            profit.take(trade, place, met and trade.warm, blind)

    def _rule(self, name: str, action: str, *conditions: tuple[str, str]) -> Rule:
        found = self.rules.get(name)
        if found is None:
            found = self.rules[name] = Rule(name, action, [Condition(*one) for one in conditions])
        return found

    def finish(self) -> None:
        """Works out what is of all trades."""
        for rule in self.rules.values():
            for one in rule.conditions:
                if one.name != "rsi" and one.price and one.margin is not None:
                    one.margin_pct = 100 * one.margin / one.price


def spans_of(reasons: Iterable[Row]) -> list[Span]:
    """The spans in which not everything is decided; the end of one that was open replaces its begin."""
    found: dict[tuple[str, int, int], Span] = {}
    for row in reasons:
        if row["kind"] == "span" and row["reason"] in ("blind", "degraded"):
            last = inf if row["last"] < 0 and row["reason"] == "degraded" else row["last"]
            key = (row["reason"], row["epoch"], row["first"])
            found[key] = Span(row["reason"], row["why"], row["epoch"], row["first"], last)
    return list(found.values())
