"""Frames sent at a steady pace, through whatever line they go."""

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from bus.layouts import RECORD_SIZE
from tools.bench.stamps import Stamps

SERVICE_SECONDS = 0.5  # heartbeats are due once a second


class Sender(Protocol):
    """What can be measured: the real line and the bare one."""

    stamps: Stamps

    def write(self, data: bytes) -> int: ...

    def service(self) -> None: ...


class Sent(NamedTuple):
    """int64, one row a frame: first number and count, when it was sent and when it was due (monotonic ns)."""

    numbers: np.ndarray
    sent_ns: np.ndarray
    due_ns: np.ndarray

    def after(self, frames: int) -> "Sent":
        """Without the first ones."""
        return Sent(*(column[frames:] for column in self))


def paced(line: Sender, frames: Sequence[bytes], step_ns: int) -> Sent:
    """Sends one frame every `step_ns`. Deadlines are absolute: what is late is caught up with, nothing is left out.

    They are kept by sleeping: a spinning sender would take one of two cores from the others.
    """
    numbers = np.zeros((len(frames), 2), np.int64)
    sent_ns = np.zeros(len(frames), np.int64)
    began_ns = serviced_ns = time.monotonic_ns()
    due_ns = began_ns + step_ns * np.arange(len(frames))
    for place, frame in enumerate(frames):
        wait_ns = began_ns + place * step_ns - time.monotonic_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        now_ns = time.monotonic_ns()
        numbers[place] = line.write(frame), len(frame) // RECORD_SIZE
        sent_ns[place] = now_ns
        if now_ns - serviced_ns > SERVICE_SECONDS * 1e9:
            line.service()
            serviced_ns = now_ns
    return Sent(numbers, sent_ns, due_ns)


def latencies_us(numbers: np.ndarray, from_ns: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Microseconds to the decision, one a record.

    numbers, from_ns: as in `Sent`; decided: as `Stamps.pairs`. Raises ValueError where a record was never decided on.
    """
    counts = numbers[:, 1]
    lasts = numbers[:, 0] + counts - 1
    places = np.searchsorted(decided[:, 0], lasts)
    if len(places) and places.max() >= len(decided):
        raise ValueError(f"records up to {lasts.max()} were sent, decided on are those up to {decided[-1:, 0]}")
    times: np.ndarray = np.repeat((decided[places, 1] - from_ns) / 1000.0, counts)
    return times
