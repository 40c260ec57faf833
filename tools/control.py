"""pause, resume, flatten, halt: asks the trader over its local socket, which works with or without the page.

The command expires with the wait for its answer: what was reported as unanswered is not carried out later.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from bus import control
from bus.messages import Status
from bus.said import MAKE, said_by
from core import paths
from core.clock import NS_PER_S, Clock, sleep
from core.errors import BotError, Unanswered
from core.settings_load import var_dir_only

ACTIONS = {
    "pause": "no new entries; exits go on",
    "resume": "entries again",
    "flatten": "sell what is held, at the market; no new entries until resume",
    "halt": "no new entries and none that still works; exits go on, until resume",
}
EXPIRY_SECONDS = 10.0
ANSWER_SECONDS = 5.0  # of a stop, which goes on without
DONE, NOT_DONE, NOT_KNOWN = 0, 1, 3
FLATTEN_SECONDS = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """0 done, 1 not carried out (refused, or the trader does not run), 3 not known whether it was."""
    parser = argparse.ArgumentParser(prog="python -m tools.control", description=__doc__)
    parser.add_argument("action", choices=ACTIONS, help="; ".join(f"{name}: {text}" for name, text in ACTIONS.items()))
    action = parser.parse_args(arguments).action
    try:
        said = {"reason": said_by(MAKE)}
        reply = control.ask(paths.run_dir(var_dir_only()), "trader", action, said, timeout_s=EXPIRY_SECONDS)
    except Unanswered as error:
        print(f"{error}. Whether {action} was carried out is not known: look at the page", file=sys.stderr)
        return NOT_KNOWN
    except BotError as error:
        print(error, file=sys.stderr)
        return NOT_DONE
    print(reply.text or "done", file=sys.stdout if reply.ok else sys.stderr)
    return DONE if reply.ok else NOT_DONE


def flatten_before_stop(run_dir: Path, say: Callable[[str], None], clock: Clock) -> None:
    """ON_SHUTDOWN=flatten: asks for it and waits until nothing is held, FLATTEN_SECONDS at most.

    What could not be sold stays a position of the book, is said here, and named again at the next start.
    """
    try:
        reply = control.ask(run_dir, "trader", "flatten", {"reason": "shutdown"}, timeout_s=ANSWER_SECONDS)
        say(f"ON_SHUTDOWN=flatten: {reply.text}")
        deadline = clock.monotonic_ns() + FLATTEN_SECONDS * NS_PER_S
        while held := _held(run_dir):
            if clock.monotonic_ns() > deadline:
                say(f"still held after {FLATTEN_SECONDS} s, and kept: {', '.join(held)}")
                return
            sleep(0.1)
    except BotError as error:
        say(f"could not flatten: {error}")


def _held(run_dir: Path) -> list[str]:
    """The pairs in which the trader holds something or waits for an order."""
    _, snapshot = control.ask_snapshot(run_dir, "trader", "status/0/", timeout_s=ANSWER_SECONDS)
    rows = msgspec.msgpack.decode(snapshot or b"\x90", type=list[Status])
    return [row.pair for row in rows if row.status in ("entering", "in_position", "exiting")]


if __name__ == "__main__":
    sys.exit(main())
