"""Signed calls: when the offset is measured, what a refused stamp leads to, and who waits for whom."""

from collections.abc import Callable

import pytest

from core.clock import ManualClock
from venues.call import Call, Reply
from venues.errors import OutcomeUnknown, RateLimited, Rejected, Retry, Skewed
from venues.offset import Offset, Stamp
from venues.signed import AGAIN_S, MAX_AGE_S, Signed

S = 1_000_000_000
VENUE = "v"


class Venue:
    """Stands for client and venue: its clock is `ahead_ns` of ours; it refuses stamps more than a second off."""

    def __init__(self, ahead_ns: int = 0) -> None:
        self.clock = ManualClock()
        self.ahead_ns = ahead_ns
        self.sent: list[Call] = []
        self.measured = 0
        self.failures: list[Exception] = []  # of measuring, one after the other
        self.refusals: list[Exception] = []  # of calls
        self.wait_s = 0.0  # for room in the limits, before a call goes out

    def send_blocking(self, call: Call, again: Callable[[], Call] | None = None) -> Reply:
        if self.wait_s and again:
            self.clock.advance(int(self.wait_s * S))
            call = again()
        self.sent.append(call)
        if self.refusals:
            raise self.refusals.pop(0)
        if abs(int(call.query) - self.time_ms()) > 1000:
            raise Skewed(VENUE, "Timestamp for this request is outside of the recvWindow", code="-1021")
        return Reply(b"{}", 0, 0, None)

    def time_ms(self) -> int:
        return (self.clock.wall_ns() + self.ahead_ns) // 1_000_000

    def measure(self) -> Stamp:
        self.measured += 1
        if self.failures:
            raise self.failures.pop(0)
        return Stamp(self.clock.wall_ns(), self.clock.wall_ns(), self.time_ms() * 1_000_000)

    def signed(self, **options) -> Signed:
        return Signed(self, self.clock, Offset(), self.measure, **options)


def stamped(time_ms: int) -> Call:
    return Call("POST", "http://x/", str(time_ms), changes=True)


def an_exit(time_ms: int) -> Call:
    return Call("POST", "http://x/", str(time_ms), changes=True, urgent=True)


@pytest.mark.parametrize("ahead_ns", [0, 5 * S, -3600 * S])
def test_the_clock_is_measured_before_the_first_call(ahead_ns):
    venue = Venue(ahead_ns)
    venue.signed().send(stamped)
    assert venue.measured == 1 and len(venue.sent) == 1
    assert abs(int(venue.sent[0].query) - venue.time_ms()) <= 3


def test_a_refused_stamp_measures_anew_and_goes_out_once_more():
    venue = Venue()
    signed = venue.signed()
    signed.send(stamped)
    venue.ahead_ns = 90 * S  # a clock was set
    signed.send(an_exit)
    assert venue.measured == 2 and len(venue.sent) == 3
    assert venue.sent[1].query != venue.sent[2].query, "built and signed anew"


def test_a_call_that_waited_for_room_is_stamped_anew():
    venue = Venue()
    signed = venue.signed()
    signed.send(stamped)
    venue.wait_s = 4.9  # of a window of 5 s little would be left
    signed.send(stamped)
    assert len(venue.sent) == 2 and venue.measured == 1
    assert abs(int(venue.sent[1].query) - venue.time_ms()) <= 3


class StoodStill(Venue):
    """Our process stands still between the stamp and the sending."""

    still_s = 0.0

    def send_blocking(self, call: Call, again: Callable[[], Call] | None = None) -> Reply:
        self.clock.advance(int(self.still_s * S))
        return super().send_blocking(call, again)


def test_a_change_whose_stamp_is_old_because_we_stood_still_is_not_sent_once_more():
    venue = StoodStill()
    signed = venue.signed()
    signed.send(stamped)
    venue.still_s = 6.0
    with pytest.raises(Skewed):
        signed.send(an_exit)
    assert len(venue.sent) == 2 and venue.measured == 2
    venue.still_s = 0.0
    signed.send(an_exit)
    assert len(venue.sent) == 3


def test_a_second_refusal_is_the_callers():
    venue = Venue()
    venue.refusals = [Skewed(VENUE, "one"), Skewed(VENUE, "two"), Skewed(VENUE, "three")]
    with pytest.raises(Skewed, match="two"):
        venue.signed().send(stamped)
    assert len(venue.sent) == 2


@pytest.mark.parametrize("error", [OutcomeUnknown, Retry, Rejected])
def test_no_other_error_leads_to_a_second_call(error):
    venue = Venue()
    venue.refusals = [error(VENUE, "x")]
    with pytest.raises(error):
        venue.signed().send(stamped)
    assert len(venue.sent) == 1


def test_an_old_offset_is_measured_again_but_an_exit_does_not_wait_for_it():
    venue = Venue()
    signed = venue.signed()
    signed.send(stamped)
    venue.clock.advance(int(MAX_AGE_S * S) + 1)
    signed.send(an_exit)
    assert venue.measured == 1
    signed.send(stamped)
    assert venue.measured == 2
    signed.send(stamped)
    assert venue.measured == 2


def test_an_old_offset_serves_on_where_it_cannot_be_renewed():
    venue = Venue(5 * S)
    signed = venue.signed()
    signed.send(stamped)
    venue.clock.advance(int(MAX_AGE_S * S) + 1)
    venue.failures = [Retry(VENUE, "503")]
    signed.send(stamped)
    assert venue.measured == 2 and len(venue.sent) == 2
    signed.send(stamped)
    assert venue.measured == 2, "not asked again at once"
    venue.clock.advance(int(AGAIN_S * S) + 1)
    signed.send(stamped)
    assert venue.measured == 3


def test_a_first_measurement_that_fails_is_told_and_nothing_is_sent():
    venue = Venue()
    venue.failures = [Retry(VENUE, "503")]
    signed = venue.signed()
    with pytest.raises(Retry):
        signed.send(stamped)
    assert venue.sent == []
    signed.send(stamped)
    assert len(venue.sent) == 1


def test_a_ban_met_in_measuring_is_told():
    venue = Venue()
    signed = venue.signed()
    signed.send(stamped)
    venue.clock.advance(int(MAX_AGE_S * S) + 1)
    venue.failures = [RateLimited(VENUE, "banned", 60.0)]
    with pytest.raises(RateLimited):
        signed.send(stamped)


def test_a_venue_that_looks_at_no_time_gets_a_new_number_and_one_more_try():
    venue, numbers = Venue(), iter(range(10))
    venue.refusals = [Skewed(VENUE, "EAPI:Invalid nonce")]
    signed = Signed(venue, venue.clock, Offset())
    signed.send(lambda ms: Call("POST", "http://x/", str(venue.time_ms()), str(next(numbers)).encode()))
    assert [call.body for call in venue.sent] == [b"0", b"1"]


def test_by_date_every_answer_narrows_the_offset():
    venue, offset = Venue(), Offset()
    ahead_ns = 7_300_000_000

    def measure():
        now_ns = venue.clock.wall_ns()
        return Stamp(now_ns, now_ns, (now_ns + ahead_ns) // S * S, S)

    class Dated(Venue):
        def send_blocking(self, call, again=None):
            now_ns = venue.clock.wall_ns()
            return Reply(b"{}", now_ns, now_ns, (now_ns + ahead_ns) // S)

    signed = Signed(Dated(), venue.clock, offset, measure, by_date=True)
    for _ in range(40):
        venue.clock.advance(1_130_000_000)
        signed.send(stamped)
    assert abs(offset.ns - ahead_ns) < 100_000_000
