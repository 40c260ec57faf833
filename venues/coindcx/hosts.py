"""Where CoinDCX is: its hosts, those of the settings, or the local sandbox. Pure."""

from typing import NamedTuple

from core.settings import Settings

API = "https://api.coindcx.com"
PUBLIC = "https://public.coindcx.com"
STREAM = "wss://stream.coindcx.com"


class Hosts(NamedTuple):
    """Addresses without a path: `api` for markets and everything private, `public` for trades and candles."""

    api: str
    public: str
    stream: str


def hosts(settings: Settings) -> Hosts:
    """VENUE_REST_URL replaces both REST hosts, VENUE_STREAM_URL the stream; without them the sandbox is local."""
    sandbox = settings.venue == "sandbox"
    local = f"127.0.0.1:{settings.sandbox_port}"
    rest = settings.venue_rest_url.rstrip("/")
    stream = settings.venue_stream_url.rstrip("/")
    return Hosts(
        rest or (f"http://{local}" if sandbox else API),
        rest or (f"http://{local}" if sandbox else PUBLIC),
        stream or (f"ws://{local}" if sandbox else STREAM),
    )
