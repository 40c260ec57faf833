"""Following a topic: whatever is lost, delayed or restarted, numbers come once, in order, and holes are told."""

from collections import deque

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.frames import Frame, array_of, messages
from bus.messages import Reply
from bus.notices import ANY_EPOCH, FIRST, LATEST, WHOLE, Cursor, GapFound, Join, Joined, Notice
from bus.publisher import Ring, Topic
from bus.replay import Follower

decoder = msgspec.msgpack.Decoder(list[tuple[int, int]])


class World:
    """A publisher, a line that loses and delays, and a follower."""

    def __init__(self, join: Join, ring: int = 50, with_snapshot: bool = False) -> None:
        self.gone: dict[int, int] = {}  # of each epoch, before which number nothing was kept when last asked
        self.arrived: set[tuple[int, int]] = set()  # epoch and number of what came live
        self.epoch = 1
        self.with_snapshot = with_snapshot
        self.ring_size = ring
        self.topic = self._topic()
        self.line: deque[Frame | tuple[int, int]] = deque()
        self.follower = Follower("trader/0/", join)
        self.notices: list[Notice] = []

    def _topic(self) -> Topic:
        return Topic(
            "trader/0/", self.epoch, -1, self.ring_size, None, (lambda: b"state") if self.with_snapshot else None
        )

    def send(self, count: int, lost: bool = False) -> None:
        first = self.topic.last + 1
        payload, _ = array_of(msgspec.msgpack.encode((self.epoch, number)) for number in range(first, first + count))
        frame = Frame("trader/0/", self.epoch, first, count, 0, payload)
        self.topic.last = first + count - 1
        assert self.topic.ring is not None
        self.topic.ring.add(frame)
        if not lost:
            self.line.append(frame)

    def beat(self) -> None:
        self.line.append((self.topic.epoch, self.topic.last))

    def restart(self) -> None:
        """Another process with another epoch; what is on the line still arrives."""
        self.epoch += 1
        self.topic = self._topic()

    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.line))):
            item = self.line.popleft()
            if isinstance(item, Frame):
                self.arrived |= {(item.epoch, number) for number in range(item.first, item.last + 1)}
                self.follower.take(item, self.notices)
            else:
                self.follower.take_beat(*item)

    def answer(self) -> bool:
        """The publisher answers as `Publisher._answer` does; True where something was asked."""
        asked = self.follower.wants
        if asked is None:
            return False
        topic = self.topic
        snapshot: bytes | None = None
        frames: list[Frame] = []
        if asked.kind == "snapshot" and topic.snapshot is not None:
            first, snapshot = topic.last + 1, topic.snapshot()
        elif asked.kind == "replay" and asked.epoch == topic.epoch and asked.first <= topic.last + 1:
            first, frames = topic.replay(asked.first)
        elif asked.kind == "snapshot" or asked.epoch == ANY_EPOCH:
            first, frames = topic.replay(0)
            frames = frames if asked.kind == "replay" else []
        else:
            first = topic.last + 1
        assert topic.ring is not None
        self.gone[topic.epoch] = topic.ring.first(topic.last + 1)
        reply = Reply("id", True, "", topic.epoch, first, topic.last)
        before = len(self.notices)
        self.follower.answered(reply, frames, snapshot, self.notices)
        for gap in self.notices[before:]:
            if isinstance(gap, GapFound):
                lost = {(gap.epoch, number) for number in range(gap.first, gap.last + 1)}
                assert not lost & self.arrived, "what came live is no gap"
        return True

    def settle(self) -> None:
        """Everything arrives, heartbeats go on, every question is answered."""
        for _ in range(3):
            self.beat()
            self.deliver(10_000)
            for _ in range(100):
                if not self.answer():
                    break
        assert self.follower.live

    def check(self, start: Cursor | None) -> None:
        """Numbers come once and in order; only notices move the place."""
        epoch, expected = (start.epoch, start.next) if start else (None, None)
        for notice in self.notices:
            if isinstance(notice, Joined):
                epoch, expected = notice.epoch, notice.next_number
            elif isinstance(notice, GapFound):
                assert (notice.epoch, notice.first) == (epoch, expected)
                assert notice.first <= notice.last < self.gone[notice.epoch], "what could still be had is no gap"
                expected = notice.last + 1
            else:
                assert isinstance(notice, Frame)
                assert (notice.epoch, notice.first) == (epoch, expected)
                assert messages(notice, decoder) == [(epoch, number) for number in range(notice.first, notice.last + 1)]
                expected = notice.last + 1
        assert (epoch, expected) == (self.topic.epoch, self.topic.last + 1)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 30)),
        st.tuples(st.just("lose"), st.integers(1, 30)),
        st.tuples(st.just("deliver"), st.integers(1, 5)),
        st.tuples(st.just("beat"), st.just(0)),
        st.tuples(st.just("answer"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=60,
)


def play(world: World, steps: list[tuple[str, int]]) -> None:
    """Takes the steps in order; in the end all that was lost is noticed and asked for."""
    for step, count in steps:
        if step in ("send", "lose"):
            world.send(count, lost=step == "lose")
        elif step == "deliver":
            world.deliver(count)
        elif step == "answer":
            world.answer()
        elif step == "beat":
            world.beat()
        else:
            world.restart()
    world.settle()


@settings(max_examples=400, deadline=None)
@given(
    STEPS,
    st.sampled_from([None, WHOLE, FIRST, Cursor(1, 0), Cursor(9, 5), Cursor(9, 5, else_first=True)]),
    st.booleans(),
    st.sampled_from([1, 7, 50, 1000]),
)
def test_whatever_happens_numbers_come_once_in_order_to_the_last(
    steps: list[tuple[str, int]], join: Join, with_snapshot: bool, ring: int
) -> None:
    """Or a gap says exactly what is missing: no number that the publisher still had when it was asked."""
    world = World(join, ring, with_snapshot)
    play(world, steps)
    world.check(join if isinstance(join, Cursor) and join.epoch == 1 else None)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.booleans())
