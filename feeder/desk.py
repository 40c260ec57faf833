"""The feeder's one way out: onto the tape first, then to everybody.

* With too little room on the disk (`core.disk`), or where a write is refused, records go out at once, numbered on and
  marked UNTAPED, which blocks entries and nothing else. They are kept in memory and replayed from there.
* With room again they are put onto the tape as they were published. What no longer fits into memory is lost: a hole.
* A feeder that is killed meanwhile begins a new epoch: the marker says so (`bus.untaped`).
"""

from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec
import numpy as np

from bus.frames import TRADE, Frame
from bus.messages import Market, Start, encode
from bus.publisher import REPLAY_FRAMES, Publisher
from bus.records import MAX_BATCH, RECORD, UNTAPED
from bus.records import TRADE as TRADE_RECORD
from bus.tape import TapeError, TapeReader, TapeWriter, same_start, tape_replay
from bus.untaped import KEEP, Untaped
from core.disk import MB, TAPE_FREE_BYTES, free_bytes, has_room
from core.stage import Context
from feeder.guard import Counts
from feeder.packing import Record, pack
from venues.venue import Rules


def plain(value: Decimal) -> str:
    """Decimal text without exponent and without idle zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def market(rules: Rules) -> Market:
    """The rules as everybody learns them."""
    return Market(
        pair=rules.pair,
        base=rules.base,
        quote=rules.quote,
        tick=plain(rules.tick),
        step=plain(rules.step),
        min_quantity=plain(rules.min_quantity),
        min_notional=plain(rules.min_notional),
        max_quantity=None if rules.max_quantity is None else plain(rules.max_quantity),
        active=True,
    )


def pair_table(before: Sequence[Market], now: Sequence[Rules]) -> list[Market]:
    """Every market of the epoch at its old place, the new ones behind; those not followed now are inactive."""
    rules = {item.pair: item for item in now}
    table = [
        market(rules.pop(old.pair)) if old.pair in rules else msgspec.structs.replace(old, active=False)
        for old in before
    ]
    return table + [market(item) for item in rules.values()]


def known_rules(start: Start | None, wanted: Sequence[str]) -> list[Rules]:
    """The rules as the tape has them, for when the venue does not tell; none unless it has all that is wanted."""
    table = {item.pair: item for item in start.markets} if start is not None else {}
    if not all(name in table for name in wanted):
        return []
    return [
        Rules(
            pair=item.pair,
            symbol=item.base + item.quote,
            base=item.base,
            quote=item.quote,
            tick=Decimal(item.tick),
            step=Decimal(item.step),
            min_quantity=Decimal(item.min_quantity),
            min_notional=Decimal(item.min_notional),
            max_quantity=None if item.max_quantity is None else Decimal(item.max_quantity),
        )
        for item in (table[name] for name in wanted)
    ]


class Desk:
    """Tapes and publishes; what the disk does not take goes out all the same, and onto the tape when there is room."""

    def __init__(
        self,
        context: Context,
        tape: TapeWriter,
        reader: TapeReader,
        counts: Counts,
        *,
        free: Callable[[], int] | None = None,
        keep: int = KEEP,
    ) -> None:
        """`free()`: bytes left on the tape's disk; `keep`: records kept in memory while it takes none."""
        self._context = context
        self._tape = tape
        self._counts = counts
        self._free = free or (lambda: free_bytes(tape.folder))
        self.free = self._free()  # at the last look
        self._untaped = Untaped(keep)
        self._body = tape.start_body  # of the last START, taped or not
        self._taping = True
        self._stopped_at = 0  # the number at which the tape stopped last
        self._dropped = 0  # records that were lost since
        self._from_tape = tape_replay(reader, lambda: tape.next_number)

    def begin(self, publisher: Publisher) -> None:
        """From now on things are published."""
        self._publisher = publisher

    @property
    def body(self) -> Start | None:
        """What the records are about; None before the first START."""
        return self._body

    @property
    def next_number(self) -> int:
        """The number of the next record."""
        return self._tape.next_number if self._taping else self._untaped.next_number

    @property
    def untaped(self) -> int:
        """Records that were published and are not on the tape, those that it will never have included."""
        return self.next_number - self._tape.next_number

    def start(self, body: Start) -> None:
        """Begins or goes on with the tape and tells everybody what the following records are about."""
        if self._body is None or not same_start(self._body, body):
            self._body = body
        self.look()
        record = self._tape.start_record(body).tobytes()
        number = self._append(record, self._body)
        if number is None:
            number = self._keep(record, self._body, begins=True)
        self._publisher.send_records(TRADE, number, record, encode(self._body))

    def write(self, records: Sequence[Record], received_ns: int = 0) -> None:
        """Appends and publishes; `received_ns`: wall time of the first one's arrival, for the latency."""
        clock = self._context.clock
        data = pack(records)
        if received_ns:
            self._publisher.arrived(clock.monotonic_ns() - max(0, clock.wall_ns() - received_ns))
        size = MAX_BATCH * RECORD.itemsize
        for at in range(0, len(data), size):
            self._send(data[at : at + size])

    def look(self) -> None:
        """To be called once a second: is there room, and where it was short, is there room again?"""
        self.free = self._free()
        room = has_room(self.free, TAPE_FREE_BYTES, self._taping)
        if self._taping and not room:
            self._stop(f"{self.free // MB} MB free at {self._tape.folder}, {TAPE_FREE_BYTES // MB} are needed")
        elif not self._taping and room:
            self._resume()

    def replay(self, first: int) -> list[Frame]:
        """Frames of `trade/` from number `first` on: from the tape, behind its end from memory."""
        frames = self._from_tape(first)
        if len(frames) < REPLAY_FRAMES and self.untaped:
            frames += self._untaped.frames(self._tape.epoch, first, REPLAY_FRAMES - len(frames))
        return frames

    def _send(self, data: bytes) -> None:
        if self._body is None:
            raise TapeError("a tape begins with its START record")
        number = self._append(data)
        if number is None:
            data = flagged(data)
            number = self._keep(data, self._body)
        self._publisher.send_records(TRADE, number, data)

    def _append(self, data: bytes, begins: Start | None = None) -> int | None:
        """The number of the first record, which is on the tape now; None where the tape has stopped."""
        if not self._taping:
            return None
        try:
            if begins is not None:
                self._tape.go_on(self._tape.next_number, begins)
            return self._tape.append(data)
        except TapeError as error:
            self._stop(str(error))
            return None

    def _keep(self, data: bytes, body: Start, *, begins: bool = False) -> int:
        """Keeps records in memory; the number of the first."""
        before = len(self._untaped)
        number = self._untaped.add(data, body, begins=begins)
        dropped = before + len(data) // RECORD.itemsize - len(self._untaped)
        self._dropped += dropped
        self._counts.lost += dropped
        return number

    def _stop(self, why: str) -> None:
        """From the next record on nothing is taped."""
        self._taping = False
        self._stopped_at = self._tape.next_number
        self._dropped = 0
        self._untaped.begin(self._stopped_at)
        after = "no entries until there is room, exits go on; free the disk or lower TAPE_MAX_MB"
        try:
            # Before the first of them is published: a feeder that starts must not give its number to another record.
            self._tape.marker.set(self._tape.epoch)
        except OSError as error:
            after += f" ({self._tape.marker.path} cannot be written either: {error.strerror})"
        self._context.event("error", f"the tape stops: {why}; {after}")

    def _resume(self) -> None:
        """Puts onto the tape what was published meanwhile, with the same bytes, and goes on taping."""
        tape, lost = self._tape, self._dropped
        kept = self.next_number - self._stopped_at - lost
        try:
            while (block := self._untaped.oldest()) is not None:
                tape.go_on(block.first, block.start)
                tape.append(block.data)
                self._untaped.taped()
            tape.marker.clear()
        except (TapeError, OSError) as error:
            self._context.log.debug("the tape cannot go on yet: %s", error)
            return
        self._taping = True
        text = f"the tape goes on: {kept} records that went out without it are on it now"
        if lost:
            text += f"; {lost} older ones are lost: whoever was away then has a gap"
        self._context.event("warn" if lost else "info", text)


def flagged(data: bytes) -> bytes:
    """Packed records, the trades among them marked as not on the tape."""
    records = np.frombuffer(data, RECORD).copy()
    records["flags"][records["kind"] == TRADE_RECORD] |= UNTAPED
    return records.tobytes()
