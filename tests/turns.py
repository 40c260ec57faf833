"""Which worker runs which test when there are several: who needs the machine, who bears company, who waits.

A unit is what one worker runs in a row: a file, so that what its tests share is made once and nobody waits to be told
the next of thousands; or one test where each takes long. There are four lanes of units:

* bots: a real bot under supervisord whose stages are judged by how soon they come back: one at a time.
* works: keeps a core busy.
* waits: stand-ins, real processes and sockets that mostly wait.
* patient: a real bot that is only waited for; it mostly waits, too.

Each of the first four workers has a lane of its own, and helps with the others when that is done; with `bots` last.
More workers are patient: what only waits leaves a third of two cores idle.
"""

from collections.abc import Iterable
from functools import cache

# Each lane by the beginnings of its tests' names, those that take long first. The longest name that fits counts.
LANES = {
    "bots": (
        "tests/pipeline/test_clone.py",
        "tests/pipeline/test_upgrade.py",
        "tests/pipeline/test_watchdog.py",
        "tests/pipeline/test_endings.py",
        "tests/pipeline/test_chaos.py",
        "tests/pipeline/test_bad_input.py",
    ),
    "works": ("tests/pipeline/test_bench.py", "tests/unit/test_setup.py", "tests/browser/", "tests/"),
    "waits": (
        "tests/pipeline/test_run.py",
        "tests/pipeline/test_service.py",
        "tests/pipeline/test_lifecycle.py",
        "tests/protocol/",
        "tests/live/",
        "tests/bus/",
    ),
    "patient": ("tests/pipeline/test_recorded_day.py", "tests/pipeline/test_native_stop.py", "tests/pipeline/"),
}
HELPS = {
    "bots": ("bots", "patient", "waits", "works"),
    "works": ("works", "waits", "patient", "bots"),
    "waits": ("waits", "works", "patient", "bots"),
    "patient": ("patient", "waits", "works", "bots"),
}
# Each of their tests takes long, and they share little.
ONE_BY_ONE = (
    "tests/pipeline/",
    "tests/live/",
    "tests/properties/",
    "tests/protocol/test_backtest_fetch.py",
    "tests/unit/test_backtest_fused.py",
    "tests/unit/test_backtest_recorded.py",
)
# Their tests share what takes long to make.
ONE_UNIT = ("tests/browser/", "tests/pipeline/test_upgrade.py")


def unit_of(nodeid: str) -> str:
    """The unit that a test belongs to."""
    if (whole := next((name for name in ONE_UNIT if nodeid.startswith(name)), None)) is not None:
        return whole
    return nodeid if nodeid.startswith(ONE_BY_ONE) else nodeid.split("::")[0]


@cache
def place_of(unit: str) -> tuple[str, int]:
    """A unit's lane and its place there."""
    names = ((name, lane, place) for lane, names in LANES.items() for place, name in enumerate(names))
    _, lane, place = max(found for found in names if unit.startswith(found[0]))
    return lane, place


def next_unit(waiting: Iterable[str], worker: int) -> str:
    """What a worker (from 0) runs next, of the units that nobody has begun."""
    order = HELPS[list(LANES)[worker] if worker < len(LANES) else "patient"]

    def rank(unit: str) -> tuple[int, int]:
        lane, place = place_of(unit)
        return order.index(lane), place

    return min(waiting, key=rank)
