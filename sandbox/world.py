"""Which world this sandbox is, kept in `sandbox.json` of the book's folder: a restart goes on with the same one.

Synthetic: when it was born. A tape: from where and since when it plays. A sandbox that was killed was out of order
while the market went on: the clock runs on by wall time, and what was traded meanwhile is to be had over REST as far
as 500 trades reach. A sandbox that was stopped in order stopped the recording: it goes on from there at the next
join. A tape that has ended stays ended for its book.
"""

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from core.clock import Clock
from core.disk import refused
from core.errors import MisconfiguredError
from sandbox.clock import TapeClock

FILE = "sandbox.json"
LEAD_MS = 250  # wall time between the first join and the first trade


class Born(msgspec.Struct, forbid_unknown_fields=True):
    """A synthetic world."""

    seed: int
    born_ms: int


class Playing(msgspec.Struct, forbid_unknown_fields=True):
    """A tape in play: at `at_ms` of market time since `since_wall_ms`, or waiting there for a join (None)."""

    tape: str
    trades: int
    first_ms: int
    at_ms: int
    since_wall_ms: int | None
    speed: float


World = TypeVar("World", Born, Playing)


def born_ms(folder: Path, seed: int, clock: Clock) -> int:
    """When the synthetic world of this book was born: now, at its first start.

    Raises MisconfiguredError where the file is not readable as one of ours.
    """
    known = _read(folder / FILE, Born)
    if known is not None and known.seed == seed:
        return known.born_ms
    world = Born(seed, clock.wall_ms())
    _write(folder / FILE, world)
    return world.born_ms


class TapeWorld:
    """The clock of a tape, and its place on disk."""

    def __init__(
        self, folder: Path, tape: str, trades: int, ends_ms: tuple[int, int], speed: float, clock: Clock
    ) -> None:
        self._path = folder / FILE
        self._wall = clock
        first_ms, last_ms = ends_ms
        fresh = Playing(tape, trades, first_ms, first_ms - int(LEAD_MS * speed), None, speed)
        known = _read(self._path, Playing)
        if known is not None and (known.tape, known.trades, known.first_ms) != (tape, trades, first_ms):
            known = None
        state = known or fresh
        at_ms, ran_ns = state.at_ms, None
        if state.since_wall_ms is not None:  # killed while it played: the market went on
            ran_ms = max(0, clock.wall_ms() - state.since_wall_ms)
            at_ms, ran_ns = min(last_ms, at_ms + int(ran_ms * state.speed)), 0
        self.resumed = known is not None
        self._state = Playing(tape, trades, first_ms, at_ms, None, speed)
        self.clock = TapeClock(clock, at_ms, last_ms, speed, ran_ns)
        self.keep()

    def keep(self) -> None:
        """Writes where the market is, as running if it runs; called when it starts, or went on after it was held."""
        state = self._state
        state.at_ms = self.clock.now_ms()
        state.since_wall_ms = self._wall.wall_ms() if self.clock.started else None
        _write(self._path, state)

    def pause(self) -> None:
        """An orderly stop: the market waits where it is for the next start."""
        self._state.at_ms, self._state.since_wall_ms = self.clock.now_ms(), None
        _write(self._path, self._state)


def _read(path: Path, kind: type[World]) -> World | None:
    """What the file holds; None where there is none or it is about the other kind of market.

    Raises MisconfiguredError where it is no file of ours.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MisconfiguredError(f"{path} cannot be read: {error.strerror}. Free it or remove it.") from error
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError:
        return None
    except msgspec.DecodeError as error:
        raise MisconfiguredError(
            f"{path} is damaged ({error}). Remove it: the sandbox then begins a new market; best with a new VAR_DIR."
        ) from error


def _write(path: Path, world: Born | Playing) -> None:
    """Replaces the file in one step, so that a kill leaves the old or the new one."""
    aside = path.with_name(f"{path.name}.new")
    try:
        with aside.open("wb") as file:
            file.write(msgspec.json.encode(world) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise refused(f"cannot write {path}: {error.strerror}. Free the folder or set VAR_DIR.", error.errno) from error
