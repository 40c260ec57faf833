"""tools/setup.sh in a folder of its own, with one tiny package that lies on disk: no network, some seconds a build."""

import fcntl
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.up_helpers import make_wheel

ROOT = Path(__file__).resolve().parents[2]


class Project:
    """A folder with setup.sh, two locks and the wheels that they name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheels = folder.parent / "wheels"
        self.bin = folder.parent / "bin"
        self.system = self.bin / "system-python3"  # asked first, in place of the system's own; a test may make it

    def make(self) -> None:
        """Writes the folder's files."""
        folder = self.folder
        (folder / "tools").mkdir(parents=True)
        self.bin.mkdir(exist_ok=True)
        shutil.copy(ROOT / "tools" / "setup.sh", folder / "tools")
        self.lock("1.0")
        (folder / "requirements-dev.txt").write_text(make_wheel(self.wheels, "only_for_tests", "1.0"))
        self.command("chromium", "exit 0")

    def lock(self, version: str) -> None:
        line = make_wheel(self.wheels, "tiny", version, script=True)
        (self.folder / "requirements.txt").write_text(line)

    def command(self, name: str, text: str) -> None:
        """Puts a program before all others of its name."""
        path = self.bin / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    def environment(self, **changes: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        return {
            **kept,
            "PATH": f"{self.bin}:{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin",
            "SET_UP_SYSTEM_PYTHON": str(self.system),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_CONFIG_FILE": os.devnull,
            **changes,
        }

    def setup(self, mode: str = "run", **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / "tools" / "setup.sh", mode],
            env=self.environment(**changes),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def version(self) -> str:
        python = self.folder / ".venv" / "bin" / "python"
        return subprocess.check_output([python, "-c", "import tiny; print(tiny.VERSION)"], text=True).strip()

    def built_at(self) -> int:
        return (self.folder / ".venv" / "pyvenv.cfg").stat().st_ino


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh clone."""
    project = Project(tmp_path / "a folder")
    project.make()
    return project


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Set up for `make run`; to be copied, not touched."""
    project = Project(tmp_path_factory.mktemp("finished") / "a folder")
    project.make()
    assert project.setup().returncode == 0
    return project


@pytest.fixture
def ready(finished: Project, tmp_path: Path) -> Project:
    """As if it had been set up here: a copy whose stamp and scripts name this folder."""
    shutil.copytree(finished.folder.parent, tmp_path, symlinks=True, dirs_exist_ok=True)
    project = Project(tmp_path / "a folder")
    for file in (*(project.folder / ".venv").glob("stamp-*"), project.folder / ".venv" / "bin" / "tiny"):
        file.write_text(file.read_text().replace(str(finished.folder), str(project.folder)))
    assert project.setup().stdout == ""
    return project


def test_builds_then_has_nothing_to_do(project: Project) -> None:
    first = project.setup()
    assert first.returncode == 0, first.stderr
    assert "downloads about" in first.stdout and "MB free" in first.stdout
    built = project.built_at()
    second = project.setup()
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert project.built_at() == built
    assert not [path.name for path in project.folder.iterdir() if path.name in (".venv.new", ".venv.old", ".venv.tmp")]
    # scripts name the interpreter where it is now, not where it was built
    assert subprocess.check_output([project.folder / ".venv" / "bin" / "tiny"], text=True) == "1.0\n"


def test_other_requirements_build_anew(ready: Project) -> None:
    built = ready.built_at()
    ready.lock("1.1")
    assert ready.setup().returncode == 0
    assert ready.version() == "1.1"
    assert ready.built_at() != built


def test_a_moved_folder_builds_anew(ready: Project) -> None:
    moved = ready.folder.rename(ready.folder.with_name("elsewhere"))
    ready.folder = moved
    assert ready.setup().returncode == 0
    assert str(moved) in (moved / ".venv" / "bin" / "tiny").read_text()


def test_without_a_stamp_it_is_built_anew(ready: Project) -> None:
    (ready.folder / ".venv" / "stamp-run").unlink()
    built = ready.built_at()
    assert ready.setup().returncode == 0
    assert ready.built_at() != built


def test_an_interpreter_that_is_gone_builds_anew(ready: Project) -> None:
    python = ready.folder / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(ready.folder / "gone")
    assert ready.setup().returncode == 0
    assert ready.version() == "1.0"


def test_a_failed_build_leaves_the_old_one_and_is_tried_again(ready: Project) -> None:
    lock = ready.folder / "requirements.txt"
    good = lock.read_text()
    lock.write_text(good.replace("sha256:", "sha256:0")[: -len("0\n")] + "\n")
    failed = ready.setup()
    assert failed.returncode == 1
    assert "the same command tries again" in failed.stderr
    assert not (ready.folder / ".venv.new").exists() and not (ready.folder / ".venv.tmp").exists()
    assert ready.version() == "1.0"
    lock.write_text(good)
    assert ready.setup().returncode == 0


def test_the_test_tools_come_on_top(ready: Project) -> None:
    built = ready.built_at()
    result = ready.setup("test")
    assert result.returncode == 0, result.stderr
    assert "adds the test tools" in result.stdout
    assert ready.built_at() == built
    python = ready.folder / ".venv" / "bin" / "python"
    assert subprocess.run([python, "-c", "import only_for_tests, tiny"]).returncode == 0
    assert ready.setup("test").stdout == ""
    assert ready.setup("run").stdout == ""


def test_both_at_once_in_a_fresh_clone_then_other_test_tools_build_anew(project: Project) -> None:
    assert project.setup("test").returncode == 0
    assert {path.name for path in (project.folder / ".venv").glob("stamp-*")} == {"stamp-run", "stamp-test"}
    (project.folder / "requirements-dev.txt").write_text(make_wheel(project.wheels, "only_for_tests", "2.0"))
    assert project.setup("run").stdout == ""  # not its business
    assert "ready" in project.setup("test").stdout


def test_two_at_once_wait_for_each_other_and_build_one(project: Project) -> None:
    command = [project.folder / "tools" / "setup.sh", "run"]
    with (project.folder / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        both = [
            subprocess.Popen(command, env=project.environment(), stdout=subprocess.PIPE, text=True) for _ in range(2)
        ]
        for child in both:
            assert child.stdout is not None
            assert "waiting for it" in child.stdout.readline()
        assert not (project.folder / ".venv").exists()
    said = [child.communicate(timeout=60)[0] for child in both]
    assert [child.returncode for child in both] == [0, 0]
    assert sum("ready" in text for text in said) == 1


@pytest.mark.parametrize("machine", ["armv7l", "armv6l", "i686"])
def test_a_32_bit_machine_is_refused_with_one_line(project: Project, machine: str) -> None:
    project.command("uname", f'[ "$1" = -m ] && echo {machine} || /usr/bin/uname "$@"')
    result = project.setup()
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert machine in result.stderr and "64-bit" in result.stderr


def test_a_32_bit_userland_is_refused_with_one_line(project: Project) -> None:
    project.command("getconf", "echo 32")
    result = project.setup()
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "32-bit" in result.stderr


def only_python(project: Project, name: str, text: str) -> None:
    """Hides every interpreter but one that we make up."""
    for other in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        project.command(other, "exit 127")
    project.command(name, text)


def test_without_ensurepip_the_apt_package_is_named(project: Project) -> None:
    only_python(
        project,
        "python3.12",
        'case "$*" in *ensurepip*) echo "No module named ensurepip" >&2; exit 1;; *) echo 3.12 x86_64 64;; esac',
    )
    result = project.setup()
    assert result.returncode == 2
    assert "sudo apt install python3.12-venv" in result.stderr
    assert "ensurepip" in result.stderr


def test_without_any_python_the_apt_packages_are_named(project: Project) -> None:
    only_python(project, "python3", 'case "$*" in *--version*) echo Python 3.9.2;; *) echo 3.9 x86_64 64;; esac')
    result = project.setup()
    assert result.returncode == 2
    assert "3.11 to 3.14" in result.stderr and "Python 3.9.2" in result.stderr and "python3-venv" in result.stderr


def test_the_newest_that_works_is_taken(project: Project) -> None:
    real = shutil.which("python3.11", path=f"{Path(sys.base_prefix) / 'bin'}:/usr/bin") or sys.executable
    only_python(project, "python3.11", f'exec {real} "$@"')
    project.command("python3.13", 'case "$*" in *ensurepip*) exit 1;; *) echo 3.13 x86_64 64;; esac')
    acts = {
        "*uname*": "echo 3.12 x86_64 64",
        "*executable*": f"echo {project.bin}/python3.12",
        "*": f'touch {project.bin}/asked; exec {real} "$@"',
    }
    cases = " ".join(f"{pattern}) {act};;" for pattern, act in acts.items())
    project.command("python3.12", f'case "$*" in {cases} esac')
    result = project.setup()
    assert result.returncode == 0, result.stderr
    assert "python3.12" in result.stdout
    assert (project.bin / "asked").exists()


def test_the_systems_own_is_taken_before_a_newer_one(project: Project) -> None:
    real = shutil.which("python3.11", path=f"{Path(sys.base_prefix) / 'bin'}:/usr/bin") or sys.executable
    only_python(project, "python3.13", "echo 3.13 x86_64 64")
    project.command(project.system.name, f'echo asked >>{project.bin}/asked\nexec {real} "$@"')
    result = project.setup()
    assert result.returncode == 0, result.stderr
    assert (project.bin / "asked").exists() and "3.13" not in result.stdout


def test_the_one_that_was_asked_for_is_taken_or_refused(project: Project) -> None:
    refused = project.setup(SET_UP_PYTHON=str(project.bin / "nowhere"))
    assert refused.returncode == 2
    assert (
        refused.stderr.startswith("set-up: SET_UP_PYTHON: ") and "nowhere is no Python 3.11 to 3.14" in refused.stderr
    )
    project.command("mine", f'echo asked >>{project.bin}/asked\nexec {sys.executable} "$@"')
    taken = project.setup(SET_UP_PYTHON=str(project.bin / "mine"))
    assert taken.returncode == 0, taken.stderr
    assert (project.bin / "asked").exists()


def test_unasked_the_systems_own_is_the_one_in_usr_bin(project: Project) -> None:
    system = Path("/usr/bin/python3")
    try:
        subprocess.run([system, "-c", "import sys, ensurepip; assert sys.version_info >= (3, 11)"], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"{system} is not there or will not do")
    only_python(project, "python3", "exit 127")
    result = project.setup(SET_UP_SYSTEM_PYTHON="")
    assert result.returncode == 0, result.stderr
    assert f"({system}" in result.stdout


def test_a_system_python_without_ensurepip_is_passed_over_and_named_where_there_is_no_other(project: Project) -> None:
    lacking = 'case "$*" in *ensurepip*) echo "No module named ensurepip" >&2; exit 1;; *) echo 3.11 x86_64 64;; esac'
    project.command(project.system.name, lacking)
    assert project.setup().returncode == 0
    shutil.rmtree(project.folder / ".venv")
    only_python(project, "python3", "exit 127")
    result = project.setup()
    assert result.returncode == 2
    assert "sudo apt install python3-venv" in result.stderr


def test_too_little_space_is_told_before_anything_is_downloaded(project: Project) -> None:
    project.command("df", "echo head; echo disk 9 9 102400 9% /")
    result = project.setup()
    assert result.returncode == 2
    assert "600 MB of free disk are needed" in result.stderr and "100 MB are free" in result.stderr
    assert not (project.folder / ".venv").exists()


def test_what_the_browser_tests_lack_is_named(ready: Project) -> None:
    """A driver that does not start for want of a library is told, too; only root has it installed."""
    ready.command("id", "echo 1000")
    assert ready.setup("test").returncode == 0
    node = next((ready.folder / ".venv" / "lib").iterdir()) / "site-packages" / "playwright" / "driver" / "node"
    node.parent.mkdir(parents=True)
    node.write_text("#!/bin/sh\nexit 127\n")
    node.chmod(0o755)
    said = ready.setup("test").stdout
    assert said.splitlines() == [
        "set-up: no libatomic1: the browser tests will be skipped. To have them: sudo apt install libatomic1"
    ]
    ready.command("id", "echo 0")
    ready.command("apt-get", f'echo "$@" >> {ready.bin}/asked')
    assert "installs libatomic1" in ready.setup("test").stdout
    assert (ready.bin / "asked").read_text().splitlines()[-1].endswith("install -y --no-install-recommends libatomic1")
    node.write_text("#!/bin/sh\nexit 0\n")
    assert ready.setup("test").stdout == ""


def test_the_test_tools_too_are_not_begun_with_too_little_space(ready: Project) -> None:
    ready.command("df", "echo head; echo disk 9 9 102400 9% /")
    result = ready.setup("test")
    assert result.returncode == 2
    assert "550 MB of free disk are needed" in result.stderr
    assert ready.setup("run").stdout == ""  # what there is stays as it was


def test_an_unknown_mode_is_told(project: Project) -> None:
    assert project.setup("everything").returncode == 2


def test_locks_are_hashed_and_name_no_index() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        assert "--hash=sha256:" in text
        assert not [line for line in text.splitlines() if line.startswith("-") or "://" in line or " @ " in line]


def test_the_locks_agree() -> None:
    def pins(name: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for line in (ROOT / name).read_text().splitlines():
            if "==" in line and not line.startswith((" ", "#")):
                package, _, rest = line.partition("==")
                found.setdefault(package, set()).add(rest.split()[0])
        return found

    run, dev = pins("requirements.txt"), pins("requirements-dev.txt")
    shared = run.keys() & dev.keys()
    assert shared and {name: dev[name] for name in shared} == {name: run[name] for name in shared}


def test_the_asked_packages_come_first() -> None:
    lines = (ROOT / "requirements.in").read_text().splitlines()
    names = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert names[:8] == ["pyzmq", "requests", "numpy", "numba", "fastapi", "uvicorn", "sqlalchemy", "pytest"]
    assert all("#" in line for line in lines if line)


def test_setup_is_executable() -> None:
    for name in ("tools/setup.sh", ".ci/run"):
        assert (ROOT / name).stat().st_mode & stat.S_IXUSR
