"""Which worker runs which test when there are several: who needs the machine, who waits, who takes turns.

A unit is what one worker runs in a row: mostly one test. There are three lanes of units:

* bots: a real bot under supervisord. Two of them at a time are much for two cores: one worker has this lane for
  itself, and another one helps only once it has nothing else left. Those that bear company come last.
* waits: real processes and sockets that mostly wait; they run beside anything.
* works: all others; they keep a core busy.

Each worker has a lane of its own, and goes on with the next lane when that is done.
"""

from collections.abc import Iterable
from functools import cache

LANES = ("bots", "works", "waits")

# In this order; the browser and these modules are one unit each, as their tests share what takes long to make.
BOTS = (
    "tests/pipeline/test_upgrade.py",
    "tests/pipeline/test_watchdog.py",
    "tests/pipeline/test_chaos.py",
    "tests/pipeline/test_endings.py",
    "tests/pipeline/test_bad_input.py",
    "tests/pipeline/test_clone.py",
    "tests/pipeline/test_bench.py",
    "tests/pipeline/",
    "tests/pipeline/test_disk_full.py",
    "tests/pipeline/test_copies.py",
    "tests/pipeline/test_kills.py",
)
WAITS = (
    "tests/pipeline/test_recorded_day.py",
    "tests/pipeline/test_run.py",
    "tests/pipeline/test_service.py",
    "tests/pipeline/test_lifecycle.py",
    "tests/protocol/",
    "tests/bus/",
)
WORKS = ("tests/browser/", "tests/unit/test_setup.py", "tests/")
ONE_UNIT = ("tests/browser/", "tests/unit/test_setup.py", "tests/pipeline/test_upgrade.py")


def unit_of(nodeid: str) -> str:
    """The unit that a test belongs to."""
    return next((whole for whole in ONE_UNIT if nodeid.startswith(whole)), nodeid)


@cache
def place_of(unit: str) -> tuple[str, int]:
    """A unit's lane, and its place there: that of the longest of the names above which it begins with."""
    lists = {"bots": BOTS, "works": WORKS, "waits": WAITS}
    found = [
        (len(name), lane, place) for lane in LANES for place, name in enumerate(lists[lane]) if unit.startswith(name)
    ]
    _, lane, place = max(found, default=(0, "works", len(WORKS)))
    return lane, place


def next_unit(waiting: Iterable[str], worker: int) -> str:
    """What a worker (from 0) runs next, of the units that nobody has begun."""
    own = worker % len(LANES)
    order = [*LANES[own:], *LANES[1:own], *LANES[:1]] if own else [*LANES]

    def rank(unit: str) -> tuple[int, int]:
        lane, place = place_of(unit)
        return order.index(lane), place

    return min(waiting, key=rank)
