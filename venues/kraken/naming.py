"""Kraken's spellings of assets and markets. Pure.

    pair key    XXBTZUSD   REST answers, TradesHistory      altname    XBTUSD    REST requests, an order's `descr`
    wsname      XBT/USD    streams before version 2         v2 symbol  BTC/USD   streams of version 2

`Rules.pair` is the v2 symbol, which people write too, `Rules.symbol` the altname. Four-letter codes with X (coins) or
Z (money) in front are the venue's first assets; newer ones are plain. A suffix tells what a balance earns: `.F` can be
traded with, the others cannot.
"""

from collections.abc import Sequence

from core import pairs
from venues.venue import Rules

LEGACY = pairs.KRAKEN_LEGACY
RENAMED = pairs.KRAKEN_RENAMED
_BACK = {new: old for old, new in RENAMED.items()}
TRADEABLE = ".F"  # automatically earning


def asset(code: str) -> str:
    """The name that people and version 2 use: XXBT is BTC, ZUSD is USD, XDG is DOGE."""
    bare = code[1:] if code in LEGACY else code
    return RENAMED.get(bare, bare)


def balance_asset(code: str) -> str:
    """The asset that a balance can be traded as; "" where it cannot be (staked, bonded, on margin ...)."""
    bare, dot, _ = code.partition(".")
    return asset(bare) if not dot or code.endswith(TRADEABLE) else ""


def altname(pair: str) -> str:
    """The altname of a v2 symbol."""
    base, _, quote = pair.partition("/")
    return _BACK.get(base, base) + _BACK.get(quote, quote)


def request_name(rules: Rules) -> str:
    """The name that requests give a market. Rules off the tape have none of the venue's: base and quote stand in."""
    return altname(rules.pair) if rules.symbol == rules.base + rules.quote else rules.symbol


def keys(base: str, quote: str) -> Sequence[str]:
    """Every name without a slash that a market can have: key, altname, and both as people write them."""
    return [b + q for b in _codes(base) for q in _codes(quote)]


def _codes(name: str) -> Sequence[str]:
    old = _BACK.get(name, name)
    codes = [name, old] if old != name else [name]
    return codes + [letter + old for letter in "XZ" if letter + old in LEGACY]


def is_of(rules: Rules, name: str) -> bool:
    """Whether one of the four spellings names this market."""
    if name in (rules.pair, rules.symbol):
        return True
    base, slash, quote = name.partition("/")
    if slash:
        return (asset(base), asset(quote)) == (rules.base, rules.quote)
    return name in keys(rules.base, rules.quote)
