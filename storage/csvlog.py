"""`trades.csv`: the rows of `trades` as text for spreadsheets, derived after each commit and never read by the bot.

Rows beyond the last whole line's id are appended. A torn last line (the machine stopped in the middle of it) is cut.
Where the last whole line is not the table's row of that id, the file belongs to another ledger or was edited: it is
kept under another name and written anew.
"""

import csv
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from storage.schema import trades

HEADER = ",".join(column.name for column in trades.columns) + "\n"
TAIL_BYTES = 64 * 1024  # longer than any line

Rows = Sequence[Sequence[Any]]


def as_line(row: Sequence[Any]) -> str:
    """One row as one line: floats round-trip exact, null is empty, line breaks in a text become spaces."""
    out = io.StringIO()
    cells = [" ".join(cell.split()) if isinstance(cell, str) else cell for cell in row]
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()


class TradesCsv:
    """The file, and `rows_from(id)`: the rows of `trades` with that id and above, in order."""

    def __init__(self, path: Path, rows_from: Callable[[int], Rows]) -> None:
        self.path = path
        self._rows_from = rows_from

    def sync(self) -> int:
        """Brings the file up to the table; returns how many rows were written. Raises OSError."""
        last_line = self._cut_to_whole_lines()
        last_id = _id_of(last_line)
        if last_line is None or last_line == HEADER:
            return self._append(self._rows_from(0), with_header=last_line is None)
        rows = [] if last_id is None else self._rows_from(last_id)
        if last_id is not None and not rows:
            return 0  # the table is behind the file: it is being rebuilt from the journal
        if not rows or as_line(rows[0]) != last_line:
            self.set_aside()
            return self._append(self._rows_from(0), with_header=True)
        return self._append(rows[1:], with_header=False)

    def set_aside(self) -> None:
        """Renames the file, so that the next `sync` writes a new one."""
        number = 1
        while (kept := self.path.with_name(f"{self.path.stem}.before-{number}{self.path.suffix}")).exists():
            number += 1
        if self.path.exists():
            self.path.replace(kept)

    def _cut_to_whole_lines(self) -> str | None:
        """Cuts what follows the last line break; returns the last whole line, None where nothing is left."""
        try:
            file = self.path.open("r+b")
        except FileNotFoundError:
            return None
        with file:
            start = file.read(len(HEADER))
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            tail = file.read()
            whole = tail[: tail.rfind(b"\n") + 1]
            ours = HEADER.encode().startswith(start) and (whole or size == len(tail))
            if ours and len(whole) != len(tail):
                file.truncate(size - len(tail) + len(whole))
        if not ours:
            self.set_aside()
            return None
        if not whole:
            return None
        return whole[whole.rfind(b"\n", 0, -1) + 1 :].decode(errors="replace")

    def _append(self, rows: Rows, with_header: bool) -> int:
        text = (HEADER if with_header else "") + "".join(as_line(row) for row in rows)
        if text:
            with self.path.open("ab") as file:
                file.write(text.encode())
        return len(rows)


def _id_of(line: str | None) -> int | None:
    cell = "" if line is None else line.partition(",")[0]
    return int(cell) if cell.isascii() and cell.isdigit() else None
