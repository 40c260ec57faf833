"""Fixtures of the tests with real orders."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bus.conftest import rig, run_dir
from tests.bus.rig import Rig
from tests.live.brisk import BRISK
from tests.live.world import LiveWorld

__all__ = ["rig", "run_dir"]


@pytest.fixture(autouse=True)
def brisk_venue(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in BRISK.items():
        monkeypatch.setattr(name, value)


@pytest.fixture
def make_world(rig: Rig, tmp_path: Path) -> Iterator[Callable[..., LiveWorld]]:
    """Makes a world: an exchange, a trader and its peers; all of it ends with the test."""
    made: list[LiveWorld] = []

    def make(protocol: str = "coindcx", **changed: str) -> LiveWorld:
        made.append(LiveWorld(rig, tmp_path, protocol, **changed))
        return made[-1]

    yield make
    for world in made:
        world.close()
