"""run, start, stop, restart [STAGE], status, logs [STAGE]: the bot's life, for Makefile and scripts; for services
serve UNIT and sweep.

Exit codes. run, start, restart: 0 healthy, 1 not healthy (nothing is left running then), 2 settings or set-up that only
you can mend (nothing was started or stopped). stop: 0 nothing runs. status: 0 healthy, 1 running but not healthy,
3 not running.
"""

import argparse
import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TextIO

from core import paths, settings_load
from core.clock import sleep
from core.errors import BotError, MisconfiguredError
from core.lease import read_lease
from core.lock import holder
from core.settings import Settings
from core.supervisor import SupervisorError
from tools import control, follow, health, live, orphans, ports
from tools.lifecycle import Bot, Interrupted, StartError
from trader.terms import terms_of

OK, FAILED, MISCONFIGURED, NOT_RUNNING, INTERRUPTED = 0, 1, 2, 3, 130
_FOLLOW_SECONDS = 0.2
_LINES_OF_ONE, _LINES_OF_EACH = 20, 5


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints a line; a terminal that was closed meanwhile is no reason not to go on and stop the bot."""
    try:
        print(text, file=stream, flush=True)
    except OSError:
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.dup2(nowhere, sys.stderr.fileno())
            os.close(nowhere)


def bot_here(command: str) -> Bot:
    """The bot of the VAR_DIR in force; where that is of no use, a start names whatever else is wrong, too."""
    try:
        return Bot(settings_load.var_dir_only())
    except MisconfiguredError as error:
        if command in ("run", "start", "restart"):
            try:
                settings_load.load()
            except MisconfiguredError as more:
                raise MisconfiguredError(f"{more}\n  {error}") from error
        raise


def settings_now() -> Settings:
    """The settings as they stand, checked for every stage: MisconfiguredError names all that is wrong."""
    settings = settings_load.load()
    terms_of(settings, 0)  # whether the money fits the trader's 64 bits
    return settings


def applied(bot: Bot) -> Settings:
    """The settings that the running bot goes by; where they cannot be read any more, those of now: a bot whose
    settings.json is damaged must still be stopped and restarted."""
    try:
        return settings_load.applied(bot.var) or settings_load.from_texts({})
    except BotError as error:
        say(str(error), sys.stderr)
    try:
        return settings_load.load()
    except MisconfiguredError:
        return settings_load.from_texts({})


class Ending:
    """Ctrl-C, TERM and a closed terminal, remembered until we look. What was ignored at the start stays so (nohup).

    A terminal that closes signals its session's leader alone. Where that is `make` (as in `ssh -t HOST make run`),
    which only waits for us, nobody tells us: so the terminal itself is asked, too.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._terminals = select.poll()
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            for fd in (0, 1):
                if os.isatty(fd):
                    self._terminals.register(os.dup(fd), 0)  # a hang-up is always told
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._remember)

    def __call__(self) -> bool:
        if not self.asked and self._terminals.poll(0):
            self.asked = signal.SIGHUP
        return self.asked != 0

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.asked = self.asked or number


def bring_up(bot: Bot, settings: Settings, ending: Callable[[], bool], *, patient: bool) -> int:
    """Ends orphans, applies the settings, starts, waits for health. `patient`: a person watches, so go on unhealthy.

    Raises MisconfiguredError, before anything is touched, where real orders are asked for and not cleared.
    """
    live.clear(settings, bot.clock, say)
    for remark in (*bot.stop(keep_service=True), *unguarded(bot, settings, another=True)):
        say(remark)
    busy = ports.taken(settings)
    if busy:
        bot.stop()
        raise MisconfiguredError("\n".join(busy))
    settings_load.apply(settings)
    try:
        found = bot.start(settings, ending)
    except Interrupted:
        take_down(bot, flatten=False)
        return INTERRUPTED
    except StartError as error:
        say(str(error), sys.stderr)
        take_down(bot, flatten=False)
        return FAILED
    if not found.ok:
        tell_failing(bot, found)
        if not patient:
            take_down(bot, flatten=False)
            return FAILED
    state = "the bot runs" if found.ok else "it goes on trying"
    say(f"{state} ({paths.book_name(settings)}): {health.address(settings)}")
    return OK


def tell_failing(bot: Bot, found: health.Health) -> None:
    """What is not healthy, and the last lines of the stages that can say why."""
    say("not healthy: " + "; ".join(found.failing), sys.stderr)
    for stage in found.stages:
        say(bot.last_words(stage), sys.stderr)


def take_down(bot: Bot, *, flatten: bool) -> int:
    """Stops everything in order; `flatten`: where ON_SHUTDOWN says so, what is held is sold first."""
    before = applied(bot)
    if flatten and before.on_shutdown == "flatten" and holder(bot.run_dir, "trader"):
        control.flatten_before_stop(bot.run_dir, say, bot.clock)
    service = bot.service()
    for remark in bot.stop():
        say(remark)
    for line in unguarded(bot, before):
        say(line)
    say(f"stopped, until `sudo systemctl start {service}` or the next boot" if service else "stopped")
    return OK


