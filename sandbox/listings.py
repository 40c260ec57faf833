"""The markets that the synthetic exchange lists: rules, around which price it moves and how busy each one is.

Prices are of late 2026 in size, no more; digits, steps and minima differ from market to market as they do at the venue
(a step that is not 10^-digits, markets that trade in whole units, one INR book).
"""

from collections.abc import Mapping
from typing import NamedTuple

from sandbox.trades import Rules


class Listing(NamedTuple):
    """A market, the price around which it moves, its trades a second and the median worth of one in quote currency."""

    rules: Rules
    price: float
    rate: float
    worth: float


def _listing(
    name: str, ecode: str, price: float, digits: tuple[int, int], rate: float, worth: float, step_units: int = 1
) -> Listing:
    base, quote = name.split("/")
    minimum = 100.0 if quote == "INR" else 5.0
    return Listing(Rules(base, quote, ecode, digits[0], digits[1], step_units, minimum), price, rate, worth)


LISTINGS = (
    _listing("BTC/USDT", "B", 81_000.0, (2, 5), 7.0, 1_800.0),
    _listing("ETH/USDT", "B", 2_950.0, (2, 4), 6.0, 1_200.0),
    _listing("SOL/USDT", "B", 142.0, (2, 3), 5.0, 700.0),
    _listing("XRP/USDT", "B", 2.11, (4, 1), 4.0, 600.0),
    _listing("BNB/USDT", "B", 870.0, (2, 3), 3.0, 600.0),
    _listing("DOGE/USDT", "B", 0.146, (5, 0), 3.0, 400.0),
    _listing("ADA/USDT", "B", 0.42, (4, 1), 2.5, 300.0),
    _listing("LINK/USDT", "B", 12.6, (2, 2), 2.0, 300.0),
    _listing("LTC/USDT", "B", 84.0, (2, 3), 2.0, 300.0),
    _listing("TRX/USDT", "B", 0.275, (4, 1), 2.0, 300.0),
    _listing("AVAX/USDT", "B", 13.4, (2, 2), 2.0, 300.0),
    _listing("DOT/USDT", "B", 2.31, (3, 2), 2.0, 250.0, 5),
    _listing("SHIB/USDT", "B", 0.00000812, (8, 0), 2.0, 250.0),
    _listing("BCH/USDT", "B", 545.0, (1, 3), 2.0, 300.0),
    _listing("UNI/USDT", "B", 6.2, (3, 2), 1.5, 250.0),
    _listing("ATOM/USDT", "B", 2.47, (3, 2), 1.5, 250.0),
    _listing("NEAR/USDT", "B", 1.86, (3, 1), 1.5, 250.0),
    _listing("APT/USDT", "B", 2.45, (3, 2), 1.5, 250.0),
    _listing("ARB/USDT", "B", 0.21, (4, 1), 1.5, 250.0),
    _listing("OP/USDT", "B", 0.31, (3, 2), 1.5, 250.0),
    _listing("SUI/USDT", "B", 1.38, (4, 1), 1.5, 250.0),
    _listing("AAVE/USDT", "B", 163.0, (2, 3), 1.5, 250.0),
    _listing("FIL/USDT", "B", 1.6, (3, 2), 1.5, 250.0),
    _listing("ETC/USDT", "B", 13.7, (2, 2), 1.5, 250.0),
    _listing("PEPE/USDT", "B", 0.00000448, (8, 0), 1.5, 250.0, 100),
    _listing("INJ/USDT", "B", 5.9, (3, 2), 1.5, 250.0),
    _listing("MLK/USDT", "KC", 0.0781, (5, 2), 0.5, 60.0),
    _listing("USDT/INR", "I", 91.4, (2, 2), 1.0, 20_000.0),
    _listing("BTC/INR", "I", 7_400_000.0, (1, 5), 2.0, 40_000.0),
    _listing("ETH/INR", "I", 269_600.0, (1, 4), 1.5, 30_000.0),
)

# Kraken has no INR books, counts quantities in powers of ten alone, and names its first assets in a way of its own,
# which pairs in USD, EUR and BTC show.
KRAKEN_LISTINGS = (
    *(one._replace(rules=one.rules._replace(step_units=1)) for one in LISTINGS if one.rules.ecode == "B"),
    _listing("BTC/USD", "B", 81_020.0, (1, 8), 6.0, 1_500.0),
    _listing("ETH/USD", "B", 2_951.0, (2, 8), 4.0, 900.0),
    _listing("DOGE/USD", "B", 0.146, (7, 8), 2.0, 250.0),
    _listing("BTC/EUR", "B", 70_300.0, (1, 8), 3.0, 900.0),
)

BY_PROTOCOL: Mapping[str, tuple[Listing, ...]] = {"kraken": KRAKEN_LISTINGS}


def listings_of(protocol: str) -> tuple[Listing, ...]:
    """What the synthetic exchange lists when it speaks this protocol."""
    return BY_PROTOCOL.get(protocol, LISTINGS)
