"""Which worker runs which test; and what every run of the tests tells at its end."""

import contextlib
import importlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.turns import next_unit, unit_of

settings.register_profile("scalp", deadline=None)  # a busy machine is no failure of a property
settings.load_profile("scalp")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Each worker reads its share of the test files first.

    pytest rewrites their assertions and keeps what it made. All workers read all files, in the same order: on a fresh
    checkout each would rewrite each file, which takes longer than all else about a start.
    """
    worker = getattr(session.config, "workerinput", None)
    if worker is None:
        return
    number, of = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
    for file in files_under(session.config.args, session.config.rootpath)[number::of]:
        name = ".".join(file.relative_to(session.config.rootpath).with_suffix("").parts)
        with contextlib.suppress(Exception, pytest.skip.Exception):  # collecting it tells what is wrong
            importlib.import_module(name)


def files_under(arguments: list[str], root: Path) -> list[Path]:
    """The test files of those arguments that are folders of the project."""
    folders = [folder for text in arguments if (folder := (root / text).resolve()).is_dir() and root in folder.parents]
    return sorted({file for folder in folders for file in folder.rglob("test_*.py")})


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist nobody asks
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hands out the tests as `tests.turns` says.

    pytest-xdist's own groups rename tests, which pytest 9.2 does not let it do any more: they had no effect.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Turns(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

        def _assign_work_unit(self, node: Any) -> None:
            unit = next_unit(self.workqueue, self.nodes.index(node))
            self.workqueue.move_to_end(unit, last=False)
            super()._assign_work_unit(node)

        def _reschedule(self, node: Any) -> None:
            # A worker begins a test once it knows the next: more in its hands would wait behind a long one.
            if not self.workqueue or self._pending_of(self.assigned_work[node]) <= 1:
                super()._reschedule(node)

    return Turns(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for all the browser tests that could not run, with what to install."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if "tests/browser/" in report.nodeid]
    if skipped:
        reason = str(skipped[0].longrepr[2]).removeprefix("Skipped: ")
        terminalreporter.write_line(f"{len(skipped)} browser tests were skipped: {reason}")
