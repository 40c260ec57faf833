"""Tapes as market data: checked on opening, read in order with their own numbers, usable while they are written."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from backtest import tapes
from backtest.bad_data import BadFile
from backtest.sources import open_source
from bus.messages import Market, Start
from bus.records import HOLE, RECORD, TRADE
from bus.segment import SegmentHeader, pack_header, segments_of
from bus.tape import TapeWriter
from core.clock import ManualClock
from core.settings_load import from_texts

SETTINGS = from_texts({})
NS = 1_700_000_000_000_000_000


def a_start(tick: str = "0.1", book: str = "sim-test") -> Start:
    market = Market("B-BTC_USDT", "BTC", "USDT", tick, "0.001", "0", "0")
    return Start("coindcx", book, [market], "5", "5", False, NS)


def trades(count: int, begin_ns: int = NS) -> np.ndarray:
    records = np.zeros(count, RECORD)
    records["kind"] = TRADE
    records["exchange_ns"] = begin_ns + np.arange(count)
    records["price"] = records["ticks"] = 1 + np.arange(count)
    return records


class Tape:
    """A book's tape as the feeder writes it, below a folder of its own."""

    def __init__(self, folder: Path, begun_ns: int = NS) -> None:
        self.folder = folder / "tape"
        self.writer = TapeWriter(self.folder, ManualClock(begun_ns), "one boot", segment_bytes=64 * 100)
        self.writer.open()

    def start(self, body: Start | None = None) -> None:
        self.writer.start(body or a_start())

    def append(self, *counts: int) -> None:
        for count in counts:
            self.writer.append(trades(count, NS + self.writer.next_number))

    @property
    def epoch(self) -> Path:
        return self.folder / str(self.writer.epoch)

    @property
    def segments(self) -> list[Path]:
        return segments_of(self.epoch)


@pytest.fixture
def tape(tmp_path: Path) -> Tape:
    """Five hundred trades behind a START record, in several segments."""
    tape = Tape(tmp_path / "book")
    tape.start()
    tape.append(*[50] * 10)
    assert len(tape.segments) > 3
    return tape


def read(*paths: Path) -> list[tuple[int, int]]:
    """(first number, count) of all chunks, joined where they follow each other."""
    spans: list[tuple[int, int]] = []
    for chunk in open_source(paths, SETTINGS).chunks():
        assert len(chunk.records) and set(chunk.records["kind"].tolist()) <= {TRADE, HOLE}
        if spans and sum(spans[-1]) == chunk.first:
            spans[-1] = (spans[-1][0], spans[-1][1] + len(chunk.records))
        else:
            spans.append((chunk.first, len(chunk.records)))
    return spans


def test_a_book_its_tape_an_epoch_and_its_segments_are_read_alike(tape: Tape):
    whole = [(1, 500)]
    assert read(tape.folder) == read(tape.folder.parent) == read(tape.epoch) == read(*tape.segments) == whole
    source = open_source([tape.folder], SETTINGS)
    records = np.concatenate([chunk.records for chunk in source.chunks()])
    assert records["exchange_ns"].tolist() == [NS + number for number in range(1, 501)]
    assert (source.total, source.done, source.connected, source.notes) == (501, 501, False, [])


def test_one_segment_is_read_with_its_own_numbers(tape: Tape):
    first = int(tape.segments[2].stem)
    assert read(tape.segments[2]) == [(first, int(tape.segments[3].stem) - first)]


def test_a_start_record_gives_no_record_and_a_new_start(tape: Tape):
    tape.start()
    tape.append(3)
    source = open_source([tape.folder], SETTINGS)
    chunks = list(source.chunks())
    assert read(tape.folder) == [(1, 500), (502, 3)]
    assert all(chunk.start is source.start for chunk in chunks[:-1])
    assert chunks[-1].start is not source.start and chunks[-1].start == source.start


def test_other_rules_of_the_market_are_a_new_start(tape: Tape):
    tape.start(a_start(tick="0.5"))
    tape.append(3)
    *before, last = open_source([tape.folder], SETTINGS).chunks()
    assert {chunk.start.markets[0].tick for chunk in before} == {"0.1"} and last.start.markets[0].tick == "0.5"


def test_a_tape_that_grows_is_read_as_it_was_on_opening_even_when_it_is_pruned(tape: Tape):
    source = open_source([tape.folder], SETTINGS)
    tape.append(50)
    tape.writer.prune(0, 0)
    assert sum(len(chunk.records) for chunk in source.chunks()) == 500
    assert [first + count for first, count in read(tape.folder)] == [551]