def test_the_latest_is_never_older_than_before_and_ends_with_the_last(
    steps: list[tuple[str, int]], with_snapshot: bool
) -> None:
    world = World(LATEST, with_snapshot=with_snapshot)
    play(world, steps)
    seen: dict[int, int] = {}
    for notice in world.notices:
        assert not isinstance(notice, GapFound)
        if isinstance(notice, Joined):
            seen[notice.epoch] = max(seen.get(notice.epoch, -1), notice.next_number - 1)
        elif isinstance(notice, Frame):
            assert notice.last > seen.get(notice.epoch, -1) or not with_snapshot
            seen[notice.epoch] = notice.last
    assert (world.follower.epoch, world.follower.next) == (world.topic.epoch, world.topic.last + 1)


def kinds(world: World) -> list[str]:
    return [type(notice).__name__ for notice in world.notices]


def test_joining_without_a_snapshot_gives_everything_kept() -> None:
    world = World(None)
    world.send(120)
    world.send(3)
    world.settle()
    assert world.notices[0] == Joined("trader/0/", 1, 0, None)
    world.check(None)


def test_a_hole_is_replayed() -> None:
    world = World(Cursor(1, 0))
    world.settle()
    world.send(2)
    world.send(3, lost=True)
    world.send(2)
    world.deliver(9)
    assert kinds(world) == ["Frame"]
    assert world.follower.wants is not None
    world.answer()
    assert kinds(world) == ["Frame", "Frame"] and world.follower.live
    world.check(Cursor(1, 0))


def test_a_hole_too_old_is_a_gap_and_the_rest_comes() -> None:
    world = World(Cursor(1, 0), ring=10)
    world.send(5)
    world.settle()
    for _ in range(10):
        world.send(5, lost=True)
    world.settle()
    assert GapFound("trader/0/", 1, 5, 44) in world.notices
    world.check(Cursor(1, 0))


def test_a_hole_too_old_is_a_gap_only_as_far_as_nothing_came() -> None:
    """A slow consumer of a fast stream: the ring has gone on by more than the hole before the question arrives."""
    world = World(Cursor(1, 0), ring=10)
    world.send(5)
    world.settle()
    world.send(5, lost=True)
    for _ in range(10):
        world.send(5)
    world.deliver(9)
    world.answer()
    assert world.follower.live
    assert [notice for notice in world.notices if isinstance(notice, GapFound)] == [GapFound("trader/0/", 1, 5, 9)]
    world.settle()
    world.check(Cursor(1, 0))


