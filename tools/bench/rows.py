"""What storage's writer costs over raw SQLite: `python -m tools.bench.rows`.

The same rows go into two files of the same schema, triggers and pragmas on the same disk, with as many commits: once as
messages through `Batch` and `Writer` (and as frames of the bus through `Recorder`), once as ready tuples through bare
`sqlite3` (and for the frames with a bare `msgspec` decoding of the same bytes before). Rounds alternate; medians count.
The rows of `cursors` are among them on either side.
"""

import argparse
import contextlib
import json
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from bus.frames import CANDLE, EVENT, TRADER, Frame
from bus.messages import (
    At,
    Candle,
    Entry,
    EquityEvent,
    Event,
    FillEvent,
    OrderEvent,
    SignalEvent,
    TradeEvent,
    TraderEvent,
)
from bus.messages import encode as pack
from core.clock import LiveClock
from core.paths import ROOT
from storage.batch import Batch
from storage.csvlog import TradesCsv
from storage.migrations import migrate
from storage.recorder import Recorder
from storage.rows import STATEMENTS
from storage.schema import WRITER_PRAGMAS
from storage.writer import Writer
from tools.bench.figure import Figure, Options
from tools.bench.folders import scratch

JOURNAL, EVENTS = 4242, 7
START_MS = 1_700_000_040_000
ROWS_A_ROUND = 6_000  # of each shape, so that a round is long enough to time and short enough to alternate
ROUNDS = 31  # half of a short commit's time is the disk's, which scatters
MOST_RATIO = 1.5
FRAME_MESSAGES = 500  # as the trader's replay sends them
KEEP_MS = 3_600_000

_CANDLES = msgspec.msgpack.Decoder(list[Candle])
_ENTRIES = msgspec.msgpack.Decoder(list[Entry])
_EVENTS = msgspec.msgpack.Decoder(list[Event])

Message = Candle | Entry | Event


class Source:
    """Messages as the stages send them, numbered without a hole over all that one file is given."""

    def __init__(self) -> None:
        self.ids = 0
        self._said: list[Message] = []
        self.quarter_s = 0

    def journal(self, count: int) -> list[Message]:
        """What a busy trader says: orders, fills, trades, signals and equity with an event each."""
        while len(self._said) < count:
            self.ids += 1
            self._said += self._episode(self.ids)
        given, self._said = self._said[:count], self._said[count:]
        return given

    def _episode(self, id: int) -> list[Message]:
        at = At(1, id, START_MS + id)
        key, pair = f"scalp-{id:08d}", f"B-C{id % 26:02d}_USDT"
        price, quantity, fee = "64000.10", "0.00120", "0.0384000600"
        stamp = "2023-11-14T22:14:00.000Z"
        sold = id % 2 == 0
        side = "sell" if sold else "buy"

        def order(status: str, filled: str) -> OrderEvent:
            return OrderEvent(
                at, key, "", pair, side, "market", None, quantity, filled, status, "", START_MS, START_MS + id
            )

        said: list[TraderEvent] = [
            SignalEvent(at, pair, "enter", "mean_reversion", 64000.1, 28.5, 64010.0, "approved", key),
            order("new", "0"),
            FillEvent(at, id, key, f"v{id}", pair, side, price, quantity, fee, "USDT", START_MS + id),
            order("filled", quantity),
            TradeEvent(at, id, pair, side, price, quantity, fee, "0.5" if sold else None, "take_profit", stamp, key),
            EquityEvent(at, START_MS + id, "10500.5", "76.8", "0.25", "0.5"),
            SignalEvent(at, pair, "exit", "take_profit", 64000.1, 71.5, None, "refused:limit", ""),
        ]
        numbers = range((id - 1) * len(said) + 1, id * len(said) + 1)
        made: list[Message] = [Entry(number, event) for number, event in zip(numbers, said, strict=True)]
        made.append(Event("trader", "entry", f"bought {quantity} at {price}", START_MS + id, pair))
        return made

    def candles(self, count: int) -> list[Message]:
        """The forming candles of `count` pairs, a quarter of a second later each time."""
        self.quarter_s += 1
        bucket = START_MS + self.quarter_s // 240 * 60_000
        close = 100.0 + self.quarter_s % 240 / 8
        return [
            Candle(f"B-C{n:04d}_USDT", bucket, 100.0, 131.5, 99.0, close + n, 1.5, 7, 40.5, 99.5, 100.25, 101.5, False)
            for n in range(count)
        ]