def unguarded(bot: Bot, settings: Settings, *, another: bool = False) -> list[str]:
    """A line for each real position that is left: with the bot its stop is gone, unless one rests at the venue.

    Of the book of these settings; `another`: of any other, which a bot with these settings does not go on with.
    """
    lease = read_lease(bot.run_dir)
    if lease is None or another == (lease.book == paths.book_name(settings)):
        return []
    goes_on = f"only a start with the settings of {lease.book}" if another else "`make start`"
    lines = []
    for one in lease.positions:
        rests = f"a stop rests there at {one.stop_price:.8g} at most, and climbs no more"
        nobody = f"NOBODY holds their stop at {one.stop_price:.8g} any more"
        left = f"{one.quantity} {one.base} of {one.pair} stay at the venue, and {rests if one.resting else nobody}"
        lines.append(f"{left}: {goes_on} goes on with it, or sell them there")
    return lines


def by(bot: Bot, pid: int) -> str:
    """What runs it: supervisord's process, and whose service that is."""
    service = bot.service()
    return f"supervisord {pid}, {service}" if service else f"supervisord {pid}"


def run(bot: Bot) -> int:
    """Starts the bot and follows the trader's log until somebody ends it."""
    ending = Ending()
    settings = settings_now()
    with bot.alone(say):
        pid = bot.running()
        if pid is not None:
            say(f"the bot runs already ({by(bot, pid)}): {health.address(applied(bot))}")
            say("`make logs` follows it, `make stop` stops it.")
            return FAILED
        follower = follow.Follower([bot.log("trader")], from_end=True)
        code = bring_up(bot, settings, ending, patient=True)
    with contextlib.closing(follower):
        if code != OK:
            return code
        say("Ctrl-C stops it. The trader's log:")
        return follow_until_end(bot, follower, ending)


def follow_until_end(bot: Bot, follower: follow.Follower, ending: Ending) -> int:
    """Shows the trader's log until a signal, or until the bot is gone by another hand."""
    down: set[str] = set()
    while not ending():
        for line in follower.lines():
            say(line)
        try:
            gone = bot.running() is None
            fresh = set() if gone else {row.name for row in bot.rows() if row.failed}
        except SupervisorError as error:
            say(str(error))
            continue
        for stage in sorted(fresh - down):
            say(f"{stage} has given up: make logs STAGE={stage}")
        down = fresh
        if gone:
            with bot.alone(lambda _: None):  # a stop or restart from elsewhere is let finish
                if bot.running() is not None:
                    continue
                killed = bot.killed()
                remarks = bot.stop()
            say("\n".join(["supervisord was killed", *remarks]) if killed else "the bot was stopped")
            return FAILED if killed else OK
        sleep(_FOLLOW_SECONDS)
    say("stopping")
    with bot.alone(say):
        return take_down(bot, flatten=ending.asked == signal.SIGINT)


def start(bot: Bot) -> int:
    """Starts the bot and returns when it is healthy."""
    settings = settings_now()
    with bot.alone(say):
        pid = bot.running()
        if pid is None:
            return bring_up(bot, settings, Ending(), patient=False)
        differ = ", ".join(setting.name for setting in settings_load.changed(applied(bot), settings))
        say(f"the bot runs already ({by(bot, pid)}): {health.address(applied(bot))}")
        if differ:
            say(f"changed since, and taken on by `make restart`: {differ}")
        return OK


def stop(bot: Bot) -> int:
    """Stops the bot."""
    with bot.alone(say):
        return take_down(bot, flatten=True)


def restart(bot: Bot, stage: str | None) -> int:
    """Takes on the settings as they are now: the whole bot, or one stage where nothing changed concerns another."""
    settings = settings_now()
    if stage is None:
        with bot.alone(say):
            if bot.running() is not None:
                check_new_ports(bot, settings)
            return bring_up(bot, settings, Ending(), patient=False)
    if stage not in paths.PROGRAMS:
        raise MisconfiguredError(f"{stage} is no stage: {', '.join(paths.PROGRAMS)}")
    with bot.alone(say):
        if bot.running() is None:
            raise MisconfiguredError(f"the bot does not run, so {stage} cannot be restarted by itself: make start")
        before = settings_load.applied(bot.var) or settings_load.from_texts({})
        changed = settings_load.changed(before, settings)
        others = sorted({name for setting in changed for name in setting.stages} - {stage})
        if others:
            names = ", ".join(setting.name for setting in changed)
            raise MisconfiguredError(
                f"{names} changed, which also concerns {', '.join(others)}: type `make restart` without STAGE."
                " Nothing was restarted."
            )
        check_new_ports(bot, settings)
        if changed or stage == "trader":  # else they are cleared already, and a stage that hangs must be let go
            live.clear(settings, bot.clock, say)
        settings_load.apply(settings)
        try:
            found = bot.restart_stage(settings, stage)
        except StartError as error:
            say(str(error), sys.stderr)
            return FAILED
        say(f"{stage} was restarted")
        if not found.ok:
            tell_failing(bot, found)
            return FAILED
        return OK


