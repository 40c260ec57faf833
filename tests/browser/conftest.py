"""The browser that the tests of the pages share."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")  # Debian's name, and that of older systems


def what_is_missing() -> str:
    """Why there can be no browser, with what to type; empty where there can."""
    try:
        from playwright._impl._driver import compute_driver_executable
    except ImportError:
        return "playwright is not installed: make test"
    if CHROMIUM is None:
        return "no chromium: sudo apt install chromium"
    node, _ = compute_driver_executable()
    if subprocess.run([node, "--version"], capture_output=True, check=False).returncode != 0:
        return "playwright's driver does not start: sudo apt install libatomic1"
    return ""


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Debian's chromium under Playwright; where it is missing the tests are skipped, on CI they fail."""
    missing = what_is_missing()
    if missing:
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
        )
        yield made
        made.close()