Shape = tuple[str, Callable[[Source], list[Message]], int]  # name, the messages of one commit, how many these are
SHAPES: tuple[Shape, ...] = (
    ("journal, 1 row a commit", lambda source: source.journal(1), 1),
    ("journal, 10 rows a commit", lambda source: source.journal(10), 10),
    ("journal, 100 rows a commit", lambda source: source.journal(100), 100),
    ("journal, 1,000 rows a commit", lambda source: source.journal(1_000), 1_000),
    ("candles of 1 pair", lambda source: source.candles(1), 1),
    ("candles of 26 pairs", lambda source: source.candles(26), 26),
    ("candles of 1,000 pairs", lambda source: source.candles(1_000), 1_000),
)


def batch_of(messages: list[Message], first_event: int) -> Batch:
    """The messages as one batch of storage."""
    batch = Batch()
    for message in messages:
        if isinstance(message, Candle):
            batch.add_candle(message)
        elif isinstance(message, Entry):
            batch.add_entry(JOURNAL, message.number, message.event)
        else:
            batch.add_event("trader", EVENTS, first_event, message)
            first_event += 1
    return batch


def frames_of(messages: list[Message], first_event: int) -> list[Frame]:
    """The messages as the bus carries them: each kind in frames of its own."""
    frames: list[Frame] = []
    for topic, kind, epoch in ((CANDLE, Candle, 1), (TRADER, Entry, JOURNAL), (EVENT, Event, EVENTS)):
        chosen = [message for message in messages if isinstance(message, kind)]
        first = first_event if kind is Event else chosen[0].number if chosen and isinstance(chosen[0], Entry) else 0
        for at in range(0, len(chosen), FRAME_MESSAGES):
            part = chosen[at : at + FRAME_MESSAGES]
            frames.append(Frame(topic, epoch, first + at, len(part), 0, pack(part)))
    return frames


