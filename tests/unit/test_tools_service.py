"""The systemd unit: what it must say, whatever the folder's name, and that systemd takes it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from core.errors import MisconfiguredError
from core.paths import ROOT
from tools.service import unit


def values(text: str, name: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{name}=")]


def test_what_the_unit_says() -> None:
    text = unit(Path("/srv/bot"), Path("/srv/bot/var"), "pi", "users")
    wanted = {
        "User": "pi",
        "Group": "users",
        "WorkingDirectory": "/srv/bot",
        "Environment": '"VAR_DIR=/srv/bot/var"',
        "ExecStart": '"/srv/bot/.venv/bin/python" -m tools.up serve %n',
        "Type": "simple",
        "KillMode": "process",
        "ExecStopPost": '"/srv/bot/.venv/bin/python" -m tools.up sweep',
        "Restart": "on-failure",
        "RestartPreventExitStatus": "2",
        "UMask": "0077",
        "LimitCORE": "0",
        "After": "network-online.target time-sync.target",
        "ProtectSystem": "strict",
        "ReadWritePaths": '"/srv/bot/var"',
    }
    assert {name: values(text, name) for name in wanted} == {name: [value] for name, value in wanted.items()}
    # numba cannot work with the one, values would be frozen by the second, a shutdown would sell by the third
    for name in ("MemoryDenyWriteExecute", "EnvironmentFile", "ExecStop"):
        assert values(text, name) == []


def test_there_is_time_for_every_stage_to_stop() -> None:
    conf = (ROOT / "supervisord.conf").read_text()
    waits = [int(line.partition("=")[2]) for line in conf.splitlines() if line.startswith("stopwaitsecs=")]
    (timeout,) = values(unit(ROOT, ROOT / "var", "pi", "pi"), "TimeoutStopSec")
    assert int(timeout) > sum(wait + 1 for wait in waits) + 10  # one after the other, each noticed within a second


@pytest.mark.parametrize("letter", ["$", '"', "'", "\\", "\n"])
def test_a_folder_that_systemd_cannot_be_told_is_refused(letter: str) -> None:
    with pytest.raises(MisconfiguredError, match="a systemd unit cannot be written"):
        unit(Path(f"/srv/a{letter}b"), Path("/srv/var"), "pi", "pi")


@pytest.mark.parametrize("name", ["bot", "a bot of 100%n", "ünïcode; #1"])
def test_systemd_takes_it(tmp_path: Path, name: str) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not on this machine")
    folder = tmp_path / name
    (folder / ".venv" / "bin").mkdir(parents=True)
    shutil.copy("/bin/true", folder / ".venv" / "bin" / "python")
    file = tmp_path / "scalp.service"
    file.write_text(unit(folder, folder / "var", "root", "root"))
    done = subprocess.run([analyze, "verify", "--man=no", file], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_make_service_prints_this_folders_unit() -> None:
    done = subprocess.run(["make", "-s", "service"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert values(done.stdout, "WorkingDirectory") == [str(ROOT).replace("%", "%%")]
    assert "systemctl enable --now scalp" in done.stdout
