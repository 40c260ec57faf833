"""The seam between the tape, an answer over REST and the stream: which trades are new. Pure.

Trades carry no ids at some venues, and two equal trades in one millisecond are two trades. So nothing is ever dropped
for looking like another one; what is already known is found by order: the longest run at the tape's end that equals a
run in the answer.

Rows are tuples (time_ns, ticks, lots, side, trade_id), oldest first. An answer is an unbroken stretch of the true
sequence.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

Row = tuple[int, int, int, int, int]

_UNITS = (1_000_000_000, 1_000_000, 1_000, 1)
LATEST = 32  # times of a source that are looked at
FEWEST = 3


def unit_of(time_ns: int) -> int:
    """The resolution that a time shows: second, millisecond, microsecond or nanosecond."""
    for unit in _UNITS:
        if time_ns % unit == 0:
            return unit
    return 1


def finest(rows: Iterable[Row], least: int = _UNITS[0]) -> int:
    """The finest resolution that any of the rows shows, `least` where none shows a finer one."""
    for row in rows:
        least = min(least, unit_of(row[0]))
    return least


class Shown:
    """How fine a source's times are, by the latest that it has shown: `unit_ns`, 0 as long as that is not known.

    One trade in a thousand happens on a whole second: by itself it looks as if told in seconds (some markets are), and
    would pass for any equal trade of that second. So a source tells seconds where nine of ten of its times are whole
    ones, of FEWEST at least.
    """

    __slots__ = ("_times", "unit_ns")

    def __init__(self) -> None:
        self.unit_ns = 0
        self._times: dict[int, int] = {}  # different ones in the order in which they were shown: what each resolves

    def add(self, rows: Iterable[Row]) -> None:
        """It showed these, in order."""
        times = self._times
        for row in rows:
            times[row[0]] = times.pop(row[0], 0) or unit_of(row[0])
        for time_ns in list(times)[:-LATEST]:
            del times[time_ns]
        whole = sum(unit == _UNITS[0] for unit in times.values())
        if len(times) >= FEWEST and 10 * whole >= 9 * len(times):
            self.unit_ns = _UNITS[0]
        else:
            self.unit_ns = min(times.values()) if whole < len(times) else 0


class Resolution:
    """How fine the times of one market are over REST and on the stream."""

    __slots__ = ("rest", "stream")

    def __init__(self) -> None:
        self.rest, self.stream = Shown(), Shown()

    @property
    def unit_ns(self) -> int:
        """Two times of one trade are no further apart than this."""
        return max(self.rest.unit_ns, self.stream.unit_ns)


def same(a: Row, b: Row, unit_ns: int) -> bool:
    """Can these two be the same trade? Price, quantity, side, id where both have one, time to the coarser unit.

    `unit_ns`: the coarsest there is.
    """
    if a[1] != b[1] or a[2] != b[2]:
        return False
    if a[3] != b[3] and a[3] and b[3]:
        return False
    if a[4] != b[4] and a[4] and b[4]:
        return False
    apart = abs(a[0] - b[0])
    return apart == 0 or (apart < unit_ns and apart < max(unit_of(a[0]), unit_of(b[0])))


class Overlap(NamedTuple):
    """`end`: place in the answer just after the tape's last trade; `run`: how many trades in a row agree."""

    end: int
    run: int


def find_end(tape: Sequence[Row], answer: Sequence[Row], unit_ns: int) -> Overlap | None:
    """Where the tape's end stands in the answer, or None.

    The longest run wins; among equal ones that which reaches back to the answer's first row, then the earliest.
    """
    best: Overlap | None = None
    best_whole = False
    size = len(tape)
    for end in range(1, len(answer) + 1):
        run = 0
        most = min(end, size)
        while run < most and same(tape[size - 1 - run], answer[end - 1 - run], unit_ns):
            run += 1
        if run == 0:
            continue
        whole = run == end
        if best is None or run > best.run or (run == best.run and whole and not best_whole):
            best, best_whole = Overlap(end, run), whole
    return best


def find_start(answer: Sequence[Row], stream: Sequence[Row], unit_ns: int) -> Overlap | None:
    """Where the stream's first trade stands in the answer (`end` is its place), or None.

    The earliest place from which all that both have agrees; where there is none, the longest run.
    """
    best: Overlap | None = None
    for start in range(len(answer)):
        most = min(len(answer) - start, len(stream))
        run = 0
        while run < most and same(answer[start + run], stream[run], unit_ns):
            run += 1
        if run and run == most:
            return Overlap(start, run)
        if run and (best is None or run > best.run):
            best = Overlap(start, run)
    return best


class Plan(NamedTuple):
    """What a REST answer brings between the tape and the stream.

    kind      joined: answer[first:last] follow the tape; behind: the answer is older than the tape's end, nothing is
    new;
              hole: the tape's end is not in it, answer[first:last] are what is known before the stream; fresh: there is
              no tape
    skip      trades at the stream's beginning that are on the tape already
    sealed    the stream's beginning was found in the answer, or the answer in the stream: nothing lies between them
    without   places from first to last that tape or stream have as well, in another order within a moment
    """

    kind: str
    first: int
    last: int
    skip: int
    sealed: bool
    without: frozenset[int] = frozenset()

    @property
    def places(self) -> list[int]:
        """Places in the answer of what is new."""
        return [place for place in range(self.first, self.last) if place not in self.without]


