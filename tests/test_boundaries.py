"""The import rules, read from the tree: what may import what, the one home of each library and each dangerous call.

Every breach says what to use instead. The checks have checks of their own at the end of this file.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

# What each package may import of ours, by module prefix. tools may import anything; nobody imports tools.
MAY_IMPORT = {
    "core": (),
    "bus": ("core",),
    "venues": ("core",),
    "feeder": ("core", "bus", "venues"),
    "indicators": ("core", "bus"),
    "trader": ("core", "bus", "venues", "indicators.rules"),
    "storage": ("core", "bus", "indicators.rules"),
    "dashboard": ("core", "bus", "storage.queries", "indicators.rules", "indicators.told", "indicators.lookback"),
    "sandbox": ("core",),
    "watchdog": ("core", "bus"),
    "backtest": ("core", "bus", "indicators", "trader", "feeder", "venues"),
    "guardian": ("core", "bus", "venues"),
    "tools": None,
}

# Pure modules: decisions take time, settings and randomness as arguments and do no I/O.
PURE = (
    "core/money.py",
    "core/pairs.py",
    "core/settings_parse.py",
    "core/settings_check.py",
    "bus/replay.py",
    "bus/layouts.py",
    "bus/vigil.py",
    "bus/said.py",
    "dashboard/access.py",
    "dashboard/sessions.py",
    "dashboard/throttle.py",
    "feeder/merge.py",
    "feeder/sequence.py",
    "feeder/guard.py",
    "indicators/rules.py",
    "indicators/candles.py",
    "indicators/kernels.py",
    "indicators/triggers.py",
    "indicators/folding.py",
    "indicators/describe.py",
    "indicators/layout.py",
    "indicators/report.py",
    "indicators/told.py",
    "dashboard/limits.py",
    "dashboard/minute.py",
    "dashboard/why_words.py",
    "trader/engine.py",
    "trader/walk.py",
    "trader/board.py",
    "trader/scan.py",
    "trader/orders.py",
    "trader/position.py",
    "trader/sizing.py",
    "trader/costs.py",
    "trader/fills.py",
    "trader/risk.py",
    "trader/ladder.py",
    "tools/doctor_checks.py",
    "tools/doctor_lines.py",
    "trader/ids.py",
    "trader/views.py",
    "trader/findings.py",
    "trader/reconcile.py",
    "trader/reconcile_base.py",
    "trader/look_schedule.py",
    "trader/leased.py",
    "guardian/decide.py",
    "guardian/messages.py",
    "trader/shadow.py",
    "trader/executed.py",
    "trader/looking.py",
    "trader/sending.py",
    "trader/telling.py",
    "trader/steps.py",
    "trader/tracking.py",
    "backtest/archives.py",
    "backtest/bad_data.py",
    "backtest/convert.py",
    "backtest/fetch.py",
    "backtest/csv_rows.py",
    "backtest/odd_rows.py",
    "backtest/result.py",
    "backtest/layout.py",
    "backtest/book.py",
    "backtest/wallet.py",
    "venues/call.py",
    "venues/answers.py",
    "venues/offset.py",
    "venues/coindcx/hosts.py",
    "venues/coindcx/rows.py",
    "venues/coindcx/wire_private.py",
    "venues/coindcx/wire_public.py",
    "venues/kraken/frames.py",
    "venues/kraken/judge.py",
    "venues/kraken/naming.py",
    "venues/kraken/wire_answers.py",
    "venues/kraken/wire_news.py",
    "venues/kraken/wire_private.py",
    "venues/kraken/wire_public.py",
    "sandbox/exchange/orders.py",
    "sandbox/exchange/profiles.py",
    "sandbox/exchange/ledger.py",
    "sandbox/exchange/charges.py",
    "sandbox/exchange/checks.py",
    "sandbox/exchange/matching.py",
    "venues/engineio.py",
    "venues/binance/wire_public.py",
    "venues/binance/wire_stream.py",
    "venues/binance/wire_private.py",
    "venues/binance/rate_limits.py",
    "venues/binance/wire_answers.py",
    "venues/binance/wire_news.py",
    "venues/binance/judge.py",
    "sandbox/faces/kraken_account.py",
    "sandbox/faces/kraken_ids.py",
    "sandbox/faces/kraken_limits.py",
    "sandbox/faces/kraken_market.py",
    "sandbox/faces/kraken_orders.py",
    "backtest/result.py",
    "backtest/legs.py",
    "backtest/stats.py",
    "backtest/stats_legs.py",
    "backtest/stats_equity.py",
    "backtest/bootstrap.py",
    "backtest/sensitivity.py",
    "backtest/figures.py",
    "backtest/summary.py",
    "backtest/report_data.py",
    "backtest/report_series.py",
    "backtest/report_sections.py",
)


class Home(NamedTuple):
    """A library, the places that may import it, and what to use elsewhere."""

    library: str
    places: tuple[str, ...]
    instead: str


HOMES = (
    Home("zmq", ("bus/sockets.py", "tools/bench/"), "bus.publisher and bus.subscriber, or a function in bus.sockets"),
    Home("requests", ("venues/rest.py", "tools/bench/"), "venues.rest"),
    Home("urllib3", ("venues/rest.py", "tools/bench/"), "venues.rest"),
    Home("websockets", ("venues/stream.py", "tools/bench/"), "venues.stream"),
    Home("sqlalchemy", ("storage/", "tools/bench/"), "storage.queries"),
    Home("fastapi", ("dashboard/", "sandbox/", "tools/bench/"), "the dashboard or the sandbox"),
    Home("starlette", ("dashboard/", "sandbox/", "tools/bench/"), "the dashboard or the sandbox"),
    Home("uvicorn", ("dashboard/", "sandbox/", "tools/bench/"), "the dashboard or the sandbox"),
    Home("prometheus_client", ("dashboard/",), "the dashboard"),
    Home("numba", ("indicators/", "backtest/", "tools/bench/"), "plain functions; indicators compiles them"),
    Home("llvmlite", ("indicators/", "backtest/"), "nothing: numba brings it"),
    Home("dotenv", ("core/settings_load.py",), "core.settings_load"),
    Home("supervisor", ("core/supervisor.py", "tools/supervise.py"), "core.supervisor"),
    Home("time", ("core/clock.py", "tools/bench/"), "the clock that is handed in (core.clock)"),
    Home("sqlite3", ("trader/", "storage/", "tools/", "sandbox/exchange/books.py"), "storage.queries"),
    Home("pickle", (), "msgspec: pickled bytes run code"),
    Home(
        "random",
        ("sandbox/", "tools/", "feeder/app.py"),
        "a seed and a generator that are handed in, or secrets for ids",
    ),
    Home("talib", (), "indicators.kernels; TA-Lib is a yardstick of the tests"),
)

# Calls that have one home, by dotted name.
CALLS = {
    "os.environ": (("core/settings_load.py",), "core.settings_load.environment or full_environment"),
    "os.getenv": (("core/settings_load.py",), "core.settings_load.environment"),
    "datetime.now": ((), "the clock that is handed in (core.clock)"),
    "datetime.utcnow": ((), "the clock that is handed in (core.clock)"),
    "datetime.today": ((), "the clock that is handed in (core.clock)"),
    "date.today": ((), "the clock that is handed in (core.clock)"),
    "os.chdir": ((), "paths from core.paths.ROOT"),
    "Path.cwd": ((), "core.paths.ROOT"),
    "os.getcwd": ((), "core.paths.ROOT"),
    "os.system": ((), "subprocess.run with a list"),
    "eval": ((), "a parser"),
    "exec": ((), "a function"),
}
PURE_MUST_NOT_IMPORT = (
    "os",
    "socket",
    "sqlite3",
    "subprocess",
    "threading",
    "logging",
    "asyncio",
    "time",
    "random",
    "io",
)

MAIN_LINES = 40
JUDGES = ("tools/chaos.py",)  # the programs that may import tests: who judges shares no code with what is judged


class Import(NamedTuple):
    """One import: of which module (with the imported name, where it may be a module), in which line."""

    module: str
    line: int


def python_files() -> list[Path]:
    """Every Python file of ours, tests and tools aside."""
    return sorted(path for package in packages() for path in (ROOT / package).rglob("*.py"))


def packages() -> list[str]:
    """The top-level packages there are now."""
    return sorted(path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(tree: ast.AST, *, type_checking: bool = True) -> Iterator[Import]:
    """Every import in a tree, also inside functions; with `type_checking` false without those for type hints only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            if type_checking:
                yield from imports(ast.Module(node.body, []), type_checking=type_checking)
            yield from imports(ast.Module(node.orelse, []), type_checking=type_checking)
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                yield Import("." * node.level + module, node.lineno)
            else:
                for alias in node.names:
                    yield Import(f"{module}.{alias.name}", node.lineno)
        else:
            yield from imports(node, type_checking=type_checking)


