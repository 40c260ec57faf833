"""Fixtures of the bus tests."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bus.rig import Rig
from tests.bus.storage_world import Others
from tests.up_helpers import short_folder


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A folder short enough for sockets, which pytest's own need not be."""
    with tempfile.TemporaryDirectory(prefix="bus") as folder:
        yield Path(folder)


@pytest.fixture
def rig(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr("bus.publisher.BEAT_SECONDS", 0.1)  # of the publishers in this process: tests wait for beats
    rig = Rig(run_dir)
    yield rig
    rig.close()


@pytest.fixture
def others() -> Iterator[Others]:
    """The other stages, for a storage of the test."""
    with short_folder() as folder:
        others = Others(folder)
        yield others
        others.close()
