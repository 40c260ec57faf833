"""Names of markets: BASE/QUOTE, as people write them, and each venue's own.

CoinDCX says `B-BTC_USDT` (the letter names the book: `I` its own INR book, `B` Binance's, `KC`, `G` ...), Binance
`BTCUSDT`, Kraken `BTC/USDT` (and `XBTUSDT`, `XXBTZUSD`). What a venue lists is its own word: its adapter checks these
names against its markets. No list of quote currencies is complete, so a word whose currencies are not known here stays
as it is, and means the market that the venue calls so.
"""

import re

# Of the venues' own lists, recorded in 2021; those of later years as they were met. The longest that fits is taken:
# `BTCUSDT` must not be read as quoted in `T`.
QUOTES = (
    *("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USD", "INR", "EUR", "GBP", "BTC", "ETH", "BNB", "JPY", "TRY", "BRL"),
    *("XBT", "AUD", "CAD", "CHF", "PAX", "BIDR", "RUB", "BKRW", "NGN", "UAH", "ZAR", "DAI", "IDRT", "USDS", "USDP"),
    *("XRP", "TRX", "BVND", "VAI", "GYEN", "DOT"),
)

# Kraken's first assets have four letters in the names of markets such as XXBTZUSD; two have other names today.
_COINS = ("DAO", "ETC", "ETH", "ICN", "LTC", "MLN", "NMC", "REP", "XBT", "XDG", "XLM", "XMR", "XRP", "XVN", "ZEC")
_MONEY = ("AUD", "CAD", "EUR", "GBP", "JPY", "KRW", "USD")
KRAKEN_LEGACY = frozenset([f"X{name}" for name in _COINS] + [f"Z{name}" for name in _MONEY])
KRAKEN_RENAMED = {"XBT": "BTC", "XDG": "DOGE"}

_COINDCX = re.compile(r"[A-Z]{1,5}-([A-Z0-9]+)_([A-Z0-9]+)")
_SLASH = re.compile(r"([A-Z0-9]+(?:\.[A-Z])?)/([A-Z0-9]+)")  # the point is of Kraken's staked coins
_PLAIN = re.compile(rf"([A-Z0-9]+?)({'|'.join(QUOTES)})")
# Kraken quotes in none of these: its BNBUSD is BNB in dollars.
_KRAKEN_PLAIN = re.compile(rf"([A-Z0-9]+?)({'|'.join(q for q in QUOTES if q not in ('BUSD', 'TUSD'))})")

_WORD = re.compile(r"(?=.{5,30}$)[A-Z0-9]+(?:\.[A-Z0-9]+)?")

DEFAULT_PAIR = "B-BTC_USDT"


def split(name: str) -> tuple[str, str]:
    """(base, quote) of a market named in any of the known ways.

    Raises ValueError where the name does not tell.
    """
    text = name.strip().upper()
    if len(text) == 8 and text[4:] in KRAKEN_LEGACY and (text[:4] in KRAKEN_LEGACY or text[:4] == "USDT"):
        return text[:4] if text[:4] == "USDT" else text[1:4], text[5:]
    for pattern in (_COINDCX, _SLASH, _PLAIN):
        match = pattern.fullmatch(text)
        if match:
            return match.group(1), match.group(2)
    raise ValueError(f"{name!r} is no pair: write BASE/QUOTE, as BTC/USDT, or the venue's own name")


def quote_of(name: str) -> str:
    """The quote currency; "" of a word that the venue alone can read. Raises ValueError where it is no name at all."""
    try:
        return split(name)[1]
    except ValueError:
        if _WORD.fullmatch(name.strip().upper()):
            return ""
        raise


def canonical(name: str) -> str:
    """`BASE/QUOTE` of a market named in any of the known ways; a word that the venue alone can read as it is.

    Raises ValueError where it is no name at all.
    """
    return "/".join(split(name)) if quote_of(name) else name.strip().upper()


def own_name(name: str, protocol: str) -> str:
    """The name that the venue speaking `protocol` uses; a name that is already its own is kept.

    So is a word that the venue alone can read. For Binance it stays BASE/QUOTE where the two joined would be read as
    other ones.
    """
    if not quote_of(name):
        return name.strip().upper()
    base, quote = split(name)
    if protocol == "coindcx":
        text = name.strip().upper()
        if _COINDCX.fullmatch(text):
            return text
        return f"{'I' if quote == 'INR' else 'B'}-{base}_{quote}"
    if protocol == "binance":
        joined = _PLAIN.fullmatch(base + quote)
        return base + quote if joined is None or joined.groups() == (base, quote) else f"{base}/{quote}"
    plain = _KRAKEN_PLAIN.fullmatch(name.strip().upper())
    if plain and f"{base}{quote}" == plain.group():
        base, quote = plain.groups()
    return f"{KRAKEN_RENAMED.get(base, base)}/{KRAKEN_RENAMED.get(quote, quote)}"