def within(name: str, places: tuple[str, ...]) -> bool:
    """Whether a file is one of the places, or below one of those that end in a slash."""
    return any(name == place or (place.endswith("/") and name.startswith(place)) for place in places)


def names(module: str, prefix: str) -> bool:
    """Whether a dotted name is `prefix` or below it."""
    return module == prefix or module.startswith(prefix + ".")


def package_breaches(name: str, tree: ast.AST, ours: list[str]) -> list[str]:
    """Imports between packages that the design does not name."""
    package = name.split("/")[0]
    allowed = MAY_IMPORT.get(package, ())
    found = []
    for module, line in imports(tree):
        top = module.split(".")[0]
        if module.startswith("."):
            found.append(f"{name}:{line} imports {module} relatively: write the full name")
        elif (top == "tests" and name not in JUDGES) or (top == "tools" and package != "tools"):
            found.append(f"{name}:{line} imports {module}: nobody imports {top}, move what is shared to core")
        elif top not in ours or top == package or allowed is None:
            continue
        elif not any(names(module, prefix) for prefix in allowed):
            may = ", ".join(allowed) or "nothing of ours"
            found.append(f"{name}:{line} imports {module}: {package} may import {may}; stages meet on the bus")
    return found


def home_breaches(name: str, tree: ast.AST) -> list[str]:
    """Libraries imported away from their home."""
    found = []
    for module, line in imports(tree):
        for home in HOMES:
            if names(module, home.library) and not within(name, home.places):
                found.append(f"{name}:{line} imports {module}: use {home.instead}")
    return found


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an attribute or name; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def call_breaches(name: str, tree: ast.AST) -> list[str]:
    """Uses of what has one home: the environment, the time, the folder one stands in."""
    found = []
    for node in ast.walk(tree):
        text = dotted(node) if isinstance(node, ast.Attribute | ast.Name) else ""
        for call, (places, instead) in CALLS.items():
            hit = text == call or text.endswith("." + call) if "." in call else text == call and _is_called(tree, node)
            if hit and not within(name, places):
                found.append(f"{name}:{node.lineno} uses {call}: use {instead}")  # type: ignore[attr-defined]
    return found


