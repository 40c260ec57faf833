"""Tests with real processes take turns; and what every run of the tests tells at its end."""

from typing import Any

import pytest

TAKE_TURNS = ("tests/pipeline/", "tests/browser/")


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist nobody asks
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """All tests with a real bot go to one worker: two at a time are too much for two cores. So do those with a browser.

    pytest-xdist's own groups rename tests, which pytest 9.2 does not let it do any more: they had no effect.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Turns(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((folder for folder in TAKE_TURNS if nodeid.startswith(folder)), nodeid)

    return Turns(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for all the browser tests that could not run, with what to install."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if "tests/browser/" in report.nodeid]
    if skipped:
        reason = str(skipped[0].longrepr[2]).removeprefix("Skipped: ")
        terminalreporter.write_line(f"{len(skipped)} browser tests were skipped: {reason}")
