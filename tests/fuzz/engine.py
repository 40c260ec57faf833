"""Coverage-guided fuzzing: an input that takes a parser to a place where none was before is kept and changed further.

A place is a step from one line to the next in the files under test, as the interpreter's own tracing tells. Changes are
those of bytes (flip, cut, double, splice) and of JSON (a value anywhere in it for another one, left out or doubled), so
that typed decoders are got past. Everything follows from the seed of `random`. The libraries for this need a compiler
or have no builds for ARM (DECISIONS.md).
"""

import json
import random
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NamedTuple

LONGEST = 20_000  # bytes of an input
KEPT_MOST = 500  # inputs that led further
DEEPEST = 40  # of JSON that is changed as JSON

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, 1e308, 5e-324, 2**63, -(2**63), 10**30, float("nan"), float("inf")),
    *(
        "",
        "0",
        "-1",
        "NaN",
        "sNaN",
        "-Infinity",
        "1E+999999",
        "1E-999999",
        "0.1",
        "9" * 40,
        "é",
        "\ud800",
        "\0",
        "x" * 300,
    ),
    *([], {}, [[]], [{}], {"": None}),
)
ODD_BYTES = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"null",
    b"[",
    b"{",
    b'"',
    b",",
    b"1e999",
    b"\\ud800",
    b"[" * 3000,
    b'{"data":' * 1500,
)


class Crash(NamedTuple):
    """An input that a parser answered with an error that is none of ours."""

    data: bytes
    error: BaseException


class Fuzzer:
    """`parse` may answer or raise one of `ours`; `files` are beginnings of paths whose lines are places.

    `guided` False keeps no input, however far it led.
    """

    def __init__(
        self,
        parse: Callable[[bytes], object],
        ours: tuple[type[BaseException], ...],
        files: Sequence[str],
        seeds: Sequence[bytes],
        rng: random.Random,
        *,
        guided: bool = True,
    ) -> None:
        self.kept = list(seeds) or [b""]
        self.places: set[tuple[int, int, int]] = set()  # code, line before, line
        self.executions = 0
        self._parse = parse
        self._ours = ours
        self._files = tuple(files)
        self._random = rng
        self._guided = guided
        self._line = 0
        self._seeds = len(self.kept)
        self._begun = False

    def run(self, executions: int) -> Crash | None:
        """So many more inputs, or fewer where one crashes."""
        if not self._begun:
            self._begun = True
            for seed in self.kept[: self._seeds]:
                if (crash := self._one(seed)) is not None:
                    return crash
        for _ in range(executions):
            data = self._changed(self._random.choice(self.kept))
            before = len(self.places)
            if (crash := self._one(data)) is not None:
                return crash
            if self._guided and len(self.places) > before:
                self._keep(data)
        return None

    def _keep(self, data: bytes) -> None:
        if len(self.kept) < KEPT_MOST:
            self.kept.append(data)
        else:  # seeds stay
            self.kept[self._random.randrange(self._seeds, KEPT_MOST)] = data

    def _one(self, data: bytes) -> Crash | None:
        self.executions += 1
        traced = sys.gettrace()
        sys.settrace(self._called)
        try:
            self._parse(data)
        except self._ours:
            return None
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            return Crash(data, error)
        finally:
            sys.settrace(traced)
        return None

    def _called(self, frame: FrameType, _event: str, _argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(self._files):
            return None
        self._line = 0
        return self._stepped

    def _stepped(self, frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line":
            line = frame.f_lineno
            self.places.add((id(frame.f_code), self._line, line))
            self._line = line
        return self._stepped

    # --- changes

    def _changed(self, data: bytes) -> bytes:
        for _ in range(self._random.choice((1, 1, 1, 2, 3, 5))):
            change = self._random.choice((self._in_json, self._in_json, self._in_bytes))
            data = change(data)[:LONGEST]
        return data

    def _in_bytes(self, data: bytes) -> bytes:
        draw = self._random
        at = draw.randrange(len(data) + 1)
        upto = min(len(data), at + draw.choice((1, 1, 2, 8, 64)))
        match draw.randrange(6):
            case 0:
                return data[:at] + bytes([draw.randrange(256)]) + data[upto:]
            case 1:
                return data[:at] + data[upto:]
            case 2:
                return data[:at] + draw.choice(ODD_BYTES) + data[at:]
            case 3:
                return data[:upto] + data[at:]
            case 4:
                other = draw.choice(self.kept)
                return data[:at] + other[draw.randrange(len(other) + 1) :]
            case _:
                return data[:at] + draw.randbytes(draw.randrange(1, 9)) + data[at:]

    def _in_json(self, data: bytes) -> bytes:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return self._in_bytes(data)
        places = list(_places(value))
        if not places:
            return json.dumps(self._random.choice(ODD_VALUES)).encode()
        inside, key = self._random.choice(places)
        match self._random.randrange(4):
            case 0:
                del inside[key]
            case 1:
                inside[key] = [inside[key], inside[key]]
            case 2:
                other, there = self._random.choice(places)
                inside[key] = json.loads(json.dumps(other[there]))
            case _:
                inside[key] = self._random.choice(ODD_VALUES)
        return json.dumps(value).encode()


def _places(value: Any, depth: int = 0) -> Any:
    """(container, key) of every value inside."""
    if depth > DEEPEST:
        return
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from _places(value[key], depth + 1)