def plan(tape: Sequence[Row], answer: Sequence[Row], stream: Sequence[Row], unit_ns: int) -> Plan:
    """Puts tape, answer and the stream's buffered beginning in order; of a trade in both, the stream's copy counts.

    `unit_ns`: as `Resolution` has it.
    """
    last, sealed, torn = _before_stream(answer, stream, unit_ns)
    without = _also_in(answer, range(last), stream, stream[0][0], unit_ns) if torn else frozenset()
    if not tape:
        return Plan("fresh", 0, last, 0, sealed, without)
    combined = [*answer[:last], *stream]
    tape = list(tape)
    end = find_end(tape, combined, unit_ns)
    if end is None:
        if _is_behind(tape, answer, unit_ns):
            return Plan("behind", last, last, 0, sealed)
        return Plan("hole", 0, last, 0, sealed, without)
    if end.run == min(end.end, len(tape)):
        return Plan("joined", min(end.end, last), last, max(0, end.end - last), sealed, without)
    # The order broke off: the venue sorts the trades of a moment otherwise than it sends them. What is younger than the
    # tape's last moment is new; within it, each of the tape's trades stands for one of the answer's.
    newest = max(row[0] for row in tape[-end.run :])
    moment = _moment(newest, answer)
    first = sum(1 for row in answer[:last] if row[0] < moment)
    without |= _also_in(answer, range(first, last), tape, moment, unit_ns)
    return Plan("joined", first, last, max(0, end.end - last), sealed, without)


def _moment(newest: int, answer: Sequence[Row]) -> int:
    """Start of the moment of a time, in the coarser resolution."""
    unit = min((unit_of(row[0]) for row in answer), default=1)
    return newest - newest % max(unit, unit_of(newest))


def _before_stream(answer: Sequence[Row], stream: Sequence[Row], unit_ns: int) -> tuple[int, bool, bool]:
    """How many of the answer's rows come before the stream's first; do the two touch; do their orders disagree?"""
    if not stream or not answer:
        return len(answer), False, False
    start = find_start(answer, stream, unit_ns)
    if start is not None:
        return start.end, True, start.run < min(len(answer) - start.end, len(stream))
    if find_start(stream, answer, unit_ns) is not None:
        return 0, True, False
    older = sum(1 for row in answer if row[0] < stream[0][0])
    return older, False, False


def _also_in(answer: Sequence[Row], places: range, known: Sequence[Row], since: int, unit_ns: int) -> frozenset[int]:
    """Places of rows not older than `since` that `known` has as well; each known row stands for one."""
    left = [row for row in known if row[0] >= since]
    found = []
    for place in places:
        row = answer[place]
        match = None
        if row[0] >= since:
            match = next((n for n, other in enumerate(left) if same(other, row, unit_ns)), None)
        if match is not None:
            del left[match]
            found.append(place)
    return frozenset(found)


def _is_behind(tape: Sequence[Row], answer: Sequence[Row], unit_ns: int) -> bool:
    """Has the tape all of the answer and more? (A cached answer can be older than what the stream brought.)"""
    if not answer or answer[-1][0] < tape[-1][0]:
        return bool(answer)
    return answer[-1][0] < tape[-1][0] + _UNITS[0] and find_end(answer, tape, unit_ns) is not None


class Repeats:
    """Takes out of a stream that has just begun what a refill already put on the tape.

    Every place in the tape's end where the stream's first trade could stand is a candidate; each further trade
    strikes out those that it does not fit. The earliest one left (the longest run) decides; once it reaches the
    tape's end, the stream is undisturbed from there on and nothing is compared any more. Trades held back meanwhile
    are all on the tape already.
    """

    __slots__ = ("_held", "_resolution", "_tape", "done")

    def __init__(self, tape: Sequence[Row], resolution: Resolution) -> None:
        self._tape = list(tape)
        self._resolution = resolution
        self._held: list[tuple[Row, Any]] = []
        self.done = not self._tape

    def feed(self, items: Sequence[tuple[Row, Any]]) -> list[Any]:
        """Takes (row, payload) in the stream's order; gives the payloads of those that are new, in order."""
        if self.done:
            return [payload for _, payload in items]
        self._held.extend(items)
        if not self._held:
            return []
        self._resolution.stream.add([row for row, _ in items])
        unit_ns = self._resolution.unit_ns
        size = len(self._tape)
        for place in range(size):
            known = min(size - place, len(self._held))
            if all(same(self._tape[place + n], self._held[n][0], unit_ns) for n in range(known)):
                if place + known < size:
                    return []  # everything so far is a repeat, and more may come
                return self._finish(self._held[known:])
        return self._finish(self._unmatched(unit_ns))

    def _unmatched(self, unit_ns: int) -> list[tuple[Row, Any]]:
        """No order fits (the venue sorts its answer another way): each row on the tape takes out one equal row."""
        left = list(self._tape)
        new = []
        for item in self._held:
            match = next((i for i, known in enumerate(left) if same(known, item[0], unit_ns)), None)
            if match is None:
                new.append(item)
            else:
                del left[match]
        return new

    def _finish(self, items: Sequence[tuple[Row, Any]]) -> list[Any]:
        self.done = True
        self._held = []
        self._tape = []
        return [payload for _, payload in items]

    @property
    def held(self) -> int:
        """How many rows wait for a decision."""
        return len(self._held)
