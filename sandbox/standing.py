"""The faults that stand as long as they are set: what they make of the exchange; and sockets cut by the clock."""

from decimal import Decimal

from core.loop import Cancellable
from sandbox import faults as kinds
from sandbox.exchange.exchange import Exchange
from sandbox.exchange.orders import FeeIn, steps_of
from sandbox.exchange.profiles import PARTS, Trading
from sandbox.faults import Fault, Faults
from sandbox.gate import Gate
from sandbox.hub import Timers
from sandbox.trades import Market


class Standing:
    """Applies the faults that stand, and cuts sockets by the clock; `settle` after every change of the faults."""

    def __init__(
        self,
        faults: Faults,
        exchange: Exchange,
        market: Market,
        gate: Gate,
        timers: Timers,
    ) -> None:
        self._faults = faults
        self._exchange = exchange
        self._market = market
        self._gate = gate
        self._timers = timers
        self.seconds = gate.seconds
        self._timer: Cancellable | None = None
        self._next_cut_s: float | None = None
        exchange.reject_after_ms = lambda: faults.order(gate.seconds())

    def settle(self) -> None:
        """Has the exchange as the faults of this moment want it, and comes again when one begins, ends or cuts."""
        now_s, faults, exchange = self.seconds(), self._faults, self._exchange
        active = faults.of(kinds.STANDING, now_s)
        faults.skew_ms = sum(fault.ms for fault in active if fault.kind == kinds.CLOCK_SKEW)
        before, faults.maintenance = faults.maintenance, any(fault.kind == kinds.MAINTENANCE for fault in active)
        if faults.maintenance and not before:
            self._gate.disconnect()
        shares = [fault.share for fault in active if fault.kind == kinds.PARTIAL_FILLS]
        exchange.fill_share(int(min(shares, default=1.0) * PARTS))
        in_base = any(fault.kind == kinds.FEE_IN_BASE for fault in active)
        exchange.take_fees_in(FeeIn.BASE if in_base else None)
        exchange.query_lag_ms = max((fault.ms for fault in active if fault.kind == kinds.QUERY_LAG), default=0)
        exchange.reset_rules()
        for fault in active:
            self._rules(fault)
        turns = [*faults.turns(now_s), *self._cuts(now_s)]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if turns:
            self._timer = self._timers.call_later(max(0.0, min(turns) - now_s), self.settle)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _rules(self, fault: Fault) -> None:
        pairs = [pair for pair in self._market.rules if fault.pair in ("", pair)]
        for pair in pairs:
            if fault.kind == kinds.HALT:
                self._exchange.change_rules(pair, trading=Trading(fault.trading))
            if fault.kind == kinds.LOT_RULES:
                digits, changes = self._market.rules[pair].quantity_digits, {}
                for field, text in (("step_units", fault.step), ("min_units", fault.min_quantity)):
                    units = steps_of(Decimal(text), digits) if text else None
                    if units:
                        changes[field] = units
                self._exchange.change_rules(pair, **changes)

    def _cuts(self, now_s: float) -> list[float]:
        """Cuts the sockets whose time it is; when it is the next time."""
        found = [fault for fault in self._faults.of((kinds.DISCONNECT,), now_s) if fault.every_s]
        if not found:
            self._next_cut_s = None
            return []
        every_s = min(fault.every_s for fault in found)
        if self._next_cut_s is None:
            self._next_cut_s = now_s + every_s
        elif now_s >= self._next_cut_s:
            for fault in found:
                self._gate.disconnect(fault.path)
            self._next_cut_s += every_s
        return [self._next_cut_s]
