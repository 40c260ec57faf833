"""The risk gate: every order comes back as Approved or Refused, operators' orders too; shrinking is never refused.

Brokers take only Approved, and only this module makes one. All limits count over all pairs, in market time, and are
judged at a record. Limits of the settings, 0 = off:

* MAX_DAILY_LOSS: refused while the day's realized loss is at least this; a new day lifts it.
* MAX_DRAWDOWN_PCT: equity this far below its peak halts trading until an operator resumes (the peak starts anew then).
* MAX_CONSECUTIVE_LOSSES: so many losing exits in a row halt trading until an operator resumes.
* COOLDOWN_SECONDS: refused for so long after any exit.
* MAX_ORDERS_PER_MINUTE: refused while that many entries were sent in the last 60 s.
* MAX_OPEN_POSITIONS: refused while that many pairs have a position or a working entry.
* COST_GATE=refuse: refused while a round trip costs more than the stop's distance (`trader.costs`).

Whatever limit, state or block is in force:

* an exit of what is held is never refused; one of more than is held always is
* a broker takes only what this gate approved
* an operator's flatten passes the same gate
* paused, reducing and halted take no entries and go on with exits
* pause, flatten and halt never loosen the trading state, only resume does
* stale or untrusted data blocks entries, never exits
* the day's loss, the peak, the losses in a row, the cooldown, the entries of the minute and what halted trading survive
  a restart
"""

from typing import NamedTuple

from core.money import PARTS
from trader import costs
from trader.state import ACTIVE, EXIT, HALTED, PAUSED, REDUCING, Order, RiskState
from trader.terms import NS_PER_DAY, NS_PER_MINUTE, Terms


class Approved(NamedTuple):
    """An order that may be sent."""

    order: Order


class Refused(NamedTuple):
    """An order that must not be sent, and why, as a short machine word."""

    order: Order
    reason: str


# (state, command) -> state. pause never loosens: reducing and halted stay until resume.
COMMANDS: dict[tuple[str, str], str] = {
    (ACTIVE, "pause"): PAUSED,
    (PAUSED, "pause"): PAUSED,
    (REDUCING, "pause"): REDUCING,
    (HALTED, "pause"): HALTED,
    (ACTIVE, "resume"): ACTIVE,
    (PAUSED, "resume"): ACTIVE,
    (REDUCING, "resume"): ACTIVE,
    (HALTED, "resume"): ACTIVE,
    (ACTIVE, "flatten"): REDUCING,
    (PAUSED, "flatten"): REDUCING,
    (REDUCING, "flatten"): REDUCING,
    (HALTED, "flatten"): HALTED,  # it sells all the same; the stricter state stays
    (ACTIVE, "halt"): HALTED,
    (PAUSED, "halt"): HALTED,
    (REDUCING, "halt"): HALTED,
    (HALTED, "halt"): HALTED,
}


def day_of(market_ns: int, offset_ns: int) -> int:
    """The day of a market time, counted from 1970; days begin at UTC midnight less DAY_OFFSET_MINUTES."""
    return (market_ns + offset_ns) // NS_PER_DAY


def day_loss(risk: RiskState, market_ns: int, terms: Terms) -> int:
    """Units lost on the day of `market_ns`, 0 where it is a gain."""
    if risk.day != day_of(market_ns, terms.day_offset_ns):
        return 0
    return max(0, -risk.day_realized)


def limit_reached(risk: RiskState, terms: Terms, market_ns: int, open_positions: int, fee: int) -> str:
    """The first limit that stops an entry now, or ''; fee: taker's, in parts."""
    costly = costs.refusal(fee, terms)
    if costly:
        return costly
    if terms.max_daily_loss and day_loss(risk, market_ns, terms) >= terms.max_daily_loss:
        return "max_daily_loss"
    if terms.cooldown_ns and market_ns < risk.cool_until_ns:
        return "cooldown"
    if terms.max_orders_per_minute:
        since = market_ns - NS_PER_MINUTE
        if sum(1 for sent in risk.entries_ns if sent > since) >= terms.max_orders_per_minute:
            return "max_orders_per_minute"
    if terms.max_open_positions and open_positions >= terms.max_open_positions:
        return "max_open_positions"
    return ""


def judge(order: Order, held: int, refusal: str) -> Approved | Refused:
    """The gate: an exit of at most `held` lots always passes, an entry unless there is a refusal."""
    if order.purpose == EXIT:
        if order.lots > held:
            return Refused(order, "more_than_held")
        return Approved(order)
    if refusal:
        return Refused(order, refusal)
    return Approved(order)


def entry_sent(risk: RiskState, market_ns: int) -> None:
    """Counts an entry for MAX_ORDERS_PER_MINUTE."""
    risk.entries_ns = [sent for sent in risk.entries_ns if sent > market_ns - NS_PER_MINUTE]
    risk.entries_ns.append(market_ns)


def exit_done(risk: RiskState, profit: int, market_ns: int, terms: Terms) -> None:
    """Counts a completed exit: the day's result, losses in a row, the cooldown."""
    day = day_of(market_ns, terms.day_offset_ns)
    if risk.day != day:
        risk.day = day
        risk.day_realized = 0
    risk.day_realized += profit
    risk.losses = risk.losses + 1 if profit < 0 else 0
    if terms.cooldown_ns:
        risk.cool_until_ns = market_ns + terms.cooldown_ns


def breach(risk: RiskState, equity: int, terms: Terms) -> str:
    """The limit that halts trading at this equity, or ''; also moves the peak."""
    risk.peak = max(risk.peak, equity)
    if terms.max_drawdown and equity * PARTS <= risk.peak * (PARTS - terms.max_drawdown):
        return "max_drawdown_pct"
    if terms.max_consecutive_losses and risk.losses >= terms.max_consecutive_losses:
        return "max_consecutive_losses"
    return ""


def resumed(risk: RiskState, equity: int) -> None:
    """What an operator's resume forgives: the losses in a row and the old peak; the day's loss stays."""
    risk.losses = 0
    risk.peak = equity
