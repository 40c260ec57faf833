"""Where a bench's bot lies: on a disk, wherever one is to be had."""

import os
import tempfile
from pathlib import Path

import pytest

from core.errors import MisconfiguredError
from core.paths import run_dir
from tools import mounts
from tools.bench import folders
from tools.bench.folders import Place, on_disk, scratch, unfit

MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 27 0:27 / /tmp rw,nosuid shared:5 master:2 - tmpfs tmpfs rw,size=4g
31 27 0:31 / /mnt/a\\040b rw - ramfs none rw
32 27 179:2 /home /home rw - ext4 /dev/mmcblk0p2 rw
33 27 0:99 / /torn rw
34
"""
TMP = Place(Path("/tmp"), "tmpfs", True)
VAR_TMP = Place(Path("/var/tmp"), "ext4", True)
VAR = Place(Path("/srv/scalp/var"), "ext4", True)


@pytest.mark.parametrize(
    ("number", "told"),
    [("254:0", "ext4"), ("0:27", "tmpfs"), ("0:31", "ramfs"), ("179:2", "ext4"), ("0:2", ""), ("0:99", "")],
    ids=["the root", "after optional fields", "a space in its path", "a part of a disk", "not there", "half a line"],
)
def test_the_file_system_of_a_device(number: str, told: str) -> None:
    assert mounts.filesystem(MOUNTS, number) == told


def test_a_folder_that_is_not_there_yet_lies_where_it_will(tmp_path: Path) -> None:
    assert mounts.device(tmp_path / "not" / "yet") == mounts.device(tmp_path)
    assert mounts.filesystem_of(tmp_path / "not" / "yet") == mounts.filesystem_of(tmp_path)


FOUND = {
    "the usual place": ([TMP._replace(filesystem="ext4"), VAR_TMP, VAR], "/tmp"),
    "a file system that nobody knows": ([TMP._replace(filesystem=""), VAR_TMP, VAR], "/tmp"),
    "/tmp in memory": ([TMP, VAR_TMP, VAR], "/var/tmp"),
    "both in memory": ([TMP, VAR_TMP._replace(filesystem="ramfs"), VAR], "/srv/scalp/var"),
    "not ours to write": ([TMP, VAR_TMP._replace(writable=False), VAR], "/srv/scalp/var"),
    "too long a path": ([VAR._replace(folder=Path("/a" * 40)), VAR_TMP], "/var/tmp"),
}


@pytest.mark.parametrize(("found", "told"), FOUND.values(), ids=FOUND)
def test_the_first_place_on_a_disk_is_taken(found: list[Place], told: str) -> None:
    assert on_disk(found) == Path(told)


def test_where_none_is_on_a_disk_each_reason_and_the_next_step_are_told() -> None:
    long = Place(Path("/a" * 40), "ext4", True)
    with pytest.raises(MisconfiguredError) as raised:
        on_disk([TMP, VAR_TMP._replace(writable=False), long])
    text = str(raised.value)
    assert "/tmp (tmpfs: memory), /var/tmp (not ours to write), /a/a" in text
    assert "(too long for a socket's name)" in text and "TMPDIR=" in text


@pytest.mark.parametrize("spare", [0, 1])
def test_a_path_is_fit_exactly_where_a_bot_can_run_in_it(tmp_path: Path, spare: int) -> None:
    room = 107 - len("/bench01234567/run/indicators.pub") - len(bytes(tmp_path)) - 1
    if room < 1:
        pytest.skip(f"{tmp_path} is too long itself")
    folder = tmp_path / ("x" * (room + spare))
    assert bool(unfit(Place(folder, "ext4", True))) is bool(spare)
    if spare:
        with pytest.raises(MisconfiguredError, match="too long"):
            run_dir(folder / "bench01234567")
    else:
        run_dir(folder / "bench01234567")


def test_a_scratch_folder_is_made_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="bf") as short:  # a test's own folder may be too long for a socket
        there = Place(Path(short) / "var", "ext4", True)
        monkeypatch.setattr(folders, "places", lambda first: [TMP, there])
        with scratch(must_be_on_disk=True) as folder:
            assert folder.parent == there.folder and folder.stat().st_mode & 0o077 == 0
            (folder / "run").mkdir()
        assert not list(there.folder.iterdir())


def test_without_a_disk_only_who_needs_one_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(folders, "places", lambda first: [Place(tmp_path, "tmpfs", True), TMP])
    with scratch() as folder:
        assert folder.parent == tmp_path
    with pytest.raises(MisconfiguredError), scratch(must_be_on_disk=True):
        pass


def test_this_machines_temporary_folder_in_memory_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK) or mounts.filesystem_of(shm) != "tmpfs":
        pytest.skip("this machine has no /dev/shm")
    found = folders.places(first=shm)
    assert found[0] == Place(shm, "tmpfs", True) and unfit(found[0]) == "tmpfs: memory"
    assert [place.folder for place in found[2:]] == [Path("/var/tmp"), folders.var_dir_only()]
