"""make profile: the flame graph, the list of functions, py-spy and its refusals."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import LiveClock
from core.errors import BotError, MisconfiguredError
from core.lock import StageLock
from core.paths import ROOT
from tests.up_helpers import short_folder
from tools import flamegraph
from tools.profile import main, profile, refused

STACKS = {
    ("main", "run (core/loop.py:1)", "fold (trader/engine.py:5)"): 6,
    ("main", "run (core/loop.py:2)", "fold (trader/engine.py:9)", "fold (trader/engine.py:5)"): 2,
    ("main", "run (core/loop.py:1)"): 1,
    ("journal", '<write> & "co" (trader/journal.py:3)'): 1,
}
SVG = "{http://www.w3.org/2000/svg}"


def test_functions_are_summed_over_lines_and_count_once_in_a_recursion() -> None:
    shares = {share.name: (share.own, share.total) for share in flamegraph.functions(STACKS)}
    assert shares["fold (trader/engine.py)"] == (0.8, 0.8)
    assert shares["run (core/loop.py)"] == (0.1, 0.9)
    assert "main" not in shares
    assert next(iter(shares)) == "fold (trader/engine.py)"


def test_the_flame_graph_shows_every_function_in_its_width() -> None:
    root = ET.fromstring(flamegraph.svg(STACKS, "trader <1>"))
    groups = root.findall(f"{SVG}g")
    told = {group.findtext(f"{SVG}title"): group.find(f"{SVG}rect") for group in groups}
    widths = {title: float(rect.get("width", "0")) for title, rect in told.items() if title and rect is not None}
    assert widths["trader <1>: 10 samples, 100.0%"] == 1180
    assert widths["run (core/loop.py:1): 7 samples, 70.0%"] == pytest.approx(826)
    assert widths['<write> & "co" (trader/journal.py:3): 1 samples, 10.0%'] == pytest.approx(118)
    levels = {float(rect.get("y", "0")) for rect in told.values() if rect is not None}
    assert min(levels) > 0 and max(levels) < float(root.get("height", "0"))


names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1).filter(
    lambda text: ";" not in text and len(text.splitlines()) == 1
)


@given(st.dictionaries(st.lists(names, min_size=1, max_size=6).map(tuple), st.integers(1, 10_000), max_size=20))
def test_any_stacks_make_well_formed_xml_and_are_read_again(stacks: dict[tuple[str, ...], int]) -> None:
    text = "".join(f"{';'.join(stack)} {count}\n" for stack, count in stacks.items())
    assert flamegraph.parse(text) == stacks
    root = ET.fromstring(flamegraph.svg(stacks, "a title"))
    for rect in root.iter(f"{SVG}rect"):
        if rect.get("x"):
            assert float(rect.get("x", "")) + float(rect.get("width", "")) <= 1190.5


def test_a_line_that_is_no_stack_is_named() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        flamegraph.parse("main;f 1\nnonsense\n")


def spy_that(folder: Path, does: str) -> Path:
    """A program in py-spy's place."""
    path = folder / "py-spy"
    path.write_text(f"#!/bin/bash\n{does}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def var() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


@pytest.fixture
def locked(var: Path) -> Iterator[Path]:
    """A var in which this process is the trader, and answers nothing."""
    (var / "run").mkdir(mode=0o700)
    lock = StageLock(var / "run", "trader")
    lock.acquire()
    yield var
    lock.release()


def test_what_py_spy_saw_is_told_and_drawn(locked: Path) -> None:
    does = f"""test "${{*: -1}}" = {os.getpid()} || exit 9
while [ "$1" != --output ]; do shift; done
echo 'thread (1): MainThread;<module> (trader/__main__.py:9);fold (trader/engine.py:5) 3' > "$2" """
    told = profile(locked, "trader", 1, spy_that(locked, does))
    assert told[0].endswith(".svg") and Path(told[0]).parent == locked / "profile"
    assert "fold (trader/engine.py:5)" in Path(told[0]).read_text()
    assert told[1] == "trader, 1 s, py-spy: at work in 3 samples of 100 looks (its threads together)"
    assert told[3].split() == ["100.0%", "100.0%", "fold", "(trader/engine.py)"]
    assert [path.suffix for path in (locked / "profile").iterdir()] == [".svg"]


SUDO = "Permission Denied: Try running again with elevated permissions by going 'sudo env \"PATH=$PATH\" !!'"
REFUSALS = {
    "the program cannot be seen": SUDO,
    "the same as an error": f"Error: {SUDO}",
    "in a container": f"{SUDO}\n\nIt looks like you are running in a docker container.",
    "the program's memory cannot be read": "Error: Operation not permitted (os error 1)",
    "the program's name cannot be read": "Error: Failed to get process executable name. Check that the process is "
    "running.\n\nCaused by:\n    0: Permission denied (os error 13)",
    "it cannot be stopped": "Error: Failed to suspend process 4711\n\nCaused by:\n    EPERM: Operation not permitted",
    "the same, told otherwise": "Error: Failed to suspend process\nReason: EPERM",
    "the kernel's number alone": "Error: IOError(Os (os error 13))",
}
OTHER_FAILURES = {
    "the program ended": "Error: Failed to open process 4711: No such process (os error 3)",
    "no Python": "Error: Failed to find a python interpreter in the .data section",
    "a number that begins alike": "Error: Failed to write (os error 11)",
    "a function's name": "Error: no idea\n\nStack backtrace:\n   0: py_spy::permission_denied",
    "nothing": "",
}


@pytest.mark.parametrize("said", REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_known_in_whichever_words(said: str) -> None:
    assert refused(said)


@pytest.mark.parametrize("said", OTHER_FAILURES.values(), ids=OTHER_FAILURES)
def test_another_failure_is_no_refusal(said: str) -> None:
    assert not refused(said)


@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("echo 'Permission Denied: Try running again with sudo' >&2; exit 1", "ptrace_scope"),
        ("echo 'Error: no idea' >&2; exit 1", "py-spy failed: Error: no idea"),
        ("exit 3", "py-spy failed: exit code 3"),
        ("exit 0", "py-spy: "),
    ],
    ids=["refused", "broken", "silent", "without a result"],
)
def test_where_py_spy_cannot_and_there_is_no_control_socket_both_are_told(locked: Path, does: str, told: str) -> None:
    with pytest.raises(BotError, match="trader has no control socket") as raised:
        profile(locked, "trader", 1, spy_that(locked, does))
    assert told in str(raised.value)


