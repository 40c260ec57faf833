"""Where a running stage spends its time: a flame graph in var/profile and the dearest functions as text.

py-spy looks from outside and does not stop the stage. Where it is not installed, or the machine lets nobody look into
another process, the stage looks into itself, asked over its control socket. A stage whose loop hangs cannot answer:
then only py-spy helps.
Exit codes: 0 done, 1 the stage does not run or cannot be looked into, 2 no such stage or time.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bus import control
from core import paths
from core.clock import NS_PER_S, Clock, LiveClock, sleep, stamp_utc
from core.errors import BotError, MisconfiguredError
from core.lock import holder
from core.sampling import LOOKS_PER_SECOND, MAX_SECONDS, WAITS, Stack
from core.settings_load import var_dir_only
from tools import flamegraph

SECONDS = 15
_GRACE_S = 15  # for what begins late and is written at the end
_SHOWN = 15
_POLL_SECONDS = 0.1
# Its own words, or those of the kernel's error that it wrapped in others: it depends on what it tried first.
_REFUSAL = re.compile(r"permission denied|operation not permitted|\bE(?:PERM|ACCES)\b|\(os error (?:1|13)\)", re.I)


class NotAllowed(BotError):
    """py-spy is not there or may not look; the text says which."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.profile", description=__doc__.splitlines()[0])
    parser.add_argument("stage", metavar="STAGE", help=", ".join(paths.PROGRAMS))
    parser.add_argument("seconds", nargs="?", default=str(SECONDS), metavar="SECONDS", help=f"{SECONDS} if not given")
    given = parser.parse_args(arguments)
    spy = Path(sys.executable).with_name("py-spy")
    try:
        for line in profile(var_dir_only(), given.stage, _whole(given.seconds), spy):
            print(line)
    except MisconfiguredError as error:
        print(error, file=sys.stderr)
        return 2
    except BotError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _whole(seconds: str) -> int:
    if not seconds.isdecimal() or not 1 <= int(seconds) <= MAX_SECONDS:
        raise MisconfiguredError(f"SECONDS={seconds} is not allowed: a whole number, 1 to {MAX_SECONDS}")
    return int(seconds)


def profile(var: Path, stage: str, seconds: int, spy: Path, clock: Clock | None = None) -> list[str]:
    """Samples the stage, writes the flame graph and returns what to tell: its file, then the dearest functions.

    Raises MisconfiguredError where there is no such stage, BotError where it does not run or cannot be looked into.
    """
    clock = clock or LiveClock()
    if stage not in paths.PROGRAMS:
        raise MisconfiguredError(
            f"STAGE={stage} is no stage: make profile STAGE=trader, or one of {', '.join(paths.PROGRAMS)}"
        )
    run_dir = paths.run_dir(var)
    pid = holder(run_dir, stage)
    if not pid:
        raise BotError(f"{stage} does not run: `make status` shows the stages, `make start` starts them")
    file = paths.profile_dir(var) / f"{stage}-{stamp_utc(clock.wall_ms())}.svg"
    told = []
    try:
        stacks = _from_outside(spy, pid, seconds, file.with_suffix(".raw"))
        looks, way = seconds * LOOKS_PER_SECOND, "py-spy"
    except NotAllowed as refusal:
        if not (run_dir / f"{stage}.ctl").exists():
            raise BotError(f"{refusal}. {stage} has no control socket, so it cannot look into itself either") from None
        told.append(f"{refusal}: {stage} looks into itself")
        stacks = _from_inside(run_dir, stage, pid, seconds, clock)
        looks, way = _looks(stacks), "from inside"
    working = {seen: count for seen, count in stacks.items() if seen[-1] != WAITS}
    samples = sum(working.values())
    title = f"{stage}, {seconds} s, {way}: at work in {samples} samples of {looks} looks (its threads together)"
    try:
        file.write_text(flamegraph.svg(working, title))
    except OSError as error:
        raise BotError(f"cannot write {file}: {error.strerror}. Free the disk.") from error
    return [*told, str(file), title, *_table(working)]


def _table(stacks: Mapping[Stack, int]) -> list[str]:
    rows = [f"{share.own:7.1%} {share.total:7.1%}  {share.name}" for share in flamegraph.functions(stacks)[:_SHOWN]]
    return [f"{'itself':>7} {'in all':>7}  function", *rows] if rows else ["it had nothing to do: no function was seen"]


def _looks(stacks: Mapping[Stack, int]) -> int:
    """How often a thread was looked at, from the one that was there throughout."""
    threads = {seen[0] for seen in stacks}
    return max((sum(n for seen, n in stacks.items() if seen[0] == name) for name in threads), default=0)


def _from_outside(spy: Path, pid: int, seconds: int, file: Path) -> dict[Stack, int]:
    """The stacks that py-spy saw. Raises NotAllowed where it cannot."""
    if not spy.exists():
        raise NotAllowed("py-spy is not installed (`make test` brings it)")
    command = [str(spy), "record", "--nonblocking", "--threads", "--format", "raw", "--rate", str(LOOKS_PER_SECOND)]
    try:
        done = subprocess.run(
            [*command, "--duration", str(seconds), "--output", str(file), "--pid", str(pid)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds + _GRACE_S,
        )
        if done.returncode == 0:
            return flamegraph.parse(file.read_text())
    except subprocess.TimeoutExpired:
        raise NotAllowed(f"py-spy did not end within {seconds + _GRACE_S} s") from None
    except (OSError, ValueError) as error:
        raise NotAllowed(f"py-spy: {error}") from error
    finally:
        file.unlink(missing_ok=True)
    if refused(done.stderr):
        raise NotAllowed(
            "py-spy may not look into other processes here (`sudo sysctl kernel.yama.ptrace_scope=0` allows it until"
            " the next boot)"
        )
    raise NotAllowed(f"py-spy failed: {(done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[0]}")


def refused(said: str) -> bool:
    """Whether py-spy's error says that it may not look, in whichever words."""
    return _REFUSAL.search(said) is not None


def _from_inside(run_dir: Path, stage: str, pid: int, seconds: int, clock: Clock) -> dict[Stack, int]:
    """The stacks that the stage saw in itself. Raises BotError where it does not answer or ends meanwhile."""
    reply = control.ask(run_dir, stage, "profile", {"seconds": str(seconds)}, clock=clock)
    if not reply.ok:
        raise BotError(reply.text)
    file = Path(reply.text)
    deadline = clock.monotonic_ns() + (seconds + _GRACE_S) * NS_PER_S
    while not file.exists():
        if holder(run_dir, stage) != pid:
            raise BotError(f"{stage} ended while it was sampled: try again")
        if clock.monotonic_ns() > deadline:
            raise BotError(f"{stage} wrote no {file}: `make logs STAGE={stage}` shows why")
        sleep(_POLL_SECONDS)
    stacks = flamegraph.parse(file.read_text())
    file.unlink()
    return stacks


if __name__ == "__main__":
    sys.exit(main())