def check_new_ports(bot: Bot, settings: Settings) -> None:
    """Before a running bot is touched: a port that it is about to move to must be free."""
    moved = {setting.name for setting in settings_load.changed(applied(bot), settings)}
    busy = [line for line in ports.taken(settings) if line.partition("=")[0] in moved]
    if busy:
        raise MisconfiguredError("\n".join(busy))


def status(bot: Bot) -> int:
    """A line per stage, then whether the whole is healthy."""
    supervisord = bot.running()
    if supervisord is None:
        left = orphans.holders(bot.run_dir)
        if left:
            names = ", ".join(f"{stage} (process {pid})" for stage, pid in left.items())
            say(f"supervisord is gone, these are stopping: {names}; `make start` takes over, `make stop` ends them now")
        else:
            say("not running")
        return NOT_RUNNING
    settings = applied(bot)
    say(f"{'stage':<11} {'state':<9} {'process':>7}  {'up':>8}  {'restarts':>8}")
    for row in bot.rows():
        pid = str(row.pid or "")
        up = _span(row.up_s) if row.pid else ""
        say(f"{row.name:<11} {row.state:<9} {pid:>7}  {up:>8}  {row.restarts:>8}  {row.note}".rstrip())
    found = health.ask(settings)
    say(f"{paths.book_name(settings)}: " + ("healthy" if found.ok else "not healthy: " + "; ".join(found.failing)))
    say(f"{by(bot, supervisord)}; {health.address(settings)}")
    return OK if found.ok else FAILED


def serve(bot: Bot, unit: str | None) -> int:
    """For the service UNIT: ends what runs, goes on with the settings applied last, becomes supervisord."""
    with bot.alone(say):
        settings = applied_last(bot)
        for remark in bot.stop():
            say(remark)
        busy = ports.taken(settings)
        if not busy:
            say(f"goes on as supervisord ({paths.book_name(settings)}): {health.address(settings)}")
            bot.become_supervisord(str(unit))
    say("\n".join(busy), sys.stderr)
    return FAILED  # a port may come free: the service tries again


def sweep(bot: Bot) -> int:
    """For a service that has ended: ends in order what a supervisord that was killed has left."""
    with bot.alone(say):
        if bot.running() is None:
            for remark in bot.stop():
                say(remark)
    return OK


def applied_last(bot: Bot) -> Settings:
    """The settings applied last; where there are none that can be read, those of now are."""
    try:
        settings = settings_load.applied(bot.var)
        if settings is not None:
            return settings
    except BotError as error:
        say(f"{error}\nit begins with the settings of now", sys.stderr)
    settings = settings_now()
    live.clear(settings, bot.clock, say)
    settings_load.apply(settings)
    return settings


def logs(bot: Bot, stage: str | None) -> int:
    """The last lines of the logs, then what is added, until Ctrl-C."""
    if stage is not None and stage not in (*paths.PROGRAMS, "supervisord"):
        raise MisconfiguredError(f"{stage} has no log: {', '.join(paths.PROGRAMS)}")
    stages = paths.PROGRAMS if stage is None else (stage,)
    ending = Ending()
    files = [bot.log(name) for name in stages]
    for file in files:
        for line in follow.last_lines(file, _LINES_OF_EACH if stage is None else _LINES_OF_ONE):
            say(line)
    with contextlib.closing(follow.Follower(files, from_end=True)) as follower:
        while not ending():
            for line in follower.lines():
                say(line)
            sleep(_FOLLOW_SECONDS)
    return OK


def _span(seconds: int) -> str:
    """`42 s`, `3 m 05 s`, `2 h 10 m`, `4 d 2 h`."""
    if seconds < 60:
        return f"{max(0, seconds)} s"
    if seconds < 3600:
        return f"{seconds // 60} m {seconds % 60:02d} s"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} m"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3600} h"


def main(arguments: Sequence[str] | None = None) -> int:
    plain: dict[str, Callable[[Bot], int]] = {
        "run": run,
        "start": start,
        "stop": stop,
        "status": status,
        "sweep": sweep,
    }
    with_stage: dict[str, Callable[[Bot, str | None], int]] = {"restart": restart, "logs": logs, "serve": serve}
    parser = argparse.ArgumentParser(
        prog="python -m tools.up", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in plain.items():
        commands.add_parser(name, help=command.__doc__)
    for name, command_of_stage in with_stage.items():
        metavar, nargs = ("UNIT", None) if name == "serve" else ("STAGE", "?")
        commands.add_parser(name, help=command_of_stage.__doc__).add_argument("stage", nargs=nargs, metavar=metavar)
    given = parser.parse_args(arguments)
    try:
        bot = bot_here(given.command)
        if given.command in plain:
            return plain[given.command](bot)
        return with_stage[given.command](bot, given.stage)
    except MisconfiguredError as error:
        say(str(error), sys.stderr)
        return MISCONFIGURED
    except SupervisorError as error:
        say(f"{error}. `make stop` ends it in any case.", sys.stderr)
        return FAILED
    except BotError as error:
        say(str(error), sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
