"""Who has a file open."""

import subprocess
import sys
from pathlib import Path

from core.file_users import users_of

HOLD = "import sys; file = open(sys.argv[1]); print(flush=True); sys.stdin.read(); file.close()"


def test_another_process_is_named_with_its_number_also_through_a_link(tmp_path: Path) -> None:
    file = tmp_path / "journal.db"
    file.touch()
    (tmp_path / "current").symlink_to(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        name = Path(f"/proc/{process.pid}/comm").read_text().strip()
        assert users_of(file) == users_of(tmp_path / "current" / "journal.db") == f"{name} (process {process.pid})"
        process.communicate("")


def test_we_ourselves_are_nobody(tmp_path: Path) -> None:
    with (tmp_path / "journal.db").open("w") as file:
        assert users_of(Path(file.name)) == "not to be seen from here: lsof names it"
