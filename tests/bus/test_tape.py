"""The tape: what was appended is read, whatever was killed, cut or pruned."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.messages import Market, Start
from bus.publisher import REPLAY_FRAMES
from bus.records import CANDLE, HOLE, RECORD, START, TRADE
from bus.segment import SegmentDamaged, SegmentHeader, read_header, segment_number, segments_of
from bus.tape import TapeError, TapeReader, TapeWriter, boot_id, epochs, tape_replay
from core.clock import NS_PER_S, ManualClock
from core.paths import ROOT

BOOT = "11111111-2222-3333-4444-555555555555"
HOUR = 3600 * NS_PER_S
Records = np.ndarray[Any, np.dtype[Any]]


def a_start(*pairs: str, time_ns: int = 1, tick: str = "0.1") -> Start:
    markets = [Market(pair, "BTC", "USDT", tick, "0.00001", "0", "0") for pair in pairs or ("B-BTC_USDT",)]
    return Start("coindcx", "sim-coindcx", markets, "5", "5", False, time_ns)


def trades(first: int, count: int) -> Records:
    """Trades that carry their own count in `ticks`."""
    records = np.zeros(count, RECORD)
    records["kind"] = TRADE
    records["ticks"] = np.arange(first, first + count)
    records["price"] = records["ticks"] / 8
    return records


def writer(folder: Path, clock: ManualClock | None = None, boot: str = BOOT, **limits: int) -> TapeWriter:
    tape = TapeWriter(folder / "tape", clock or ManualClock(), boot, **limits)
    tape.open()
    return tape


def everything(folder: Path) -> Records:
    """All records of the newest epoch, read by number in small steps."""
    reader = TapeReader(folder / "tape")
    parts: list[Records] = [np.zeros(0, RECORD)]
    number = reader.first
    while True:
        records, _ = reader.read(number, 7)
        if len(records) == 0:
            break
        parts.append(records)
        number += len(records)
    assert number == reader.last + 1
    reader.close()
    return np.concatenate(parts)


def test_a_new_tape_begins_with_its_start_record(tmp_path: Path) -> None:
    tape = writer(tmp_path)
    with pytest.raises(TapeError, match="begins with its START record"):
        tape.append(trades(0, 1))
    assert tape.start(a_start(time_ns=77)) == 0
    assert tape.append(trades(0, 3)) == 1
    reader = TapeReader(tmp_path / "tape")
    records, body = reader.read(0)
    assert len(records) == 1 and records["kind"][0] == START and records["exchange_ns"][0] == 77
    assert body == read_header(segments_of(tmp_path / "tape" / str(tape.epoch))[0]).body
    records, body = reader.read(1)
    assert records["ticks"].tolist() == [0, 1, 2] and body is None
    assert (reader.first, reader.last) == (0, 3)


def test_nothing_is_read_from_nothing(tmp_path: Path) -> None:
    reader = TapeReader(tmp_path / "tape")
    assert (reader.first, reader.last) == (0, -1)
    assert len(reader.read(0)[0]) == 0
    assert tape_replay(reader)(0) == []
    assert list(reader.segments()) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=12))
def test_appending_reopening_and_reading_are_one(batches: list[tuple[int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        limits = {"segment_bytes": 64 * 60}
        tape = writer(folder, **limits)
        expected: list[Records] = []

        def start() -> None:
            before = tape.next_number
            assert tape.start(a_start(time_ns=len(expected))) == before
            expected.append(np.zeros(1, RECORD))

        start()
        for count, reopen in batches:
            if reopen:
                tape.close()
                again = writer(folder, **limits)
                assert (again.epoch, again.next_number) == (tape.epoch, tape.next_number)
                assert again.new_epoch_because == ""
                tape = again
                start()
            records = trades(tape.next_number, count)
            assert tape.append(records) == tape.next_number - count
            expected.append(records)
        found = everything(folder)
        wanted = np.concatenate(expected)
        assert len(found) == len(wanted)
        is_trade = wanted["kind"] == TRADE
        assert (found[is_trade] == wanted[is_trade]).all()
        assert (found["kind"][~is_trade] == START).all()
        mapped = np.concatenate([records for _, _, records in TapeReader(folder / "tape").segments()])
        assert (mapped == found).all()
        tape.close()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 64 * 30), st.integers(1, 3))
def test_cut_off_at_any_byte_it_is_read_to_its_last_whole_record(cut: int, count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tape = writer(folder)
        tape.start(a_start())
        tape.append(trades(1, 29))
        tape.close()
        path = segments_of(folder / "tape" / str(tape.epoch))[-1]
        header = read_header(path)
        os.truncate(path, header.size + cut)
        whole = cut // 64
        reader = TapeReader(folder / "tape")
        assert reader.last == whole - 1
        assert len(everything(folder)) == whole
        again = writer(folder)
        assert (again.epoch, again.next_number) == (tape.epoch, whole)
        assert again.cut_bytes == cut % 64
        again.start(a_start())
        again.append(trades(whole + 1, count))
        found = everything(folder)
        assert len(found) == whole + 1 + count
        assert found["ticks"][whole + 1 :].tolist() == list(range(whole + 1, whole + 1 + count))
        again.close()


def test_a_header_cut_off_begins_a_new_epoch(tmp_path: Path) -> None:
    tape = writer(tmp_path)
    tape.start(a_start())
    path = segments_of(tmp_path / "tape" / str(tape.epoch))[-1]
    for size in (0, 8, 95, 100):
        os.truncate(path, size)
        again = writer(tmp_path)
        assert again.epoch > tape.epoch and again.next_number == 0
        assert again.new_epoch_because


def damaged_byte(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize(
    "case", ["boot", "no boot id", "magic", "body", "version", "layout", "tail", "overlap", "gone"]
)
def test_where_the_tail_may_be_lost_a_new_epoch_begins(tmp_path: Path, case: str) -> None:
    tape = writer(tmp_path, segment_bytes=64 * 14)
    tape.start(a_start())
    for number in range(30):
        tape.append(trades(number, 1))
    tape.close()
    paths = segments_of(tmp_path / "tape" / str(tape.epoch))
    assert len(paths) > 2
    boot = BOOT
    if case == "boot":
        boot = BOOT.replace("1", "9")
    elif case == "no boot id":
        boot = ""
    elif case == "magic":
        damaged_byte(paths[-1], 0)
    elif case == "version":
        damaged_byte(paths[-1], 8)
    elif case == "layout":
        damaged_byte(paths[-1], 16)
    elif case == "body":
        damaged_byte(paths[-1], 110)
    elif case == "tail":
        with paths[-1].open("r+b") as file:
            file.seek(-64, os.SEEK_END)
            file.write(bytes(64))
    elif case == "overlap":
        damaged = paths[0].read_bytes()
        paths[0].write_bytes(damaged + damaged[-64:])
    else:
        for path in paths:
            path.unlink()
    again = writer(tmp_path, boot=boot)
    assert again.epoch > tape.epoch and again.next_number == 0
    assert again.new_epoch_because
    assert again.start(a_start()) == 0
    assert epochs(tmp_path / "tape")[-1] == again.epoch
    # What is whole of the old epoch is still there to be read.
    if case in ("boot", "no boot id"):
        assert TapeReader(tmp_path / "tape", tape.epoch).last == 30


def test_an_epoch_is_never_below_one_that_was(tmp_path: Path) -> None:
    clock = ManualClock()
    tape = writer(tmp_path, clock)
    tape.start(a_start())
    clock.set_wall_ns(NS_PER_S)
    assert writer(tmp_path, clock, boot="x").epoch > tape.epoch


def test_a_restart_with_the_same_markets_goes_on_in_the_segment(tmp_path: Path) -> None:
    tape = writer(tmp_path)
    tape.start(a_start(time_ns=1))
    tape.close()
    tape = writer(tmp_path)
    assert tape.start(a_start(time_ns=2)) == 1
    assert len(segments_of(tmp_path / "tape" / str(tape.epoch))) == 1


@pytest.mark.parametrize("other", [a_start("B-BTC_USDT", "B-ETH_USDT"), a_start(tick="0.01")])
def test_other_markets_or_rules_begin_a_segment_with_its_own_body(tmp_path: Path, other: Start) -> None:
    tape = writer(tmp_path)
    tape.start(a_start())
    tape.append(trades(0, 4))
    assert tape.start(other) == 5
    tape.append(trades(4, 4))
    assert tape.start_body == other
    reader = TapeReader(tmp_path / "tape")
    assert list(reader.bodies()) == [(0, a_start()), (5, other)]
    frames = tape_replay(reader)(0)
    assert [(frame.first, frame.count, frame.body is not None) for frame in frames] == [
        (0, 1, True),
        (1, 4, False),
        (5, 1, True),
        (6, 4, False),
    ]
    assert {frame.epoch for frame in frames} == {tape.epoch}


def test_a_segment_ends_by_size_and_by_age(tmp_path: Path) -> None:
    clock = ManualClock()
    tape = writer(tmp_path, clock, segment_bytes=64 * 100, segment_ns=HOUR)
    tape.start(a_start())
    folder = tmp_path / "tape" / str(tape.epoch)
    for number in range(5):
        tape.append(trades(number * 40, 40))
    by_size = len(segments_of(folder))
    assert by_size >= 2
    clock.advance(HOUR + 1)
    tape.append(trades(200, 1))
    assert len(segments_of(folder)) == by_size + 1
    assert everything(tmp_path)["ticks"][1:].tolist() == list(range(201))


def test_pruning_drops_whole_old_segments_and_never_the_current_one(tmp_path: Path) -> None:
    clock = ManualClock()
    old = writer(tmp_path, clock)
    old.start(a_start())
    old.append(trades(0, 10))
    old.close()
    clock.advance(HOUR)
    tape = writer(tmp_path, clock, boot="another")
    tape.start(a_start())
    for number in range(5):
        tape.append(trades(number, 1))
        clock.advance(HOUR + 1)
    tape.append(trades(5, 1))
    reader = TapeReader(tmp_path / "tape")
    assert tape.prune(100 * HOUR, 10**9) == 0
    assert tape.prune(3 * HOUR, 10**9) > 0
    assert epochs(tmp_path / "tape") == [tape.epoch]
    assert reader.first == 3
    assert len(reader.read(0)[0]) == 0
    assert tape_replay(reader)(0)[0].first == 3
    tape.prune(3 * HOUR, 0)
    assert reader.first == reader.last == 6
    clock.advance(100 * HOUR)
    tape.prune(HOUR, 0)
    assert reader.last == 6 and tape.size_bytes() > 0
    tape.append(trades(6, 1))
    assert reader.last == 7


def test_no_tape_is_nothing_to_prune(tmp_path: Path) -> None:
    assert writer(tmp_path).prune(0, 0) == 0


def test_a_segment_that_is_missing_in_the_middle_is_a_hole_and_the_tail_goes_on(tmp_path: Path) -> None:
    tape = writer(tmp_path, segment_bytes=64 * 14)
    tape.start(a_start())
    for number in range(30):
        tape.append(trades(number, 1))
    tape.close()
    firsts = [segment_number(path) for path in segments_of(tmp_path / "tape" / str(tape.epoch))]
    segments_of(tmp_path / "tape" / str(tape.epoch))[1].unlink()
    again = writer(tmp_path, segment_bytes=64 * 14)
    assert (again.epoch, again.next_number) == (tape.epoch, 31)
    reader = TapeReader(tmp_path / "tape")
    assert reader.following(firsts[1]) == firsts[2] and reader.following(31) is None
    replayed = [frame.first for frame in tape_replay(reader)(1)]
    assert replayed == [1, *firsts[2:]]
    first, records = reader.read_back(31 - firsts[0])
    assert first == 0 and len(records) == 31 - (firsts[2] - firsts[1])
    again.close()


def test_a_segment_that_was_begun_again_without_records_is_read_anew(tmp_path: Path) -> None:
    tape = writer(tmp_path)
    tape.start(a_start())
    tape.append(trades(0, 4))
    tape.go_on(5, a_start(tick="0.01"))
    reader = TapeReader(tmp_path / "tape")
    assert reader.last == 4
    tape.go_on(5, a_start(tick="0.02"))
    tape.append(trades(4, 1))
    assert reader.last == 5 and reader.read(5)[0]["ticks"].tolist() == [4]
    assert dict(reader.bodies())[5] == a_start(tick="0.02")
    tape.close()


def test_numbers_that_were_published_and_lost_are_given_to_nobody(tmp_path: Path) -> None:
    tape = writer(tmp_path)
    tape.start(a_start())
    tape.append(trades(0, 3))
    tape.go_on(10, a_start())
    assert tape.append(trades(10, 2)) == 10
    with pytest.raises(ValueError, match="goes on at 12"):
        tape.go_on(11, a_start())
    assert TapeReader(tmp_path / "tape").last == 11


def test_a_marked_tape_is_not_gone_on_with_and_the_mark_outlives_an_epoch_without_a_file(tmp_path: Path) -> None:
    clock = ManualClock()
    tape = writer(tmp_path, clock)
    tape.start(a_start())
    tape.marker.set(tape.epoch)
    second = writer(tmp_path, clock)
    assert second.epoch > tape.epoch and "not on the tape" in second.new_epoch_because
    second.marker.set(second.epoch)  # nothing of it reached the disk
    third = writer(tmp_path, clock)
    assert third.epoch > second.epoch
    third.start(a_start())
    fourth = writer(tmp_path, clock)  # the mark of the second means nothing any more
    assert fourth.epoch == third.epoch and fourth.new_epoch_because == ""


def test_what_the_disk_does_not_take_is_not_on_the_tape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tape = writer(tmp_path)
    tape.start(a_start())
    tape.append(trades(0, 2))
    real_write = os.write
    calls: list[int] = []

    def full(fd: int, data: bytes) -> int:
        if fd != tape._fd:
            return real_write(fd, data)
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real_write(fd, data[:100])  # a part of it still fits

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(TapeError, match="No space left on device"):
        tape.append(trades(2, 5))
    monkeypatch.undo()
    assert tape.next_number == 3
    assert tape.append(trades(2, 1)) == 3
    assert everything(tmp_path)["ticks"][1:].tolist() == [0, 1, 2]


def test_read_back_gives_the_end(tmp_path: Path) -> None:
    tape = writer(tmp_path, segment_bytes=64 * 30)
    tape.start(a_start())
    for number in range(10):
        tape.append(trades(number * 9, 9))
    reader = TapeReader(tmp_path / "tape")
    first, records = reader.read_back(25)
    assert first == 66 and records["ticks"].tolist() == list(range(65, 90))
    first, records = reader.read_back(10**6)
    assert first == 0 and len(records) == 91


def test_a_replay_answer_is_bounded_and_goes_on(tmp_path: Path) -> None:
    tape = writer(tmp_path)
    tape.start(a_start())
    for number in range(40):
        tape.append(trades(number * 500, 500))
    replay = tape_replay(TapeReader(tmp_path / "tape"))
    frames = replay(1)
    assert len(frames) == REPLAY_FRAMES and all(frame.count == 1000 for frame in frames)
    number, total = 1, 0
    while frames := replay(number):
        total += sum(frame.count for frame in frames)
        number = frames[-1].last + 1
    assert total == 20_000


def test_a_replay_that_the_disk_does_not_give_is_an_error_that_the_asker_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = writer(tmp_path)
    tape.start(a_start())
    tape.append(trades(0, 10))
    replay = tape_replay(TapeReader(tmp_path / "tape"))

    def refuse(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch, pytest.raises(TapeError, match=r"cannot read the tape .*: Input/output error"):
        patch.setattr("os.pread", refuse)
        replay(1)
    assert sum(frame.count for frame in replay(1)) == 10


def test_a_replay_gives_what_is_before_a_bad_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tape = writer(tmp_path)
    tape.start(a_start())
    tape.append(trades(0, 3_000))
    replay = tape_replay(TapeReader(tmp_path / "tape"))
    whole = os.pread

    def refuse(fd: int, count: int, at: int) -> bytes:
        if at > 2_000 * RECORD.itemsize:
            raise OSError(errno.EIO, "Input/output error")
        return whole(fd, count, at)

    monkeypatch.setattr("os.pread", refuse)
    assert [frame.first for frame in replay(1)] == [1, 1_001]
    with pytest.raises(TapeError):
        replay(2_001)


def test_all_kinds_of_records_pass_unchanged(tmp_path: Path) -> None:
    tape = writer(tmp_path)
    tape.start(a_start())
    records = np.frombuffer(np.random.default_rng(1).bytes(64 * 50), RECORD).copy()
    records["kind"] = np.resize([CANDLE, TRADE, HOLE], 50)
    tape.append(records)
    assert everything(tmp_path)[1:].tobytes() == records.tobytes()


WRITER = """
import sys
from pathlib import Path
import numpy as np
from bus.messages import Start
from bus.records import RECORD, TRADE
from bus.tape import TapeWriter, boot_id
from core.clock import LiveClock
tape = TapeWriter(Path(sys.argv[1]), LiveClock(), boot_id(), segment_bytes=64 * 5000)
tape.open()
tape.start(Start("v", "b", [], "5", "5", False, 0))
records = np.zeros(17, RECORD)
records["kind"] = TRADE
print("ready", flush=True)
while tape.next_number < 10**6:
    records["ticks"] = np.arange(tape.next_number, tape.next_number + 17)
    tape.append(records)
"""


def test_another_process_reads_while_it_is_written_and_after_it_was_killed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "tape")], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        reader = TapeReader(tmp_path / "tape")
        number = 0
        while number < 60_000:
            records, body = reader.read(number)
            if number == 0:
                assert len(records) == 1 and body is not None
            else:
                assert records["ticks"].tolist() == list(range(number, number + len(records)))
            number += len(records)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    last = reader.last
    tape = TapeWriter(tmp_path / "tape", ManualClock(), boot_id())
    assert tape.open() == (reader.epoch, last + 1)
    assert tape.new_epoch_because == ""
    reader.close()
    tape.close()


def test_a_header_whose_text_is_none_is_damaged() -> None:
    header = SegmentHeader.new(1, 1, 2, "boot", Start("kraken", "b", [], "40", "25", False, 1))
    damaged = SegmentHeader(*(*(getattr(header, name) for name in header.__struct_fields__[:-1]), b"\x97\xa1\xfe"))
    with pytest.raises(SegmentDamaged, match="segment 1 cannot be read"):
        damaged.start()
