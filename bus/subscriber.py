"""The receiving side: follows topics of one peer through restarts, holes and silence of either side."""

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bus import sockets
from bus.frames import BEAT, UNREADABLE, Frame, FrameError, decode
from bus.health import PeerWatch
from bus.messages import Beat, Reply, Request
from bus.messages import encode as pack
from bus.notices import (
    ANY_EPOCH,
    FIRST,
    LATEST,
    WHOLE,
    BeatSeen,
    Cursor,
    GapFound,
    Join,
    Joined,
    Notice,
    PeerDiffers,
    PeerSilent,
    PeerUp,
)
from bus.publisher import Publisher
from bus.replay import Ask, Follower
from core.clock import NS_PER_S, Clock
from core.loop import Cancellable, Loop
from core.settings import shared_hash

if TYPE_CHECKING:
    from core.stage import Context

__all__ = [
    "ANY_EPOCH",
    "FIRST",
    "LATEST",
    "WHOLE",
    "BeatSeen",
    "Cursor",
    "GapFound",
    "Joined",
    "Notice",
    "PeerDiffers",
    "PeerSilent",
    "PeerUp",
    "Subscriber",
    "open_subscriber",
]

FRAMES_PER_TURN = 256
BYTES_PER_TURN = 8 * 1024 * 1024
ANSWERS_PER_TURN = 64
TICK_SECONDS = 0.5
OFTEN_SECONDS = 0.25  # at what changes all the time
SELDOM_SECONDS = 0.5  # at heartbeats and what a person must know
LOOK_TURNS = 4  # of so many frames: as much as the sockets hold
SUSPECT_NS = 2 * NS_PER_S  # without a message, which come each second
FIRST_RETRY_S = 0.02
LONGEST_RETRY_S = 2.0
ANSWER_TIMEOUT_NS = 2 * NS_PER_S

Handle = Callable[[list[Notice]], object]


def look_seconds(peer: str) -> float:
    """How often a stage that shows or records looks at `peer`."""
    return OFTEN_SECONDS if peer in ("indicators", "trader") else SELDOM_SECONDS


class _Question:
    """What is asked of the peer about one topic, and when to ask again."""

    __slots__ = ("asked", "deadline_ns", "follower", "id", "not_before_ns", "retry_s")

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.id = ""  # of the request under way
        self.asked: Ask | None = None
        self.deadline_ns = 0
        self.not_before_ns = 0
        self.retry_s = FIRST_RETRY_S

    def back_off(self, now_ns: int) -> None:
        self.id = ""
        self.not_before_ns = now_ns + int(self.retry_s * NS_PER_S)
        self.retry_s = min(self.retry_s * 2, LONGEST_RETRY_S)

    def at_once(self) -> None:
        self.id = ""
        self.not_before_ns = 0
        self.retry_s = FIRST_RETRY_S


