"""The guardian: sells at the stop where the trader is dead, hangs, or may not act; in live mode only.

Its own process, its own prices over REST, its own session with the venue. What it does stands in `decide`; here are the
files, the clock and the venue. An exception that is no error of the venue ends it, and supervisord starts it again: its
claim then says what was under way.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from bus.layouts import layout_hash
from bus.publisher import Facts, open_publisher
from core.clock import NS_PER_MS, NS_PER_S, boot_id
from core.errors import NotCalledFor
from core.lease import ClaimWriter, Sale, read_lease
from core.stage import Context
from guardian import decide, messages
from venues.account import SELL, NewOrder
from venues.choose import account, market_data
from venues.errors import Misconfigured, OutcomeUnknown, Rejected, Skewed, VenueError
from venues.venue import Rules

LOOK_SECONDS = 0.2
RULES_AGE_S = 3_600.0


async def main(context: Context) -> None:
    """The stage's main coroutine. Raises NotCalledFor in simulation, Misconfigured without the venue's keys."""
    if context.settings.simulation_mode:
        raise NotCalledFor("SIMULATION_MODE=true: nothing is held at a venue")
    guardian = Guardian(context)
    guardian.look()
    context.loop.every(LOOK_SECONDS, guardian.look)
    await asyncio.Event().wait()


class Guardian:
    """Reads the lease, hands events to `decide.Guard` and does what it says, one thing a pair at a time."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        self._context = context
        self._clock = context.clock
        self._boot_id = boot_id()
        self._account = account(settings, context.clock, beside=True, run_dir=context.run_dir)
        self._market = market_data(settings, context.clock)
        context.on_stop(self._market.close)
        context.on_stop(self._account.close)
        self._claim = ClaimWriter(context.run_dir, self._boot_id)
        context.on_stop(self._claim.close)
        self._sales: dict[str, Sale] = dict(self._claim.left)
        self._rules: dict[str, Rules] = {}
        self._rules_due_ns = 0
        self._age_ns: int | None = None
        self._told = ""  # why there was no price, told once
        abilities = self._account.capabilities
        lease_ns, lives_ns = int(settings.lease_seconds * NS_PER_S), int(abilities.request_lives_s * NS_PER_S)
        now_ns = self._clock.monotonic_ns()
        self._guard = decide.Guard(decide.Terms(lease_ns, lives_ns, abilities.ioc), now_ns, self._claim.left)
        self._tasks: set[asyncio.Future[None]] = set()
        open_publisher(context, layout_hash(), self._facts)
        if self._sales:
            orders = ", ".join(f"{pair}: {sale.order_id}" for pair, sale in self._sales.items())
            context.event("warn", f"a guardian before this one was selling: {orders}; looked up first")
            self._claim.write(self._sales, now_ns)  # they are this process's from now on
        context.event("start", f"holds the stops when the trader was not heard for {settings.lease_seconds:g} s")

    def look(self) -> None:
        """Reads the lease."""
        lease = read_lease(self._context.run_dir)
        if lease is not None and lease.book != self._context.book_dir.name:
            lease = None
        now_ns = self._clock.monotonic_ns()
        self._age_ns = None if lease is None else lease.age_ns(now_ns, self._boot_id)
        self._handle(messages.Looked(lease, self._age_ns))

    def _handle(self, event: messages.Event) -> None:
        for action in self._guard.handle(event, self._clock.monotonic_ns()):
            match action:
                case messages.Say():
                    self._context.event(action.level, action.text, action.pair)
                case messages.WriteClaim():
                    self._put(action.pair, action.sale)
                    self._context.loop.call_later(0, partial(self._claimed, action.pair))
                case messages.Release():
                    self._put(action.pair, None)
                case _:
                    task = asyncio.ensure_future(self._do(action))
                    self._tasks.add(task)
                    task.add_done_callback(self._done)

    def _claimed(self, pair: str) -> None:
        """The claim is on record: only now the lease tells whether the trader is back."""
        self.look()
        self._handle(messages.Claimed(pair))

    def _put(self, pair: str, sale: Sale | None) -> None:
        if sale is None:
            self._sales.pop(pair, None)
        else:
            self._sales[pair] = sale
        self._claim.write(self._sales, self._clock.monotonic_ns())

    def _done(self, task: "asyncio.Future[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self._context.loop.call_later(0, task.result)  # what it raised ends the stage

    async def _do(self, action: messages.Action) -> None:
        match action:
            case messages.AskPrice():
                await self._asked(action.pair, "price", partial(self._price, action.pair))
            case messages.LookUp():
                await self._asked(action.pair, "found", partial(self._look_up, action))
            case messages.AskFree():
                await self._asked(action.pair, "free", partial(self._free, action))
            case messages.Send():
                self._handle(await self._sent(action))

    # --- at the venue ----------------------------------------------------------------------------------

    async def _asked(self, pair: str, what: str, question: Callable[[], Awaitable[messages.Event]]) -> None:
        try:
            event = await question()
        except Misconfigured as error:
            event = messages.Failed(pair, what, f"the guardian cannot act: {error}")
        except VenueError as error:
            event = messages.Failed(pair, what, str(error))
        if what == "price":
            why = event.why if isinstance(event, messages.Failed) else ""
            if why and not self._told:
                self._context.event("warn", f"the guardian gets no price: {why}", pair)
            self._told = why
        self._handle(event)

    async def _market_of(self, pair: str) -> Rules:
        """The market's rules; those known serve where they cannot be had anew."""
        now_ns = self._clock.monotonic_ns()
        if pair not in self._rules or now_ns >= self._rules_due_ns:
            self._rules_due_ns = now_ns + int(RULES_AGE_S * NS_PER_S)
            try:
                self._rules |= {rules.pair: rules for rules in await self._market.markets()}
            except VenueError:
                if pair not in self._rules:
                    raise
        if pair not in self._rules:
            raise Misconfigured(self._market.name, f"the market {pair} is not listed any more", "sell it by hand")
        return self._rules[pair]

    async def _price(self, pair: str) -> messages.Event:
        answer = await self._market.recent_trades(await self._market_of(pair))
        return messages.Priced(pair, tuple((trade.time_ns, trade.price) for trade in answer.trades))

    async def _look_up(self, action: messages.LookUp) -> messages.Event:
        rules = await self._market_of(action.pair)
        ask = partial(self._account.order, rules, action.order_id, action.venue_order_id, urgent=True)
        order = await asyncio.to_thread(ask)
        return messages.Found(action.pair, action.order_id, order)

    async def _free(self, action: messages.AskFree) -> messages.Event:
        rules = await self._market_of(action.pair)
        balances = await asyncio.to_thread(partial(self._account.balances, urgent=True))
        free = [balance.free for balance in balances if balance.currency == action.base]
        return messages.Free(action.pair, free[0] if free else decide.NOTHING, rules)

    async def _sent(self, action: messages.Send) -> messages.Event:
        pair, order_id = action.pair, action.order_id
        self._put(pair, Sale(order_id, self._clock.monotonic_ns()))
        new = NewOrder(action.rules, order_id, SELL, action.kind, action.quantity, action.price, urgent=True)
        try:
            return messages.Found(pair, order_id, await asyncio.to_thread(self._account.create, new))
        except OutcomeUnknown as error:
            return messages.Lost(pair, order_id, str(error))
        except Skewed as error:
            return messages.Failed(pair, "send", str(error))
        except Rejected as error:
            return messages.Refused(pair, order_id, str(error))
        except VenueError as error:
            return messages.Failed(pair, "send", str(error))

    def _facts(self) -> Facts:
        """For the heartbeat: `stop` is who holds the stops now."""
        age_ms = None if self._age_ns is None else self._age_ns // NS_PER_MS
        return {"stop": self._guard.holder(), "lease_age_ms": age_ms, "selling": ", ".join(sorted(self._sales))}
