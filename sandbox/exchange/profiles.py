"""What differs between venues in the exchange itself: client ids, fees, limits. Words and shapes are the faces'."""

import re
from decimal import Decimal
from enum import Enum
from typing import NamedTuple

from sandbox.exchange.orders import ATOM_DIGITS, ATOMS, FeeIn, Side
from sandbox.trades import Rules

PARTS = 1_000_000  # in the whole; 100 are a basis point
FEE_PARTS = 500  # 5 basis points, maker and taker: what the sandbox charges under every protocol


class Scope(Enum):
    """Among which orders of an account a client id must be unique."""

    OPEN = "open"
    EVER = "ever"


class Trading(Enum):
    """What a market lets one do."""

    ON = "on"
    HALTED = "halted"
    CANCEL_ONLY = "cancel_only"


class Profile(NamedTuple):
    """One venue's ways."""

    name: str
    client_id: re.Pattern[str]
    client_id_scope: Scope
    fee_in: dict[Side, FeeIn]
    max_open_orders: int  # per market
    max_stops: int  # of them, waiting for a trigger
    min_steps: int  # the minimum quantity, in steps
    max_steps: int
    max_market_steps: int
    notional_parts: int  # of the listing's minimum notional
    band: tuple[Decimal, Decimal] | None  # lowest and highest price, times the last one
    maker_parts: int = FEE_PARTS
    taker_parts: int = FEE_PARTS


_QUOTE = {Side.BUY: FeeIn.QUOTE, Side.SELL: FeeIn.QUOTE}
_RECEIVED = {Side.BUY: FeeIn.BASE, Side.SELL: FeeIn.QUOTE}
_KRAKEN = {Side.BUY: FeeIn.QUOTE, Side.SELL: FeeIn.BASE}  # without oflags, says the specification
_BAND = (Decimal("0.2"), Decimal(5))
_UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

PROFILES = {
    "coindcx": Profile(
        "coindcx",
        re.compile("[A-Za-z0-9._-]{1,36}"),
        Scope.EVER,
        _QUOTE,
        25,
        25,
        1,
        100_000_000,
        10_000_000,
        PARTS,
        _BAND,
    ),
    "binance": Profile(
        "binance",
        re.compile("[A-Za-z0-9_-]{1,36}"),
        Scope.OPEN,
        _RECEIVED,
        200,
        5,
        1,
        90_000_000,
        9_000_000,
        PARTS,
        _BAND,
    ),
    "kraken": Profile(
        "kraken",
        re.compile(f"{_UUID}|[0-9a-fA-F]{{32}}|[ -~]{{1,18}}"),
        Scope.OPEN,
        _KRAKEN,
        60,
        60,
        5,
        10**15,  # Kraken names no largest quantity
        10**15,
        PARTS // 10,
        None,
    ),
}


class TradingRules(NamedTuple):
    """The rules of one market in force; a face lists them from here, because they may change while it runs."""

    trading: Trading
    tick: int  # in ticks of the listing: 1 unless it was changed
    step_units: int
    min_units: int
    max_units: int
    max_market_units: int
    min_notional: int  # atoms of quote
    band: tuple[Decimal, Decimal] | None
    max_open_orders: int
    max_stops: int


def trading_rules(profile: Profile, rules: Rules) -> TradingRules:
    """What a venue of this profile makes of a listing. A step is never finer than an atom."""
    finest = 10 ** max(0, rules.quantity_digits - ATOM_DIGITS)
    step = max(rules.step_units, 1)
    step = step * finest if step % finest else step
    notional = int(Decimal(str(rules.min_notional)) * ATOMS) * profile.notional_parts // PARTS
    return TradingRules(
        Trading.ON,
        1,
        step,
        step * profile.min_steps,
        step * profile.max_steps,
        step * profile.max_market_steps,
        notional,
        profile.band,
        profile.max_open_orders,
        profile.max_stops,
    )
