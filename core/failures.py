"""Programs that keep dying, have given up or are down, and why: out of `run/STAGE.json`, as most cannot say it now."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from core.clock import Clock
from core.lock import LONGEST_WAIT_S, QUICK_DEATH_MS, StageRecord, read_record

LOOK_SECONDS = 2.0
DEATHS_IN_A_ROW = 3

CRASH_LOOP, GAVE_UP = "crash loop", "gave up"


class News(NamedTuple):
    """What a person must know of a program: that it fails now (error), or no longer does (info)."""

    name: str
    level: str
    text: str


def failing(record: StageRecord, wall_ms: int) -> str:
    """CRASH_LOOP where the program died 3 times in a row within 10 s of its start and has not lived longer since;
    GAVE_UP where only a person can start it again; else nothing."""
    if record.gave_up:
        return GAVE_UP
    if record.clean or record.quick_deaths < DEATHS_IN_A_ROW:
        return ""
    # While it waits before its next try, its life lies in the future. Further away it does where the clock was set.
    lived_ms = wall_ms - record.up_ms
    return CRASH_LOOP if -LONGEST_WAIT_S * 1000 <= lived_ms < QUICK_DEATH_MS else ""


class Failures:
    """Looks now and then; tells once when a program begins to fail, and once when that is over."""

    def __init__(self, run_dir: Path, names: Iterable[str], clock: Clock) -> None:
        self._run_dir = run_dir
        self._names = tuple(names)
        self._clock = clock
        self.down: dict[str, str] = {}  # programs that ended by a failure and do not work again yet, with the reason
        self.failing: dict[str, str] = {}  # CRASH_LOOP or GAVE_UP, by name

    def look(self) -> list[News]:
        """What is new since the last look."""
        news = []
        wall_ms = self._clock.wall_ms()
        for name in self._names:
            record = read_record(self._run_dir / f"{name}.json")
            _put(self.down, name, record.failure if record is not None else "")
            before = self.failing.get(name, "")
            now = failing(record, wall_ms) if record is not None else ""
            _put(self.failing, name, now)
            if now and now != before and record is not None:
                news.append(News(name, "error", words(name, now, record)))
            elif before and not now:
                news.append(News(name, "info", f"{name} no longer fails"))
        return news


def words(name: str, kind: str, record: StageRecord) -> str:
    """The failure for a person: what, why, what follows and the next step."""
    why = record.failure.splitlines()[0] if record.failure else "it was killed each time"
    if kind == GAVE_UP:
        return f"{name} has given up ({why}): no entries until it runs; mend it, then `make restart STAGE={name}`"
    return (
        f"{name} died {record.quick_deaths} times in a row within 10 s of its start ({why}): it is started again after"
        f" growing pauses, no entries until it stays up; `make logs STAGE={name}` shows more"
    )


def _put(into: dict[str, str], name: str, text: str) -> None:
    if text:
        into[name] = text
    else:
        into.pop(name, None)
