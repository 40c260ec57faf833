"""What a face is built over: the market, its clock, the exchange and whoever tells trades."""

import logging
from collections.abc import Callable
from typing import NamedTuple

from core.clock import Clock
from sandbox.clock import MarketClock
from sandbox.exchange.exchange import Exchange
from sandbox.faults import Faults
from sandbox.hub import Hub, Open
from sandbox.trades import Market


class Place(NamedTuple):
    """One sandbox. `clock` is the market's time, `wall` the machine's; `hub_of` makes the hub of a face's channels."""

    market: Market
    clock: MarketClock
    wall: Clock
    exchange: Exchange
    log: logging.Logger
    hub_of: Callable[[Open], Hub]
    faults: Faults

    def server_ms(self) -> int:
        """What the venue's clock says: market time, and a fault's skew. Market data and orders have market time."""
        return self.clock.now_ms() + self.faults.skew_ms
