"""What is told of one trade once more, in plain numbers: the words between `indicators.lookback` and who asks it."""

from typing import NamedTuple


class Thresholds(NamedTuple):
    """The entry and take-profit settings that the indicators went by."""

    rsi_buy: float
    rsi_sell: float
    rsi_crash: float


class Told(NamedTuple):
    """One trade; rsi and bb_lower as in its UPDATE: nan where not known, and before the stretch that was asked for."""

    epoch: int
    number: int
    ns: int
    price: float
    flags: int
    rsi: float
    bb_lower: float
    warm: bool
    by: Thresholds
