"""The real trader stage that also writes down when it has decided: `python -m tools.bench.probe STAMPS`.

The stamp is taken when a frame of updates has gone through the fold and what it said has been given to the journal.
"""

import sys
import time
from pathlib import Path

from bus.frames import UPDATE, Frame
from bus.layouts import UPDATE_SIZE
from bus.notices import GapFound, Notice
from core.stage import Context, run
from tools.bench.stamps import FRAMES, GAPS, LAST, NUMBER, RAWS, UPDATES, Stamps
from trader.app import Trader
from trader.inputs import Input


class Probe(Trader):
    """The stage; counts what arrives and stamps what is decided."""

    def __init__(self, context: Context, stamps: Stamps) -> None:
        self._stamps = stamps
        super().__init__(context)

    def _give(self, item: Input) -> None:
        super()._give(item)
        now_ns = time.monotonic_ns()
        number = self._engine.state.record
        if number > self._stamps.words[NUMBER]:
            self._stamps.add(number, now_ns)

    def _take(self, notices: list[Notice]) -> None:
        super()._take(notices)
        words = self._stamps.words
        for notice in notices:
            if isinstance(notice, Frame):
                if notice.topic == UPDATE:
                    words[UPDATES] += len(notice.payload) // UPDATE_SIZE
                    words[FRAMES] += 1
                    words[LAST] = notice.last
                else:
                    words[RAWS] += notice.count
            elif isinstance(notice, GapFound):
                words[GAPS] += 1


def main() -> None:
    stamps = Stamps(Path(sys.argv[1]))
    run("trader", lambda context: void(Probe(context, stamps)))


def void(_: object) -> None:
    """Nothing: a stage's `build` returns none."""


if __name__ == "__main__":
    main()
