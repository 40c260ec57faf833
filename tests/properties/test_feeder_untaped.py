"""The desk over a disk that fills, refuses, takes again and a feeder that is killed: every number is given once, and
tape and memory together replay what was published."""

import logging
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.messages import Market, Start
from bus.records import CANDLE, RECORD, START, TRADE, UNTAPED
from bus.tape import NO_TAPE, TapeError, TapeReader, TapeWriter
from core.clock import ManualClock
from core.disk import TAPE_FREE_BYTES
from feeder.desk import Desk
from feeder.guard import Counts
from feeder.packing import Record

BOOT = "11111111-2222-3333-4444-555555555555"
KEEP = 1500
PLENTY = 2 * TAPE_FREE_BYTES


def a_start(version: int) -> Start:
    return Start("v", "b", [Market("B-BTC_USDT", "BTC", "USDT", f"0.{version}", "0.1", "0", "0")], "5", "5", False, 7)


class Disk:
    """What the tape stands on."""

    def __init__(self) -> None:
        self.free = PLENTY
        self.refuses = False


class Tape(TapeWriter):
    """A tape whose disk may refuse: half of a write then stands in the file, and cannot be cut off either."""

    disk: Disk

    def _begin_segment(self, number: int, body: Start) -> None:
        if self.disk.refuses:
            raise TapeError("no segment")
        super()._begin_segment(number, body)

    def _write(self, data: bytes) -> None:
        if self.disk.refuses:
            if not self._torn:
                os.write(self._fd, data[: len(data) // 2 + 32])
            self._torn = True
            raise TapeError("no write")
        super()._write(data)


class Feeder:
    """One life after the other of the feeder's way out, and what it published: by epoch, number by number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = Disk()
        self.clock = ManualClock()
        self.published: dict[int, list[tuple[bytes, bytes | None]]] = {}
        self.said: list[tuple[str, str]] = []
        self.lost: dict[int, int] = {}
        self.count = 0
        self.version = 1
        self.live()

    def live(self) -> None:
        self.clock.advance(5_000_000)
        tape = Tape(self.folder / "tape", self.clock, BOOT, segment_bytes=64 * 2000)
        tape.disk = self.disk
        epoch, number = tape.open()
        self.tape, self.counts = tape, Counts()
        assert number == len(self.published.get(epoch, [])), "a number was given that was given before"
        self.published.setdefault(epoch, [])
        self.reader = TapeReader(tape.folder, epoch)
        context: Any = SimpleNamespace(
            clock=self.clock, log=logging.getLogger("test"), event=lambda *said: self.said.append(said)
        )
        self.desk = Desk(context, tape, self.reader, self.counts, free=lambda: self.disk.free, keep=KEEP)
        publisher: Any = self
        self.desk.begin(publisher)
        self.desk.start(a_start(self.version))

    def send_records(self, topic: str, first: int, data: bytes, body: bytes | None = None) -> None:
        """The publisher's."""
        mine = self.published[self.tape.epoch]
        assert first == len(mine), "a hole between published numbers, or one given twice"
        mine += [(data[at : at + 64], body) for at in range(0, len(data), 64)]

    def write(self, count: int) -> None:
        records: list[Record] = []
        for _ in range(count):
            self.count += 1
            kind = CANDLE if self.count % 50 == 0 else TRADE
            if kind == CANDLE:
                records.append((CANDLE, 0, 0, 0, self.count, 1.0, 1.0, 1.0, 1.0, 1.0, 1))
            else:
                records.append((TRADE, 1, 0, 0, self.count, 0, 1.0, 1.0, self.count, 1, 0))
        self.desk.write(records)

    def kill(self) -> None:
        """Nothing is said good-bye to; the numbers lost so far in this epoch are remembered."""
        self.keep_lost()
        untaped = self.desk.untaped
        epoch = self.tape.epoch
        self.tape.close()
        self.reader.close()
        self.live()
        if untaped:
            assert self.tape.epoch > epoch and self.tape.new_epoch_because not in ("", NO_TAPE)

    def keep_lost(self) -> None:
        self.lost[self.tape.epoch] = self.lost.get(self.tape.epoch, 0) + self.counts.lost
        self.counts.lost = 0

    def replayed(self) -> dict[int, tuple[bytes, bytes | None]]:
        """What a consumer gets that asks for everything, answer by answer."""
        found: dict[int, tuple[bytes, bytes | None]] = {}
        number = 0
        while frames := self.desk.replay(number):
            for frame in frames:
                assert frame.first >= number and frame.epoch == self.tape.epoch
                for place in range(frame.count):
                    found[frame.first + place] = (frame.payload[64 * place : 64 * place + 64], frame.body)
                number = frame.last + 1
        return found

    def check(self) -> None:
        self.keep_lost()
        published = dict(enumerate(self.published[self.tape.epoch]))
        replayed = self.replayed()
        assert replayed.items() <= published.items()
        assert len(published) - len(replayed) == self.lost[self.tape.epoch]
        assert self.desk.next_number == len(published)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 1300)),
        st.tuples(st.sampled_from(["refuse", "take", "low", "plenty", "look", "rules", "kill"]), st.just(0)),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_tape_and_memory_replay_what_was_published_and_no_number_is_given_twice(plan: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        feeder = Feeder(Path(name))
        for step, count in plan:
            if step == "write":
                feeder.write(count)
            elif step in ("refuse", "take"):
                feeder.disk.refuses = step == "refuse"
            elif step in ("low", "plenty"):
                feeder.disk.free = PLENTY if step == "plenty" else TAPE_FREE_BYTES - 1
            elif step == "look":
                feeder.desk.look()
            elif step == "rules":
                feeder.version = feeder.version % 9 + 1
                feeder.desk.start(a_start(feeder.version))
            else:
                feeder.kill()
            feeder.check()
        feeder.disk.refuses, feeder.disk.free = False, PLENTY
        feeder.desk.look()
        feeder.write(1)
        feeder.check()
        assert feeder.desk.untaped == 0
        # Everything that can be had is on the disk now, and a feeder that starts goes on with it.
        on_disk = np.concatenate([records for _, _, records in TapeReader(feeder.tape.folder).segments()])
        replayed = feeder.replayed()
        assert on_disk.tobytes() == b"".join(replayed[number][0] for number in sorted(replayed))
        epoch = feeder.tape.epoch
        feeder.kill()
        assert feeder.tape.epoch == epoch
        feeder.check()
        feeder.tape.close()
        feeder.reader.close()


def test_only_trades_that_went_out_without_the_tape_are_marked(tmp_path: Path) -> None:
    feeder = Feeder(tmp_path)
    feeder.write(60)
    feeder.disk.free = TAPE_FREE_BYTES - 1
    feeder.desk.look()
    feeder.write(60)
    feeder.disk.free = PLENTY
    feeder.desk.look()
    feeder.write(60)
    records = np.frombuffer(b"".join(data for data, _ in feeder.published[feeder.tape.epoch]), RECORD)
    marked = records["flags"] & UNTAPED != 0
    assert marked.nonzero()[0].tolist() == [
        number for number in range(61, 121) if records["kind"][number] == TRADE
    ] and set(records["kind"].tolist()) == {START, TRADE, CANDLE}
    assert feeder.replayed() == dict(enumerate(feeder.published[feeder.tape.epoch]))
    feeder.tape.close()


def test_the_tape_stops_and_goes_on_with_one_event_each(tmp_path: Path) -> None:
    feeder = Feeder(tmp_path)
    feeder.disk.refuses = True
    for _ in range(3):
        feeder.write(10)
        feeder.desk.look()
    assert feeder.desk.untaped == 30
    feeder.disk.refuses = False
    feeder.desk.look()
    assert [level for level, _ in feeder.said] == ["error", "info"]
    assert "free the disk" in feeder.said[0][1] and "30 records" in feeder.said[1][1]
    feeder.tape.close()


def test_what_no_longer_fits_into_memory_is_a_hole_on_the_tape_and_told(tmp_path: Path) -> None:
    feeder = Feeder(tmp_path)
    feeder.write(10)
    feeder.disk.free = 0
    feeder.desk.look()
    for _ in range(5):
        feeder.write(1000)
    assert 0 < feeder.counts.lost < 5000
    lost = feeder.counts.lost
    feeder.disk.free = PLENTY
    feeder.desk.look()
    level, text = feeder.said[-1]
    assert level == "warn" and f"{lost} older ones are lost" in text
    reader = TapeReader(feeder.tape.folder)
    assert reader.following(11) == 11 + lost and reader.last == 5010
    assert reader.read_back(6000)[1].shape == (11 + 5000 - lost,)
    feeder.tape.close()


def test_a_feeder_killed_before_the_tape_went_on_begins_a_new_epoch(tmp_path: Path) -> None:
    feeder = Feeder(tmp_path)
    feeder.disk.free = 0
    feeder.desk.look()
    feeder.write(5)
    feeder.kill()  # checks that the epoch is another
    assert feeder.tape.new_epoch_because == "trades were published that are not on the tape"
    # Still no room: it is killed again before anything of the new epoch is on the disk.
    feeder.write(5)
    feeder.kill()
    assert len(feeder.published) == 3
    feeder.tape.close()
