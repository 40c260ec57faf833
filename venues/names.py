"""Which markets PAIRS means. Pure."""

import difflib
from collections.abc import Callable, Sequence

from core import pairs
from venues.errors import Misconfigured
from venues.venue import Rules


def resolve(venue: str, wanted: Sequence[str], markets: Sequence[Rules], rank: Callable[[Rules], int]) -> list[Rules]:
    """The markets meant, each once, in the order of PAIRS.

    A name is the venue's own for market data or orders, or BASE/QUOTE, for which the market of the lowest `rank` is
    taken. Raises Misconfigured naming all unknown names with the nearest ones, and where the quote currencies differ.
    """
    found: list[Rules] = []
    unknown: list[str] = []
    for name in wanted:
        market = _find(name.strip(), markets, rank)
        if market is None:
            unknown.append(f"{name} is unknown{_nearest(name, markets)}")
        elif market not in found:
            found.append(market)
    if unknown:
        raise Misconfigured(venue, f"PAIRS: {', '.join(unknown)} ({len(markets)} markets)", "correct PAIRS")
    quotes = sorted({market.quote for market in found})
    if len(quotes) > 1:
        raise Misconfigured(venue, f"PAIRS mix the quote currencies {', '.join(quotes)}", "give pairs of one of them")
    if not found:
        raise Misconfigured(venue, "PAIRS is empty", "name at least one market")
    return found


def _find(name: str, markets: Sequence[Rules], rank: Callable[[Rules], int]) -> Rules | None:
    upper = name.upper()
    for market in markets:
        if upper in (market.pair.upper(), market.symbol.upper()):
            return market
    if "/" not in name:
        return None
    base, _, quote = upper.partition("/")
    candidates = [market for market in markets if (market.base.upper(), market.quote.upper()) == (base, quote)]
    return min(candidates, key=rank, default=None)


def _nearest(name: str, markets: Sequence[Rules]) -> str:
    """Names like it; those of the same base and quote, or of the same base, come first."""
    near: list[str] = []
    try:
        base, quote = pairs.split(name)
        near = [m.pair for m in markets if (m.base, m.quote) == (base, quote)]
        near += [m.pair for m in markets if m.base == base][:3]
    except ValueError:
        pass
    near += difflib.get_close_matches(name.upper(), [market.pair for market in markets], n=3, cutoff=0.5)
    shown = list(dict.fromkeys(near))[:3]
    return f" (nearest: {', '.join(shown)})" if shown else ""
