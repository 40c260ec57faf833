"""What the doctor looks at on this machine: real child processes, real files, the real report and its exit codes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest

from core import paths
from core.settings import Settings
from core.settings_load import from_texts
from tools import doctor, doctor_facts, doctor_lines, doctor_report, doctor_wheels
from tools.doctor_lines import FAIL, OK
from trader import clearance

# --- wheels

MODULES = {
    "fine_module": ("", 0, ""),
    "old_processor": ("import os, signal\nos.kill(os.getpid(), signal.SIGILL)", -signal.SIGILL, ""),
    "segfault": ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV, ""),
    "not_there": ("import a_package_that_nobody_has", 1, "ModuleNotFoundError: No module named 'a_package_that"),
    "gives_up": ("raise SystemExit(7)", 7, ""),
}


def test_each_module_is_imported_by_a_process_of_its_own(tmp_path: Path) -> None:
    for name, (text, _, _) in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    found = doctor_wheels.imported(list(MODULES), tmp_path)
    assert [(one.module, one.status) for one in found] == [(name, status) for name, (_, status, _) in MODULES.items()]
    for one in found:
        assert one.words.startswith(MODULES[one.module][2])
    assert [doctor_lines.wheel(one).status for one in found] == [OK, FAIL, FAIL, FAIL, FAIL]
    assert "SIGILL" in doctor_lines.wheel(found[1]).text


def test_a_module_that_hangs_is_ended(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(600)")
    (one,) = doctor_wheels.imported(["hangs"], tmp_path, seconds=1.0)
    assert one.status is None


def test_a_module_that_is_not_there_is_told() -> None:
    (one,) = doctor_wheels.imported(["a_package_that_nobody_has"])
    assert one.status == 1 and "ModuleNotFoundError" in one.words


def test_every_package_with_compiled_code_is_looked_at() -> None:
    lock = (paths.ROOT / "requirements.txt").read_text()
    needed = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    native = set()
    for name in needed:
        try:
            if any(".so" in file.suffixes for file in files(name) or ()):
                native.add(name)
        except PackageNotFoundError:
            continue  # of another platform
    assert native - set(doctor_wheels.WHEELS) == set()
    assert set(doctor_wheels.WHEELS) - needed == set()


def test_the_packages_of_this_machine_import() -> None:
    found = doctor_wheels.imported(list(doctor_wheels.WHEELS.values()))
    assert [doctor_lines.wheel(one) for one in found if one.status != 0] == []


# --- files and disks


def settings(var: Path, **texts: str) -> Settings:
    return from_texts({"VAR_DIR": str(var), **texts})


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_the_mode_of_env(tmp_path: Path, mode: int) -> None:
    file = tmp_path / ".env"
    assert doctor_facts.env_mode(file) is None
    file.write_text("")
    file.chmod(mode)
    assert doctor_facts.env_mode(file) == mode


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    found = doctor_facts.disk(settings(tmp_path / "not" / "yet"))
    assert found.free > 0 and found.taped == 0 and not (tmp_path / "not").exists()


def test_the_tape_that_is_there_is_counted(tmp_path: Path) -> None:
    asked = settings(tmp_path)
    tape = paths.book_dir(asked) / "tape"
    tape.mkdir(parents=True)
    (tape / "1.tape").write_bytes(bytes(1_000))
    (tape / "2.tape").write_bytes(bytes(500))
    assert doctor_facts.disk(asked).taped == 1_500


def test_a_file_system_in_memory_is_known() -> None:
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK):
        pytest.skip("this machine has no /dev/shm")
    assert doctor_facts.disk(settings(shm)).filesystem == "tmpfs"


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ({"block/mmcblk0/mmcblk0p2/partition": "2", "block/mmcblk0/device/type": "SD\n"}, "SD card"),
        ({"block/mmcblk0/mmcblk0p2/partition": "2", "block/mmcblk0/device/type": "MMC\n"}, "eMMC"),
        ({"block/sda/sda1/partition": "1", "block/sda/queue/rotational": "1\n"}, "disk"),
        ({"nvme/nvme0/nvme0n1/nvme0n1p1/partition": "1", "nvme/nvme0/nvme0n1/queue/rotational": "0\n"}, "SSD"),
        ({"block/vda/queue/rotational": "0\n"}, "SSD"),
        ({"block/odd/odd1/partition": "1"}, ""),
        ({}, ""),
    ],
)
def test_what_a_device_is_by_the_kernels_folders(tmp_path: Path, made: dict[str, str], told: str) -> None:
    for name, text in made.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    first = next(iter(made), "block/none/x")
    device = tmp_path / "dev"
    device.symlink_to((tmp_path / first).parent if "queue" not in first else (tmp_path / first).parent.parent)
    assert doctor_facts.medium(device) == told


# --- the command


def test_a_package_that_kills_who_loads_it_does_not_take_the_doctor_with_it(tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text(MODULES["old_processor"][0])
    done = run(tmp_path / "var", PYTHONPATH=str(tmp_path))
    assert done.returncode == doctor.FAILED, done.stdout + done.stderr
    assert re.search(r"^fail +wheel msgspec +killed by SIGILL", done.stdout, re.MULTILINE)
    assert len(done.stdout.splitlines()) == len(doctor_wheels.WHEELS) + 2, "a line each, and the sum"
    told = json.loads(run(tmp_path / "var", "--json", PYTHONPATH=str(tmp_path)).stdout)
    assert not told["passed"] and not (tmp_path / "var").exists()


def test_the_doctor_itself_loads_no_package() -> None:
    modules = [module.partition(".")[0] for module in doctor_wheels.WHEELS.values()]
    program = f"import sys, tools.doctor; print([name for name in {modules!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=paths.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def ports() -> dict[str, str]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return {"PORT": str(one.getsockname()[1]), "SANDBOX_PORT": str(other.getsockname()[1])}


def run(var: Path, *arguments: str, **texts: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "VAR_DIR": str(var), **ports(), **texts}
    command = [sys.executable, "-m", "tools.doctor", *arguments]
    return subprocess.run(command, cwd=paths.ROOT, env=environment, capture_output=True, text=True, check=False)


def test_before_the_first_start_it_looks_at_the_machine_and_says_what_is_skipped(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == doctor.PASSED, done.stdout + done.stderr
    assert re.search(r"^skipped  key +the sandbox runs with the bot", done.stdout, re.MULTILINE)
    assert "no pass for real orders" in done.stdout and not (tmp_path / clearance.FILE).exists()


def test_what_fails_is_told_for_programs_too_and_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / clearance.FILE).write_text('{"passed_ms": 1, "settings_hash": "x"}')
    texts = {"VENUE": "binance", "VENUE_REST_URL": "http://127.0.0.1:1", "BINANCE_API_KEY": "the-key"}
    done = run(tmp_path, "--json", **texts, BINANCE_SECRET_KEY="the-secret")
    assert done.returncode == doctor.FAILED, done.stdout + done.stderr
    told = json.loads(done.stdout)
    failing = [line["name"] for line in told["lines"] if line["status"] == FAIL]
    assert failing == ["REST"] and not told["passed"] and not told["account_asked"]
    assert "the-key" not in done.stdout + done.stderr and "the-secret" not in done.stdout + done.stderr
    assert not (tmp_path / clearance.FILE).exists(), "an earlier pass counts no more"


@pytest.mark.parametrize(
    ("texts", "words"),
    [({"RSI_BUY": "banana"}, "RSI_BUY=banana"), ({"TRADE_CAPITAL": "99999999999"}, "TRADE_CAPITAL")],
)
def test_settings_that_cannot_be_are_exit_code_2(tmp_path: Path, texts: dict[str, str], words: str) -> None:
    done = run(tmp_path, **texts)
    assert done.returncode == doctor.MISCONFIGURED and words in done.stderr and not done.stdout


def test_a_folder_that_cannot_be_is_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(tmp_path / "file")
    assert done.returncode == doctor.MISCONFIGURED and "VAR_DIR" in done.stderr


def test_a_port_of_another_program_fails(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        lines = list(
            doctor_report.machine(settings(tmp_path, PORT=str(port), SANDBOX_PORT=ports()["SANDBOX_PORT"]), tmp_path)
        )
    assert [line.name for line in lines if line.status == FAIL] == ["port"]
    assert f"PORT={port}: in use" in lines[-1].text
