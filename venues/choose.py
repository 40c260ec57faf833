"""Which adapter the settings ask for. A venue's package is loaded only where it is asked for."""

from core.clock import Clock
from core.settings import Settings
from venues.account import Account
from venues.errors import Misconfigured
from venues.venue import MarketData


def market_data(settings: Settings, clock: Clock) -> MarketData:
    """The venue's public side. Raises Misconfigured for one that this release cannot do."""
    if settings.protocol == "coindcx":
        from venues.coindcx.adapter import CoinDcx

        return CoinDcx(settings, clock)
    raise _unknown(settings)


def account(settings: Settings, clock: Clock) -> Account:
    """The venue's private side. Raises Misconfigured for one that this release cannot do, and without keys."""
    if settings.protocol == "coindcx":
        from venues.coindcx.account import CoinDcxAccount

        return CoinDcxAccount(settings, clock)
    raise _unknown(settings)


def _unknown(settings: Settings) -> Misconfigured:
    name = "SANDBOX_PROTOCOL" if settings.venue == "sandbox" else "VENUE"
    return Misconfigured(settings.venue, f"{name}={settings.protocol} is not in this release", "use sandbox or coindcx")
