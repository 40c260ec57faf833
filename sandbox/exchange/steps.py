"""Lets the market's prints reach the exchange while there are working orders, whether a client listens or not."""

from core.loop import Cancellable
from sandbox.clock import MarketClock
from sandbox.exchange.exchange import Exchange
from sandbox.hub import Timers

EVERY_S = 0.010


class Steps:
    """The timer. What a step raises ends the stage where the timers are a stage's."""

    def __init__(self, exchange: Exchange, clock: MarketClock, timers: Timers) -> None:
        self._exchange = exchange
        self._clock = clock
        self._timers = timers
        self._timer: Cancellable | None = None
        exchange.on_busy = self.wake
        self.wake()

    def wake(self) -> None:
        """There is a working order."""
        if self._timer is None:
            self._timer = self._timers.call_later(EVERY_S, self._step)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _step(self) -> None:
        self._timer = None
        self._exchange.advance(self._clock.now_ms())
        if self._exchange.busy:
            self.wake()
