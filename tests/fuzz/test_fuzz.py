"""A short fuzz of every parser; and that the fuzzer finds what blind changes do not."""

import ast
import json
import random
import sys
from types import FrameType

import pytest

from core.paths import ROOT
from tests.fuzz.__main__ import fuzzer_of, main
from tests.fuzz.engine import Fuzzer
from tests.fuzz.targets import TARGETS

EXECUTIONS = 3_000
SLOW = {"websocket": 600}  # two connections an input


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_is_read_or_refused_with_an_error_of_ours(name: str) -> None:
    fuzzer = fuzzer_of(name, 2026)
    crash = fuzzer.run(SLOW.get(name, EXECUTIONS))
    assert crash is None, f"{crash.data[:300]!r}: {crash.error!r}"
    assert fuzzer.places, "nothing of the code under test was seen"


@pytest.mark.parametrize("name", TARGETS)
def test_the_whole_inputs_are_read(name: str) -> None:
    """Else everything would be refused at the door."""
    target = TARGETS[name]
    for seed in target.seeds:
        target.parse(seed)


def parsers() -> set[tuple[str, str]]:
    """File and name of each function that reads what a venue sent."""
    found = set()
    for path in (ROOT / "venues").glob("*/*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith(("parse_", "judge", "read", "control")):
                found.add((str(path), node.name))
    return found


def test_every_parser_of_the_venues_is_in_the_table() -> None:
    entered: set[tuple[str, str]] = set()

    def called(frame: FrameType, _event: str, _argument: object) -> None:
        entered.add((frame.f_code.co_filename, frame.f_code.co_name))

    traced = sys.gettrace()
    sys.settrace(called)
    try:
        for target in TARGETS.values():
            for seed in target.seeds:
                target.parse(seed)
    finally:
        sys.settrace(traced)
    assert len(parsers()) > 30
    assert parsers() - entered == set()


def planted(data: bytes) -> None:
    """Four steps, each of which must be found before the next one can be."""
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError(data)
    if value.get("a") != "":
        return
    if value.get("b") != []:
        return
    if value.get("c") != "NaN":
        return
    if value.get("d") != -1:
        return
    raise KeyError("deep")


@pytest.mark.parametrize(("guided", "finds"), [(True, True), (False, False)], ids=["guided", "blind"])
def test_a_bug_behind_four_steps_is_found_by_who_goes_step_by_step(guided: bool, finds: bool) -> None:
    seeds = [json.dumps({"a": 1, "b": 2, "c": 3, "d": 4}).encode()]
    fuzzer = Fuzzer(planted, (ValueError, RecursionError), (__file__,), seeds, random.Random(1), guided=guided)
    crash = fuzzer.run(40_000)
    assert (crash is not None) == finds
    assert crash is None or isinstance(crash.error, KeyError)


def test_it_follows_from_its_seed_and_gives_tracing_back() -> None:
    before = sys.gettrace()
    one, other = fuzzer_of("kraken account", 5), fuzzer_of("kraken account", 5)
    one.run(300)
    other.run(300)
    assert one.kept == other.kept and len(one.kept) > len(TARGETS["kraken account"].seeds)
    assert sys.gettrace() is before


def test_an_unknown_target_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["1", "kraken everything"]) == 2
    assert "kraken account" in capsys.readouterr().out
