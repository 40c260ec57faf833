"""`trades.csv`: the rows of `trades` as text for spreadsheets, derived after each commit and never read by the bot.

Rows beyond the last whole line's id are appended, and synced in pieces shorter than the tail that a start compares.

* Torn last line (the machine stopped in the middle of it): it is cut.
* Lines that are not the table's rows of their ids (another ledger, an edited file, blocks that a power cut lost): the
  file is kept under another name and written anew. The first look compares the tail, later ones the last line.
"""

import csv
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from storage.schema import trades

HEADER = ",".join(column.name for column in trades.columns) + "\n"
TAIL_BYTES = 64 * 1024  # longer than any line
PIECE_BYTES = TAIL_BYTES // 2  # what is not synced yet is never longer

Rows = Sequence[Sequence[Any]]


def as_line(row: Sequence[Any]) -> str:
    """One row as one line: floats round-trip exact, null is empty, line breaks in a text become spaces."""
    out = io.StringIO()
    cells = [" ".join(cell.split()) if isinstance(cell, str) else cell for cell in row]
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()


class TradesCsv:
    """The file, and `rows_from(id)`: the rows of `trades` with that id and above, in order.

    `breathe()` is called now and then while many rows are written.
    """

    def __init__(self, path: Path, rows_from: Callable[[int], Rows]) -> None:
        self.path = path
        self.breathe: Callable[[], object] = lambda: None
        self._rows_from = rows_from
        self._compared = False  # the tail, since we started
        self._left: tuple[int, int, str] | None = None  # inode, size and last line as we left the file

    def sync(self) -> int:
        """Brings the file up to the table; returns how many rows were written. Raises OSError."""
        last_line = self._last_line()
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
        self._left = None
        number = 1
        while (kept := self.path.with_name(f"{self.path.stem}.before-{number}{self.path.suffix}")).exists():
            number += 1
        if self.path.exists():
            self.path.replace(kept)

    def _last_line(self) -> str | None:
        """The last whole line, None where there is none; a tail that is not the table's is set aside first."""
        if self._left is not None:
            try:
                found = os.stat(self.path)
            except FileNotFoundError:
                return None
            if (found.st_ino, found.st_size) == self._left[:2]:
                return self._left[2]
        lines = self._whole_lines()
        if lines and not self._compared and not self._agrees(lines):
            self.set_aside()
            return None
        self._compared = True
        return lines[-1] if lines else None

    def _agrees(self, lines: list[str]) -> bool:
        """Whether lines are the table's rows of their ids, as far as the table has these (it may be being rebuilt)."""
        rows_of = lines[1:] if lines[0] == HEADER else lines
        first = _id_of(rows_of[0]) if rows_of else 0
        rows = [] if first is None else self._rows_from(first)
        return first is not None and all(as_line(row) == line for row, line in zip(rows, rows_of, strict=False))

    def _whole_lines(self) -> list[str]:
        """Cuts what follows the last line break; returns the last whole lines, none where nothing is left."""
        try:
            file = self.path.open("r+b")
        except FileNotFoundError:
            return []
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
            return []
        if size > len(tail):
            whole = whole[whole.find(b"\n") + 1 :]  # its first line began before the tail
        return whole.decode(errors="replace").splitlines(keepends=True)

    def _append(self, rows: Rows, with_header: bool) -> int:
        lines = [HEADER] if with_header else []
        lines += map(as_line, rows)
        if not lines:
            return 0
        self._left = None
        with self.path.open("ab") as file:
            piece = bytearray()
            for line in lines:
                piece += line.encode()
                if len(piece) >= PIECE_BYTES:
                    _write_synced(file, piece)
                    piece.clear()
                    self.breathe()
            _write_synced(file, piece)
            found = os.fstat(file.fileno())
        self._left = (found.st_ino, found.st_size, lines[-1])
        return len(rows)


def _write_synced(file: BinaryIO, piece: bytes | bytearray) -> None:
    file.write(piece)
    file.flush()
    os.fdatasync(file.fileno())


def _id_of(line: str | None) -> int | None:
    cell = "" if line is None else line.partition(",")[0]
    return int(cell) if cell.isascii() and cell.isdigit() else None
