"""The fold: one ordered list of tape records and journalled inputs in, events to journal out. No clock, no I/O.

On each trade, in this order (LATE is no trade for anyone and is dropped before):

1. the broker matches working orders
2. its fills are applied; `highest` starts at the market price of the first entry fill
3. if a position was held before this trade: highest = max(highest, price); not for a BACKFILL trade from before the
   entry: after a hole or with another TIMEFRAME the running candle's trades are told once more
4. if this trade filled an order or one is working: no decision, except that during a working entry the trailing stop
   may cancel the rest and sell what is held
5. exit rules if long (trailing_stop before take_profit), entry rules if flat (crash_catch before mean_reversion)

BACKFILL does 1 to 3 only, so does every record of a blind span. In a degraded span only the trailing stop decides (and
an operator's flatten). A batch may be split anywhere: the events are the same.
"""

from bus.messages import SpanEvent, Start, StartedEvent, TraderEvent
from bus.records import (
    BACKFILL,
    ENTER_CRASH_CATCH,
    ENTER_MEAN_REVERSION,
    EXIT_TAKE_PROFIT,
    STALE,
    UNTAPED,
    WARM,
)
from core.errors import BotError
from indicators.rules import trailing_stop
from trader import inputs, protection, risk, venue_news
from trader.board import Board
from trader.broker import Broker, BrokerEvent, Tick
from trader.ids import client_order_id
from trader.ledger import Ledger
from trader.orders import OrderNews, OrderState, advance
from trader.sizing import entry_size, worst_entry
from trader.state import (
    ACTIVE,
    BLIND,
    DEGRADED,
    ENTRY,
    EXIT,
    HALTED,
    NO_SPAN,
    REDUCING,
    STOP,
    LivePair,
    Order,
    PairState,
    State,
)
from trader.terms import NS_PER_MINUTE, MarketTerms, Terms, fee_of
from trader.walk import Walk

MAX_COMMANDS = 64  # ids remembered, so that none is carried out twice
TRAILING_STOP = "trailing_stop"
SHUTDOWN = "shutdown"  # reason of a flatten that a stop asked for: the next start is active again


