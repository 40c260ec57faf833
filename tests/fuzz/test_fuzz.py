"""A short fuzz of every parser; and that the fuzzer finds what blind changes do not."""

import json
import random
import sys

import pytest

from tests.fuzz.__main__ import fuzzer_of, main
from tests.fuzz.engine import Fuzzer
from tests.fuzz.targets import TARGETS

EXECUTIONS = 5_000


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_is_read_or_refused_with_an_error_of_ours(name: str) -> None:
    fuzzer = fuzzer_of(name, 2026)
    crash = fuzzer.run(EXECUTIONS)
    assert crash is None, f"{crash.data[:300]!r}: {crash.error!r}"
    assert fuzzer.places, "nothing of the code under test was seen"


@pytest.mark.parametrize("name", TARGETS)
def test_the_whole_inputs_are_read(name: str) -> None:
    """Else everything would be refused at the door."""
    target = TARGETS[name]
    for seed in target.seeds:
        target.parse(seed)


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
