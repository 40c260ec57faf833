"""The closed candles of the last RETENTION_MINUTES, per pair, kept in memory and in a file beside the saved state.

The file is a head (magic, epoch, hash of the sources that wrote it) and rows in the order in which candles closed. It
only grows, by plain writes; at start, and when it is twice as long as what is kept, it is written anew. After a restart
rows that were closed by records after the saved state are left out: the tape brings them again. Losing the file loses
only what a consumer that joins later would have been told of the past.
"""

import contextlib
import struct
from collections import deque
from pathlib import Path

import numpy as np

from indicators.layout import ROW, Array

HEAD = struct.Struct("<8sqq")
MAGIC = b"SCLPROWS"
SPARE_ROWS = 4_096  # the file may have so many more than twice what is kept before it is written anew


def candles_kept(retention_minutes: int, timeframe_ms: int, warmup_candles: int) -> int:
    """How many closed candles a pair keeps."""
    return max(-(-retention_minutes * 60_000 // timeframe_ms), warmup_candles)


class ClosedCandles:
    """The ring; `complaint` says why the file is not written, once there is a reason."""

    def __init__(self, path: Path, keep: int, sources_hash: int) -> None:
        self.keep = keep
        self.complaint = ""
        self._path = path
        self._sources_hash = sources_hash
        self._epoch = 0
        self._pairs: dict[int, deque[bytes]] = {}
        self._rows_in_file = 0

    def __len__(self) -> int:
        return sum(len(kept) for kept in self._pairs.values())

    def begin(self, epoch: int) -> None:
        """Forget everything: another tape."""
        self._epoch = epoch
        self._pairs = {}
        self._rewrite()

    def load(self, epoch: int, number: int) -> None:
        """Take up what the file has of this tape up to record `number`."""
        self._epoch = epoch
        self._pairs = {}
        rows = self._read()
        self._keep(rows[rows["number"] <= number])
        self._rewrite()

    def add(self, rows: Array) -> Array:
        """Keep newly closed candles; returns those of them that are still kept, in the order in which they closed."""
        self._keep(rows)
        self._append(rows.tobytes(), len(rows))
        return self._newest(rows)

    def rows(self) -> Array:
        """Everything kept, by pair, oldest first."""
        return np.frombuffer(b"".join(b"".join(self._pairs[pair]) for pair in sorted(self._pairs)), ROW)

    def _newest(self, rows: Array) -> Array:
        """Of these rows the last `keep` of each pair."""
        if len(rows) <= self.keep:
            return rows
        seen: dict[int, int] = {}
        wanted = []
        for at, pair in zip(range(len(rows) - 1, -1, -1), rows["pair"][::-1].tolist(), strict=True):
            seen[pair] = seen.get(pair, 0) + 1
            if seen[pair] <= self.keep:
                wanted.append(at)
        return rows[wanted[::-1]]

    def _keep(self, rows: Array) -> None:
        size = ROW.itemsize
        packed = rows.tobytes()
        for at, (pair, open_ns) in enumerate(zip(rows["pair"].tolist(), rows["open_ns"].tolist(), strict=True)):
            kept = self._pairs.get(pair)
            if kept is None:
                kept = self._pairs[pair] = deque(maxlen=self.keep)
            # History that comes again after a hole replaces what was seen of its time.
            while kept and open_of(kept[-1]) >= open_ns:
                kept.pop()
            kept.append(packed[at * size : (at + 1) * size])

    def _read(self) -> Array:
        try:
            content = self._path.read_bytes()
        except OSError:
            return np.zeros(0, ROW)
        if len(content) < HEAD.size or HEAD.unpack_from(content) != (MAGIC, self._epoch, self._sources_hash):
            return np.zeros(0, ROW)
        count = (len(content) - HEAD.size) // ROW.itemsize
        return np.frombuffer(content, ROW, count, HEAD.size)

    def _rewrite(self) -> None:
        rows = self.rows()
        head = HEAD.pack(MAGIC, self._epoch, self._sources_hash)
        aside = self._path.with_suffix(".new")
        try:
            aside.write_bytes(head + rows[np.argsort(rows["number"], kind="stable")].tobytes())
            aside.replace(self._path)
            self.complaint = ""
            self._rows_in_file = len(rows)
        except OSError as error:
            self._failed(error)
            with contextlib.suppress(OSError):
                aside.unlink()

    def _append(self, packed: bytes, count: int) -> None:
        if self.complaint or self._rows_in_file > 2 * len(self) + SPARE_ROWS:
            self._rewrite()
            return
        try:
            with self._path.open("ab") as file:
                file.write(packed)
            self._rows_in_file += count
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        self.complaint = f"closed candles are kept in memory only: {self._path}: {error.strerror}"


def open_of(packed: bytes) -> int:
    """The start of the candle in a packed ROW, in ns."""
    return int.from_bytes(packed[8:16], "little", signed=True)


assert ROW.fields is not None and ROW.fields["open_ns"][1] == 8