class Way:
    """One file, and the messages that it is given."""

    def __init__(self, folder: Path, name: str) -> None:
        self.source = Source()
        self._next_event = 0
        self.writer = Writer(folder / f"{name}.db")
        migrate(self.writer.engine, self.writer.database, 1)

    def prepare(self, messages: list[Message], first_event: int) -> Any:
        """What the messages are when the clock starts."""
        raise NotImplementedError

    def commit(self, prepared: Any) -> None:
        """Brings what was prepared into the file, in one commit."""
        raise NotImplementedError

    def seconds(self, shape: Shape, rows_a_round: int = ROWS_A_ROUND) -> float:
        """How long a round of the shape takes."""
        prepared = []
        for _ in range(max(1, rows_a_round // shape[2] // (4 if shape[2] < 10 else 1))):
            messages = shape[1](self.source)
            prepared.append(self.prepare(messages, self._next_event))
            self._next_event += sum(isinstance(message, Event) for message in messages)
        before = time.perf_counter()
        for one in prepared:
            self.commit(one)
        took = time.perf_counter() - before
        self.writer.checkpoint()
        return took / len(prepared) / shape[2]

    def close(self) -> None:
        self.writer.close()


class Raw(Way):
    """Ready tuples, by table, through bare sqlite3."""

    def __init__(self, folder: Path, name: str = "raw") -> None:
        super().__init__(folder, name)
        self._connection = sqlite3.connect(self.writer.database, isolation_level=None)
        for pragma in WRITER_PRAGMAS:
            self._connection.execute(f"PRAGMA {pragma}").fetchall()

    def prepare(self, messages: list[Message], first_event: int) -> Any:
        batch = batch_of(messages, first_event)
        return [(STATEMENTS[table], rows) for table, rows in batch.sorted({}).rows.items()]

    def commit(self, prepared: Any) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        for statement, rows in prepared:
            self._connection.executemany(statement, rows)
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()
        super().close()


class RawFrames(Raw):
    """Encoded frames through a bare msgspec decoder, and then the ready tuples."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "raw_frames")

    def prepare(self, messages: list[Message], first_event: int) -> Any:
        decoders = {CANDLE: _CANDLES, TRADER: _ENTRIES, EVENT: _EVENTS}
        frames = [(decoders[frame.topic], frame.payload) for frame in frames_of(messages, first_event)]
        return frames, super().prepare(messages, first_event)

    def commit(self, prepared: Any) -> None:
        frames, statements = prepared
        for decoder, payload in frames:
            decoder.decode(payload)
        super().commit(statements)


class Messages(Way):
    """Decoded messages through a Batch and the Writer."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "messages")

    def prepare(self, messages: list[Message], first_event: int) -> Any:
        return messages, first_event

    def commit(self, prepared: Any) -> None:
        self.writer.write(batch_of(*prepared))


class Frames(Way):
    """Encoded frames through the Recorder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "frames")
        csv = TradesCsv(folder / "trades.csv", lambda id: [])  # it is synced to the disk, which is a cost of its own
        self._recorder = Recorder(self.writer, csv, KEEP_MS, LiveClock(), lambda level, text: None)

    def prepare(self, messages: list[Message], first_event: int) -> Any:
        return frames_of(messages, first_event)

    def commit(self, prepared: Any) -> None:
        self._recorder.take("trader", prepared)
        self._recorder.flush(urgent=True)


FLOORS = {"Raw": "raw executemany", "RawFrames": "raw msgspec decoding and executemany"}


@contextlib.contextmanager
def all_ways() -> Iterator[tuple[Raw, Messages, RawFrames, Frames]]:
    """The four ways on files of their own, beside the project: on the disk that a bot here would use."""
    with scratch(first=ROOT) as folder, contextlib.ExitStack() as stack:
        ways = (Raw(folder), Messages(folder), RawFrames(folder), Frames(folder))
        for way in ways:
            stack.callback(way.close)
        yield ways


def figures(options: Options) -> list[Figure]:
    """What `measure` says, the median ratio of the rounds held against the bar."""
    return [
        Figure(
            bench="rows",
            name=row["name"],
            unit=row["unit"],
            value=row["value"],
            low=row["low"],
            high=row["high"],
            floor=row["floor"],
            floor_of=row["floor_of"],
            ratio=row["ratio"],
            bar=f"within {MOST_RATIO:g}x",
            reached=row["ratio"] <= MOST_RATIO,
        )
        for row in measure(options.rounds_or(ROUNDS))
    ]


def measure(rounds: int, rows_a_round: int = ROWS_A_ROUND) -> list[dict[str, Any]]:
    """For each shape, from messages and from frames: name, value, floor, unit, the median ratio of the rounds."""
    taken: dict[tuple[str, str], list[float]] = {}
    with all_ways() as ways:
        for round_number in range(rounds + 1):
            turn = round_number % len(ways)  # none is always the one after the same other
            for shape in SHAPES:
                for way in ways[turn:] + ways[:turn]:
                    seconds = way.seconds(shape, rows_a_round)
                    if round_number:  # the first one warms up
                        taken.setdefault((shape[0], type(way).__name__), []).append(seconds)
    rows = []
    for name, _, _ in SHAPES:
        for ours, raw, what in (("Messages", "Raw", ""), ("Frames", "RawFrames", ", from frames")):
            value, floor = taken[name, ours], taken[name, raw]
            ratios = [one / other for one, other in zip(value, floor, strict=True)]
            rows.append(
                {
                    "name": f"rows into SQLite: {name}{what}",
                    "value": round(statistics.median(value) * 1e6, 3),
                    "low": round(min(value) * 1e6, 3),
                    "high": round(max(value) * 1e6, 3),
                    "unit": "µs a row",
                    "floor": round(statistics.median(floor) * 1e6, 3),
                    "floor_of": FLOORS[raw],
                    "ratio": round(statistics.median(ratios), 3),
                    "spread": [round(min(ratios), 3), round(max(ratios), 3)],
                }
            )
    return rows


def main() -> int:
    """Prints the table, or JSON."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=ROUNDS)
    arguments.add_argument("--json", action="store_true", help="print JSON instead of a table")
    chosen = arguments.parse_args()
    rows = measure(chosen.rounds)
    if chosen.json:
        print(json.dumps(rows))
        return 0
    print(f"{'':60} {'ours':>9} {'raw':>9} {'ratio':>7}")
    for row in rows:
        low, high = row["spread"]
        print(
            f"{row['name']:60} {row['value']:9.2f} {row['floor']:9.2f} {row['ratio']:6.2f}x  {low:.2f}..{high:.2f}"
            f"   {row['unit']}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
