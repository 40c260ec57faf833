"""What the stages of a running bot weigh over the bare imports of the same libraries: `python -m tools.bench.memory`.

For each stage a fresh interpreter imports the same modules from outside the project (and nothing else) and waits. With
all of them and all stages alive at once the kernel's proportional set sizes (PSS, /proc/PID/smaps_rollup) are read side
by side, so that shared pages are split alike. The bot must have been running for a while: the table says how long.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from core import paths
from core.paths import ROOT
from tools.bench.bot import running
from tools.bench.figure import Figure, Options, figure
from tools.bench.processes import pss_mb

STAGES = (*paths.STAGES, paths.WATCHDOG)

SECONDS = 30.0  # a bot of its own runs before it is measured

LIST_IMPORTS = """
import sys
import {stage}.app
ours = {ours!r}
names = (name for name in sys.modules if name.split(".")[0] not in ours)
print("\\n".join(sorted(name for name in names if not name.startswith("_") and name != "sys")))
"""

IMPORT_AND_WAIT = """
import importlib, sys
for name in sys.argv[1].split():
    try:
        importlib.import_module(name)
    except ImportError:
        pass  # a module that only exists as an attribute of another one
print("ready", flush=True)
sys.stdin.read()
"""


def stage_pids(run_dir: Path) -> dict[str, int]:
    """Pids of the running stages, as they wrote them beside their locks."""
    return {stage: json.loads((run_dir / f"{stage}.json").read_text())["pid"] for stage in STAGES}


def age_seconds(pid: int) -> float:
    """How long a process has been running, in seconds."""
    ticks_per_second = 100  # USER_HZ of every Linux we run on
    started = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]) / ticks_per_second
    return float(Path("/proc/uptime").read_text().split()[0]) - started


def imports_of(stage: str) -> str:
    """The modules from outside the project that a stage imports, space-separated."""
    ours = tuple(p.name for p in ROOT.iterdir() if (p / "__init__.py").exists())
    code = LIST_IMPORTS.format(stage=stage, ours=ours)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split())


def bare(stage: str) -> "subprocess.Popen[str]":
    """An interpreter that has imported what `stage` imports and waits for its input to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", IMPORT_AND_WAIT, imports_of(stage)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def measure(run_dir: Path) -> dict[str, dict[str, float]]:
    """Per stage: MB of the bare imports, MB of the running stage, and its age in seconds."""
    pids = stage_pids(run_dir)
    idle = {stage: bare(stage) for stage in STAGES}
    try:
        return {
            stage: {"bare": pss_mb(idle[stage].pid), "stage": pss_mb(pids[stage]), "age": age_seconds(pids[stage])}
            for stage in STAGES
        }
    finally:
        for process in idle.values():
            process.communicate("")


def figures(options: Options) -> list[Figure]:
    """The stages of a bot of its own that has traded the sandbox's market for a while."""
    seconds = options.seconds_or(SECONDS, 1.0)
    with running({}) as bot:
        time.sleep(seconds)
        rows = measure(bot.run_dir)
    total = {name: sum(row[name] for row in rows.values()) for name in ("bare", "stage")}
    return [
        figure("memory", f"PSS of {name}", "MB", [row["stage"]], floor=[row["bare"]], floor_of="bare imports")
        for name, row in (*rows.items(), ("all stages", total))
    ]


def line(name: str, bare_mb: float, stage_mb: float) -> str:
    """A line of the table."""
    return f"{name:<11}{bare_mb:>13.1f}{stage_mb:>9.1f}{stage_mb - bare_mb:>8.1f}"


def main() -> None:
    """Prints the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run-dir", type=Path, default=ROOT / "var" / "run", help="run folder of the bot to measure")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        rows = measure(arguments.run_dir)
    except OSError as error:
        sys.exit(f"cannot read the stages of {arguments.run_dir}: {error}. Start the bot first: make start")
    over = sum(row["stage"] - row["bare"] for row in rows.values())
    if arguments.json:
        print(json.dumps({"stages": rows, "over_bare_imports_mb": over}))
        return
    print(f"{'stage':<11}{'bare imports':>13}{'stage':>9}{'over':>8}   PSS in MB")
    for stage, row in rows.items():
        print(line(stage, row["bare"], row["stage"]) + f"   up {row['age']:.0f} s")
    print(line("all", sum(row["bare"] for row in rows.values()), sum(row["stage"] for row in rows.values())))


if __name__ == "__main__":
    main()
