"""Which adapter the settings ask for."""

from core.clock import Clock
from core.settings import Settings
from venues.coindcx.adapter import CoinDcx
from venues.errors import Misconfigured
from venues.venue import MarketData


def market_data(settings: Settings, clock: Clock) -> MarketData:
    """The venue's public side. Raises Misconfigured for one that this release cannot do."""
    if settings.protocol == "coindcx":
        return CoinDcx(settings, clock)
    name = "SANDBOX_PROTOCOL" if settings.venue == "sandbox" else "VENUE"
    raise Misconfigured(settings.venue, f"{name}={settings.protocol} is not in this release", "use sandbox or coindcx")
