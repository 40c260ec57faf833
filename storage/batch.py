"""What is to be written in one transaction; rows are made as messages are added, so that a bad one shows. Pure."""

from collections.abc import Mapping
from functools import cache

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
Numbered = tuple[str, int, int, str, Values]  # topic, epoch and number of the message; table and row


@cache
def numbered_per_stage(topic: str, stage: str) -> str:
    """The key in `cursors` of a topic that every stage has."""
    return f"{topic} {stage}"


class Sorted(msgspec.Struct, frozen=True, gc=False):  # made for each commit: a NamedTuple takes four times as long
    """What a batch comes to: rows by table, `cursors` among them, and how many of them it drops."""

    rows: dict[str, list[Values]]
    repeated: int  # behind the cursors: written before
    left_out: int  # about the market


class Batch:
    """Candles by key, rows of numbered messages, gaps of our own, and how far each topic is reached."""

    __slots__ = ("candles", "ends", "gaps", "journal_begins", "numbered", "reached")

    def __init__(self) -> None:
        self.candles: dict[Values, Values] = {}
        self.ends: dict[Values, Values] = {}  # candles as they closed
        self.gaps: list[Values] = []
        self.reached: dict[str, tuple[int, int]] = {}  # topic: (epoch, last number added)
        self.journal_begins = False  # what the tables hold of the trader's journal is not, or no longer, in it
        self.numbered: list[Numbered] = []  # as they were added

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
        made: list[Numbered] = []
        for table, make in MADE.get(type(event), ()):
            row = make(number, event)
            if row is not None:
                made.append((TRADER, epoch, number, table, row))
        self.reached[TRADER] = epoch, number
        self.numbered += made

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
        self.reached[topic] = epoch, number
        self.numbered.append((topic, epoch, number, table, row))

    def begin_journal(self) -> None:
        """The journal is another one, or lost its end: what waits of it is void, what comes counts from its first."""
        self.numbered = [numbered for numbered in self.numbered if numbered[0] != TRADER]
        self.reached.pop(TRADER, None)
        self.journal_begins = True

    def skip_to(self, topic: str, epoch: int, number: int) -> None:
        """Nothing up to `number` will come any more."""
        self.reached[topic] = (epoch, number)

    def let_go(self) -> None:
        """Forgets the numbered messages: whoever has the cursors can ask for them again."""
        self.numbered.clear()
        self.reached.clear()

    def written(self, *, market: bool = True) -> None:
        """Forgets what was written; without `market` its candles still wait."""
        self.numbered.clear()
        self.reached.clear()
        self.gaps.clear()
        self.journal_begins = False
        if market and self.candles:
            self.candles.clear()
            self.ends.clear()

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
        for topic, epoch, number, table, row in self.numbered:
            at = stored.get(topic)
            if at is not None and at[0] == epoch and number <= at[1]:
                repeated += 1
            elif table in rows:
                rows[table].append(row)
            else:
                rows[table] = [row]
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
        return len(self.candles) + len(self.numbered) + len(self.gaps)

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
