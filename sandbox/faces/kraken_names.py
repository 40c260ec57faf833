"""Kraken's names: four spellings a pair, two an asset; and its ways to write times and numbers."""

from typing import NamedTuple

from core.clock import iso_utc
from sandbox.trades import Rules, text_of

# The venue's first assets have a class letter before their name, and two have a name of their own. Their first pairs
# are keyed by these codes; later pairs of the same assets are not.
_FIRST_PAIRS = {
    "BTC": ("USD", "EUR", "GBP", "CAD", "JPY"),
    "ETH": ("BTC", "USD", "EUR", "GBP", "CAD", "JPY"),
    "LTC": ("BTC", "USD", "EUR", "JPY"),
    "XRP": ("BTC", "USD", "EUR", "CAD", "JPY"),
    "DOGE": ("BTC",),
    "ETC": ("BTC", "ETH", "USD", "EUR"),
    "XLM": ("BTC", "USD", "EUR", "GBP", "AUD"),
    "XMR": ("BTC", "USD", "EUR"),
    "ZEC": ("BTC", "USD", "EUR"),
    "REP": ("BTC", "ETH", "USD", "EUR"),
    "MLN": ("BTC", "ETH", "USD", "EUR"),
    "USDT": ("USD",),
}
_CRYPTO = tuple(asset for asset in _FIRST_PAIRS if asset != "USDT")
_FIAT = ("USD", "EUR", "GBP", "CAD", "JPY", "AUD")
_OWN = {"BTC": "XBT", "DOGE": "XDG"}

QUANTITY_DIGITS = 8  # quantities are written with at least so many decimals
COST_DIGITS = 8  # the venue's own pairs have 5; with 8 what it tells of money is exact here


class Pair(NamedTuple):
    """A market by its names: REST answers are keyed by `key`, requests may name any; streams know `symbol` alone."""

    rules: Rules
    key: str
    altname: str
    wsname: str
    symbol: str

    @property
    def pair(self) -> str:
        """The sandbox's own name."""
        return self.rules.pair

    def price(self, ticks: int) -> str:
        return text_of(ticks, self.rules.price_digits)

    def long_price(self, ticks: int) -> str:
        """As trades, the ticker and the book write it."""
        return text_of(ticks, self.rules.price_digits, 5)

    def quantity(self, units: int) -> str:
        return text_of(units, self.rules.quantity_digits, QUANTITY_DIGITS)


def asset_code(asset: str) -> str:
    """`XXBT` of BTC, `ZUSD` of USD, `USDT` of USDT."""
    if asset in _CRYPTO:
        return f"X{_OWN.get(asset, asset)}"
    return f"Z{asset}" if asset in _FIAT else asset


def asset_altname(asset: str) -> str:
    """`XBT` of BTC, `USD` of USD."""
    return _OWN.get(asset, asset)


def asset_decimals(asset: str) -> int:
    if asset in _CRYPTO:
        return 10
    return 4 if asset in _FIAT else 8


def pair_of(rules: Rules) -> Pair:
    """All names of a market."""
    base, quote = rules.base, rules.quote
    altname = asset_altname(base) + asset_altname(quote)
    key = asset_code(base) + asset_code(quote) if quote in _FIRST_PAIRS.get(base, ()) else altname
    return Pair(rules, key, altname, f"{asset_altname(base)}/{asset_altname(quote)}", f"{base}/{quote}")


class Names:
    """All markets of one world, found by whatever name."""

    def __init__(self, rules: dict[str, Rules]) -> None:
        self.pairs = {name: pair_of(one) for name, one in rules.items()}
        self._any: dict[str, Pair] = {}
        for pair in self.pairs.values():
            for name in (pair.key, pair.altname, pair.wsname, pair.symbol):
                self._any[name] = pair
        self.by_symbol = {pair.symbol: pair for pair in self.pairs.values()}
        self.assets = list(dict.fromkeys(asset for one in rules.values() for asset in (one.base, one.quote)))

    def find(self, name: str) -> Pair | None:
        """A market by any of its names, as REST takes them."""
        return self._any.get(name) or self._any.get(name.upper())


def rfc3339(ms: int) -> str:
    """`2023-10-06T17:35:55.440000Z`."""
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03d}000Z"


def rfc3339_ns(ms: int) -> str:
    """`2023-10-04T16:25:00.000000000Z`, as candles begin."""
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03d}000000Z"


def rfc3339_s(ms: int) -> str:
    """`2023-07-06T18:52:00Z`."""
    return f"{_second(ms // 1000)}Z"


_seconds: dict[int, str] = {}


def _second(second: int) -> str:
    """`2023-07-06T18:52:00`, kept for the trades of the same second."""
    text = _seconds.get(second)
    if text is None:
        if len(_seconds) > 1000:
            _seconds.clear()
        text = _seconds[second] = iso_utc(second * 1000)[:19]
    return text


def seconds_text(ms: int) -> str:
    """ms as float seconds in JSON, `1688669597.827`."""
    return text_of(ms, 3)
