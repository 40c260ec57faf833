"""The bytes of a text file of market data, unpacked where it is packed: told by its content, not by its name."""

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from backtest.bad_data import BadFile

GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
BOM = b"\xef\xbb\xbf"
NOT_READ = {
    b"\xfd7zXZ\x00": "it is packed by xz: unpack it first (xz -d)",
    b"BZh": "it is packed by bzip2: unpack it first (bunzip2)",
    b"\x28\xb5\x2f\xfd": "it is packed by zstd: unpack it first (zstd -d)",
    b"7z\xbc\xaf": "it is packed by 7-Zip: unpack it first",
    b"PAR1": "it is a Parquet file: write it as CSV first",
    b"SQLite format 3": "it is a SQLite database: write the table as CSV first",
    b"\xff\xfe": "it is UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "it is UTF-16 text: save it as UTF-8",
}
HEAD_BYTES = 256 * 1024  # of which the layout is told


class Unpacked:
    """An open file, its bytes as they are unpacked."""

    def __init__(self, path: Path, raw: IO[bytes], bytes_of: IO[bytes]) -> None:
        self.path = path
        self._raw = raw
        self._bytes = bytes_of

    def read_into(self, room: memoryview) -> int:
        """Fill `room` as far as the file goes; how many bytes, 0 at its end. Raises BadFile."""
        filled = 0
        while filled < len(room):
            try:
                got = self._bytes.readinto(room[filled:])  # type: ignore[attr-defined]
            except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
                raise BadFile(
                    f"{self.path} is damaged, or not all of it is there: {error}. Fetch or pack it anew."
                ) from error
            except OSError as error:
                raise unreadable(self.path, error) from error
            if not got:
                break
            filled += got
        return filled

    def position(self) -> int:
        """Bytes of the file itself that were read."""
        return self._raw.tell()


@contextmanager
def unpacked(path: Path) -> Iterator[Unpacked]:
    """Open a file of text, gzipped text, or a zip of one such file. Raises BadFile."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from error
    with raw:
        try:
            magic = raw.read(16)
            raw.seek(0)
        except OSError as error:
            raise unreadable(path, error) from error
        for mark, what in NOT_READ.items():
            if magic.startswith(mark):
                raise BadFile(f"{path} cannot be read: {what}.")
        if magic.startswith(GZIP):
            with gzip.GzipFile(fileobj=raw) as packed:
                yield Unpacked(path, raw, packed)  # type: ignore[arg-type]
        elif magic.startswith(ZIP):
            with _member(path, raw) as member:
                yield Unpacked(path, raw, member)
        else:
            yield Unpacked(path, raw, raw)


@contextmanager
def _member(path: Path, raw: IO[bytes]) -> Iterator[IO[bytes]]:
    """The one file in a zip."""
    try:
        archive = zipfile.ZipFile(raw)
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        if len(names) != 1:
            held = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            raise BadFile(f"{path} holds {len(names)} files ({held}): unpack it and name those to read, in order.")
        member = archive.open(names[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise BadFile(f"{path} is a zip that cannot be read: {error}.") from error
    with archive, member:
        yield member


def head_bytes(path: Path) -> bytes:
    """The first HEAD_BYTES of the text. Raises BadFile, also where it is empty or no text."""
    with unpacked(path) as file:
        room = bytearray(HEAD_BYTES)
        head = bytes(room[: file.read_into(memoryview(room))])
    text = head.removeprefix(BOM)
    if not text.strip():
        raise BadFile(f"{path} is empty.")
    if b"\0" in text:
        raise BadFile(f"{path} is no text: a tape of ours, or CSV, gzipped or not, is needed.")
    return head


def unreadable(path: Path, error: OSError) -> BadFile:
    """What is said of a file that cannot be opened or read."""
    return BadFile(f"{path} cannot be read: {error.strerror or error}.")
