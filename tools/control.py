"""pause, resume, flatten: asks the trader over its local socket, which works with or without the page."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bus import control
from core import paths
from core.errors import BotError
from tools.where import var_in_force

ACTIONS = {
    "pause": "no new entries; exits go on",
    "resume": "entries again",
    "flatten": "sell what is held, at the market; no new entries until resume",
}
ANSWER_SECONDS = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """0 done, 1 refused or not answered."""
    parser = argparse.ArgumentParser(prog="python -m tools.control", description=__doc__)
    parser.add_argument("action", choices=ACTIONS, help="; ".join(f"{name}: {text}" for name, text in ACTIONS.items()))
    action = parser.parse_args(arguments).action
    try:
        reply = control.ask(paths.run_dir(var_in_force()), "trader", action, {}, timeout_s=ANSWER_SECONDS)
    except BotError as error:
        print(error, file=sys.stderr)
        return 1
    print(reply.text or "done", file=sys.stdout if reply.ok else sys.stderr)
    return 0 if reply.ok else 1


def flatten_before_stop(run_dir: Path, say: Callable[[str], None]) -> None:
    """ON_SHUTDOWN=flatten."""
    say("ON_SHUTDOWN=flatten: sells what is held")
    try:
        reply = control.ask(run_dir, "trader", "flatten", {}, timeout_s=ANSWER_SECONDS)
        say(reply.text)
    except BotError as error:
        say(f"could not flatten: {error}")


if __name__ == "__main__":
    sys.exit(main())
