"""States of the indicators as they were, kept in the book: a recorded session can be judged to the bit by them.

The tape tells what the indicators know only from where they began on; that place is not on the tape, and the tape does
not reach back for ever. So a state is kept in `BOOK/indicators/`, one file each, numbered in the order of their making:

* where a warm-up began anew (no state to take up, another tape, records lost on the bus): its life begins there, and
  tells the UPDATEs of the records after `after`
* once in an hour of market time: a life can be taken up there when the tape from its begin on is gone

Bounded in number and in bytes, the oldest go first.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from bus.frames import UNREADABLE
from indicators import layout
from indicators.layout import Array, Parameters
from indicators.state import DIGEST_BYTES, Saved, digest

FOLDER = "indicators"
ENDING = ".state"
MOST = 1_000
MOST_BYTES = 16 * 1024 * 1024
HOUR_NS = 3_600 * 1_000_000_000


class Kept(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """One state; `after` is the last record whose UPDATE another life of the indicators told, or `saved.number`."""

    began: bool
    after: int
    saved: Saved


class Life(NamedTuple):
    """One warm-up of the indicators: it told the records after `after`, until the next life did."""

    epoch: int
    after: int
    states: list[Saved]


def lives_of(kept: Sequence[Kept]) -> list[Life]:
    """The lives that kept states are of, in the order in which they were."""
    lives: list[Life] = []
    for one in kept:
        if one.began or not lives or lives[-1].epoch != one.saved.epoch:
            lives.append(Life(one.saved.epoch, one.after, []))
        lives[-1].states.append(one.saved)
    return lives


def parameters_in(words: Array, settings_hash: int) -> Parameters:
    """The settings that a state was made with; what they come to stands in its head."""
    params = layout.params_of(words)
    return Parameters(
        timeframe_ms=int(params["timeframe_ns"]) // 1_000_000,
        warmup_candles=int(params["needed"]),
        rsi_period=int(params["rsi_period"]),
        rsi_smoothing="ema" if params["ema"] else "wilder",
        rsi_buy=float(params["rsi_buy"]),
        rsi_sell=float(params["rsi_sell"]),
        rsi_crash=float(params["rsi_crash"]),
        bb_period=int(params["bb_period"]),
        bb_stddev=float(params["stddev"]),
        settings_hash=settings_hash,
    )


class KeptStates:
    """Writes them. What a full disk does not take is tried again by who asks `due`."""

    def __init__(self, book: Path) -> None:
        self._folder = book / FOLDER
        self._hour: tuple[int, int] | None = None  # epoch and hour of market time of the latest
        self._began = False  # a begin that could not be written

    def due(self, epoch: int, time_ns: int) -> bool:
        """Whether an hour of market time has gone by; `time_ns` is the newest exchange time."""
        return self._hour != (epoch, time_ns // HOUR_NS)

    def keep(self, saved: Saved, time_ns: int, *, began: bool, after: int = -1) -> None:
        """Writes one more, and removes the oldest beyond what is kept; `after` counts from the state's own place on.

        Raises OSError: then the next one tells that what led to it is not known.
        """
        self._hour = None
        kept = Kept(began or self._began, max(after, saved.number), saved)
        self._began = kept.began
        self._write(kept)
        self._hour, self._began = (saved.epoch, time_ns // HOUR_NS), False

    def _write(self, kept: Kept) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = files_of(self._folder)
        path = self._folder / f"{int(files[-1].stem) + 1 if files else 1:010d}{ENDING}"
        packed = msgspec.msgpack.encode(kept)
        aside = path.with_suffix(".new")
        try:
            aside.write_bytes(digest(packed) + packed)
            aside.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise
        files.append(path)
        sizes = [file.stat().st_size for file in files]
        while len(files) > 1 and (len(files) > MOST or sum(sizes) > MOST_BYTES):
            files.pop(0).unlink()
            sizes.pop(0)


def files_of(folder: Path) -> list[Path]:
    """The files of kept states, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix == ENDING and path.stem.isdecimal())


def read_all(book: Path) -> Iterator[Kept]:
    """The kept states of a book, oldest first; a file that is gone meanwhile or damaged is passed over."""
    for path in files_of(book / FOLDER):
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # it was the oldest
            continue
        packed = content[DIGEST_BYTES:]
        if digest(packed) == content[:DIGEST_BYTES]:
            with contextlib.suppress(*UNREADABLE):
                yield msgspec.msgpack.decode(packed, type=Kept)