def test_a_stage_that_does_not_run_and_one_that_is_none(var: Path) -> None:
    with pytest.raises(BotError, match="trader does not run: `make status`"):
        profile(var, "trader", 1, var / "none")
    with pytest.raises(MisconfiguredError, match=r"STAGE=tradr is no stage: .*trader"):
        profile(var, "tradr", 1, var / "none")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [([""], "STAGE= is no stage: make profile STAGE=trader"), (["trader", "5m"], "SECONDS=5m is not allowed")],
)
def test_wrong_arguments_are_exit_code_2(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    assert main(arguments) == 2
    assert told in capsys.readouterr().err


STAGE = """
import sys
from bus.publisher import open_publisher
from core.settings_load import from_texts
from core.stage import run, run_async
def build(context):
    open_publisher(context, 1)
    context.loop.every(0.001, work)
def work():
    sum(range(30_000))
async def main(context):
    build(context)
    await context.loop.wait_stopped()
settings = from_texts({"VAR_DIR": sys.argv[1]})
run("trader", build, settings) if sys.argv[2] == "blocking" else run_async("trader", main, settings)
"""


@pytest.fixture(params=["blocking", "asyncio"])
def stage(var: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A real stage in a process of its own."""
    command = [sys.executable, "-c", STAGE, str(var), request.param]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        clock = LiveClock()
        end = clock.monotonic_ns() + 30_000_000_000
        while not (var / "run" / "trader.ctl").exists():
            assert clock.monotonic_ns() < end and process.poll() is None
        yield var
        process.terminate()


def test_a_running_stage_looks_into_itself(stage: Path) -> None:
    told = profile(stage, "trader", 1, stage / "no py-spy")
    assert told[0] == "py-spy is not installed (`make test` brings it): trader looks into itself"
    assert any("work (<string>)" in line for line in told), told
    assert "work (&lt;string&gt;:" in Path(told[1]).read_text()
    assert [path.suffix for path in (stage / "profile").iterdir()] == [".svg"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (REFUSALS["it cannot be stopped"], "py-spy may not look into other processes here (`sudo sysctl "),
        ("Error: no idea", "py-spy failed: Error: no idea: "),
    ],
    ids=["refused", "broken"],
)
def test_a_stage_looks_into_itself_where_py_spy_cannot_and_says_why(stage: Path, said: str, why: str) -> None:
    (stage / "said").write_text(said)
    told = profile(stage, "trader", 1, spy_that(stage, f"cat '{stage / 'said'}' >&2; exit 1"))
    assert told[0].startswith(why) and told[0].endswith(": trader looks into itself")
    assert ", from inside: at work in " in told[2]
    assert any("work (<string>)" in line for line in told), told
    assert [path.suffix for path in (stage / "profile").iterdir()] == [".svg"]


def test_py_spy_looks_into_a_running_stage(stage: Path) -> None:
    spy = Path(sys.executable).with_name("py-spy")
    told = profile(stage, "trader", 1, spy)
    if "looks into itself" in told[0]:
        pytest.skip(told[0])
    assert any("work (<string>)" in line for line in told)
