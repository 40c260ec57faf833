"""Times of decisions in a file that two processes share: the one that decides writes, the one that measures reads.

int64 words: HEAD counters, then (number, monotonic ns) pairs. CLOCK_MONOTONIC is one clock for the whole machine.
"""

import mmap
from pathlib import Path

import numpy as np

HEAD = 16
COUNT, NUMBER, UPDATES, FRAMES, LAST, GAPS, RAWS = range(7)  # words of the head
MOST = 1_000_000  # pairs


class Stamps:
    """COUNT pairs so far; NUMBER of the last record decided on; the other counters are the writer's."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        with path.open("w+b" if create else "r+b") as file:
            if create:
                file.truncate((HEAD + 2 * MOST) * 8)
            self._map = mmap.mmap(file.fileno(), 0)
        self.words = memoryview(self._map).cast("q")
        if create:
            self.words[NUMBER] = self.words[LAST] = -1

    def add(self, number: int, ns: int) -> None:
        """Everything up to `number` was decided on at `ns`."""
        words = self.words
        at = HEAD + 2 * words[COUNT]
        words[at] = number
        words[at + 1] = ns
        words[NUMBER] = number
        words[COUNT] += 1

    def pairs(self) -> np.ndarray:
        """A copy of the pairs so far: int64 of shape (count, 2), both columns ascending."""
        count = self.words[COUNT]
        return np.frombuffer(self._map, np.int64, 2 * count, HEAD * 8).reshape(count, 2).copy()

    def close(self) -> None:
        self.words.release()
        self._map.close()
