"""Fixtures of the tests with real processes; they run one after the other (`tests/conftest.py`)."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pipeline import stand_ins
from tests.pipeline.pipeline import Pipeline, make_template, running_from

HERE = Path(__file__).parent
WAITS_S = 300  # one wait alone may take 90 s, and says then for what


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.pipeline)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(WAITS_S))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with compiled kernels."""
    return make_template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def make_pipeline(template: Path) -> Iterator[Callable[..., Pipeline]]:
    """`make_pipeline(RSI_BUY=40, …)`: a bot with these settings, not started yet. Stopped with nothing left over."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running_from(template, settings))


@pytest.fixture
def pipeline(make_pipeline: Callable[..., Pipeline]) -> Pipeline:
    """A bot with default settings on free ports, not started yet."""
    return make_pipeline()


@pytest.fixture(scope="session")
def stand_in_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_ins.make_template(tmp_path_factory.mktemp("stand_ins"))


@pytest.fixture
def make_bot(stand_in_template: Path) -> Iterator[Callable[..., Pipeline]]:
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running_from(stand_in_template, settings))


@pytest.fixture
def bot(make_bot: Callable[..., Pipeline]) -> Pipeline:
    return make_bot()
