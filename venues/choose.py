"""Which adapter the settings ask for. A venue's package is loaded only where it is asked for."""

from core.clock import Clock
from core.settings import Settings
from venues.account import Account
from venues.venue import MarketData


def market_data(settings: Settings, clock: Clock) -> MarketData:
    """The venue's public side."""
    match settings.protocol:
        case "binance":
            from venues.binance.adapter import Binance

            return Binance(settings, clock)
        case "kraken":
            from venues.kraken.adapter import Kraken

            return Kraken(settings, clock)
        case _:
            from venues.coindcx.adapter import CoinDcx

            return CoinDcx(settings, clock)


def account(settings: Settings, clock: Clock) -> Account:
    """The venue's private side. Raises Misconfigured where its keys are missing or none."""
    match settings.protocol:
        case "binance":
            from venues.binance.account import BinanceAccount

            return BinanceAccount(settings, clock)
        case "kraken":
            from venues.kraken.account import KrakenAccount

            return KrakenAccount(settings, clock)
        case _:
            from venues.coindcx.account import CoinDcxAccount

            return CoinDcxAccount(settings, clock)
