"""Every bench runs to its end in its smallest size: the table and the JSON, not the timings."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from core.paths import ROOT
from tests.pipeline.pipeline import clean_environment
from tools.bench import folders
from tools.bench.suite import BENCHES, Report

LEAST_FIGURES = {
    "hops": 12,
    "burst": 3,
    "orders": 9,
    "kernels": 4,
    "scale": 10,
    "cpu": 20,
    "memory": 6,
    "soak": 25,
    "rows": 14,
    "writes": 14,
    "feeder_load": 15,
    "feeder_cuts": 7,
    "backtest_fused": 5,
    "backtest_columns": 3,
    "backtest_grid": 2,
    "backtest_events": 4,
}
# Figures of what must never happen. `hops` and `burst` cannot be measured to their end where something is lost.
LEAST_NEVER = {"scale": 2, "feeder_load": 7, "feeder_cuts": 6}


NEED_A_DISK = ("orders", "writes")


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder for temporary files where a bench will make its own: on a disk, its path short enough for sockets."""
    with folders.scratch() as folder:
        yield folder


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_runs_to_its_end(name: str, tmp_path: Path, scratch: Path) -> None:
    if name in NEED_A_DISK and all(map(folders.unfit, folders.places())):
        pytest.skip("no temporary folder here lies on a disk")
    file = tmp_path / "bench.json"
    command = [sys.executable, "-m", "tools.bench", name, "--quick", "--json", str(file)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=clean_environment({"TMPDIR": str(scratch)}),
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = msgspec.json.decode(file.read_bytes(), type=Report)
    assert report.quick and not report.failed and report.machine.cores > 0
    assert len(report.figures) >= LEAST_FIGURES[name]
    for item in report.figures:
        assert item.bench == name and item.unit
        assert item.low <= item.value <= item.high
        assert (item.reached is None) == (not item.bar)
        assert item.name in done.stdout
    assert len({item.name for item in report.figures}) == len(report.figures)
    # What is lost, doubled or untold is no matter of speed.
    never = [item for item in report.figures if item.never]
    assert len(never) >= LEAST_NEVER.get(name, 0)
    assert not [item for item in never if not item.reached]
    assert "bars reached" in done.stdout
    assert not list(scratch.iterdir()), "the bench left a folder behind"
