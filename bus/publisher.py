"""The sending side of a stage: numbered frames, heartbeats, and answers to who asks for snapshot, replay or control."""

import logging
import os
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bus import sockets
from bus.control import Control, Handler
from bus.frames import BEAT, EVENT, GAP, HEAD, UNREADABLE, Frame, array_of, encode, joined, parts_of, topic_bytes
from bus.health import BEAT_SECONDS
from bus.layouts import MAX_BATCH, RECORD_SIZE
from bus.messages import Beat, Event, Gap, Reply, Request
from bus.messages import encode as pack
from bus.notices import ANY_EPOCH
from core.clock import NS_PER_S, Clock
from core.errors import BotError
from core.histogram import Histogram
from core.loop import Cancellable, Loop
from core.sampling import Sampler
from core.settings import shared_hash
from core.spans import Spans, Told, Windows

if TYPE_CHECKING:
    from core.stage import Context

REQUESTS_PER_TURN = 64
BYTES_PER_TURN = 256 * 1024  # answered before live data and timers have their turn again
REPLAY_FRAMES = 8  # in one answer: the asker comes back for more, and others get their turn
EVENT_RING = 1_000
GAP_RING = 1_000
REMIND_NS = 60 * NS_PER_S  # of an answer that cannot be given: it is asked for again all the time

Facts = dict[str, str | int | float | None]

_last_number = attrgetter("last")


