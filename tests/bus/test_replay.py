"""Following a topic: whatever is lost, delayed or restarted, numbers come once, in order, and holes are told."""

from collections import deque

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.frames import Frame, array_of, messages
from bus.messages import Reply
from bus.notices import ANY_EPOCH, FIRST, LATEST, Cursor, GapFound, Join, Joined, Notice
from bus.publisher import Ring, Topic
from bus.replay import Follower

decoder = msgspec.msgpack.Decoder(list[tuple[int, int]])


class World:
    """A publisher, a line that loses and delays, and a follower."""

    def __init__(self, join: Join, ring: int = 50, with_snapshot: bool = False) -> None:
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
        reply = Reply("id", True, "", topic.epoch, first, topic.last)
        self.follower.answered(reply, frames, snapshot, self.notices)
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
                assert notice.last >= notice.first
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
@given(STEPS, st.sampled_from([None, FIRST, Cursor(1, 0), Cursor(9, 5), Cursor(9, 5, else_first=True)]), st.booleans())
def test_whatever_happens_numbers_come_once_in_order_to_the_last(
    steps: list[tuple[str, int]], join: Join, with_snapshot: bool
) -> None:
    world = World(join, with_snapshot=with_snapshot)
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


def test_what_is_kept_aside_is_bounded() -> None:
    world = World(None, ring=10**6)
    for _ in range(450):
        world.send(1000)
    world.deliver(450)
    assert world.follower._aside_numbers <= 200_000
    world.settle()
    world.check(None)


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
    assert len(frames) == 16 and all(frame.count == 1000 for frame in frames)
    assert frames[0].first == 500
