"""The real feeder, which does not wait for its venue's limits: `python -m tools.bench.feeder_stage`.

A venue on loopback has none, and without them three hundred pairs are ready in seconds in place of minutes.
"""

import importlib
from types import ModuleType

from core.stage import run_async
from feeder.app import main
from venues.limits import Limit

PLENTY = Limit(1e6, 1e6)
# What the adapters take their limits from.
PLACES: dict[str, dict[str, object]] = {
    "venues.coindcx.adapter": {"REQUESTS_PER_S": 1e6, "BURST": 1e6, "LIMITS": {"requests": PLENTY}},
    "venues.binance.adapter": {"PUBLIC_SHARES": {}},
    "venues.kraken.adapter": {"EVERYTHING": PLENTY},
}


def lift() -> None:
    """Takes the limits off every adapter that there is."""
    for name, values in PLACES.items():
        try:
            module: ModuleType = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        for attribute, value in values.items():
            if hasattr(module, attribute):
                setattr(module, attribute, value)


if __name__ == "__main__":
    lift()
    run_async("feeder", main)
