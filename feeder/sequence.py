"""The seam between the tape, an answer over REST and the stream where trades have ids that count up by one. Pure.

* An id that was dealt with is a repeat; one that follows it is new; anything else is a gap.
* A gap is filled with what an answer has of it. Where an answer spans a gap and has nothing in it, nothing was there.
* An answer that begins behind the next id does not reach back: a hole.
* A venue that was set back counts anew: its newest trade has a lower id than ours and is younger, or ours has there
  another time.

Rows are those of `feeder.merge`, ids in the last place, ascending; so are the stream's, each once.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from heapq import merge as merged
from typing import NamedTuple

from core.clock import NS_PER_S
from feeder.merge import Plan, Row

ANOTHER_NS = NS_PER_S  # of one trade, REST and stream tell times closer than this


class Sequel(NamedTuple):
    """What an answer brings between the tape and the stream.

    kind      joined: what follows goes on from the tape; hole: the answer does not reach back to the tape's end;
              fresh: there is no tape; behind: the answer ends before the tape; restarted: the venue counts anew
    first     answer[first:last] come before the stream's first trade; none where it is behind
    skip      trades at the stream's beginning that were dealt with already
    fill      places of the answer that go between the stream's trades
    ready     how many of the stream's trades, with those, follow without a gap that may be one
    sealed    all of them
    jumps     (last before, first behind) where ids are missing and nothing was there
    """

    kind: str
    first: int
    last: int
    skip: int
    fill: tuple[int, ...]
    ready: int
    sealed: bool
    jumps: tuple[tuple[int, int], ...] = ()
    without: frozenset[int] = frozenset()

    @property
    def places(self) -> range:
        """Places in the answer of what is new before the stream."""
        return range(self.first, self.last)


Seam = Plan | Sequel


def identity(row: Row) -> int:
    """The id of a row's trade."""
    return row[4]


def counts_anew(last: Row, answer: Sequence[Row]) -> bool:
    """Does the answer come from a venue that does not know the tape's last trade, and that goes on without it?"""
    if not answer:
        return False
    if answer[-1][4] < last[4]:
        return answer[-1][0] > last[0] + ANOTHER_NS
    place = bisect_left(answer, last[4], key=identity)
    return answer[place][4] == last[4] and abs(answer[place][0] - last[0]) >= ANOTHER_NS


def sequel(last: Row | None, last_id: int, answer: Sequence[Row], stream: Sequence[Row]) -> Sequel:
    """Puts tape, answer and the stream's buffered trades in order; of a trade in both, the stream's copy counts.

    `last` is the last trade on the tape, None without one; `last_id` the last id that was dealt with, 0 where none was.
    """
    if last is not None and last_id and counts_anew(last, answer):
        stream = [row for row in stream if row[0] > last[0]]
        return _put("restarted", 0, 0, answer, stream)
    skip = bisect_right(stream, last_id, key=identity)
    if not last_id:
        return _put("fresh", skip, 0, answer, stream[skip:])
    if answer and answer[0][4] > last_id + 1:
        return _put("hole", skip, 0, answer, stream[skip:])
    kind = "joined" if answer and answer[-1][4] >= last_id else "behind"
    return _put(kind, skip, last_id, answer, stream[skip:])


def _put(kind: str, skip: int, last_id: int, answer: Sequence[Row], stream: Sequence[Row]) -> Sequel:
    """`stream` without what was dealt with; `last_id` is 0 where what follows begins anew."""
    first = bisect_right(answer, last_id, key=identity)
    last = bisect_left(answer, stream[0][4], key=identity) if stream else len(answer)
    last = max(first, last)
    known = {row[4] for row in stream}
    fill = tuple(place for place in range(last, len(answer)) if answer[place][4] not in known)
    before = (row[4] for row in answer[first:last])
    behind = merged((row[4] for row in stream), (answer[place][4] for place in fill))
    reach = (answer[0][4], answer[-1][4]) if answer else (0, 0)
    ready, jumps = _walk(last_id, before, list(behind), reach)
    return Sequel(kind, first, last, skip, fill, ready, ready == len(stream) + len(fill), jumps)


def _walk(
    at: int, before: Iterable[int], behind: Sequence[int], reach: tuple[int, int]
) -> tuple[int, tuple[tuple[int, int], ...]]:
    """How many of `behind` are reached without a gap that an answer from `reach[0]` to `reach[1]` does not span."""
    jumps: list[tuple[int, int]] = []
    for place, following in [*((-1, n) for n in before), *enumerate(behind)]:
        if at and following != at + 1:
            if not (reach[0] <= at and following <= reach[1]):
                return max(0, place), tuple(jumps)
            jumps.append((at, following))
        at = following
    return len(behind), tuple(jumps)
