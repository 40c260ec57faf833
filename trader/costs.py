"""What a round trip costs against the stop's distance, and what a day's round trips paid: pure, exact.

A buy at market price p takes `p (1 + slippage)(1 + spread/2)(1 + fee + tax on buying)` a piece out of the wallet, a
sell at p' brings `p' (1 - slippage)(1 - spread/2)(1 - fee - tax on selling)`. The break-even move is `p'/p - 1` where
the two are equal: the rise that a trade needs before it has won anything. Of real fills only the rounding to tick and
unit is left out, which goes against us (`trader.fills`).

* costs above the stop: where the break-even move is beyond TRAILING_STOP_PCT, a trade that goes nowhere loses more to
  its costs than to its stop. COST_GATE=warn says so, COST_GATE=refuse takes no entries, COST_GATE=off does neither.
* a day's costs are what its round trips made before fees and taxes, less what the ledger booked as their profit.
"""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from core.money import PARTS, UNIT, plain
from trader.state import DayCosts
from trader.terms import NS_PER_DAY, Terms

OFF, WARN, REFUSE = "off", "warn", "refuse"
COSTS_EXCEED_STOP = "costs_exceed_stop"


class Round(NamedTuple):
    """What a round trip meets: all in parts (millionths)."""

    fee: int  # of each side, taker
    tax_buy: int = 0
    tax_sell: int = 0
    slippage: int = 0  # of each side
    spread: int = 0  # of both sides together


def round_of(fee: int, terms: Terms) -> Round:
    """The round trip at the fee in force (parts) and the settings."""
    return Round(fee, terms.tax_buy, terms.tax_sell, terms.slippage, terms.spread)


def break_even_move(costs: Round) -> Fraction | None:
    """The relative rise of the price at which selling brings what buying cost; None where no rise does."""
    bought, sold = _factors(costs)
    return Fraction(bought, sold) - 1 if sold > 0 else None


def exceed_stop(costs: Round, stop: Decimal) -> bool:
    """Whether the break-even move is beyond the stop's distance, a fraction of the price."""
    bought, sold = _factors(costs)
    numerator, denominator = stop.as_integer_ratio()
    return bought * denominator > sold * (denominator + numerator)


def _factors(costs: Round) -> tuple[int, int]:
    """What a piece costs and what it brings at one price, on the same scale."""
    bought = (PARTS + costs.slippage) * (2 * PARTS + costs.spread) * (PARTS + costs.fee + costs.tax_buy)
    sold = (PARTS - costs.slippage) * (2 * PARTS - costs.spread) * (PARTS - costs.fee - costs.tax_sell)
    return bought, sold


def refusal(fee: int, terms: Terms) -> str:
    """Why the cost gate takes no entry at this fee (parts), or ''."""
    if terms.cost_gate == REFUSE and exceed_stop(round_of(fee, terms), terms.stop):
        return COSTS_EXCEED_STOP
    return ""


def level(fee: int, terms: Terms) -> str:
    """How loudly the numbers are told: warn where the gate is on and costs are above the stop, else info."""
    return "warn" if terms.cost_gate != OFF and exceed_stop(round_of(fee, terms), terms.stop) else "info"


def per_cent(value: Fraction | Decimal) -> str:
    """A fraction of 1 as per cent with two decimals, rounded half to even."""
    numerator, denominator = value.as_integer_ratio()
    hundredths = round(Fraction(10_000 * numerator, denominator))
    return format(Decimal(hundredths).scaleb(-2), "f")


def sentence(fee: int, terms: Terms) -> str:
    """The numbers in words; fee in parts."""
    costs = round_of(fee, terms)
    kinds = (
        ("fees", 2 * costs.fee),
        ("taxes", costs.tax_buy + costs.tax_sell),
        ("slippage", 2 * costs.slippage),
        ("spread", costs.spread),
    )
    parts = ", ".join(
        f"{name} {per_cent(Fraction(parts, PARTS))} %" for name, parts in kinds if parts or name == "fees"
    )
    move = break_even_move(costs)
    stop = f"{plain(terms.stop * 100)} %"
    if move is None:
        return f"no rise of the price pays for a round trip ({parts})"
    trip = f"a round trip costs {per_cent(move)} % ({parts})"
    if not exceed_stop(costs, terms.stop):
        return f"{trip}, the stop is at {stop}"
    return f"{trip}, more than the stop's distance of {stop}: lower fees or a wider TRAILING_STOP_PCT are needed"


# --- the day ----------------------------------------------------------------------------------------


def trip_done(day: DayCosts, today: int, gross: int, profit: int) -> None:
    """Counts an exit: units it made before fees and taxes, and units the ledger booked."""
    if day.day != today:
        day.day, day.trips, day.gross, day.costs = today, 0, 0, 0
    day.trips += 1
    day.gross += gross
    day.costs += gross - profit


def day_text(day: DayCosts, quote: str) -> str:
    """Whether the venue was tradable on that day, in a line."""
    date = datetime.fromtimestamp(day.day * NS_PER_DAY // 1_000_000_000, UTC).date().isoformat()
    trips = f"{day.trips} round trip{'s' if day.trips > 1 else ''}"
    made = f"made {_amount(day.gross)} {quote}" if day.gross > 0 else f"lost {_amount(-day.gross)} {quote}"
    line = f"{date}: {trips} {made} before costs, costs were {_amount(day.costs)}"
    if day.gross <= 0:
        return f"{line}: it would have lost without costs too"
    share = f"{per_cent(Fraction(day.costs, day.gross))} % of it"
    if day.costs >= day.gross:
        return f"{line}, {share}: at these costs the venue was not tradable that day"
    return f"{line}, {share}: {_amount(day.gross - day.costs)} was left"


def day_level(day: DayCosts, terms: Terms) -> str:
    """warn where costs took all that was made and the gate is on, else info."""
    return "warn" if terms.cost_gate != OFF and day.costs >= day.gross > 0 else "info"


def _amount(units: int) -> str:
    return format((Decimal(units) / UNIT).quantize(Decimal("0.01")), "f")