def _is_called(tree: ast.AST, name: ast.AST) -> bool:
    return any(isinstance(node, ast.Call) and node.func is name for node in ast.walk(tree))


def purity_breaches(name: str, tree: ast.AST) -> list[str]:
    """I/O, threads and clocks in modules that only decide."""
    found = []
    for module, line in imports(tree):
        if any(names(module, banned) for banned in PURE_MUST_NOT_IMPORT):
            found.append(f"{name}:{line} imports {module}: a pure module takes what it needs as arguments")
        if names(module, "core.clock") and not module.split(".")[-1].isupper():
            found.append(f"{name}:{line} imports {module}: a pure module takes the time as an argument")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func) in ("open", "print", "input"):
            found.append(f"{name}:{node.lineno} calls {dotted(node.func)}: a pure module returns what it has to say")
    return found


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Every import cycle, once."""
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> None:
        if node in path:
            found.append([*path[path.index(node) :], node])
            return
        if node in done:
            return
        for following in sorted(graph.get(node, ())):
            walk(following, [*path, node])
        done.add(node)

    for node in sorted(graph):
        walk(node, [])
    return found


def module_graph() -> dict[str, set[str]]:
    """Which module of ours imports which, type hints aside."""
    modules = {}
    for path in python_files():
        dotted_name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        modules[dotted_name.removesuffix(".__init__")] = path
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        targets = set()
        for module, _ in imports(parse(path), type_checking=False):
            for candidate in (module, module.rpartition(".")[0]):
                if candidate in modules and candidate != name and modules[candidate].name != "__init__.py":
                    targets.add(candidate)
                    break
        graph[name] = targets
    return graph


# --- the checks ---


def told(breaches: list[str]) -> str:
    return "\n" + "\n".join(breaches)


def test_packages_import_only_what_the_design_names() -> None:
    ours = packages()
    breaches = [text for path in python_files() for text in package_breaches(relative(path), parse(path), ours)]
    assert not breaches, told(breaches)


def test_every_package_has_its_rule() -> None:
    assert set(packages()) <= set(MAY_IMPORT), "add the new package to MAY_IMPORT and to the design"


def test_each_library_has_one_home() -> None:
    breaches = [text for path in python_files() for text in home_breaches(relative(path), parse(path))]
    assert not breaches, told(breaches)


def test_the_clock_and_the_environment_have_one_home() -> None:
    breaches = [text for path in python_files() for text in call_breaches(relative(path), parse(path))]
    assert not breaches, told(breaches)


def test_pure_modules_are_pure() -> None:
    there = [ROOT / name for name in PURE if (ROOT / name).exists()]
    breaches = [text for path in there for text in purity_breaches(relative(path), parse(path))]
    assert not breaches, told(breaches)


def test_there_are_no_import_cycles() -> None:
    found = [" -> ".join(cycle) for cycle in cycles(module_graph())]
    assert not found, told(found)


def test_init_files_are_empty() -> None:
    full = [relative(path) for path in python_files() if path.name == "__init__.py" and path.stat().st_size]
    assert not full, f"these must be empty, importing a package must cost nothing: {full}"


def test_main_files_are_wiring() -> None:
    long = [
        f"{relative(path)} has {len(path.read_text().splitlines())} lines: move what decides into app.py"
        for path in python_files()
        if path.name == "__main__.py" and len(path.read_text().splitlines()) >= MAIN_LINES
    ]
    assert not long, told(long)


# Package, what it must never load, and why.
HEAVY = [
    ("feeder", ("numba", "sqlalchemy", "fastapi")),
    ("trader", ("numba", "sqlalchemy", "fastapi", "websockets")),
    ("storage", ("numba", "numpy", "fastapi", "requests", "websockets")),
    ("dashboard", ("numba", "numpy", "requests")),
    ("sandbox", ("numba", "sqlalchemy", "requests", "zmq")),
    ("watchdog", ("numba", "numpy", "sqlalchemy", "fastapi", "requests", "websockets", "xmlrpc")),
    ("guardian", ("numba", "numpy", "sqlalchemy", "fastapi")),
    ("indicators", ("sqlalchemy", "fastapi", "requests", "websockets")),
]


@pytest.mark.parametrize(("package", "heavy"), HEAVY, ids=[package for package, _ in HEAVY])
def test_a_stage_does_not_load_what_it_does_not_need(package: str, heavy: tuple[str, ...]) -> None:
    """A Raspberry Pi pays 100 MB for numba and 15 for numpy in every process that loads them."""
    program = f"import sys, {package}.app; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]", f"{package} loads {done.stdout.strip()}: import it where it is needed, or not"


# --- checks of the checks ---

SAMPLES = {
    "a stage that imports another": ("trader/x.py", "from indicators import kernels", package_breaches),
    "the sandbox that shares the adapter's code": ("sandbox/x.py", "import venues.rest", package_breaches),
    "core that imports the bus": ("core/x.py", "def f():\n    from bus.frames import Frame", package_breaches),
    "a program that imports tests": ("tools/x.py", "from tests.chaos import rounds", package_breaches),
    "anything that imports tools": ("feeder/x.py", "import tools.up", package_breaches),
    "a relative import": ("feeder/x.py", "from .merge import merge", package_breaches),
    "a zmq socket elsewhere": ("feeder/x.py", "import zmq.asyncio", home_breaches),
    "numba in the trader": ("trader/x.py", "from numba import njit", home_breaches),
    "a clock of one's own": ("trader/x.py", "from time import monotonic", home_breaches),
    "the time by datetime": ("trader/x.py", "from datetime import datetime\ndatetime.now()", call_breaches),
    "the time by datetime.datetime": ("trader/x.py", "import datetime\ndatetime.datetime.now()", call_breaches),
    "the environment": ("trader/x.py", "import os\nx = os.environ['PORT']", call_breaches),
    "the folder one stands in": ("trader/x.py", "from pathlib import Path\nPath.cwd()", call_breaches),
    "eval": ("trader/x.py", "eval('1')", call_breaches),
    "I/O in a pure module": ("trader/fills.py", "def f():\n    return open('x')", purity_breaches),
    "logging in a pure module": ("trader/fills.py", "import logging", purity_breaches),
    "a clock in a pure module": ("trader/fills.py", "from core.clock import LiveClock", purity_breaches),
}


@pytest.mark.parametrize(("name", "code", "check"), SAMPLES.values(), ids=SAMPLES)
def test_a_breach_is_found(name: str, code: str, check: object) -> None:
    arguments = (packages(),) if check is package_breaches else ()
    assert len(check(name, ast.parse(code), *arguments)) == 1  # type: ignore[operator]


FINE = {
    "what is named": ("trader/x.py", "from indicators.rules import take_profit", package_breaches),
    "a judge that imports tests": ("tools/chaos.py", "from tests.chaos import rounds", package_breaches),
    "the same by module": ("trader/x.py", "from indicators import rules", package_breaches),
    "the home itself": ("bus/sockets.py", "import zmq", home_breaches),
    "another library with a like name": ("trader/x.py", "import timeit", home_breaches),
    "a constant of the clock": ("trader/fills.py", "from core.clock import NS_PER_MS", purity_breaches),
    "a method named like a call": ("trader/x.py", "self.exec(1)", call_breaches),
}


@pytest.mark.parametrize(("name", "code", "check"), FINE.values(), ids=FINE)
def test_what_is_fine_is_not_reported(name: str, code: str, check: object) -> None:
    arguments = (packages(),) if check is package_breaches else ()
    assert check(name, ast.parse(code), *arguments) == []  # type: ignore[operator]


def test_imports_for_type_hints_make_no_cycle_but_are_imports() -> None:
    tree = ast.parse("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import core.stage\n")
    assert [found.module for found in imports(tree)] == ["typing.TYPE_CHECKING", "core.stage"]
    assert [found.module for found in imports(tree, type_checking=False)] == ["typing.TYPE_CHECKING"]


def test_a_cycle_is_found() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c", "a"]]
    assert cycles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
