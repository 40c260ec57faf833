"""A line of the doctor's report, and what is said of the machine before anything else. Pure, and without packages: one
that cannot be loaded here must not take the doctor with it."""

import json
import signal
from collections.abc import Sequence
from typing import NamedTuple

OK, WARN, FAIL, SKIPPED = "ok", "warn", "fail", "skipped"
SET_UP_ANEW = "remove .venv and type `make run`, which sets up anew"


class Line(NamedTuple):
    """One line of the report."""

    status: str
    name: str
    text: str
    step: str = ""

    def shown(self, width: int = 0) -> str:
        """As a person reads it, names padded to `width`."""
        return f"{self.status:<8} {self.name:<{width}}  {self.text}" + (f": {self.step}" if self.step else "")


def failed(lines: Sequence[Line]) -> bool:
    return any(line.status == FAIL for line in lines)


class Report(NamedTuple):
    """All lines; `whole`: the account was asked, too, so that a pass counts for real orders."""

    lines: list[Line]
    whole: bool

    @property
    def passed(self) -> bool:
        return not failed(self.lines)


def bits(pointer_bits: int, machine: str) -> Line:
    """64-bit Python on a 64-bit system."""
    if pointer_bits == 64:
        return Line(OK, "64-bit", f"Python has 64 bits on {machine}")
    step = "install a 64-bit operating system (on a Raspberry Pi: Raspberry Pi OS 64-bit)"
    return Line(FAIL, "64-bit", f"Python has {pointer_bits} bits on {machine}", step)


class Imported(NamedTuple):
    """A module that a process of its own imported: its exit status, below 0 the signal that killed it; None: too slow.

    `words`: the last line that it wrote.
    """

    module: str
    status: int | None
    words: str = ""


def wheel(found: Imported) -> Line:
    """Whether a package with compiled code can be loaded on this processor."""
    name = f"wheel {found.module.partition('.')[0]}"
    if found.status == 0:
        return Line(OK, name, "imports")
    if found.status is None:
        return Line(FAIL, name, "did not import in time", "look at the machine's load and memory (`top`), then again")
    if found.status < 0:
        text = f"killed by {_signal(-found.status)} while importing"
        if -found.status == signal.SIGILL:
            text += " (illegal instruction): built for a newer processor than this one"
        return Line(FAIL, name, text, "run the bot on another machine, or build the package from its sources here")
    return Line(FAIL, name, f"does not import ({found.words or f'exit {found.status}'})", SET_UP_ANEW)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def told(report: Report) -> str:
    """The report as a person reads it."""
    width = max((len(line.name) for line in report.lines), default=0)
    lines = [line.shown(width) for line in report.lines]
    count = sum(line.status == FAIL for line in report.lines)
    if count:
        lines.append(f"{count} of {len(report.lines)} failed")
    elif report.whole:
        lines.append("nothing failed; on record for 24 hours and these settings")
    else:
        lines.append("nothing failed; the account was not asked, so that this is no pass for real orders")
    return "\n".join(lines)


def as_json(report: Report) -> str:
    """The report for a program."""
    rows = [line._asdict() for line in report.lines]
    answer = {"passed": report.passed, "account_asked": report.whole, "lines": rows}
    return json.dumps(answer, indent=1, ensure_ascii=False)
