"""`git pull && make restart` with an open position: nothing of it changes, nothing is bought twice.

The clones' packages lie on the disk: one wheel that leads to those of this environment, so that set-up takes seconds.
"""

import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from bus import control
from bus.messages import EquityEvent, Status
from core.errors import RemoteError
from tests.pipeline import audit
from tests.pipeline.pipeline import ROOT, Pipeline, clean_environment, copy_kernels
from tests.pipeline.test_endings import EAGER
from tests.up_helpers import make_wheel, short_folder

KEPT = ("pair", "status", "mode", "entry_price", "quantity", "realized", "wallet_quote", "wallet_base", "feed")


class Upgradable(Pipeline):
    """A clone that pulls from an `origin` beside it and is driven by make."""

    def __init__(self, folder: Path, settings: dict[str, object]) -> None:
        super().__init__(folder / "bot", settings)
        self.origin, self.wheels = folder / "origin", folder / "wheels"
        self.git(ROOT, "clone", "-q", str(ROOT), str(self.origin))
        self.git(self.origin, "checkout", "-q", "-B", "main")  # also where ROOT stands on no branch
        self.commit("requirements.txt", self.lock("1.0"))
        self.git(folder, "clone", "-q", str(self.origin), str(self.root))
        copy_kernels(self.root)

    @property
    def environment(self) -> dict[str, str]:
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), "PIP_CONFIG_FILE": os.devnull}
        python = sys._base_executable  # type: ignore[attr-defined]  # the wheel leads to its packages
        return clean_environment({**self.settings, **pip, "SET_UP_PYTHON": python})

    def lock(self, version: str) -> str:
        packages = {"packages.pth": sysconfig.get_path("purelib") + "\n"}
        return make_wheel(self.wheels, "tiny", version, also=packages)

    def git(self, where: Path, *arguments: str) -> None:
        who = ["-c", "user.name=upstream", "-c", "user.email=upstream@example.invalid"]
        subprocess.run(["git", *who, *arguments], cwd=where, env=clean_environment(), check=True, timeout=60)

    def commit(self, name: str, text: str) -> None:
        """Upstream changes a file."""
        (self.origin / name).write_text(text)
        self.git(self.origin, "commit", "-q", "-m", f"another {name}", name)

    def make(self, target: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", target],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
        )

    def pull_and_restart(self) -> str:
        self.git(self.root, "pull", "-q")
        done = self.make("restart")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def trader(self) -> Status:
        """Where the trader stands."""
        _, snapshot = control.ask_snapshot(self.run_dir, "trader", "status/0/")
        (status,) = msgspec.msgpack.decode(snapshot or b"", type=list[Status])
        return status

    def settled(self) -> Status:
        """As `trader`, once it follows the market: right after a start it may still be catching up."""

        def follows() -> Status | None:
            try:
                now = self.trader()
            except RemoteError:
                return None
            return now if now.feed == "normal" else None

        found = self.wait(follows, "the trader follows the market")
        assert isinstance(found, Status)
        return found

    def in_position(self) -> bool:
        return self.settled().status == "in_position"

    def kernels(self) -> Path:
        (file,) = (self.var / "cache").glob("kernels-*/kernels")
        return file

    def built_at(self) -> int:
        return (self.root / ".venv" / "pyvenv.cfg").stat().st_ino

    def left_overs(self) -> list[str]:
        return [path.name for path in self.root.glob(".venv.*") if path.name != ".venv.lock"]