class Engine:
    """The fold over one state. `handle` is its only door; `state` may be packed between two calls."""

    def __init__(self, terms: Terms, state: State, broker: Broker) -> None:
        self.terms = terms
        self.state = state
        self.broker = broker
        self.ledger = Ledger(terms, state)
        self._board = Board()
        self._walk = Walk(self._board, state, terms.keep, self._tick)
        if state.start is not None:
            self._take_start(inputs.NewStart(state.epoch, state.record, state.start))

    def handle(self, item: inputs.Input) -> list[TraderEvent]:
        """Applies one input and gives the events to journal, in order."""
        match item:
            case inputs.Updates():
                self._updates(item)
            case inputs.Raws():
                self._raws(item)
            case inputs.NewStart():
                self._take_start(item)
            case inputs.Began():
                self._began(item)
            case inputs.SpanBegin():
                self._span_begin(item)
            case inputs.SpanEnd():
                self._span_end()
            case inputs.Command():
                self._command(item)
            case inputs.Block():
                self._block(item.reason, item.on)
            case inputs.Told() | inputs.Checked() | inputs.Fee() | inputs.Again():
                venue_news.take(self, item)
            case inputs.Protect():
                protection.take(self, item.pair)
        out, self.ledger.out = self.ledger.out, []
        return out

    def sync(self) -> State:
        """The state with the latest prices written into it; to be packed or shown."""
        self._board.sync()
        return self.state

    @property
    def unknown_pairs(self) -> int:
        """Records so far of pairs that no START has named."""
        return self._walk.unknown_pairs

    def limit(self) -> str:
        """The limit that stops an entry now, or ''."""
        held = self.ledger.open_positions() if self.terms.max_open_positions else 0
        return risk.limit_reached(self.state.risk, self.terms, self.state.market_ns, held, self.ledger.fee)

    def market(self, pair: str) -> MarketTerms | None:
        """The rules of a pair, None where no START names it."""
        return self.ledger.markets.get(pair)

    # --- the tape -----------------------------------------------------------------------------------

    def _take_start(self, item: inputs.NewStart) -> None:
        state, ledger = self.state, self.ledger
        state.record = item.record if item.epoch != state.epoch else max(state.record, item.record)
        state.epoch = item.epoch
        before, state.start = state.start, item.body
        changed = self._board.take_start(state, item.body)
        ledger.markets = {market.pair: market for market in self._board.markets}
        if state.live is not None:
            for pair in state.pairs.values():
                pair.live = pair.live or LivePair()
        ledger.fee = self._fee(item.body)
        for pair in changed:
            ledger.position_event(pair)
        if before is None or self._fee(before) != ledger.fee:
            ledger.costs_event()
        self._walk.changed = True

    def _fee(self, start: Start) -> int:
        """The taker fee in force, in parts: of the settings, else of the account where it was told, else of START."""
        live = self.state.live
        if live is None or live.fee is None or self.terms.taker_fee is not None:
            return fee_of(start, self.terms)
        return live.fee

    def _updates(self, item: inputs.Updates) -> None:
        state = self.state
        if state.span != NO_SPAN:
            raise BotError(f"updates inside a {state.span} span: it must end first")
        if item.epoch != state.epoch:
            raise BotError(f"updates of tape {item.epoch}, but the fold is at tape {state.epoch}")
        self._walk.updates(item.records)
        if item.last > state.record:
            state.record = item.last

    def _raws(self, item: inputs.Raws) -> None:
        if item.epoch != self.state.epoch:
            raise BotError(f"records of tape {item.epoch}, but the fold is at tape {self.state.epoch}")
        self._walk.raws(item.records, item.first)
        self.state.record = max(self.state.record, item.first + len(item.records) - 1)

    # --- one trade ------------------------------------------------------------------------------------

    def _tick(self, tick: Tick, minute: bool) -> None:
        state, ledger = self.state, self.ledger
        pair, market = self._board.pairs[tick.pair], self._board.markets[tick.pair]
        state.record = tick.number
        state.market_ns = max(state.market_ns, tick.ns)
        self._board.put(tick)
        held = pair.lots > 0
        # step 3: it comes out the same before steps 1 and 2, and their events then carry it
        if held and not (tick.flags & BACKFILL and tick.ms < (pair.opened_ms or 0)):
            pair.highest = max(pair.highest or 0.0, tick.price)
        candle_closed = self._candle(pair, tick)

        filled = False
        if pair.order is not None:
            spendable = pair.order.reserve + ledger.free()
            self.broker.match(tick, market, ledger.fee, spendable)
            filled = self._settle(pair, tick)
        if not tick.flags & BACKFILL and state.span != BLIND:
            self._decide(pair, market, tick, filled)

        if candle_closed and held and pair.lots and ledger.position_record != tick.number:
            ledger.position_event(pair, tick.ms)
        if minute:
            state.minute = state.market_ns // NS_PER_MINUTE
            if ledger.equity_record != tick.number:
                ledger.equity_event(tick.ms)
        if minute or filled:
            self._check_limits(tick)

    def _candle(self, pair: PairState, tick: Tick) -> bool:
        """Whether a candle closed since the last look at this pair; a refusal not met in a whole candle ends here."""
        if tick.closed < 0 or tick.closed == pair.closed:
            return False
        pair.closed = tick.closed
        if pair.refusal:
            if not pair.refusal_fresh:
                self._refusal_ends(pair, tick)
            pair.refusal_fresh = False
        return True

    def _settle(self, pair: PairState, tick: Tick) -> bool:
        """Applies what the broker has to say; True where something filled."""
        filled = False
        for event in self.broker.take():
            filled = self.ledger.apply(event, pair, tick) or filled
            self._walk.changed = True
        return filled

    def _decide(self, pair: PairState, market: MarketTerms, tick: Tick, filled: bool) -> None:
        order = pair.order
        if order is not None and not (order.resting and pair.lots):
            if order.purpose == ENTRY and pair.lots and self._stop_hit(pair, tick):
                if pair.live is not None:
                    pair.live.exiting = TRAILING_STOP  # once the venue has ended the entry
                if order.state == OrderState.CANCELLING:
                    return
                self._cancel(pair, tick, TRAILING_STOP)
                if pair.lots and pair.order is None:
                    self.exit(pair, market, tick, TRAILING_STOP)
            return
        if filled:
            return
        if pair.live is not None and pair.lots and (pair.live.exiting or not venue_news.may_send(self)):
            if not pair.live.exiting and self._stop_hit(pair, tick):
                pair.live.exiting = TRAILING_STOP
            return  # `inputs.Again` tries it
        if pair.lots:
            if pair.flatten:
                self.exit(pair, market, tick, "flatten")
            elif self._stop_hit(pair, tick):
                self.exit(pair, market, tick, TRAILING_STOP)
            elif tick.codes & WARM and tick.codes & EXIT_TAKE_PROFIT and self.state.span == NO_SPAN:
                self.exit(pair, market, tick, "take_profit")
        elif tick.codes & WARM and self.state.span == NO_SPAN:
            if tick.codes & ENTER_CRASH_CATCH:
                self._enter(pair, market, tick, "crash_catch")
            elif tick.codes & ENTER_MEAN_REVERSION:
                self._enter(pair, market, tick, "mean_reversion")

    def _stop_hit(self, pair: PairState, tick: Tick) -> bool:
        return pair.highest is not None and trailing_stop(tick.price, pair.highest, self.terms.keep)

    def exit(self, pair: PairState, market: MarketTerms, tick: Tick, reason: str) -> None:
        """Sells the position, or as much of it as one order may; where orders are real it is tried until it is flat.

        A stop that rests at the venue is cancelled first: what it left is sold when the venue has told that it is over.
        """
        if pair.live is not None and pair.order is not None:
            pair.live.exiting = reason
            self._cancel(pair, tick, reason)
            return
        if self.ledger.is_dust(pair, tick):
            self.ledger.to_dust(pair)
            self.ledger.position_event(pair, tick.ms)
            self._walk.changed = True
            return
        if pair.live is not None:
            pair.live.exiting = reason
        order = self._order(pair, tick, EXIT, reason, min(pair.lots, market.max_lots))
        self._send(risk.judge(order, pair.lots, ""), pair, market, tick)

    def guard(self, pair: PairState, market: MarketTerms, stop_ticks: int) -> None:
        """Sends a stop that rests at the venue, for the position or as much of it as one order may."""
        tick = self.last_tick(pair)
        order = self._order(pair, tick, EXIT, TRAILING_STOP, min(pair.lots, market.max_lots))
        order.kind, order.stop_ticks = STOP, stop_ticks
        self._name(order, pair, tick.number)
        self._submit(risk.judge(order, pair.lots, ""), pair, market, tick)

    def _enter(self, pair: PairState, market: MarketTerms, tick: Tick, reason: str) -> None:
        order = self._order(pair, tick, ENTRY, reason, 0)
        refusal = self._refusal(market, tick)
        if not refusal:
            free, fee, capital = self.ledger.free(), self.ledger.fee, self.ledger.stake()
            size = entry_size(tick.ticks, free, fee, self.terms, market, capital)
            order.lots, order.reserve, order.note, refusal = size
        self._send(risk.judge(order, pair.lots, refusal), pair, market, tick)

    def _refusal(self, market: MarketTerms, tick: Tick) -> str:
        """Why no entry may be sent at this record, or ''."""
        state = self.state
        if tick.settings_hash != self.terms.indicator_hash:
            return "indicator_settings_differ"
        if tick.flags & STALE:
            return "stale"
        if tick.flags & UNTAPED:
            return "untaped"
        if not market.active:
            return "market_inactive"
        for reason in state.blocks:
            return reason
        if state.trading != ACTIVE:
            return state.trading
        return self.limit()

    def _order(self, pair: PairState, tick: Tick, purpose: str, reason: str, lots: int) -> Order:
        return Order(
            id="",  # given when it is approved
            pair=pair.pair,
            purpose=purpose,
            reason=reason,
            lots=lots,
            ticks=tick.ticks,
            decided_ns=tick.ns,
            created_ms=tick.ms,
            updated_ms=tick.ms,
            state=OrderState.SUBMITTING,
        )

    def _name(self, order: Order, pair: PairState, record: int) -> None:
        """What is known once an order is approved: its id, and where orders are real its kind and limit."""
        state, live = self.state, pair.live
        if live is None:
            order.id = self._id(pair, state.epoch, record, order.purpose, 1)
        elif order.purpose == EXIT:
            order.id = self.exit_id(pair)
            live.exits += 1
            order.attempt = live.exits
        else:
            order.id = self._id(pair, state.epoch, record, order.purpose, 1)
            order.kind, order.limit_ticks = self.terms.entry_kind, worst_entry(order.ticks, self.terms)

    def exit_id(self, pair: PairState) -> str:
        """The id of the next exit of a real position: of its first fill's place, so that the guardian has it too."""
        live = pair.live or LivePair()
        return self._id(pair, live.opened_epoch, live.opened_record, EXIT, live.exits + 1)

    def _id(self, pair: PairState, epoch: int, record: int, purpose: str, attempt: int) -> str:
        return client_order_id(self.terms.bot_name, self.state.journal_id, pair.pair, epoch, record, purpose, attempt)

    def _send(self, verdict: risk.Approved | risk.Refused, pair: PairState, market: MarketTerms, tick: Tick) -> None:
        order = verdict.order
        action = "enter" if order.purpose == ENTRY else "exit"
        if isinstance(verdict, risk.Refused):
            self._refuse(pair, tick, order.reason, verdict.reason)
            return
        state = self.state
        self._name(order, pair, tick.number)
        if order.purpose == ENTRY:
            if pair.refusal:
                self._refusal_ends(pair, tick)
            risk.entry_sent(state.risk, state.market_ns)
        self.ledger.signal_event(tick, pair.pair, action, order.reason, "approved", order.id, 1)
        self._submit(verdict, pair, market, tick)

    def _submit(self, verdict: risk.Approved | risk.Refused, pair: PairState, market: MarketTerms, tick: Tick) -> None:
        order = verdict.order
        if isinstance(verdict, risk.Refused):
            raise BotError(f"{pair.pair}: order {order.id} was not approved: {verdict.reason}")
        pair.order = order
        self._walk.changed = True
        self.ledger.order_event(order)  # the intent, before it is sent
        self.broker.submit(verdict, tick, market, self.ledger.fee)
        if self._settle(pair, tick):
            self._check_limits(tick)

    # --- refusals, limits, cancels ----------------------------------------------------------------------

    def _refuse(self, pair: PairState, tick: Tick, rule: str, reason: str) -> None:
        if pair.refusal != reason:
            if pair.refusal:
                self._refusal_ends(pair, tick)
            pair.refusal, pair.refusal_rule = reason, rule
            pair.refusal_count = 0
            self.ledger.signal_event(tick, pair.pair, "enter", rule, f"refused:{reason}", "", 1)
            self._walk.changed = True
        pair.refusal_count += 1
        pair.refusal_fresh = True

    def _refusal_ends(self, pair: PairState, tick: Tick) -> None:
        reason, count = pair.refusal, pair.refusal_count
        self.ledger.signal_event(tick, pair.pair, "enter", pair.refusal_rule, f"refused:{reason} ended", "", count)
        pair.refusal = ""
        pair.refusal_count = 0
        self._walk.changed = True

    def _check_limits(self, tick: Tick) -> None:
        """Limits that halt: looked at where equity is, at a fill and at each minute."""
        reason = risk.breach(self.state.risk, self.ledger.equity(), self.terms)
        if reason and self.state.trading != HALTED:
            self.ledger.state_event(HALTED, reason, "", "")
            self._cancel_entries(tick, reason)

    def _cancel_entries(self, tick: Tick | None, note: str) -> None:
        for pair in self.state.pairs.values():
            if pair.order is not None and pair.order.purpose == ENTRY:
                self._cancel(pair, tick, note)

    def _cancel(self, pair: PairState, tick: Tick | None, note: str) -> None:
        """Asks for the cancel of the pair's working order; `tick` None: at the current record, by a command."""
        order = pair.order
        if order is None:
            return
        order.state = advance(order.state, OrderNews.CANCEL_SENT)
        order.note = f"{order.note}, {note}" if order.note else note
        if tick is None or tick.pair < 0 or self._board.pairs[tick.pair] is not pair:
            tick = self.last_tick(pair)
        order.updated_ms = tick.ms
        self.ledger.order_event(order)
        self.broker.cancel(order.id)
        self._settle(pair, tick)
        self._walk.changed = True

    def apply(self, event: BrokerEvent, pair: PairState) -> None:
        """Applies a result that came without a trade of its own."""
        tick = self.last_tick(pair)
        if self.ledger.apply(event, pair, tick):
            self._check_limits(tick)
        self.changed()

    def cancel(self, pair: PairState, note: str) -> None:
        """Asks for the cancel of the pair's working order, without a trade."""
        self._cancel(pair, None, note)

    def changed(self) -> None:
        """What pairs wait for has changed."""
        self._walk.changed = True

    def last_tick(self, pair: PairState) -> Tick:
        """The pair's last price at the current record, where something happens without a trade of its own."""
        self.sync()
        nan = float("nan")
        market_ns = self.state.market_ns
        return Tick(0, -1, market_ns, pair.price, pair.ticks, 0, self.state.record, nan, nan, -1, 0, 0)

    # --- journalled inputs --------------------------------------------------------------------------------

    def _began(self, item: inputs.Began) -> None:
        state, ledger = self.state, self.ledger
        state.settings = item.settings
        state.stopped = False
        self._span_end()
        ledger.out.append(
            StartedEvent(ledger.at(), state.journal_id, item.book, item.settings, item.found, item.report)
        )
        if state.start is not None:
            ledger.costs_event()
        for reason in list(state.blocks):
            self._block(reason, False)
        for pair in state.pairs.values():
            if pair.flatten == SHUTDOWN:
                pair.flatten = ""
        if state.trading == REDUCING and state.trading_reason == SHUTDOWN:
            ledger.state_event(ACTIVE, "started again after a stop that flattened", "", "")

    def _span_begin(self, item: inputs.SpanBegin) -> None:
        self._span_end()
        state = self.state
        if item.epoch != state.epoch:
            state.epoch, state.record = item.epoch, item.first - 1
        state.span, state.span_first, state.span_why = item.kind, item.first, item.why
        self.ledger.out.append(SpanEvent(self.ledger.at(), item.kind, item.first, item.last, item.why))
        self._walk.changed = True

    def _span_end(self) -> None:
        state = self.state
        if state.span == DEGRADED:
            self.ledger.out.append(
                SpanEvent(self.ledger.at(), DEGRADED, state.span_first, state.record, state.span_why)
            )
        state.span, state.span_why = NO_SPAN, ""
        self._walk.changed = True

    def _block(self, reason: str, on: bool) -> None:
        state = self.state
        if on == (reason in state.blocks):
            return
        if on:
            state.blocks[reason] = state.record + 1
            self.ledger.out.append(SpanEvent(self.ledger.at(), "blocked", state.record + 1, -1, reason))
        else:
            first = state.blocks.pop(reason)
            self.ledger.out.append(SpanEvent(self.ledger.at(), "blocked", first, state.record, reason))

    def _command(self, item: inputs.Command) -> None:
        state = self.state
        if item.id in state.commands:
            return
        state.commands = [*state.commands, item.id][-MAX_COMMANDS:]
        after = risk.COMMANDS.get((state.trading, item.action))
        if after is None:
            raise BotError(f"unknown command {item.action!r}: pause, resume, flatten and halt are known")
        shutdown = item.action == "flatten" and item.reason == SHUTDOWN
        if shutdown and state.trading != ACTIVE:  # it lets no entry through either, and outlives the stop
            before = state.trading_reason
            self.ledger.state_event(state.trading, SHUTDOWN, item.action, item.id)
            state.trading_reason = before
        else:
            self.ledger.state_event(after, item.reason or "operator", item.action, item.id)
        if item.action == "resume":
            risk.resumed(state.risk, self.ledger.equity())
            for pair in state.pairs.values():
                pair.flatten = ""
        if item.action in ("flatten", "halt"):
            self._cancel_entries(None, item.action)
        if item.action == "flatten":
            for pair in state.pairs.values():
                if pair.lots:
                    pair.flatten = pair.flatten or SHUTDOWN if shutdown else item.id
        self._walk.changed = True
