"""What a start finds in the journal and on the tape, and what it makes of it: pure decisions, one report line."""

from typing import NamedTuple

from core.money import plain, steps_text, units_text
from trader.state import ACTIVE, STOP, State

NEW, CLEAN, RECOVERED = "new", "clean", "recovered"


class Missed(NamedTuple):
    """Tape records to be taken blind or degraded before updates go on; last may be first - 1: none."""

    epoch: int
    first: int
    last: int
    why: str


def missed(state: State, epoch: int, next_number: int, tape_first: int) -> Missed | None:
    """What lies between the state's place and `next_number` of tape `epoch`; None where nothing was missed.

    tape_first: the first record of that tape that still exists. A book without a past has missed nothing.
    """
    if state.start is None:
        return None
    if epoch != state.epoch:
        why = f"the tape is another one ({state.epoch} before, {epoch} now): taken from its start"
        return Missed(epoch, min(tape_first, next_number), next_number - 1, why)
    if next_number <= state.record + 1:
        return None
    if tape_first > state.record + 1:
        lost = tape_first - state.record - 1
        first = min(tape_first, next_number)
        return Missed(epoch, first, next_number - 1, f"{lost} records are no longer on the tape, the rest was missed")
    return Missed(epoch, state.record + 1, next_number - 1, "not followed while the trader was away")


def clean_stop(state: State) -> bool:
    """Whether the process before this one said good-bye."""
    return state.stopped


def changed_settings(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Names of the deciding settings whose text differs, sorted."""
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def report(state: State, found: str, book: str, settings: dict[str, str]) -> str:
    """One line a person understands: where the book stands, and which settings changed since the last start."""
    if found == NEW and state.live is not None:
        return f"new book {book}: the venue says what the wallet holds"
    if found == NEW:
        return f"new book {book} with {units_text(state.wallet)} of quote currency"
    parts = [f"book {book}", f"record {state.record}", f"wallet {units_text(state.wallet)}"]
    parts.append(f"realized {units_text(state.realized)}")
    parts += _held(state)
    if state.trading != ACTIVE:
        parts.append(f"trading is {state.trading} ({state.trading_reason}): resume lifts it")
    changed = changed_settings(state.settings, settings)
    if changed:
        shown = ", ".join(
            f"{name} {state.settings.get(name, '-')} -> {settings.get(name, '-')}" for name in changed[:8]
        )
        parts.append(f"changed settings: {shown}" + (f" and {len(changed) - 8} more" if len(changed) > 8 else ""))
    head = "taken up after a clean stop" if found == CLEAN else "recovered after a stop without a good-bye"
    return f"{head}: " + "; ".join(parts)


def _held(state: State) -> list[str]:
    """What is open, in words."""
    found = []
    for pair in state.pairs.values():
        if pair.lots:
            found.append(f"holds {steps_text(pair.lots, pair.step)} {pair.pair} bought at {pair.entry_price:g}")
        if pair.order is not None:
            left = plain(pair.order.left * pair.step)
            what = "stop" if pair.order.kind == STOP else pair.order.purpose
            found.append(f"{what} of {pair.pair} is working, {left} left")
    return found or ["no position"]
