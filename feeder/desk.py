"""The feeder's one way out: onto the tape first, then to everybody."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec
import numpy as np

from bus.frames import TRADE
from bus.messages import Market, Start
from bus.publisher import Publisher
from bus.records import MAX_BATCH, RECORD
from bus.tape import TapeError, TapeReader, TapeWriter
from core.stage import Context
from feeder.guard import Counts
from feeder.packing import Record, pack
from venues.venue import Rules

PENDING_MAX = 50_000  # records kept while the disk takes none


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
    """Tapes and publishes. Records that the disk does not take wait for it, in order, and nothing overtakes them."""

    def __init__(
        self, context: Context, tape: TapeWriter, reader: TapeReader, publisher: Publisher, counts: Counts
    ) -> None:
        self._context = context
        self._tape = tape
        self._reader = reader
        self._publisher = publisher
        self._counts = counts
        self._pending = b""

    def start(self, body: Start) -> None:
        """Begins or goes on with the tape and tells everybody what the following records are about."""
        number = self._tape.start(body)
        record, packed = self._reader.read(number, 1)
        self._publisher.send_records(TRADE, number, record, packed)

    def write(self, records: Sequence[Record], received_ns: int = 0) -> None:
        """Appends and publishes; `received_ns`: wall time of the first one's arrival, for the latency."""
        clock = self._context.clock
        data = pack(records)
        if received_ns:
            self._publisher.arrived(clock.monotonic_ns() - max(0, clock.wall_ns() - received_ns))
        if self._pending:
            data, self._pending = self._pending + data, b""
        size = MAX_BATCH * RECORD.itemsize
        for at in range(0, len(data), size):
            try:
                self._append(data[at : at + size])
            except TapeError as error:
                self._keep(data[at:], error)
                return

    def retry(self) -> None:
        """Tries again what the disk did not take."""
        if self._pending:
            self.write([])
            if not self._pending:
                self._context.event("info", "the tape goes on")

    def _append(self, data: bytes) -> None:
        batch = np.frombuffer(data, RECORD)
        first = self._tape.append(batch)
        self._publisher.send_records(TRADE, first, data)

    def _keep(self, data: bytes, error: TapeError) -> None:
        spare = PENDING_MAX * RECORD.itemsize
        if len(data) > spare:  # the oldest ones stay: what follows them is asked for again at the next start
            self._counts.lost += (len(data) - spare) // RECORD.itemsize
            data = data[:spare]
        if not self._pending:
            self._context.event(
                "error", f"{error}: the market waits until there is room; free the disk or set TAPE_MAX_MB"
            )
        self._pending = data