class Subscriber:
    """Follows topics of one peer; `attach` begins, `close` ends it. Topics ask to join by a `Join`.

    Who decides is woken by each message. Who shows, records or watches looks every `look_s` instead: to wake costs more
    than most messages, and wakes on one grid of time come together.
    """

    def __init__(
        self,
        peer: str,
        topics: Mapping[str, Join],
        run_dir: Path,
        clock: Clock,
        *,
        layout_hash: int,
        settings_hash: int,
        arrived: Callable[[int], None] | None = None,
        look_s: float = 0.0,
    ) -> None:
        self.peer = peer
        self.unreadable = 0  # messages that were no frames of ours
        self._clock = clock
        self._layout = layout_hash
        self._arrived = arrived
        self._watch = PeerWatch(peer, layout_hash, settings_hash, clock.monotonic_ns())
        self._questions = {topic: _Question(Follower(topic, join)) for topic, join in topics.items()}
        self._in = sockets.data_in(run_dir, peer, [*topics, BEAT])
        self._requests = sockets.requests_to(run_dir, peer)
        self._loop: Loop | None = None
        self._handle: Handle = lambda notices: None
        self._look_s = look_s
        self._tick_timer: Cancellable | None = None
        self._retry_timer: Cancellable | None = None
        self._closed = False

    @property
    def silent(self) -> bool:
        """Nothing was heard for 3 s."""
        return self._watch.silent

    @property
    def beat(self) -> Beat | None:
        """The peer's last heartbeat."""
        return self._watch.beat

    def cursor(self, topic: str) -> Cursor:
        """Where the topic stands: what was handed over ends before `next`."""
        follower = self._questions[topic].follower
        return Cursor(follower.epoch, follower.next, follower.else_first)

    def live(self, topic: str) -> bool:
        """Joined, and nothing is being replayed."""
        return self._questions[topic].follower.live

    def attach(self, loop: Loop, handle: Handle) -> None:
        """Begins: `handle` gets lists of what happened, in order."""
        self._loop = loop
        self._handle = handle
        if not self._look_s:
            loop.add_reader(sockets.fd(self._in), self._read_data)
        loop.add_reader(sockets.fd(self._requests), self._read_answers)
        self._tick_timer = loop.every(self._look_s or TICK_SECONDS, self._tick)
        self._ask_all()

    def close(self) -> None:
        """Ends; `handle` is not called any more."""
        if self._closed:
            return
        self._closed = True
        if self._loop is not None:
            self._loop.remove_reader(sockets.fd(self._in))
            self._loop.remove_reader(sockets.fd(self._requests))
        for timer in (self._tick_timer, self._retry_timer):
            if timer is not None:
                timer.cancel()
        sockets.close(self._in)
        sockets.close(self._requests)

    # --- data ---

    def _read_data(self) -> bool:
        """Takes what has arrived, up to a bound; True where more may be waiting.

        The first message is handed over by itself and at once, what else has arrived after it together.
        """
        if self._closed:
            return False
        parts = sockets.receive_frame(self._in)
        if parts is None:
            return False
        now_ns = self._clock.monotonic_ns()
        out: list[Notice] = []
        self._take(parts, now_ns, out)
        self._hand_over(out, now_ns)
        waiting = False
        if not self._closed and sockets.more(self._in):
            self._hand_over(self._received(now_ns, FRAMES_PER_TURN), now_ns)
            waiting = not self._closed and sockets.more(self._in)
        for question in self._questions.values():
            if question.follower.wants is not None:
                self._ask_all()
                break
        return waiting

    def _received(self, now_ns: int, most: int) -> list[Notice]:
        """What so many messages at most, and not much more than BYTES_PER_TURN, have to say."""
        out: list[Notice] = []
        taken = 0
        for _ in range(most):
            parts = sockets.receive_frame(self._in)
            if parts is None:
                break
            self._take(parts, now_ns, out)
            taken += len(parts[-1])
            if taken > BYTES_PER_TURN:
                break
        return out

    def _take(self, parts: list[bytes], now_ns: int, out: list[Notice]) -> None:
        try:
            frame = decode(parts)
        except FrameError:
            self.unreadable += 1
            return
        watch = self._watch
        watch.heard_ns = now_ns
        question = self._questions.get(frame.topic)
        if question is not None and frame.layout == self._layout and watch.differs != "layout":
            question.follower.take(frame, out)
        elif frame.topic == BEAT:
            self._take_beat(frame, now_ns, out)
        elif frame.layout != self._layout:
            watch.unreadable(out)

    def _take_beat(self, frame: Frame, now_ns: int, out: list[Notice]) -> None:
        try:
            beat = _beat_decoder.decode(frame.payload)[0]
        except (*UNREADABLE, IndexError):
            self.unreadable += 1
            self._watch.unreadable(out)
            return
        could_read = self._watch.readable
        restarted = self._watch.take_beat(beat, now_ns, out)
        if not self._watch.readable:
            return
        for topic, question in self._questions.items():
            stands = beat.last.get(topic)
            if not could_read:
                question.follower.ask_anew()
            elif stands is not None:
                question.follower.take_beat(*stands)
            # A request to the process that died is lost; a topic that is announced need not be waited for.
            if restarted or not could_read or (stands is not None and not question.id):
                question.at_once()

    # --- questions and answers ---

    def _ask_all(self) -> None:
        """Asks whatever must be asked now; the rest is left to a timer."""
        if self._closed or not self._watch.readable:
            return
        now_ns = self._clock.monotonic_ns()
        sent = False
        soonest = 0
        for question in self._questions.values():
            wants = question.follower.wants
            if wants is None or question.id:
                continue
            if question.not_before_ns <= now_ns:
                if self._ask(question, wants, now_ns):
                    sent = True
                    continue
                question.back_off(now_ns)
            soonest = min(soonest or question.not_before_ns, question.not_before_ns)
        if soonest and self._loop is not None:
            if self._retry_timer is not None:
                self._retry_timer.cancel()
            self._retry_timer = self._loop.call_later((soonest - now_ns) / NS_PER_S, self._ask_all)
        if sent and self._loop is not None:
            # A send may have swallowed the news that an answer is there.
            self._loop.call_later(0, self._read_answers)

    def _ask(self, question: _Question, wants: Ask, now_ns: int) -> bool:
        request = Request(
            id=secrets.token_hex(8),
            kind=wants.kind,
            topic=question.follower.topic,
            epoch=wants.epoch,
            first=wants.first,
        )
        if not sockets.send(self._requests, [pack(request)]):
            return False
        question.id = request.id
        question.asked = wants
        question.deadline_ns = now_ns + ANSWER_TIMEOUT_NS
        return True

    def _read_answers(self) -> bool:
        if self._closed:
            return False
        now_ns = self._clock.monotonic_ns()
        out: list[Notice] = []
        more = sockets.more(self._requests)  # mostly not: that is cheaper to hear so than by zmq's exception
        for _ in range(ANSWERS_PER_TURN):
            parts = sockets.receive(self._requests) if more else None
            if parts is None:
                more = False
                break
            self._take_answer(parts, now_ns, out)
        # First the next question: the peer answers while this is worked on.
        self._ask_all()
        self._hand_over(out, 0)
        return more and not self._closed

    def _take_answer(self, parts: list[bytes], now_ns: int, out: list[Notice]) -> None:
        try:
            reply = _reply_decoder.decode(parts[0])
        except UNREADABLE:
            self.unreadable += 1
            return
        question = next((q for q in self._questions.values() if q.id and q.id == reply.id), None)
        if question is None:
            return  # an answer that came too late: it was asked again since
        self._watch.heard_ns = now_ns
        follower = question.follower
        if not reply.ok or question.asked != follower.wants:
            question.back_off(now_ns)
            return
        snapshot = parts.pop() if len(parts) % 3 == 2 else None
        try:
            frames = [decode(parts[at : at + (3 if parts[at + 2] else 2)]) for at in range(1, len(parts), 3)]
        except (FrameError, IndexError):
            self.unreadable += 1
            question.back_off(now_ns)
            return
        if any(frame.layout != self._layout for frame in frames):
            self._watch.unreadable(out)
            question.back_off(now_ns)
            return
        if follower.answered(reply, frames, snapshot, out):
            question.at_once()
        else:
            question.back_off(now_ns)

    def _hand_over(self, out: list[Notice], arrived_ns: int) -> None:
        if not out or self._closed:
            return
        if self._arrived is None or not arrived_ns:
            self._handle(out)
            return
        self._arrived(arrived_ns)
        try:
            self._handle(out)
        finally:
            self._arrived(0)

    def _tick(self) -> None:
        """Twice a second, or at each look: what has arrived, silence, requests without an answer."""
        now_ns = self._clock.monotonic_ns()
        suspect = now_ns - self._watch.heard_ns > SUSPECT_NS
        # What arrived while this process was busy or stopped is no silence; to look swallows zmq's word of it.
        if (self._look_s or suspect) and self.look() and not self._look_s:
            self._drain()
        if suspect:
            out: list[Notice] = []
            self._watch.check(now_ns, out)
            self._hand_over(out, 0)
        for question in self._questions.values():
            if question.follower.wants is not None:
                self._chase(now_ns)
                break

    def look(self) -> bool:
        """Takes what has arrived, as much as the sockets hold; True where there may be more."""
        now_ns = self._clock.monotonic_ns()
        for _ in range(LOOK_TURNS):
            if self._closed or not sockets.more(self._in):
                return False
            self._hand_over(self._received(now_ns, FRAMES_PER_TURN), now_ns)
        return True

    def _drain(self) -> None:
        """Goes on where a look left something: nothing else would wake who is woken."""
        if self._loop is not None and self._read_data():
            self._loop.call_later(0, self._drain)

    def _chase(self, now_ns: int) -> None:
        """Something must be asked, or was: is the answer there, or has it taken too long?"""
        self._read_answers()
        for question in self._questions.values():
            if question.id and now_ns > question.deadline_ns:
                question.back_off(now_ns)
        self._ask_all()


_beat_decoder = msgspec.msgpack.Decoder(list[Beat])
_reply_decoder = msgspec.msgpack.Decoder(Reply)


def open_subscriber(
    context: "Context",
    peer: str,
    topics: Mapping[str, Join],
    handle: Handle,
    layout_hash: int,
    publisher: Publisher | None = None,
    *,
    passing: bool = False,
    look_s: float = 0.0,
) -> Subscriber:
    """A subscriber of a stage: attached to its loop, closed at its end; latency is counted by its publisher.

    `passing`: it comes and goes, and who opens it closes it; `look_s`: as for `Subscriber`.
    """
    subscriber = Subscriber(
        peer,
        topics,
        context.run_dir,
        context.clock,
        layout_hash=layout_hash,
        settings_hash=shared_hash(context.settings),
        arrived=publisher.arrived if publisher is not None else None,
        look_s=look_s,
    )
    subscriber.attach(context.loop, handle)
    if not passing:
        context.on_stop(subscriber.close)
    return subscriber
