"""Compiled kernels: kept under a name that tells what they are made of, loaded without numba, not run where damaged."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.paths import ROOT
from indicators import jit, layout
from indicators import kernels as compiler
from tests.indicator_tools import kernels

WARM = """
import sys
from pathlib import Path
from indicators import jit
print(repr(jit.warm(Path(sys.argv[1]))), "numba" in sys.modules)
"""
LOAD = """
import sys
from pathlib import Path
from indicators import app, jit
machine, complaint = jit.load(Path(sys.argv[1]))
print(repr(complaint), "numba" in sys.modules)
"""


def run(program: str, cache_root: Path) -> str:
    """What a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", program, str(cache_root)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def warmed(cache_root: Path) -> Path:
    """A cache as set-up leaves it."""
    kernels()
    path = jit.code_file(cache_root)
    path.parent.mkdir(parents=True)
    path.write_bytes(jit.code_file(ROOT / "var" / "cache").read_bytes())
    return path


def test_set_up_compiles_once_and_removes_what_others_left(tmp_path: Path) -> None:
    (tmp_path / "kernels-of-another-release").mkdir()
    assert run(WARM, tmp_path) == "'' True"
    (folder,) = tmp_path.iterdir()
    assert folder.name == jit.folder_name()
    assert [path.name for path in folder.iterdir()] == ["kernels"]
    assert run(WARM, tmp_path) == "'' False"


def test_a_stage_loads_without_numba(tmp_path: Path) -> None:
    warmed(tmp_path)
    assert run(LOAD, tmp_path) == "'' False"


def test_damaged_code_is_never_loaded(tmp_path: Path) -> None:
    path = warmed(tmp_path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:100] + b"\xff" + whole[101:]):
        path.write_bytes(damaged)
        assert not jit.is_warm(tmp_path)
        with pytest.raises(jit.UnusableCode, match="damaged"):
            jit.read(path)


@pytest.fixture(scope="module")
def made() -> Any:
    """Both kernels compiled into this process, once: it takes seconds."""
    return compiler.compiled()


def test_without_a_folder_that_can_be_written_it_compiles_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Any
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    monkeypatch.setattr(compiler, "compiled", lambda: made)
    machine, complaint = jit.load(in_the_way)
    assert "cannot write" in complaint and "compiled at each start" in complaint
    arena = layout.new_arena(layout.new_state(layout.Parameters(60_000), 1), 1)
    assert machine.fold(arena)(bytes(64), 0, 0) == 0


def test_code_that_does_not_run_by_itself_is_not_kept_and_the_compiler_s_own_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Any
) -> None:
    monkeypatch.setattr(compiler, "compiled", lambda: made)
    monkeypatch.setattr(jit, "TRY", "raise SystemExit('Illegal instruction')")
    machine, complaint = jit.compile_into(tmp_path / "other")
    arena = layout.new_arena(layout.new_state(layout.Parameters(60_000), 1), 1)
    assert machine.fold(arena)(bytes(64), 0, 0) == 0
    assert "Illegal instruction" in complaint
    assert not jit.is_warm(tmp_path / "other")
    assert list(jit.code_file(tmp_path / "other").parent.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [(), (bytes(64), 0), ("text", 0, 0), (bytes(64), 0.5, 0), (bytes(64), 0, 1 << 70)]
)
def test_a_kernel_called_the_wrong_way_raises_and_does_not_crash(arguments: tuple[object, ...]) -> None:
    machine = kernels().machine
    arena = layout.new_arena(layout.new_state(layout.Parameters(60_000), 1), 1)
    with pytest.raises((TypeError, OverflowError)):
        machine.fold(arena)(*arguments)  # type: ignore[call-arg, arg-type]
    assert machine.fold(arena)(bytes(64), 0, 0) == 0


def test_the_folder_changes_with_any_compiled_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = jit.folder_name()
    copies = []
    for source in jit.COMPILED_SOURCES:
        copy = tmp_path / f"{source.parent.name}-{source.name}"
        copy.write_bytes(source.read_bytes())
        copies.append(copy)
    monkeypatch.setattr(jit, "COMPILED_SOURCES", tuple(copies))
    assert jit.folder_name() == before
    for copy in copies:
        text = copy.read_bytes()
        copy.write_bytes(text + b"# changed\n")
        assert jit.folder_name() != before
        copy.write_bytes(text)


def test_every_module_that_is_compiled_is_in_the_hash() -> None:
    hashed = {path.stem for path in jit.COMPILED_SOURCES}
    assert {"layouts", "records", "layout", "machine", "kernels"} <= hashed
    modules = [m for m in vars(compiler).values() if getattr(m, "__package__", "") == "indicators"]
    assert len(modules) >= 6
    assert {Path(module.__file__).stem for module in modules} <= hashed


def test_an_arena_holds_its_parts_in_place() -> None:
    state = layout.new_state(layout.Parameters(60_000), 3)
    arena = layout.new_arena(state, 10, rows=2)
    mine, out, scratch = layout.parts_of(arena)
    assert mine.tobytes() == state.tobytes()
    assert len(out) == 10 * 16 and len(scratch) == layout.WORK_WORDS + 6 + 2 * layout.ROW_WORDS
    assert out.ctypes.data % 64 == 0
    mine[0] = 99
    assert arena[arena[layout.STATE_AT]] == 99 and np.shares_memory(arena, scratch)
