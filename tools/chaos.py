"""Kill rounds: a bot of its own in a temporary folder, disturbed at random under load, then judged from outside.

Nothing of yours is touched: the bot has its own copy of the project, its own folder and free ports, and no setting of
yours. The same seed and number of rounds make the same disturbances. Exit 0 where every invariant holds, else 1; the
folder is kept then and named.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.live_rounds import SETTINGS as LIVE_SETTINGS
from tests.chaos.live_rounds import LiveRounds
from tests.chaos.rounds import PAIRS, SETTINGS, Rounds
from tests.chaos.schedule import schedule
from tests.pipeline.pipeline import Pipeline, make_template


def main(arguments: Sequence[str] | None = None) -> int:
    """0 every invariant holds, 1 not."""
    parser = argparse.ArgumentParser(prog="python -m tools.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="how many disturbances (200)")
    parser.add_argument("--seed", type=int, default=None, help="which ones (default: another each time)")
    parser.add_argument(
        "--live",
        action="store_true",
        help="real orders at the sandbox, whose trader is killed on bad days",
    )
    parser.add_argument("--protocol", default="coindcx", help="with --live: coindcx, binance or kraken")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the bot in any case")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # its bot goes with it
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    folder = Path(tempfile.mkdtemp(prefix="bot."))
    ok = False
    try:
        ok = live(folder, seed, given.rounds, given.protocol) if given.live else judged(folder, seed, given.rounds)
    finally:
        if ok and not given.keep:
            shutil.rmtree(folder)
        else:
            print(f"kept: {folder}", flush=True)
    return 0 if ok else 1


def judged(folder: Path, seed: int, rounds: int) -> bool:
    """Plays and judges; whether every invariant held."""

    def say(text: str) -> None:
        print(text, flush=True)

    say(f"seed {seed}, {rounds} disturbances, {len(PAIRS)} pairs; set up in {folder}")
    bot = Pipeline(make_template(folder), SETTINGS | {"SANDBOX_SEED": seed % 1_000_000})
    play = Rounds(bot, say)
    try:
        play.play(schedule(seed, rounds))
        findings = play.judge()
    finally:
        play.close()
    say(play.summary())
    failed = [found for found in findings if not found.ok]
    for found in failed:
        say("\n".join(found.lines()))
    say(f"seed {seed}: {'every invariant holds' if not failed else f'{len(failed)} of {len(findings)} checks failed'}")
    return not failed


def live(folder: Path, seed: int, kills: int, protocol: str) -> bool:
    """Kills a trader with real orders at the sandbox and holds its journal against the exchange's own books."""
    print(f"seed {seed}, {kills} kills with real orders, {protocol}; set up in {folder}", flush=True)
    settings = dict(LIVE_SETTINGS) | {"SANDBOX_SEED": seed % 1_000_000, "SANDBOX_PROTOCOL": protocol}
    play = LiveRounds(Pipeline(make_template(folder), settings), lambda text: print(text, flush=True), seed)
    try:
        play.play(kills)
        findings = play.judge()
    finally:
        play.close()
    print(play.summary(), flush=True)
    for found in findings:
        print("\n".join(found.lines()), flush=True)
    return all(found.ok for found in findings)


if __name__ == "__main__":
    sys.exit(main())
