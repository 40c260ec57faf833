"""`python -m tests.fuzz [SECONDS] [TARGET] [SEED]`: fuzzes every parser, or one, in turns until the time is over.

What crashes a parser is written to var/fuzz, with the line that replays it; the exit code is then 1.
"""

import os
import random
import sys
import time
from hashlib import sha256

from core.paths import ROOT
from tests.fuzz.engine import Crash, Fuzzer
from tests.fuzz.targets import TARGETS

FILES = tuple(str(ROOT / package) for package in ("venues", "bus", "dashboard"))
TURN = 500  # executions


def fuzzer_of(name: str, seed: int) -> Fuzzer:
    """A target's fuzzer; the seed and the name settle everything it does."""
    target = TARGETS[name]
    return Fuzzer(target.parse, target.ours, FILES, target.seeds, random.Random(f"{seed} {name}"))


def replay(name: str, data: bytes) -> None:
    """Parses as the target does; raises what is none of ours."""
    target = TARGETS[name]
    try:
        target.parse(data)
    except target.ours as error:
        print(f"{name}: {type(error).__name__}: {error}")
    else:
        print(f"{name}: read")


def keep(name: str, crash: Crash) -> str:
    """Writes the input down; the command that replays it."""
    folder = ROOT / "var" / "fuzz"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace(' ', '-')}-{sha256(crash.data).hexdigest()[:12]}"
    path.write_bytes(crash.data)
    return f'.venv/bin/python -m tests.fuzz replay "{name}" {path.relative_to(ROOT)}'


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["replay"]:
        replay(arguments[1], (ROOT / arguments[2]).read_bytes())
        return 0
    seconds = float(arguments[0]) if arguments else 60.0
    names = [name for name in TARGETS if len(arguments) < 2 or arguments[1] in ("", name)]
    seed = int(arguments[2]) if len(arguments) > 2 else int.from_bytes(os.urandom(4), "big")
    if not names:
        print(f"{arguments[1]} is no target: {', '.join(TARGETS)}")
        return 2
    print(f"seed {seed}: {len(names)} targets for {seconds:g} s")
    fuzzers = {name: fuzzer_of(name, seed) for name in names}
    end = time.monotonic() + seconds
    crashed = 0
    while fuzzers and time.monotonic() < end:
        for name, fuzzer in list(fuzzers.items()):
            crash = fuzzer.run(TURN)
            if crash is not None:
                crashed += 1
                del fuzzers[name]
                print(f"{name}: {type(crash.error).__name__}: {crash.error}\n  {keep(name, crash)}")
    for name, fuzzer in fuzzers.items():
        print(f"{name:<22}{fuzzer.executions:>10,} inputs{len(fuzzer.places):>7,} places{len(fuzzer.kept):>6} kept")
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
