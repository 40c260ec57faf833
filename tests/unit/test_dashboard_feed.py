"""From bus notices to the page's state, garbage included."""

import pytest

from bus.frames import EVENT, GAP, STATUS, TRADER, VIEW, Frame
from bus.messages import Entry, Event, encode
from bus.notices import FIRST, LATEST, BeatSeen, Cursor, Joined, PeerDiffers
from dashboard.feed import LOOK_BACK, Feed, topics_of
from tests.dashboard_world import PAIR, beat, page, status, trade, view


def frame(topic: str, *messages: object) -> Frame:
    return Frame(topic, 1, 0, len(messages), 0, encode(list(messages)))


def made() -> tuple[Feed, list[str]]:
    of = page()
    complaints: list[str] = []
    return Feed(of.state, of.clock, complaints.append, lambda: None), complaints


def test_what_is_taken_from_whom() -> None:
    assert topics_of("storage", None) == {EVENT: FIRST, GAP: FIRST}
    assert topics_of("indicators", None)[VIEW] == LATEST
    assert topics_of("trader", None)[STATUS] == LATEST
    assert topics_of("trader", None)[TRADER] == FIRST


def test_the_journal_is_followed_from_where_storage_has_it() -> None:
    assert topics_of("trader", (7, 10_000))[TRADER] == Cursor(7, 10_001 - LOOK_BACK, else_first=True)
    assert topics_of("trader", (7, 5))[TRADER] == Cursor(7, 1, else_first=True)


def test_frames_and_snapshots_are_folded() -> None:
    feed, complaints = made()
    feed.take("indicators", [Joined(VIEW, 1, 5, encode([view(99.0)]))])
    assert feed.state.pairs[PAIR].view == view(99.0)
    feed.take("indicators", [frame(VIEW, view(100.0), view(101.0))])
    feed.take("trader", [frame(STATUS, status(held=True)), frame(TRADER, Entry(4, trade(4)))])
    feed.take("storage", [frame(EVENT, Event("storage", "warn", "disk nearly full", 1))])
    assert feed.state.pairs[PAIR].view == view(101.0)
    assert feed.state.pairs[PAIR].status == status(held=True)
    assert list(feed.state.trades) == [4]
    assert feed.state.logs[-1].text == "disk nearly full"
    assert not complaints
    assert all(feed.state.stages[name].heard_ns for name in ("indicators", "trader", "storage"))


def test_a_change_waits_from_its_publication_on_and_its_stage_was_heard_now() -> None:
    feed, _ = made()
    now_ns, published = feed.clock.monotonic_ns(), feed.clock.wall_ns() - 200
    feed.take("indicators", [Frame(VIEW, 1, 0, 1, published, encode([view(100.0)]))])
    assert feed.state.take_arrival(PAIR) == now_ns - 200
    assert feed.state.stages["indicators"].heard_ns == now_ns
    feed.take("indicators", [Joined(VIEW, 1, 5, encode([view(101.0)]))])
    assert feed.state.take_arrival(PAIR) == now_ns


def test_the_traders_own_snapshot_is_left_alone() -> None:
    feed, complaints = made()
    feed.take("trader", [Joined(TRADER, 1, 5, b"not ours")])
    assert not complaints


def test_heartbeats_and_other_layouts_are_noted() -> None:
    feed, _ = made()
    feed.take("feeder", [BeatSeen("feeder", beat("feeder"))])
    assert feed.state.stages["feeder"].beat == beat("feeder")
    feed.take("trader", [PeerDiffers("trader", "layout", None)])
    assert feed.state.differs == {"trader": "layout"}


@pytest.mark.parametrize("payload", [b"\x91\x93\x01", b"\x91\xa1\xfe", b"\x91" * 5000], ids=["cut", "no text", "deep"])
def test_an_unreadable_message_is_told_once_and_passed_over(payload: bytes) -> None:
    feed, complaints = made()
    broken = Frame(VIEW, 1, 0, 1, 0, payload)
    feed.take("indicators", [broken, broken, frame(VIEW, view())])
    assert len(complaints) == 1 and "view/0/ of indicators" in complaints[0]
    assert feed.state.pairs[PAIR].view == view()


def test_heartbeats_alone_are_shown_at_the_pages_own_pace() -> None:
    of, changes = page(), []
    feed = Feed(of.state, of.clock, lambda text: None, lambda: changes.append(1))
    feed.take("feeder", [BeatSeen("feeder", beat("feeder"))])
    assert changes == []
    feed.take("trader", [BeatSeen("trader", beat("trader")), frame(STATUS, status())])
    feed.take("trader", [PeerDiffers("trader", "layout", None)])
    assert len(changes) == 2