@pytest.mark.parametrize("cut", [1, 63, 64, 65, 64 * 49 + 1])
def test_a_truncated_tape_is_read_to_its_last_whole_record_with_a_note(tape: Tape, cut: int):
    last = tape.segments[-1]
    last.write_bytes(last.read_bytes()[:-cut])
    source = open_source([tape.folder], SETTINGS)
    whole = 500 - -(-cut // 64)
    assert read(tape.folder) == [(1, whole)]
    wanted = f"{last.name} ends in half a record ({64 - cut % 64} bytes): read up to record {whole}"
    assert source.notes == ([wanted] if cut % 64 else [])


def test_zeros_that_a_power_cut_left_end_the_tape_with_a_note(tape: Tape):
    with tape.segments[-1].open("ab") as file:
        file.write(bytes(64 * 7))
    source = open_source([tape.folder], SETTINGS)
    assert sum(len(chunk.records) for chunk in source.chunks()) == 500
    assert source.notes == [f"{tape.segments[-1].name} ends in 7 empty records: read up to record 500"]
    assert sum(len(chunk.records) for chunk in source.chunks()) == 500 and len(source.notes) == 1


def test_a_missing_segment_is_a_note_and_the_numbers_behind_it_stay(tape: Tape):
    gone = tape.segments[1]
    first, following = int(gone.stem), int(tape.segments[2].stem)
    gone.unlink()
    source = open_source([tape.folder], SETTINGS)
    assert source.notes == [f"the records {first} to {following - 1} are missing on the tape"]
    assert read(tape.folder) == [(1, first - 1), (following, 501 - following)]


def damaged(path: Path, at: int, value: int = 99) -> None:
    data = bytearray(path.read_bytes())
    data[at] = value
    path.write_bytes(bytes(data))


def test_a_damaged_file_is_named(tape: Tape, tmp_path: Path):
    def refused(*paths: Path) -> str:
        with pytest.raises(BadFile) as caught:
            read(*paths)
        return str(caught.value)

    for case, (at, wanted) in {
        "version": (8, "is a tape of version 99, we read version 1"),
        "layout": (16, "the header of"),
        "body": (100, "is damaged"),
        "kind": (tape.segments[1].stat().st_size - 64, "is damaged, of kind 99"),
    }.items():
        copy = tmp_path / case
        shutil.copytree(tape.epoch, copy)
        damaged(copy / tape.segments[1].name, at)
        text = refused(copy)
        assert wanted in text and tape.segments[1].name in text, case
    renamed = tmp_path / "renamed"
    shutil.copytree(tape.epoch, renamed)
    (renamed / tape.segments[1].name).rename(renamed / f"{7:020d}.tape")
    assert "its name says another number" in refused(renamed)
    short = tmp_path / "short.tape"
    short.write_bytes(tape.segments[0].read_bytes()[:120])
    assert "the header of" in refused(short)


def test_a_tape_of_another_layout_is_not_read(tmp_path: Path):
    header = SegmentHeader.new(1, 0, NS, "", a_start())
    other = SegmentHeader(header.size, header.layout + 1, 1, 0, NS, "", header.body)
    path = tmp_path / "other.tape"
    path.write_bytes(pack_header(other) + trades(3).tobytes())
    with pytest.raises(BadFile, match="have another layout than this version's"):
        read(path)


def test_tapes_out_of_order_or_twice_are_named(tape: Tape):
    one, two = tape.segments[:2]
    with pytest.raises(BadFile, match="name tapes in order, each once"):
        read(two, one)
    with pytest.raises(BadFile, match="is named twice"):
        read(one, one)


def test_of_several_epochs_the_newest_is_read_and_the_notes_say_so(tape: Tape, tmp_path: Path):
    other = Tape(tmp_path / "other", NS + 10**15)
    other.start()
    other.writer.append(trades(7, NS + 10**15))
    shutil.copytree(other.epoch, tape.folder / other.epoch.name)
    source = open_source([tape.folder], SETTINGS)
    assert sum(len(chunk.records) for chunk in source.chunks()) == 7
    assert "holds 2 epochs, the newest is read" in source.notes[0]


def test_epochs_in_order_go_on_counting_and_the_notes_say_so(tape: Tape, tmp_path: Path):
    other = Tape(tmp_path / "other", NS + 10**15)
    other.start()
    other.writer.append(trades(7, NS + 10**15))
    source = open_source([tape.epoch, other.epoch], SETTINGS)
    chunks = list(source.chunks())
    assert (chunks[-1].first, len(chunks[-1].records)) == (502, 7)
    assert chunks[-1].start is not source.start
    assert source.notes == [f"{other.segments[0]} is of another epoch: its records are counted on from 501"]
    with pytest.raises(BadFile, match="name tapes in the order of time"):
        read(other.epoch, tape.epoch)


def test_what_holds_no_tape_says_so(tmp_path: Path):
    with pytest.raises(BadFile, match="holds no tape"):
        read(tmp_path)
    empty = Tape(tmp_path / "empty")
    empty.writer.go_on(0, a_start())
    with pytest.raises(BadFile, match="holds no records yet"):
        read(empty.folder)


def test_tapes_and_other_files_are_not_mixed(tape: Tape, tmp_path: Path):
    path = tmp_path / "trades.csv"
    path.write_text("ts_ns,price,qty\n1,1,1\n")
    with pytest.raises(BadFile, match=r"is a tape and .*trades\.csv is none"):
        read(tape.folder, path)
    with pytest.raises(BadFile, match="--qty-unit quote is for files"):
        open_source([tape.folder], SETTINGS, qty_unit="quote")


def test_a_tape_made_of_a_file_counts_as_connected_throughout(tmp_path: Path):
    tape = Tape(tmp_path)
    tape.start(a_start(book=tapes.FILE_BOOK))
    assert open_source([tape.folder], SETTINGS).connected


@pytest.mark.parametrize("count", [tapes.PIECE - 2, tapes.PIECE - 1, tapes.PIECE, 2 * tapes.PIECE + 5])
@pytest.mark.parametrize("starts", [(), (1,), (tapes.PIECE - 1,), (tapes.PIECE,), (5, 6)])
def test_where_chunks_end_changes_nothing(tmp_path: Path, count: int, starts: Sequence[int]):
    records = trades(count)
    places = [place for place in starts if place < count]
    records["kind"][places] = 1
    path = tmp_path / "one.tape"
    path.write_bytes(pack_header(SegmentHeader.new(1, 10, NS, "", a_start())) + records.tobytes())
    found = [
        (chunk.first + place, ns)
        for chunk in open_source([path], SETTINGS).chunks()
        for place, ns in enumerate(chunk.records["exchange_ns"].tolist())
    ]
    assert found == [(10 + place, NS + place) for place in range(count) if place not in places]
