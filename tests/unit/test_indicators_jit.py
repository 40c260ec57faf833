"""The cache of compiled kernels: named for its sources, and done without where it cannot be written."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.paths import ROOT
from indicators import jit

PROGRAM = """
import sys
from pathlib import Path
from indicators import jit
print(repr(jit.warm(Path(sys.argv[1]))))
from indicators import kernels
print(sum(kernels.fold.stats.cache_hits.values()), sum(kernels.fold.stats.cache_misses.values()))
"""


def run(cache_root: Path) -> tuple[str, str]:
    """A fresh process that warms the cache: what it said, and the cache's hits and misses."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(cache_root)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    said, counts = done.stdout.splitlines()
    return said, counts


def test_a_second_process_finds_what_the_first_has_compiled(tmp_path: Path) -> None:
    (tmp_path / "kernels-of-another-release").mkdir()
    assert run(tmp_path) == ("''", "0 1")
    (folder,) = tmp_path.iterdir()
    assert folder.name == jit.folder_name()
    assert run(tmp_path) == ("''", "1 0")


def test_without_a_writable_folder_it_compiles_and_says_so(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    program = """
import sys
from pathlib import Path
from indicators import jit
print(jit.use_cache(Path(sys.argv[1])))
from indicators import kernels, rules
print(kernels.jit_rule(rules.rsi_value)(3.0, 1.0))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(in_the_way)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    said, result = done.stdout.splitlines()
    assert "no cache in" in said and result == "75.0"


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


def test_every_module_that_kernels_compiles_is_in_the_hash() -> None:
    source = (ROOT / "indicators" / "kernels.py").read_text()
    hashed = {path.stem for path in jit.COMPILED_SOURCES}
    for module in ("rules", "candles", "folding", "triggers", "describe", "layout", "kernels"):
        assert module in hashed
        assert module in source or module == "kernels"