@pytest.fixture(scope="module")
def bot() -> Iterator[Upgradable]:
    """In a position, after one that was sold: so that there is something realized, too."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is nothing to pull")
    with short_folder() as folder:
        bot = Upgradable(folder, dict(EAGER))
        try:
            started = bot.make("start")
            assert started.returncode == 0, started.stdout + started.stderr
            bot.wait(bot.in_position, "a position")
            assert bot.tool("tools.control", "flatten").returncode == 0
            bot.wait(lambda: bot.settled().status in ("idle", "warming_up"), "it is sold")
            assert bot.tool("tools.control", "resume").returncode == 0
            bot.wait(bot.in_position, "a position again")
            yield bot
        finally:
            bot.close()


def assert_kept(bot: Upgradable, before: Status) -> None:
    """The position is the one of `before`; its highest and its stop are what the tape says since."""
    now = bot.settled()
    assert {name: getattr(now, name) for name in KEPT} == {name: getattr(before, name) for name in KEPT}
    rows, _, _ = audit.tape(bot.book.resolve())
    prices = [
        float(row.price)
        for row in rows
        if isinstance(row, audit.slow.Trade) and before.record < row.number <= now.record
    ]
    assert before.highest is not None
    assert now.highest == max([before.highest, *prices])
    assert now.stop_price == pytest.approx(now.highest * (1 - float(EAGER["TRAILING_STOP_PCT"])), rel=1e-12)


def stopped_at(bot: Upgradable, stage: str) -> float:
    """When supervisord last stopped a stage."""
    lines = [line for line in bot.log("supervisord").splitlines() if f"stopped: {stage} " in line]
    return datetime.strptime(lines[-1][:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()


@pytest.mark.timeout(400)
def test_other_rules_are_compiled_before_the_stop_and_nothing_is_installed(bot: Upgradable) -> None:
    before, pids, kernels, built = bot.settled(), bot.pids(), bot.kernels(), bot.built_at()
    bot.commit("indicators/rules.py", (bot.origin / "indicators" / "rules.py").read_text() + "\n# told anew\n")
    said = bot.pull_and_restart()
    assert "compiles the indicators" in said and "downloads" not in said
    assert bot.built_at() == built
    assert not kernels.exists() and bot.kernels().stat().st_mtime < stopped_at(bot, "trader")
    assert not set(pids.values()) & set(bot.pids().values())
    assert_kept(bot, before)


@pytest.mark.timeout(400)
def test_other_requirements_are_installed_beside_the_running_bot(bot: Upgradable) -> None:
    before, pids, built = bot.settled(), bot.pids(), bot.built_at()
    bot.commit("requirements.txt", bot.lock("1.1"))
    bot.git(bot.root, "pull", "-q")
    subprocess.run([bot.root / "tools" / "setup.sh", "run"], env=bot.environment, check=True, timeout=120)
    assert bot.built_at() != built and bot.left_overs() == []
    bot.wait_healthy()
    assert bot.pids() == pids
    old = bot.kill("storage", signal.SIGKILL)  # what dies now comes back with the new packages
    bot.wait(lambda: bot.pid("storage") not in (None, old) and bot.healthy(), "storage is back")
    assert "downloads" not in bot.pull_and_restart()
    assert bot.left_overs() == []
    assert_kept(bot, before)


@pytest.mark.timeout(400)
def test_requirements_that_cannot_be_installed_stop_nothing(bot: Upgradable) -> None:
    before, pids, built = bot.settled(), bot.pids(), bot.built_at()
    good = (bot.origin / "requirements.txt").read_text()
    bot.commit("requirements.txt", good.replace("sha256:", "sha256:0")[: -len("0\n")] + "\n")
    bot.git(bot.root, "pull", "-q")
    done = bot.make("restart")
    assert done.returncode != 0 and "the same command tries again" in done.stderr
    assert bot.built_at() == built and bot.left_overs() == []
    bot.wait_healthy()
    assert bot.pids() == pids
    bot.commit("requirements.txt", good)
    bot.pull_and_restart()
    assert_kept(bot, before)


@pytest.mark.timeout(400)
def test_over_all_upgrades_each_order_was_decided_once_and_the_money_adds_up(bot: Upgradable) -> None:
    before = bot.trader()
    bot.stop()
    book = bot.book.resolve()
    entries = audit.journal(book)
    audit.assert_ledger_adds_up(book, entries, Decimal(10500))
    assert Decimal(audit.events_of(entries, EquityEvent)[-1].balance) == Decimal(before.wallet_quote)
    assert bot.rows("SELECT action FROM trades ORDER BY id") == [("buy",), ("sell",), ("buy",)]
    assert [event.action for event in audit.decided(entries) if event.action == "enter"] == ["enter", "enter"]
    assert bot.rows("SELECT * FROM gaps") == []
