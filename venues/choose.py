"""Which adapter the settings ask for. A venue's package is loaded only where it is asked for."""

from pathlib import Path

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


def account(settings: Settings, clock: Clock, *, beside: bool = False, run_dir: Path | None = None) -> Account:
    """The venue's private side. Raises Misconfigured where its keys are missing or none.

    `beside`: for a few questions while another program of ours may use the same key. In `run_dir` our programs share
    what the venue counts for the key, where it says nowhere what is left.
    """
    match settings.protocol:
        case "binance":
            from venues.binance.account import BinanceAccount

            return BinanceAccount(settings, clock)
        case "kraken":
            from venues.kraken.account import KrakenAccount

            return KrakenAccount(settings, clock, keep_numbers=not beside, run_dir=run_dir)
        case _:
            from venues.coindcx.account import CoinDcxAccount

            return CoinDcxAccount(settings, clock)
