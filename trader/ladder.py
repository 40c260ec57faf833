"""The ladder to real money: who may go live, and how much of the stake is used at first. Pure.

What may be put into one entry, in live mode:

* first rung: LIVE_START_CAPITAL, or a tenth of TRADE_CAPITAL where it is empty; never more than TRADE_CAPITAL.
* a trade counts once it is reconciled: a round trip that closed counts when the next reconciliation agrees.
* a rung: after LIVE_GROW_TRADES of them what may be put in doubles; never beyond TRADE_CAPITAL; the count begins anew.
* no growth: with LIVE_GROW_TRADES=0 it stays at the first rung.
* a divergence: a reconciliation that does not agree leads back to the first rung, and what was counted is forgotten.
* other settings: a lower TRADE_CAPITAL holds at once, a higher one is climbed to; a higher LIVE_START_CAPITAL is meant.

Who may go live (`may_go_live`), asked where a person starts the bot, never where a crashed one comes back:

* the two keys: SIMULATION_MODE=false and LIVE_CONFIRM=yes.
* the doctor: `make doctor` passed for these settings within 24 hours.
* the day: 24 hours of simulation of this venue on record, or LIVE_SKIP_SIM_DAY=yes, which is logged.
* the sandbox: needs SIMULATION_MODE=false alone; its stake is capped where LIVE_START_CAPITAL is set.
"""

from collections.abc import Iterable
from typing import NamedTuple

from core.money import to_units
from core.settings import Settings

FIRST_RUNG_SHARE = 10  # a tenth: it means the same in every currency, and four doublings lead to the whole
MINUTE_MS = 60_000
DAY_MS = 86_400_000
LONGEST_STEP_MS = 5 * MINUTE_MS  # between two rows of equity: beyond that the market was not followed, or stood


class Rungs(NamedTuple):
    """What the settings say, in units of money."""

    first: int
    top: int  # TRADE_CAPITAL
    trades: int  # reconciled ones that lead to the next rung; 0: none does


class Ladder(NamedTuple):
    """How far one has come; journalled. A new book begins with `Ladder()`."""

    reached: int = 0  # units that were climbed to; 0: the first rung
    closed: int = 0  # round trips that no reconciliation has looked at yet
    agreed: int = 0  # reconciled ones on this rung


def rungs_of(settings: Settings) -> Rungs:
    """The rungs that the settings ask for."""
    top = to_units(settings.trade_capital, "TRADE_CAPITAL")
    asked = settings.live_start_capital
    if asked is not None:
        first = min(to_units(asked, "LIVE_START_CAPITAL"), top)
    else:
        first = top if settings.venue == "sandbox" else max(1, top // FIRST_RUNG_SHARE)
    return Rungs(first, top, settings.live_grow_trades)


def stake(ladder: Ladder, rungs: Rungs) -> int:
    """Units that one entry may cost now; what `TRADE_CAPITAL` is in simulation."""
    return min(max(ladder.reached, rungs.first), rungs.top)


def closed(ladder: Ladder) -> Ladder:
    """A round trip is over: what was bought is sold."""
    return ladder._replace(closed=ladder.closed + 1)


def agreed(ladder: Ladder, rungs: Rungs) -> Ladder:
    """A reconciliation found books and venue equal: what closed before it counts now. One rung at a time."""
    now = stake(ladder, rungs)
    count = ladder.agreed + ladder.closed
    if now == rungs.top or not rungs.trades:
        return Ladder(min(ladder.reached, rungs.top))
    if count < rungs.trades:
        return Ladder(ladder.reached, 0, count)
    return Ladder(min(2 * now, rungs.top))


def diverged() -> Ladder:
    """A reconciliation found a difference: back to the first rung."""
    return Ladder()


# --- a day of simulation ------------------------------------------------------------------------------


class Mark(NamedTuple):
    """A row of equity of a simulated book (`time_ms` of market time), or where a run of the trader began (None)."""

    time_ms: int | None


def simulated_ms(marks: Iterable[Mark]) -> int:
    """Milliseconds of market time that a running trader followed.

    There is a row of equity in each minute with trades. The time between two rows of the same run counts where it is
    at most LONGEST_STEP_MS; what lies between two runs, and what was made up for blind after a restart, counts nothing
    (the caller leaves those rows out).
    """
    total = 0
    before: int | None = None
    for mark in marks:
        if before is not None and mark.time_ms is not None and 0 < mark.time_ms - before <= LONGEST_STEP_MS:
            total += mark.time_ms - before
        before = mark.time_ms
    return total


# --- who may go live ------------------------------------------------------------------------------------


class LiveFacts(NamedTuple):
    """What is known where somebody wants to go live."""

    settings: Settings
    settings_hash: str  # of what the doctor looked at, as it is now
    now_ms: int  # wall time
    passed_ms: int | None  # wall time at which the doctor last passed; None: never
    passed_hash: str  # of the settings it passed with
    simulated_ms: int  # of this venue, on record


def may_go_live(facts: LiveFacts) -> list[str]:
    """Why real orders are not to be sent, each with the next step; empty where they may be."""
    settings = facts.settings
    if settings.simulation_mode:
        return ["SIMULATION_MODE=true: nothing is sent to a venue; set SIMULATION_MODE=false for real orders"]
    if settings.venue == "sandbox":
        return []
    reasons = []
    if not settings.live_confirm:
        reasons.append("LIVE_CONFIRM=no: real orders need LIVE_CONFIRM=yes as well")
    reasons += _doctor(facts)
    if facts.simulated_ms < DAY_MS and not settings.live_skip_sim_day:
        reasons.append(
            f"{hours(facts.simulated_ms)} of simulation with VENUE={settings.venue} are on record, 24 h are needed: let"
            " it run with SIMULATION_MODE=true until then, or set LIVE_SKIP_SIM_DAY=yes to go without"
        )
    return reasons


def overridden(facts: LiveFacts) -> str:
    """What is to be logged where the day of simulation is skipped; '' where it is not."""
    settings = facts.settings
    needless = settings.simulation_mode or settings.venue == "sandbox" or facts.simulated_ms >= DAY_MS
    if needless or not settings.live_skip_sim_day:
        return ""
    return f"LIVE_SKIP_SIM_DAY=yes: live with {hours(facts.simulated_ms)} of simulation on record instead of 24 h"


def _doctor(facts: LiveFacts) -> list[str]:
    step = "run `make doctor`"
    if facts.passed_ms is None:
        return [f"the doctor has not passed yet: {step}"]
    if facts.passed_hash != facts.settings_hash:
        return [f"the doctor passed with other settings or keys: {step}"]
    age_ms = facts.now_ms - facts.passed_ms
    if not 0 <= age_ms <= DAY_MS:
        told = f"{hours(age_ms)} ago" if age_ms > 0 else "at a time that is yet to come (was the clock set?)"
        return [f"the doctor passed {told}, which counts for 24 h: {step}"]
    return []


def hours(ms: int) -> str:
    """`23.5 h`, rounded down."""
    return f"{ms // (DAY_MS // 240) / 10:.1f} h"