class Ring:
    """The last frames of a topic: at least the newest `size` numbers."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._frames: deque[Frame] = deque()
        self._numbers = 0

    def add(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._numbers += frame.count
        while self._numbers - self._frames[0].count >= self._size:
            self._numbers -= self._frames.popleft().count

    def first(self, next_number: int) -> int:
        """The first number kept, or `next_number` where there is none."""
        return self._frames[0].first if self._frames else next_number

    def replay(self, first: int) -> list[Frame]:
        """Frames from number `first` on, small ones put together; at most REPLAY_FRAMES."""
        out: list[Frame] = []
        group: list[Frame] = []
        count = 0
        for frame in islice(self._frames, bisect_left(self._frames, first, key=_last_number), None):
            # What is about other things than the rest, a START, stays alone.
            if group and (count + frame.count > MAX_BATCH or frame.body is not None or group[-1].body is not None):
                out.append(joined(group))
                group, count = [], 0
                if len(out) == REPLAY_FRAMES:
                    return out
            group.append(frame)
            count += frame.count
        if group:
            out.append(joined(group))
        return out


class Topic:
    """One numbered stream of this stage."""

    def __init__(
        self,
        name: str,
        epoch: int,
        last: int,
        ring: int,
        replay: Callable[[int], list[Frame]] | None,
        snapshot: Callable[[], bytes] | None,
    ) -> None:
        self.name = name
        self.encoded = topic_bytes(name)
        self.epoch = epoch
        self.last = last
        self.ring = Ring(ring) if ring else None
        self.source = replay
        self.snapshot = snapshot

    def replay(self, first: int) -> tuple[int, list[Frame]]:
        """The first number that can still be had, at or after `first`, and frames from there on."""
        if self.source is not None:
            frames = self.source(first)
        elif self.ring is not None:
            frames = self.ring.replay(first)
        else:
            frames = []
        return (max(first, frames[0].first) if frames else self.last + 1), frames


class Publisher:
    """Sends a stage's topics, from the loop's thread alone.

    Topics are made by `topic`; `event/0/` and `gap/0/` are there from the start.
    """

    def __init__(
        self,
        stage: str,
        run_dir: Path,
        clock: Clock,
        *,
        layout_hash: int,
        settings_hash: int,
        started_ms: int,
        restarts: int = 0,
        facts: Callable[[], Facts] | None = None,
        latency: str = "",
    ) -> None:
        self.stage = stage
        self.spans = Spans(clock)
        self.latency = self.spans.of(latency) if latency else Histogram(clock)
        self._clock = clock
        self._layout = layout_hash
        self._settings_hash = settings_hash
        self._started_ms = started_ms
        self._restarts = restarts
        self._facts = facts or dict
        self._told: Facts = {}  # the facts of the last regular heartbeat
        self._topics: dict[str, Topic] = {}
        self._control = Control(stage, clock)
        self._unread_ns: dict[str, int] = {}  # by topic, when it was last told that it cannot be read
        self._arrived_ns = 0
        self._beat_ns = 0
        self._thread = threading.get_ident()
        self._loop: Loop | None = None
        self._timer: Cancellable | None = None
        self._turn: Cancellable | None = None  # of a heartbeat under way
        self._out = sockets.data_out(run_dir, stage)
        self._answers = sockets.answers_out(run_dir, stage)
        self.topic(EVENT, started_ms, ring=EVENT_RING)
        self.topic(GAP, started_ms, ring=GAP_RING)

    def topic(
        self,
        name: str,
        epoch: int,
        last: int = -1,
        *,
        ring: int = 0,
        replay: Callable[[int], list[Frame]] | None = None,
        snapshot: Callable[[], bytes] | None = None,
    ) -> None:
        """Begins a topic, or begins it anew with another epoch.

        `last`: the number before the next one. Who missed something gets it from `replay(first)` (about 8 frames from
        number `first` on, or from the first kept number after it) or from a ring of at least `ring` numbers.
        `snapshot()` gives the state after number `last`.
        """
        self._topics[name] = Topic(name, epoch, last, ring, replay, snapshot)

    def last(self, name: str) -> int:
        """The last number sent on a topic."""
        return self._topics[name].last

    def epoch(self, name: str) -> int:
        return self._topics[name].epoch

    def send_records(
        self, name: str, first: int, records: object, body: bytes | None = None, count: int | None = None
    ) -> None:
        """Sends an array of records (or its bytes) that covers numbers from `first` on.

        `count`: how many numbers it covers, where that is not the number of records (`update/`). Above MAX_BATCH
        numbers, records that count one number each are split.
        """
        topic = self._topics[name]
        payload: bytes = records if isinstance(records, bytes) else records.tobytes()  # type: ignore[attr-defined]
        if count is None:
            count = len(payload) // RECORD_SIZE
            while count > MAX_BATCH:
                self._send(topic, first, MAX_BATCH, payload[: MAX_BATCH * RECORD_SIZE], None)
                payload = payload[MAX_BATCH * RECORD_SIZE :]
                first, count = first + MAX_BATCH, count - MAX_BATCH
        if count:
            self._send(topic, first, count, payload, body)

    def send(self, name: str, message: msgspec.Struct) -> int:
        """Sends one message and returns its number."""
        topic = self._topics[name]
        self._send(topic, topic.last + 1, 1, b"\x91" + pack(message), None)
        return topic.last

    def send_many(self, name: str, messages: Sequence[msgspec.Struct]) -> int:
        """Sends messages as few frames and returns the last number."""
        topic = self._topics[name]
        for at in range(0, len(messages), MAX_BATCH):
            payload, count = array_of(pack(message) for message in messages[at : at + MAX_BATCH])
            self._send(topic, topic.last + 1, count, payload, None)
        return topic.last

    def event(self, level: str, text: str, pair: str = "") -> int:
        """Publishes what a person must know; stages call `context.event`, which also logs it."""
        return self.send(EVENT, Event(self.stage, level, text, self._clock.wall_ms(), pair))

    def gap(self, topic: str, epoch: int, first: int, last: int) -> int:
        """Publishes that this stage missed numbers of a topic for good; storage records it."""
        return self.send(GAP, Gap(self.stage, topic, epoch, first, last, self._clock.wall_ms()))

    def on_control(self, action: str, handler: Handler) -> None:
        """Has `handler(request) -> (ok, text)` carry out control requests of that action, each id once."""
        self._control.on(action, handler)

    def arrived(self, monotonic_ns: int) -> None:
        """A message arrived now: the next frame sent counts its latency from here; 0 takes it back."""
        self._arrived_ns = monotonic_ns

    def attach(self, loop: Loop) -> None:
        """Begins to answer and to beat."""
        self._loop = loop
        loop.add_reader(sockets.fd(self._answers), self._answer_all)
        self._timer = loop.every(BEAT_SECONDS, self._beat_in_turns)
        self.beat()

    def breathe(self) -> None:
        """Sends the heartbeat if it is due: to be called now and then by work that keeps the loop from its timers.

        It tells the facts of the last regular one, as that work may be in the middle of changing them. On another
        thread than the loop's it does nothing: the loop is free then, and a socket belongs to one thread.
        """
        due_ns = self._beat_ns + int(BEAT_SECONDS * NS_PER_S)
        if self._clock.monotonic_ns() >= due_ns and threading.get_ident() == self._thread:
            self._send_beat(self.spans.told())

    def beat(self) -> None:
        """Sends the heartbeat."""
        self._told = self._facts()
        self._send_beat(self.spans.told())

    def _beat_in_turns(self, left: Iterator[tuple[str, Windows]] | None = None, told: Told | None = None) -> None:
        """Sends the heartbeat, one span's latencies sorted in a turn of the loop: a second's of all take a while."""
        assert self._loop is not None
        if left is None and self._turn is not None:
            return  # the one before is still under way: `close` must find all that would send
        left, told = left or self.spans.tell(), told or {}
        found = next(left, None)
        if found is None:
            self._turn = None
            self._told = self._facts()
            self._send_beat(told)
            return
        told[found[0]] = found[1]
        self._turn = self._loop.aside(lambda: self._beat_in_turns(left, told))

    def _send_beat(self, spans: Told) -> None:
        self._beat_ns = self._clock.monotonic_ns()
        latency = self.latency.minute()
        beat = Beat(
            stage=self.stage,
            pid=os.getpid(),
            wall_ms=self._clock.wall_ms(),
            started_ms=self._started_ms,
            restarts=self._restarts,
            layout_hash=self._layout,
            settings_hash=self._settings_hash,
            last={topic.name: (topic.epoch, topic.last) for topic in self._topics.values()},
            latency_us=(latency.p50, latency.p99),
            facts=self._told,
            spans=spans,
        )
        frame = Frame(BEAT, 0, 0, 0, self._clock.wall_ns(), b"\x91" + pack(beat), None, self._layout)
        sockets.send(self._out, parts_of(*encode(frame)))

    def close(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(sockets.fd(self._answers))
        for timer in (self._timer, self._turn):
            if timer is not None:
                timer.cancel()
        sockets.close(self._out, sockets.LET_OUT_S)
        sockets.close(self._answers)

    def _send(self, topic: Topic, first: int, count: int, payload: bytes, body: bytes | None) -> None:
        if first != topic.last + 1:
            raise ValueError(f"{topic.name} goes on at {topic.last + 1}, not at {first}")
        now_ns = self._clock.wall_ns()
        head = HEAD.pack(topic.encoded, self._layout, topic.epoch, first, now_ns, count)
        topic.last = first + count - 1
        sockets.send(self._out, parts_of(head, payload, body))
        if topic.ring is not None:
            topic.ring.add(Frame(topic.name, topic.epoch, first, count, now_ns, payload, body, self._layout))
        if self._arrived_ns:
            self.latency.record((self._clock.monotonic_ns() - self._arrived_ns) / 1000)
            self._arrived_ns = 0

    def _answer_all(self) -> bool:
        """Answers what was asked, up to a bound; True where more may be waiting.

        Who catches up asks again at once, for as long as there is something: between any two of its answers, whoever
        is live gets what has come.
        """
        answered = 0
        for _ in range(REQUESTS_PER_TURN):
            parts = sockets.receive(self._answers)
            if parts is None:
                return False
            if len(parts) != 2:
                continue
            try:
                request = _request_decoder.decode(parts[1])
            except UNREADABLE:
                continue  # not ours to answer: whoever asks like this does not understand an answer either
            answer = self._answer(request)
            sockets.send(self._answers, [parts[0], *answer])
            answered += sum(map(len, answer))
            if answered >= BYTES_PER_TURN:
                break
        return True

    def _answer(self, request: Request) -> list[bytes]:
        """The parts of the answer: Reply, then three parts for each frame, then the snapshot where it was asked for."""
        if request.kind == "control":
            return [pack(self._control.answer(request))]
        topic = self._topics.get(request.topic)
        if topic is None:
            return [pack(Reply(request.id, False, f"{self.stage} has no topic {request.topic} (yet)"))]
        try:
            if request.kind == "snapshot" and topic.snapshot is not None:
                snapshot = topic.snapshot()
                return [pack(Reply(request.id, True, "", topic.epoch, topic.last + 1, topic.last)), snapshot]
            if request.kind == "replay" and request.epoch == topic.epoch and request.first <= topic.last + 1:
                first, frames = topic.replay(request.first)
            elif request.kind == "snapshot" or request.epoch == ANY_EPOCH:
                first, frames = topic.replay(0)
                frames = frames if request.kind == "replay" else []
            else:
                first, frames = topic.last + 1, []  # another epoch: the asker decides how to begin anew
        except BotError as error:  # whoever asks will ask again: that must not end us, nor be kept to ourselves
            self._tell_unread(topic.name, str(error))
            return [pack(Reply(request.id, False, str(error)))]
        parts = [pack(Reply(request.id, True, "", topic.epoch, first, topic.last))]
        # Who begins at the first number kept may need to know what the records are about.
        begins = topic.snapshot() if request.epoch == ANY_EPOCH and topic.snapshot is not None else None
        for frame in frames:
            frame.layout = self._layout
            frame.publish_ns = 0  # what is told again is not published now
            head, payload, *body = encode(frame)
            parts += (head, payload, body[0] if body else b"")
        if begins is not None:
            parts.append(begins)
        return parts

    def _tell_unread(self, topic: str, why: str) -> None:
        now_ns = self._clock.monotonic_ns()
        if topic not in self._unread_ns or now_ns - self._unread_ns[topic] >= REMIND_NS:
            self._unread_ns[topic] = now_ns
            logging.getLogger(__name__).error("%s", why)
            self.event("error", why)


_request_decoder = msgspec.msgpack.Decoder(Request)


def open_publisher(
    context: "Context",
    layout_hash: int,
    facts: Callable[[], Facts] | None = None,
    latency: str = "",
) -> Publisher:
    """The publisher of a stage: attached to its loop, closed at its end, and `context.event` goes through it.

    `latency`: what the time from a message's arrival to its publication is called among the spans, if it is one.
    Every stage that has one answers the control action `profile`.
    """
    publisher = Publisher(
        context.name,
        context.run_dir,
        context.clock,
        layout_hash=layout_hash,
        settings_hash=shared_hash(context.settings),
        started_ms=context.started_ms,
        restarts=context.restarts,
        facts=facts,
        latency=latency,
    )
    sampler = Sampler(context.name, context.var_dir, context.loop, context.clock, context.log)
    publisher.on_control("profile", lambda request: sampler.begin(request.arguments))
    publisher.attach(context.loop)
    context.publish_event = publisher.event
    context.let_out = sockets.let_out
    context.on_stop(publisher.close)
    context.begins_to_beat()
    if context.found:
        context.event("warn", f"{context.name} started again, its last run ended: {context.found}")
    return publisher
