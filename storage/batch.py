"""What is to be written in one transaction; rows are made as messages are added, so that a bad one shows. Pure."""

from collections.abc import Mapping

import msgspec

from bus.frames import EVENT, GAP, TRADER
from bus.messages import Candle, Event, Gap, TraderEvent
from storage.rows import (
    ABOUT_THE_MARKET,
    MADE,
    Values,
    candle_row,
    end_row,
    event_row,
    gap_row,
    of_an_order,
    time_of_candle,
    time_of_event,
)

Cursors = Mapping[str, tuple[int, int]]  # by topic: (epoch, number) of the last message that is in the tables


def numbered_per_stage(topic: str, stage: str) -> str:
    """The key in `cursors` of a topic that every stage has."""
    return f"{topic} {stage}"


class _Stream:
    """Messages of one topic and epoch: by table the numbers, rising, and the rows."""

    __slots__ = ("epoch", "first", "tables", "topic")

    def __init__(self, topic: str, epoch: int, first: int) -> None:
        self.topic = topic
        self.epoch = epoch
        self.first = first
        self.tables: dict[str, tuple[list[int], list[Values]]] = {}


class Sorted(msgspec.Struct, frozen=True, gc=False):  # made for each commit: a NamedTuple takes four times as long
    """What a batch comes to: rows by table, `cursors` among them, and how many of them it drops."""

    rows: dict[str, list[Values]]
    repeated: int  # behind the cursors: written before
    left_out: int  # about the market


class Batch:
    """Candles by key, numbered messages by stream, gaps of our own, and how far each topic is reached."""

    __slots__ = ("_streams", "candles", "ends", "gaps", "journal_begins", "numbered", "reached")

    def __init__(self, earlier: "Batch | None" = None) -> None:
        """`earlier`: a batch whose candles still wait."""
        self.candles: dict[Values, Values] = {} if earlier is None else earlier.candles
        self.ends: dict[Values, Values] = {} if earlier is None else earlier.ends  # candles as they closed
        self.gaps: list[Values] = []
        self.reached: dict[str, tuple[int, int]] = {}  # topic: (epoch, last number added)
        self.journal_begins = False  # what the tables hold of the trader's journal is not, or no longer, in it
        self._streams: dict[tuple[str, int], _Stream] = {}
        self.numbered = 0  # how many rows of numbered messages wait

    @property
    def only_candles(self) -> bool:
        """Whether nothing but candles waits."""
        return not (self.numbered or self.gaps or self.reached or self.journal_begins)

    def add_candle(self, candle: Candle) -> None:
        """The latest state of a candle; earlier ones of the same bucket are not written."""
        row = candle_row(candle)
        self.candles[row[:2]] = row
        if candle.closed and candle.number >= 0:
            end = end_row(candle)
            self.ends[end[:4]] = end

    def add_entry(self, epoch: int, number: int, event: TraderEvent) -> None:
        """A journal entry; raises ValueError or OverflowError on a malformed amount and is then as before."""
        makers = MADE.get(type(event), ())
        if len(makers) == 1:
            table, make = makers[0]
            self.add_row(TRADER, epoch, number, table, make(number, event))
            return
        made = [(table, make(number, event)) for table, make in makers]
        self.reached[TRADER] = (epoch, number)
        for table, row in made:
            if row is not None:
                self.add_row(TRADER, epoch, number, table, row)

    def add_event(self, stage: str, epoch: int, number: int, event: Event) -> None:
        """An event of any stage, numbered per stage."""
        self.add_row(numbered_per_stage(EVENT, stage), epoch, number, "events", event_row(event))

    def add_gap(self, gap: Gap) -> None:
        """Numbers that we missed for good."""
        self.gaps.append(gap_row(gap))

    def add_gap_of(self, stage: str, epoch: int, number: int, gap: Gap) -> None:
        """Numbers that another stage missed for good, as it tells."""
        self.add_row(numbered_per_stage(GAP, stage), epoch, number, "gaps", gap_row(gap))

    def add_row(self, topic: str, epoch: int, number: int, table: str, row: Values) -> None:
        """The row of a numbered message; numbers of a topic and epoch rise."""
        self.reached[topic] = (epoch, number)
        self.numbered += 1
        stream = self._streams.get((topic, epoch))
        if stream is None:
            stream = self._streams[topic, epoch] = _Stream(topic, epoch, number)
        kept = stream.tables.get(table)
        if kept is None:
            stream.tables[table] = [number], [row]
        else:
            kept[0].append(number)
            kept[1].append(row)

    def begin_journal(self) -> None:
        """The journal is another one, or lost its end: what waits of it is void, what comes counts from its first."""
        for key in [key for key in self._streams if key[0] == TRADER]:
            self.numbered -= sum(len(rows) for _, rows in self._streams.pop(key).tables.values())
        self.reached.pop(TRADER, None)
        self.journal_begins = True

    def skip_to(self, topic: str, epoch: int, number: int) -> None:
        """Nothing up to `number` will come any more."""
        self.reached[topic] = (epoch, number)

    def let_go(self) -> None:
        """Forgets the numbered messages: whoever has the cursors can ask for them again."""
        self._streams.clear()
        self.reached.clear()
        self.numbered = 0

    def forget_candles(self, before_ms: int) -> None:
        """Drops candles of buckets that began earlier."""
        self.candles = {key: row for key, row in self.candles.items() if time_of_candle(row) >= before_ms}
        self.ends = {key: row for key, row in self.ends.items() if time_of_candle(row) >= before_ms}

    def sorted(self, stored: Cursors, *, market: bool = True) -> Sorted:
        """The rows by table without what is behind `stored`; without `market` the ledger's alone, and the cursors."""
        rows: dict[str, list[Values]] = {}
        repeated = left_out = 0
        if self.candles and market:
            rows["candles"] = sorted(self.candles.values(), key=time_of_candle)  # neighbours in time share pages
            if self.ends:
                rows["candle_ends"] = sorted(self.ends.values(), key=time_of_candle)
        for stream in self._streams.values():
            at = stored.get(stream.topic)
            behind = at[1] if at is not None and at[0] == stream.epoch else -1
            for table, (numbers, found) in stream.tables.items():
                new = found
                if stream.first <= behind:
                    new = [row for number, row in zip(numbers, found, strict=True) if number > behind]
                    repeated += len(found) - len(new)
                rows[table] = rows[table] + new if table in rows else new
        if self.gaps:
            rows["gaps"] = rows.get("gaps", []) + self.gaps
        if "events" in rows:
            rows["events"] = sorted(rows["events"], key=time_of_event)  # those of all stages as they happened
        if not market:
            left_out = _leave_out(rows)
        moved: list[Values] = []
        for topic, reached in self.reached.items():
            at = stored.get(topic)
            if at is None or at[0] != reached[0] or reached[1] > at[1]:
                moved.append((topic, *reached))
        if moved:
            rows["cursors"] = moved
        return Sorted(rows, repeated, left_out)

    def __len__(self) -> int:
        return len(self.candles) + self.numbered + len(self.gaps)

    def __bool__(self) -> bool:
        return bool(self.candles or self.numbered or self.gaps or self.reached or self.journal_begins)


def _leave_out(rows: dict[str, list[Values]]) -> int:
    """Takes out what is about the market; returns how many rows those are."""
    before = sum(map(len, rows.values()))
    for table in ABOUT_THE_MARKET:
        kept = [row for row in rows.pop(table, ()) if table == "signals" and of_an_order(row)]
        if kept:
            rows[table] = kept
    return before - sum(map(len, rows.values()))
