"""The judge: ccxt, written for the real venues, works against the sandbox with nothing changed but the address.

It pins too much to share our environment and lives in one of its own, `.venv-ccxt`; without it this is skipped.
A venue's script is `ccxt_VENUE.py` beside this file.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.clock import LiveClock
from core.paths import ROOT
from core.sandbox_keys import API_KEY, SECRET_KEY
from tests.protocol import kraken_served
from tests.protocol.kraken_served import NO_LIMIT
from tests.protocol.sandbox_served import Served, synthetic

PYTHON = ROOT / ".venv-ccxt" / "bin" / "python"
SCRIPTS = sorted(Path(__file__).parent.glob("ccxt_*.py"))
PACE = {"ccxt_kraken": ("1",)}  # ms between two calls, ccxt's own option
HOW = "python3 -m venv .venv-ccxt && .venv-ccxt/bin/pip install ccxt"


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> Iterator[Served]:
    """A market in real time, an hour old, speaking the venue's protocol."""
    clock = LiveClock()
    born_ms = clock.wall_ms() - 3_600_000
    if request.param == "kraken":  # whose own limits ccxt keeps to by itself, and then takes minutes
        served: Served = kraken_served.synthetic(clock, born_ms, NO_LIMIT, NO_LIMIT)
    else:
        served = synthetic(clock, born_ms, request.param)
    yield served
    served.close()


@pytest.mark.skipif(not PYTHON.exists(), reason=f"ccxt is not here: {HOW}")
@pytest.mark.parametrize(
    ("sandbox", "script"),
    [pytest.param(script.stem.removeprefix("ccxt_"), script, id=script.stem) for script in SCRIPTS],
    indirect=["sandbox"],
)
def test_an_unrelated_client_library_trades_here(sandbox: Served, script: Path) -> None:
    address = f"http://127.0.0.1:{sandbox.port}"
    command = [str(PYTHON), str(script), address, API_KEY, SECRET_KEY, *PACE.get(script.stem, ())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, env={}, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok: ") >= 8, done.stdout
