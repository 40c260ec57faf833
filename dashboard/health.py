"""The verdict of /healthz: a table of checks over the page's state, pure.

A quiet market, a warm-up, HALTED and a tape that ended are healthy; silence of a stage, a market without proof of life
and a trader that fell behind are not.
"""

import msgspec

from dashboard.state import SILENT_NS, PageState

TRADER_BEHIND_NS = 2_000_000_000  # the trader must be within this of the feeder's last number


class Check(msgspec.Struct, frozen=True):
    """One check: `text` says what was found, in words."""

    name: str
    ok: bool
    text: str


def checks(state: PageState, now_ns: int) -> list[Check]:
    """Every check in a fixed order: one per stage, the market's proof of life, the trader's distance."""
    found = [_stage(state, name, now_ns) for name in state.stages]
    found.append(_market(state, now_ns))
    found.append(_trader(state))
    return found


def _stage(state: PageState, name: str, now_ns: int) -> Check:
    stage = state.stages[name]
    if stage.alive(now_ns) and stage.heard_ns is not None:
        return Check(f"stage:{name}", True, f"heard {(now_ns - stage.heard_ns) / 1e9:.1f} s ago")
    if stage.heard_ns is None:
        found = f"{name} was not heard since this page started"
    else:
        age = (now_ns - stage.heard_ns) / 1e9
        found = f"{name} was last heard {age:.1f} s ago, allowed are {SILENT_NS / 1e9:.0f} s"
    why = f": {state.down[name]}" if name in state.down else ""
    return Check(f"stage:{name}", False, f"{found}{why}; see var/log/{name}.log")


def _market(state: PageState, now_ns: int) -> Check:
    age = state.market_age_ms(now_ns)
    limit = state.config.stale_seconds
    if age is None:
        return Check("market", False, "the feeder has not seen the market yet")
    text = f"last proof of the market {age / 1000:.1f} s ago, STALE_SECONDS={limit:g}"
    return Check("market", age < limit * 1000, text)


def _trader(state: PageState) -> Check:
    """The trader's last number against the feeder's of two seconds before it was told."""
    if not state.feeder_numbers:
        return Check("trader", False, "the feeder has not told its last number yet")
    last = state.feeder_numbers[-1][2]
    if last < 0:
        return Check("trader", True, "nothing on the tape yet")
    if state.trader_number is None:
        return Check("trader", False, f"the trader has not told its record yet, the feeder is at {last}")
    told_ns, number = state.trader_number
    due = [n for at, _, n in state.feeder_numbers if at <= told_ns - TRADER_BEHIND_NS]
    if due and number < due[-1]:
        return Check("trader", False, f"the trader is more than 2 s behind: at record {number}, the feeder at {last}")
    return Check("trader", True, f"at record {number}, the feeder at {last}")