def test_a_hole_too_old_is_joined_again_where_the_snapshot_has_all_that_counts() -> None:
    world = World(WHOLE, ring=10, with_snapshot=True)
    world.send(5)
    world.settle()
    world.send(3, lost=True)
    world.settle()
    assert kinds(world) == ["Joined", "Frame"], "a hole that can be replayed is replayed"
    for _ in range(10):
        world.send(5, lost=True)
    world.settle()
    assert world.notices[2:] == [Joined("trader/0/", 1, 58, b"state")]
    world.check(None)


def test_a_lost_last_message_is_seen_by_the_heartbeat() -> None:
    world = World(Cursor(1, 0))
    world.settle()
    world.send(1, lost=True)
    world.deliver(9)
    assert world.follower.live
    world.beat()
    world.deliver(9)
    assert not world.follower.live
    world.answer()
    world.check(Cursor(1, 0))


def test_frames_of_a_publisher_that_died_cause_no_second_join() -> None:
    world = World(None)
    world.send(4)
    world.settle()
    world.send(2)  # on the line while the publisher restarts
    world.restart()
    world.send(3)
    world.beat()
    late = world.line.popleft()
    world.deliver(9)
    world.answer()
    world.answer()
    world.answer()
    world.line.append(late)
    world.settle()
    assert [notice.epoch for notice in world.notices if isinstance(notice, Joined)] == [1, 2]
    world.check(None)


def test_what_is_kept_aside_is_bounded_in_bytes_and_the_newest_stays() -> None:
    follower = Follower("trade/0/", Cursor(1, 0))
    out: list[Notice] = []
    payload = bytes(64_000)
    for first in range(0, 400_000, 1000):
        follower.take(Frame("trade/0/", 1, first, 1000, 0, payload), out)
    kept = list(follower._aside)
    assert sum(len(frame.payload) for frame in kept) == follower._aside_bytes <= 8 * 1024 * 1024
    assert len(kept) == 131 and kept[-1].last == 399_999
    for first in range(400_000, 410_000):
        follower.take(Frame("trade/0/", 1, first, 1, 0, bytes(64)), out)
    assert len(follower._aside) <= 4_096


def test_an_answer_that_reaches_what_is_kept_aside_goes_live_with_it() -> None:
    """Though the publisher is further by now, and though older frames were kept aside too."""
    world = World(Cursor(1, 0), ring=10**6)
    for _ in range(300):
        world.send(10)
    world.deliver(300)
    assert world.answer()
    assert world.follower.live
    world.check(Cursor(1, 0))


def test_who_is_slower_than_the_stream_goes_on_in_order_without_ever_being_live() -> None:
    """Everything that is sent live is lost; what comes is replayed, and ends where the publisher stands."""
    world = World(Cursor(1, 0), ring=10**6)
    world.send(20_000)
    world.beat()
    world.deliver(9)
    for _ in range(200):
        for _ in range(10):
            world.send(1000, lost=True)
        asked = world.follower.next
        world.answer()
        assert world.follower.next > asked, "each answer brings it further"
        assert not world.follower.live
    world.settle()
    world.check(Cursor(1, 0))


def test_a_ring_keeps_at_least_its_size() -> None:
    ring = Ring(10)
    number = 0
    for count in (4, 4, 4, 1, 7, 30, 1):
        ring.add(Frame("trader/0/", 1, number, count, 0, array_of([b"\0"] * count)[0]))
        number += count
        kept = number - ring.first(number)
        assert min(number, 10) <= kept
    assert ring.first(number) == 20


def test_a_replay_comes_in_few_frames() -> None:
    ring = Ring(100_000)
    for number in range(20_000):
        ring.add(Frame("trader/0/", 1, number, 1, 0, b"\x91\0"))
    frames = ring.replay(500)
    assert len(frames) == 8 and all(frame.count == 1000 for frame in frames)
    assert frames[0].first == 500


def test_small_frames_of_records_are_replayed_together_and_a_start_stays_alone() -> None:
    ring = Ring(100_000)
    for number in range(5_000):
        body = b"start" if number == 1_500 else None
        ring.add(Frame("update/0/", 1, number, 1, 0, b"" if body else bytes(128), body))
    frames = ring.replay(700)
    assert [(frame.first, frame.count) for frame in frames] == [
        (700, 800),
        (1500, 1),
        (1501, 1000),
        (2501, 1000),
        (3501, 1000),
        (4501, 499),
    ]
    assert [frame.body for frame in frames] == [None, b"start", None, None, None, None]
    assert all(len(frame.payload) == 128 * frame.count for frame in frames if frame.body is None)
