"""What comparisons of journal and venue came to: the last start's report, what was found since, do they agree now.

* a start is compared until journal and venue agree: all its comparisons are one report, each line once, the newest word
  about an order
* the coin held before is that of its first comparison, the coin held after that of its last
* what no order of ours explains stands with the comparison that it was found by
* after another start nothing is known to agree before it was compared
* told twice, from the database and live, it is shown once

Pure.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from bus.messages import CheckedEvent, ExternalEvent

KEPT = 200  # comparisons and unexplained changes
LATER = 20  # shown of those after the start
NOT_AGREED = "not agreed: "
HELD = ("held before: ", "held after: ")  # told apart, by pair
RESOLVED = " before, "  # of a line about an order that a start found: "NAME: STATE before, STATE now"

_lines = msgspec.json.Decoder(list[str]).decode
_amounts = msgspec.json.Decoder(dict[str, str]).decode


class Comparison(NamedTuple):
    """One of them; `agreed` is None of what was found without one."""

    time_ms: int
    at_start: bool
    agreed: bool | None
    lines: list[str]
    before: Mapping[str, str]
    after: Mapping[str, str]


class Recovery:
    """The fold, by journal number."""

    def __init__(self) -> None:
        self._known: dict[int, Comparison] = {}
        self._began = 0  # number of the trader's last start

    def began(self, number: int, *, new: bool) -> None:
        """The trader started; with a `new` journal what an older one said is void."""
        if new and number < max(self._known, default=0):
            self._known = {}
        self._began = number

    def checked(self, number: int, event: CheckedEvent) -> None:
        """A comparison, as it is journalled."""
        time_ms = event.wall_ms or event.at.time_ms
        self._add(number, Comparison(time_ms, event.at_start, event.agreed, event.report, event.before, event.after))

    def unexplained(self, number: int, event: ExternalEvent) -> None:
        """What the account lost or won without an order of ours."""
        line = _unexplained(event.pair, event.base, event.quote, event.why)
        self._add(number, Comparison(event.at.time_ms, False, None, [line], {}, {}))

    def fold_row(self, row: dict[str, Any]) -> None:
        """A row of the table `checks`."""
        lines = _lines(row["report"])
        if row["kind"] == "external":
            line = _unexplained(row["pair"], f"{row['base']:.12g}", f"{row['quote']:.12g}", lines[0])
            self._add(row["id"], Comparison(row["time"], False, None, [line], {}, {}))
            return
        held = _amounts(row["before"]), _amounts(row["after"])
        self._add(row["id"], Comparison(row["time"], row["kind"] == "start", bool(row["agreed"]), lines, *held))

    def _add(self, number: int, found: Comparison) -> None:
        if number in self._known:
            return
        self._known[number] = found
        if len(self._known) > KEPT:
            del self._known[min(self._known)]

    # --- reading --------------------------------------------------------------------------------

    def now(self) -> dict[str, Any]:
        """Whether journal and venue agree, since when, and why not; `agreed` is None before a start was compared.

        `number` grows with everything that is told.
        """
        compared = [(number, one) for number, one in sorted(self._known.items()) if one.agreed is not None]
        number = max(self._began, max(self._known, default=0))
        if not compared or compared[-1][0] < self._began:
            return {"agreed": None, "since_ms": None, "at_start": True, "why": "", "number": number}
        last = compared[-1][1]
        since_ms = last.time_ms
        for _, one in reversed(compared):
            if one.agreed != last.agreed:
                break
            since_ms = one.time_ms
            if one.at_start and one.agreed:
                break  # before this start nobody compared
        why = "; ".join(line.removeprefix(NOT_AGREED) for line in last.lines if line.startswith(NOT_AGREED))
        return {"agreed": last.agreed, "since_ms": since_ms, "at_start": last.at_start, "why": why, "number": number}

    def told(self) -> dict[str, Any]:
        """As `now`, with the last `start` (None before the first) and what was found `later`, oldest first."""
        starts: list[Comparison] = []
        later: list[Comparison] = []
        unexplained: list[Comparison] = []
        for _, one in sorted(self._known.items()):
            if one.agreed is None:
                unexplained.append(one)
                continue
            if not one.at_start:
                later += [*unexplained, one]
            elif starts and not starts[-1].agreed:
                starts += [*unexplained, one]
            else:
                starts, later = [*unexplained, one], []
            unexplained = []
        later += unexplained
        return self.now() | {"start": _start(starts), "later": [_later(one) for one in later[-LATER:]]}


def _start(parts: list[Comparison]) -> dict[str, Any] | None:
    compared = [one for one in parts if one.agreed is not None]
    if not compared:
        return None
    return {
        "time_ms": compared[0].time_ms,
        "ended_ms": compared[-1].time_ms,
        "comparisons": len(compared),
        "agreed": compared[-1].agreed,
        "report": _report(parts),
        "before": compared[0].before,
        "after": compared[-1].after,
    }


def _report(parts: list[Comparison]) -> list[str]:
    """All lines once, in the order in which they came; why it is not agreed only as far as the last one says so."""
    lines: dict[str, str] = {}
    for one in parts:
        lines = {key: line for key, line in lines.items() if not line.startswith(NOT_AGREED)}
        for line in one.lines:
            if not line.startswith(HELD):
                lines[line.partition(RESOLVED)[0]] = line
    return list(lines.values())


def _later(one: Comparison) -> dict[str, Any]:
    return {"time_ms": one.time_ms, "agreed": one.agreed, "report": list(_without_held(one.lines))}


def _without_held(lines: Iterable[str]) -> Iterable[str]:
    return (line for line in lines if not line.startswith(HELD))


def _unexplained(pair: str, base: str, quote: str, why: str) -> str:
    if pair:
        return f"{pair}: {base} of the base coin is gone: {why}"
    return f"the wallet is {quote} off the journal and follows the venue: {why}" if float(quote) else why
