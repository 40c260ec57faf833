"""Where the recorded market data lies, for tests that can use it; users' machines do not have it."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_data(name: str) -> Path:
    """The path of a recorded file, or the test is skipped with a plain reason."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"recorded market data {name} is not on this machine")
    return path
