"""The real sandbox for benches of the feeder: one of its faces over many markets, so many trades a second in all.

`python -m tools.bench.feeder_sandbox PROTOCOL PAIRS RATE` prints a line of JSON, its port and when it was started (ms),
and serves until its standard input ends. What happens in its markets is a function of that: see `dense`. The limits of
REST that hundreds of pairs at once would break are lifted; CoinDCX's 5,000 calls a minute are enough for them.
"""

import asyncio
import itertools
import json
import logging
import os
import sys
from collections.abc import Mapping
from functools import partial

import numpy as np

from core.clock import LiveClock
from sandbox import app as sandbox_app
from sandbox.clock import RealClock
from sandbox.faces.binance import add_binance
from sandbox.faces.kraken import add_kraken
from sandbox.faces.kraken_limits import Counter
from sandbox.listings import listings_of
from sandbox.market import MINUTE_MS, Synthetic
from sandbox.noise import Floats
from sandbox.trades import Ints

SEED = 4
AGE_MS = 30 * MINUTE_MS  # the first minutes of a world are laid out alike in all markets
TOLD_MS = 5_000  # how much of the past there is at the start: hours of it would be candles of millions of trades
UNLIMITED: Mapping[str, sandbox_app.Face] = {
    "binance": partial(add_binance, weight_a_minute=10**9),
    "kraken": partial(add_kraken, public=Counter(1e9, 0.0)),
}


class Steady(Synthetic):
    """As many trades in each second but for chance: with moods and falls a load of seconds would be one of luck."""

    @staticmethod
    def _counts(key: int, rate: float, seconds: Ints, mood: Floats, hurry: Floats) -> Ints:
        return Synthetic._counts(key, rate, seconds, np.ones_like(mood), np.zeros_like(hurry))


def dense(protocol: str, pairs: int, rate: float, now_ms: int) -> Steady:
    """Markets C0, C1, … as the sandbox lists the real ones, `rate` trades a second in all; the past is short."""
    born_ms = now_ms - AGE_MS
    history_ms = born_ms // MINUTE_MS * MINUTE_MS - (now_ms - TOLD_MS)
    models = [one for one in listings_of(protocol) if one.rules.quote == "USDT" and one.rules.ecode == "B"]
    listed = [
        model._replace(rules=model.rules._replace(base=f"C{number}"), rate=rate / pairs)
        for number, model in zip(range(pairs), itertools.cycle(models), strict=False)
    ]
    return Steady(SEED, born_ms, tuple(listed), history_ms)


async def main(protocol: str, pairs: int, rate: float) -> None:
    clock = LiveClock()
    now_ms = clock.wall_ms()
    sandbox_app.FACES.update(UNLIMITED)
    world = sandbox_app.World(dense(protocol, pairs, rate, now_ms), RealClock(clock), None)
    listener = sandbox_app.listen(0)
    app, hub = sandbox_app.build_app(world, clock, logging.getLogger("sandbox"), None, protocol)
    server = sandbox_app.Server(sandbox_app.config(app, sandbox_app.PINGS.get(protocol)))
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    print(json.dumps({"port": listener.getsockname()[1], "now_ms": now_ms}), flush=True)
    await _ended()
    hub.close()
    server.should_exit = True
    await serving
    app.close()


async def _ended() -> None:
    """Returns when the standard input ends."""
    lines = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(0, "rb")
    )
    await lines.read()
    transport.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
