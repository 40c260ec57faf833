"""The backtest's compiled functions: kept under a hash of what they are made of, loaded without numba, whole or not."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backtest import compiled
from core.paths import ROOT
from indicators.code_cache import UnusableCode

CACHE = ROOT / "var" / "cache"
LOAD = """
import sys
from pathlib import Path
from backtest import compiled
function, complaint = compiled.load("walk_chunk", Path(sys.argv[1]))
print(repr(complaint), function(0, 0, 0, 0, 0), "numba" in sys.modules)
"""
ENTRY = compiled.entry_of("walk_chunk")


def kept() -> Path:
    """Where the code lies that set-up has made."""
    function, complaint = compiled.load(ENTRY.name, CACHE)
    assert not complaint and function(0, 0, 0, 0, 0) == 0
    return CACHE / compiled.folder_name() / ENTRY.name


def test_a_run_loads_without_numba() -> None:
    kept()
    done = subprocess.run([sys.executable, "-c", LOAD, str(CACHE)], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("'' 0 False", "")


def test_damaged_code_is_never_loaded(tmp_path: Path) -> None:
    whole = kept().read_bytes()
    path = tmp_path / compiled.folder_name() / ENTRY.name
    path.parent.mkdir()
    for damaged in (b"", whole[:-1], whole[:100] + b"\xff" + whole[101:]):
        path.write_bytes(damaged)
        assert ENTRY in compiled.cold(tmp_path)
        with pytest.raises(UnusableCode, match="damaged"):
            compiled.function_of(ENTRY, path)
    path.write_bytes(whole)
    assert ENTRY not in compiled.cold(tmp_path)
    assert compiled.function_of(ENTRY, path)(0, 0, 0, 0, 0) == 0


class Compiler:
    """Stands for numba, which takes a minute: what it makes is the code that set-up has made."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.code = compiled.msgspec.msgpack.decode(compiled.code_cache.read(kept()), type=compiled.Code)
        self.engine = compiled.loaded(self.code.object)

    def compiled(self, function: Any, arguments: int) -> Any:
        assert arguments == ENTRY.arguments
        self.asked.append(function.__name__)
        return SimpleNamespace(address=self.engine.get_function_address(self.code.symbol))

    def object_code(self, made: Any) -> tuple[str, bytes]:
        return self.code.symbol, self.code.object


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    """The compiler's stand-in, for the one entry that is asked for."""
    compiler = Compiler()
    monkeypatch.setattr(compiled, "ENTRIES", (ENTRY,))
    modules = {"backtest.kernels": compiler, ENTRY.module: SimpleNamespace(walk_chunk=test_a_run_loads_without_numba)}
    monkeypatch.setattr(compiled.importlib, "import_module", modules.__getitem__)
    return compiler


def test_set_up_compiles_once_and_removes_what_others_left(tmp_path: Path, compiler: Compiler) -> None:
    (tmp_path / "backtest-of-another-release").mkdir()
    (tmp_path / "kernels-of-the-indicators").mkdir()
    said: list[str] = []
    assert compiled.warm(tmp_path, lambda: said.append("compiles")) == ""
    assert {path.name for path in tmp_path.iterdir()} == {compiled.folder_name(), "kernels-of-the-indicators"}
    assert compiled.warm(tmp_path, lambda: said.append("compiles")) == ""
    assert (len(compiler.asked), said) == (1, ["compiles"])


def test_without_a_folder_that_can_be_written_it_compiles_and_says_so(tmp_path: Path, compiler: Compiler) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    function, complaint = compiled.load.__wrapped__(ENTRY.name, in_the_way)
    assert "cannot write" in complaint and "walk_chunk is compiled at each start" in complaint
    assert function(0, 0, 0, 0, 0) == 0


def test_code_that_does_not_run_by_itself_is_not_kept(
    tmp_path: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "TRY", "raise SystemExit('Illegal instruction')")
    function, complaint = compiled.compile_into(ENTRY, tmp_path)
    assert function(0, 0, 0, 0, 0) == 0
    assert "Illegal instruction" in complaint
    assert compiled.cold(tmp_path) == [ENTRY]
    assert compiled.warm(tmp_path) == complaint


def test_the_folder_changes_with_any_compiled_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = compiled.folder_name()
    copies = []
    for source in compiled.SOURCES:
        copy = tmp_path / f"{source.parent.name}-{source.name}"
        copy.write_bytes(source.read_bytes())
        copies.append(copy)
    monkeypatch.setattr(compiled, "SOURCES", tuple(copies))
    assert compiled.folder_name() == before
    for copy in copies:
        text = copy.read_bytes()
        copy.write_bytes(text + b"# changed\n")
        assert compiled.folder_name() != before
        copy.write_bytes(text)


MODULES = """
import importlib
from backtest import compiled, kernels
for entry in compiled.ENTRIES:
    importlib.import_module(entry.module)
print(*(module.__file__ for module in kernels.PLAIN), kernels.__file__)
print(*(importlib.import_module(entry.module).__file__ for entry in compiled.ENTRIES))
"""


def test_every_module_that_is_compiled_is_in_the_hash() -> None:
    done = subprocess.run([sys.executable, "-c", MODULES], cwd=ROOT, capture_output=True, text=True, check=True)
    used = {Path(name) for name in done.stdout.split()}
    assert len(used) >= 7
    assert used <= set(compiled.SOURCES)
    # what the plain modules take their constants and layouts from
    assert {ROOT / "backtest" / "layout.py", ROOT / "backtest" / "result.py"} <= set(compiled.SOURCES)
