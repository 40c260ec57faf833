"""How much to buy: the capital of one entry, cut down to what the shared wallet can pay, rounded down to the step."""

from typing import NamedTuple

from core.money import worsened
from trader.fills import affordable_lots, below_minimum, buy_cost, lots_for
from trader.terms import MarketTerms, Terms

CAPPED_BY_WALLET = "capped_by_wallet"
BELOW_MINIMUM = "below_minimum"


class Size(NamedTuple):
    """Lots to buy and the units to reserve for them; `note` marks a capped order, `refused` names why there is none."""

    lots: int
    reserve: int
    note: str
    refused: str


def worst_entry(ticks: int, terms: Terms) -> int:
    """The most that an entry decided at `ticks` may pay; where orders are real it is their limit."""
    return worsened(ticks, terms.slippage + terms.entry_limit, True)


def entry_size(ticks: int, free: int, fee: int, terms: Terms, market: MarketTerms, capital: int) -> Size:
    """Size of an entry at `ticks` with `free` units unreserved in the wallet; fee in parts.

    `capital` units (TRADE_CAPITAL, or what the ladder allows of it) buy at the deciding price; the wallet pays the
    worsened price with fee and tax.
    """
    wanted = min(lots_for(ticks, capital, market.num, market.den), market.max_lots)
    worst = worst_entry(ticks, terms)
    payable = affordable_lots(worst, wanted, market.num, market.den, fee, terms.tax_buy, free)
    note = CAPPED_BY_WALLET if payable < wanted else ""
    if below_minimum(ticks, payable, market.num, market.den, market.min_lots, market.min_notional):
        return Size(0, 0, note, BELOW_MINIMUM)
    reserve = buy_cost(worst, payable, market.num, market.den, fee, terms.tax_buy)
    return Size(payable, reserve, note, "")
