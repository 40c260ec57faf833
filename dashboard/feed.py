"""From the bus into the page's state: subscriptions to every stage, each frame decoded and folded."""

from collections.abc import Callable
from typing import Any

import msgspec

from bus.frames import EVENT, GAP, STATUS, TRADER, UNREADABLE, VIEW, Frame
from bus.messages import Entry, Event, Gap, Status, View
from bus.notices import FIRST, LATEST, BeatSeen, Cursor, GapFound, Join, Joined, Notice, PeerDiffers
from bus.passage import published_ns
from core.clock import Clock
from dashboard.state import PageState

LOOK_BACK = 2_000  # journal entries before storage's cursor: the last spans, states and starts


def topics_of(stage: str, trader_cursor: tuple[int, int] | None) -> dict[str, Join]:
    """What the page takes from one stage, and where each topic begins.

    `trader_cursor` is the (epoch, number) up to which storage has the journal: trades before it come from the database,
    so the page need not have the whole journal replayed. Without it, everything.
    """
    topics: dict[str, Join] = {EVENT: FIRST, GAP: FIRST}
    if stage == "indicators":
        topics[VIEW] = LATEST
    if stage == "trader":
        topics[STATUS] = LATEST
        topics[TRADER] = FIRST
        if trader_cursor is not None:
            epoch, number = trader_cursor
            topics[TRADER] = Cursor(epoch, max(1, number + 1 - LOOK_BACK), else_first=True)
    return topics


class Feed:
    """The handler of all subscriptions; one writer of the state."""

    def __init__(
        self, state: PageState, clock: Clock, complain: Callable[[str], None], changed: Callable[[], None]
    ) -> None:
        self.state = state
        self.clock = clock
        self.complain = complain  # told once per kind of unreadable message
        self.changed = changed  # called once a batch with more than heartbeats in it
        self._complained: set[str] = set()
        self._now_ns = 0  # when what is folded was published
        self._folds: dict[str, tuple[msgspec.msgpack.Decoder[Any], Callable[[Any], None]]] = {
            VIEW: (msgspec.msgpack.Decoder(list[View]), lambda m: state.fold_view(m, self._now_ns)),
            STATUS: (msgspec.msgpack.Decoder(list[Status]), lambda m: state.fold_status(m, self._now_ns)),
            TRADER: (msgspec.msgpack.Decoder(list[Entry]), lambda m: state.fold_entry(m, self._now_ns)),
            EVENT: (msgspec.msgpack.Decoder(list[Event]), state.fold_event),
            GAP: (msgspec.msgpack.Decoder(list[Gap]), state.fold_gap),
        }

    def handler(self, stage: str) -> Callable[[list[Notice]], None]:
        """What a subscriber of `stage` is attached with."""

        def handle(notices: list[Notice]) -> None:
            self.take(stage, notices)

        return handle

    def take(self, stage: str, notices: list[Notice]) -> None:
        """Fold what one stage sent, in order."""
        self._now_ns = now_ns = self.clock.monotonic_ns()
        wall_ms = self.clock.wall_ms()
        moved = False
        for notice in notices:
            moved = moved or not isinstance(notice, BeatSeen)
            if isinstance(notice, Frame):
                self.state.heard(stage, now_ns, wall_ms)
                self._now_ns = published_ns(notice, self.clock)
                self._fold(stage, notice.topic, notice.payload)
            elif isinstance(notice, BeatSeen):
                self.state.fold_beat(notice.beat, now_ns, wall_ms)
            elif isinstance(notice, Joined):
                self.state.heard(stage, now_ns, wall_ms)
                self._now_ns = now_ns
                # Only latest-state topics have snapshots that the page reads; the trader's is its own affair.
                if notice.snapshot and notice.topic in (VIEW, STATUS):
                    self._fold(stage, notice.topic, notice.snapshot)
            elif isinstance(notice, GapFound):
                self.complain(f"missed {notice.topic} {notice.first} to {notice.last} of {stage}; storage has them")
            elif isinstance(notice, PeerDiffers) and notice.what == "layout" and stage in self.state.stages:
                self.state.differs[stage] = "layout"
                self.state.common_version += 1
        if moved:
            self.changed()

    def _fold(self, stage: str, topic: str, payload: bytes) -> None:
        known = self._folds.get(topic)
        if known is None:
            return
        decoder, fold = known
        try:
            messages = decoder.decode(payload)
        except UNREADABLE as error:
            if topic not in self._complained:
                self._complained.add(topic)
                self.complain(f"unreadable message on {topic} of {stage}: {error}; passed over, restart that stage")
            return
        for message in messages:
            fold(message)
