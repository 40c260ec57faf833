"""How one topic is followed: join, go live, notice holes, have them replayed. Pure: no sockets, no time.

A follower takes frames, heartbeats and answers, and appends to `out` what its stage gets. `wants` says what must be
asked of the publisher; while it waits for the answer, live frames are kept aside (what does not fit is a hole later).

What becomes of a hole that is older than what the publisher still has, so that it is never silent:

* `trade/` has the whole tape behind it. What that has dropped is a gap: indicators tell it and warm up anew. The trader
  asks for no replay of it, it reads the tape where it needs it.
* `update/` has a ring. Beyond it the trader gets a gap, up to what came live meanwhile, and looks at the tape, where
  only its stop decides. Who joins is given the latest of each pair, and nothing again that it had.
* `candle/` is joined again by its snapshot, which has every candle worth keeping.
* `trader/` has the journal behind it, from the first entry on, so that there is no such hole.
* `event/` and `gap/` have rings of 1,000. Beyond them storage records a gap and says so; the page logs it.
* `view/` and `status/` carry the latest state: holes do not matter, and a last message that was lost comes by snapshot.

Epochs have no order, and frames of a publisher that died may still come after the answer of its successor: therefore a
strange epoch is never believed by itself but asked about.
"""

from collections import deque
from collections.abc import Sequence

import msgspec

from bus.frames import Frame, trimmed
from bus.messages import Reply
from bus.notices import ANY_EPOCH, Cursor, GapFound, Join, Joined, Latest, Notice, Whole

ASIDE_BYTES = 8 * 1024 * 1024
ASIDE_FRAMES = 4_096

SNAPSHOT = "snapshot"
REPLAY = "replay"


class Ask(msgspec.Struct, frozen=True):
    """What to ask of the publisher."""

    kind: str
    epoch: int
    first: int


class Follower:
    """Where one topic of one peer stands."""

    def __init__(self, topic: str, join: Join) -> None:
        self.topic = topic
        self.latest = isinstance(join, Latest)
        self.whole = isinstance(join, Whole)
        self.else_first = isinstance(join, Cursor) and join.else_first
        self.epoch = join.epoch if isinstance(join, Cursor) else ANY_EPOCH
        self.next = join.next if isinstance(join, Cursor) else 0
        self.wants: Ask | None = None
        self._aside: deque[Frame] = deque()
        self._aside_bytes = 0
        self.ask_anew()

    @property
    def live(self) -> bool:
        return self.wants is None

    def ask_anew(self) -> None:
        """Asks for what follows the cursor, or for the snapshot where there is none."""
        if self.latest or (self.epoch == ANY_EPOCH and not self.else_first):
            self.wants = Ask(SNAPSHOT, ANY_EPOCH, 0)
        else:
            self.wants = Ask(REPLAY, self.epoch, self.next)

    def take(self, frame: Frame, out: list[Notice]) -> None:
        """A live frame."""
        if frame.first == self.next and frame.epoch == self.epoch and self.wants is None:  # as nearly always
            self.next = frame.first + frame.count
            out.append(frame)
        elif self.wants is not None:
            self._set_aside(frame)
        elif frame.epoch != self.epoch:
            self._set_aside(frame)
            self.ask_anew()
        elif self.latest:
            if frame.last >= self.next:
                self.next = frame.last + 1
                out.append(frame)
        elif frame.first > self.next:
            self._set_aside(frame)
            self.ask_anew()
        else:
            self._apply(frame, out)

    def take_beat(self, epoch: int, last: int) -> None:
        """Where the publisher says it stands; it said so after everything that it had sent."""
        if self.wants is None and (epoch != self.epoch or last != self.next - 1):
            # Less than we have is an older heartbeat or a publisher that lost its tail: the answer will tell.
            self.ask_anew()

    def answered(self, reply: Reply, frames: Sequence[Frame], snapshot: bytes | None, out: list[Notice]) -> bool:
        """The answer to `wants`; True where it brought us further, so that a further ask need not wait."""
        asked = self.wants
        if asked is None:
            return True
        if asked.kind == SNAPSHOT:
            self._restart(reply, snapshot, out)
            return True
        if asked.epoch == ANY_EPOCH:
            self._begin(reply.epoch, reply.first, snapshot, out)
        elif reply.epoch != self.epoch or self.next > reply.last + 1 or (self.whole and reply.first > self.next):
            self.epoch, self.next = ANY_EPOCH, 0
            self.ask_anew()
            return True
        else:
            self._skip_lost(reply.first, out)
        before = self.next
        for frame in frames:
            if frame.epoch == self.epoch and frame.first <= self.next:
                self._apply(frame, out)
        self._settle(reply.last, out)
        return self.next > before or self.wants is None

    def _skip_lost(self, first: int, out: list[Notice]) -> None:
        """The publisher has nothing before `first`: what was not kept aside either is lost for good."""
        kept = (frame.first for frame in self._aside if frame.epoch == self.epoch and frame.last >= self.next)
        goes_on = min(first, next(kept, first))
        if goes_on > self.next:
            out.append(GapFound(self.topic, self.epoch, self.next, goes_on - 1))
            self.next = goes_on

    def _restart(self, reply: Reply, snapshot: bytes | None, out: list[Notice]) -> None:
        """Joins by the snapshot; without one by everything that the publisher still has."""
        if self.latest:
            self._begin(reply.epoch, reply.last + 1 if snapshot is not None else reply.first, snapshot, out)
            self._go_live(out)
            if self.epoch == reply.epoch:
                # Without a snapshot, what was lost before is lost: asking again would not bring it.
                self.next = max(self.next, reply.last + 1)
        elif snapshot is not None:
            self._begin(reply.epoch, reply.last + 1, snapshot, out)
            self._go_live(out)
        else:
            self._begin(reply.epoch, reply.first, None, out)
            self._settle(reply.last, out)

    def _begin(self, epoch: int, first: int, snapshot: bytes | None, out: list[Notice]) -> None:
        self.epoch, self.next = epoch, first
        out.append(Joined(self.topic, epoch, first, snapshot))

    def _settle(self, last: int, out: list[Notice]) -> None:
        """After an answer: goes live where the frames kept aside connect, else asks for more."""
        aside = self._aside
        while aside and (aside[0].epoch != self.epoch or aside[0].last < self.next):
            self._aside_bytes -= len(aside.popleft().payload)
        if self.next > last or (aside and aside[0].first <= self.next):
            self._go_live(out)
        else:
            self.ask_anew()

    def _go_live(self, out: list[Notice]) -> None:
        self.wants = None
        aside, self._aside, self._aside_bytes = self._aside, deque(), 0
        for frame in aside:
            # Of another epoch: the publisher's answer is newer, or its next heartbeat will say so.
            if frame.epoch == self.epoch:
                self.take(frame, out)

    def _apply(self, frame: Frame, out: list[Notice]) -> None:
        """Hands on what is new of a frame that leaves no hole."""
        if frame.last < self.next:
            return
        out.append(trimmed(frame, self.next))
        self.next = frame.last + 1

    def _set_aside(self, frame: Frame) -> None:
        """Keeps the newest; what falls out is replayed."""
        aside = self._aside
        aside.append(frame)
        self._aside_bytes += len(frame.payload)
        while self._aside_bytes > ASIDE_BYTES or len(aside) > ASIDE_FRAMES:
            self._aside_bytes -= len(aside.popleft().payload)
