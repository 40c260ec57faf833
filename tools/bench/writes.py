"""What a running bot writes to its disk, extrapolated to a day: `python -m tools.bench.writes`.

Bytes are what the kernel counts for each of its processes as going to the disk (/proc/PID/io: a page of a file written
again before it was sent there counts once); supervisord is one of them, as it writes all logs. Commits and checkpoints
of the two databases are read from SQLite's own counters: each commit of the journal is synced, of bot_data.db only the
checkpoints are. The bot must run, of the same user, and its book must lie on a disk.
"""

import argparse
import json
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import BotError
from core.lock import holder
from core.paths import programs
from core.settings_load import applied, var_dir_only
from tools.bench.bot import running
from tools.bench.figure import Figure, Options, figure
from tools.lifecycle import PID_FILE
from tools.mounts import IN_MEMORY, filesystem_of

DAY_S = 86_400
SETTLE_S, LOOK_S = 15.0, 60.0  # of a bot of its own; a minute has a candle close
JUDGED_FROM_S = 60.0  # a shorter look has a candle close or none, and is not held against the bar
# One and a half times what deploy/raspberry-pi.md tells of one pair: the deals of a minute, and with them the journal's
# commits, are now more and now fewer. Twice the writing, as by a sync or a row too many, is beyond it.
MOST_MB_A_DAY = 2_200.0
ALL = "written by all"
SUPERVISORD = "supervisord"
MB = 1_000_000
COMMITS_AT = 8  # in the -shm file, u32 of the machine's order: transactions since the log is open
LAPS_AT = 12  # in the -wal file, u32, big-endian: how often the log was begun anew after a checkpoint
SYNCS_OF_A_CHECKPOINT = 3  # of the log, of the database, of the log's new head
JOURNAL, ROWS = "journal.db", "bot_data.db"


@dataclass(frozen=True, slots=True)
class Look:
    """Counters at one moment: bytes by process; commits and checkpoints by database."""

    seconds: float
    written: dict[str, int]
    commits: dict[str, int]
    checkpoints: dict[str, int]


def processes(var: Path) -> dict[str, int]:
    """Every process of the bot, by name: the programs that its settings call for and supervisord.

    Raises OSError or ValueError where one does not run.
    """
    settings = applied(var)
    if settings is None:
        raise OSError("no settings were ever applied")
    found = {}
    for name in programs(settings):
        pid = holder(var / "run", name)
        if not pid:
            raise OSError(f"{name} does not run")
        found[name] = pid
    return found | {SUPERVISORD: int((var / "run" / PID_FILE).read_text())}


def look(var: Path, pids: Mapping[str, int]) -> Look:
    """Reads all counters. Raises OSError where one of the processes is gone."""
    book = var / "current"
    return Look(
        time.monotonic(),
        {name: bytes_written(pid) for name, pid in pids.items()},
        {name: struct.unpack_from("=I", head(book / f"{name}-shm"), COMMITS_AT)[0] for name in (JOURNAL, ROWS)},
        {name: struct.unpack_from(">I", head(book / f"{name}-wal"), LAPS_AT)[0] for name in (JOURNAL, ROWS)},
    )


def bytes_written(pid: int) -> int:
    """Bytes of a process that went, or will go, to a disk."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    counted = dict(line.split(": ") for line in lines)
    return int(counted["write_bytes"]) - int(counted["cancelled_write_bytes"])


def head(path: Path) -> bytes:
    """The first bytes of a file; zeros where it has none yet."""
    with path.open("rb") as file:
        return file.read(32).ljust(32, b"\0")


def between(one: Look, other: Look) -> list[dict[str, object]]:
    """What lies between two looks, a day: rows of name, value, unit, note."""
    a_day = DAY_S / (other.seconds - one.seconds)
    rows: list[dict[str, object]] = []

    def add(name: str, value: float, unit: str, note: str = "") -> None:
        rows.append({"name": name, "value": round(value, 3), "unit": unit, "floor": None, "ratio": None, "note": note})

    written = {name: (count - one.written[name]) * a_day / MB for name, count in other.written.items()}
    for name, mb in written.items():
        add(f"written by {name}", mb, "MB a day")
    add(ALL, sum(written.values()), "MB a day", f"the sum of {', '.join(written)}")
    commits = {name: (other.commits[name] - one.commits[name]) % 2**32 * a_day for name in other.commits}
    laps = {name: (other.checkpoints[name] - one.checkpoints[name]) % 2**32 * a_day for name in other.checkpoints}
    for name in (JOURNAL, ROWS):
        add(f"commits to {name}", commits[name], "a day")
        add(f"checkpoints of {name}", laps[name], "a day")
    add("syncs", commits[JOURNAL] + SYNCS_OF_A_CHECKPOINT * sum(laps.values()), "a day")
    return rows


def measure(var: Path, seconds: float) -> list[dict[str, object]]:
    """Looks twice, so many seconds apart.

    Raises BotError where the bot does not run all the while, or where the kernel counts nothing of what it writes.
    """
    try:
        pids = processes(var)
        refuse_memory(var)
        one = look(var, pids)
        time.sleep(seconds)
        other = look(var, pids)
    except (OSError, ValueError) as error:
        raise BotError(f"cannot read the counters of the bot in {var}: {error}. Start it first: make start") from error
    if one.written == other.written:
        raise BotError(
            f"the kernel counted no byte within {seconds:g} s: the bot wrote nothing, or {var} lies where none are"
            " counted. Look for longer, or set VAR_DIR to a disk of this machine."
        )
    return between(one, other)


def refuse_memory(var: Path) -> None:
    """Raises BotError where the book in force lies in memory: what is written there goes to no disk."""
    book = (var / "current").resolve()
    kind = filesystem_of(book)
    if kind in IN_MEMORY:
        raise BotError(f"{book} lies in memory ({kind}), where nothing goes to a disk. Set VAR_DIR to a disk.")


def figures(options: Options) -> list[Figure]:
    """What a bot of its own writes, that trades the sandbox's market."""
    seconds = options.seconds_or(LOOK_S, 2.0)
    with running({}, must_be_on_disk=True) as bot:
        time.sleep(1.0 if options.quick else SETTLE_S)
        rows = measure(bot.var, seconds)
    return [told(row, seconds) for row in rows]


def told(row: Mapping[str, object], seconds: float) -> Figure:
    """A row of `between` as a figure; what all have written is held against the bar."""
    name = str(row["name"])
    most = MOST_MB_A_DAY if name == ALL and seconds >= JUDGED_FROM_S else None
    return figure("writes", name, str(row["unit"]), [float(str(row["value"]))], most=most, note=str(row["note"]))


def main() -> int:
    """Prints the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="how long to look; a minute has a candle close")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    chosen = parser.parse_args()
    try:
        rows = measure(var_dir_only(), chosen.seconds)
    except BotError as error:
        print(error, file=sys.stderr)
        return 1
    if chosen.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        print(f"{row['name']:34} {row['value']:14,.1f} {row['unit']}")
        if row["note"]:
            print(f"  {row['note']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
