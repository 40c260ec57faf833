"""The small parts of venues: errors, names, the clock's offset, the token bucket, which adapter."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import records
from core.clock import LiveClock
from core.errors import MisconfiguredError
from core.paths import run_dir
from core.settings_load import from_texts
from venues import names, venue
from venues.choose import account, market_data
from venues.coindcx.adapter import CoinDcx
from venues.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Retry, VenueError
from venues.limits import Left, Limit, Limits
from venues.offset import Offset, Stamp
from venues.shared import SharedUse
from venues.venue import Rules

S = 1_000_000_000


def test_the_family_of_errors():
    assert issubclass(RateLimited, Retry)
    for kind in (Retry, Rejected, OutcomeUnknown, Misconfigured):
        assert issubclass(kind, VenueError)
    assert issubclass(Misconfigured, MisconfiguredError) and not issubclass(Retry, MisconfiguredError)
    error = Rejected("coindcx", "GET x: refused", "reload the markets", "422")
    assert str(error) == "coindcx: GET x: refused; reload the markets" and error.code == "422"
    assert "no request for 7 s" in str(RateLimited("coindcx", "asked too often", 7.0))


def test_sides_are_those_of_the_records():
    assert (venue.SIDE_UNKNOWN, venue.SIDE_BUY, venue.SIDE_SELL) == (
        records.SIDE_UNKNOWN,
        records.SIDE_BUY,
        records.SIDE_SELL,
    )


def market(pair, quote=None):
    book, _, rest = pair.partition("-")
    base, _, own = rest.partition("_")
    one = Decimal(1)
    return Rules(pair, f"{base}{own}" if book != "KC" else f"{base}{own}K", base, quote or own, one, one, one, one)


MARKETS = [market(n) for n in ("KC-BTC_USDT", "I-BTC_USDT", "B-BTC_USDT", "B-ETH_USDT", "I-BTC_INR", "KC-MLK_USDT")]


def resolve(*wanted):
    found = names.resolve("v", wanted, MARKETS, lambda m: ["B", "I", "KC"].index(m.pair.partition("-")[0]))
    return [m.pair for m in found]


def test_names_are_the_venues_own_or_base_and_quote():
    assert resolve("B-ETH_USDT", "btc/usdt") == ["B-ETH_USDT", "B-BTC_USDT"]
    assert resolve("BTC/INR") == ["I-BTC_INR"]
    assert resolve("B-BTC_USDT", "BTC/USDT") == ["B-BTC_USDT"]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (["B-BTC_USDX"], r"B-BTC_USDX is unknown \(nearest: .*B-BTC_USDT"),
        (["B-MLK_USDT"], r"nearest: KC-MLK_USDT"),
        (["ZZZ/QQQ", "B-XXX_USDT"], r"ZZZ/QQQ is unknown.*B-XXX_USDT is unknown"),
        (["BTC/USDT", "BTC/INR"], "mix the quote currencies INR, USDT"),
        ([], "PAIRS is empty"),
    ],
)
def test_names_that_do_not_do(wanted, words):
    with pytest.raises(Misconfigured, match=words):
        resolve(*wanted)


def test_the_offset_narrows_with_every_stamp():
    offset, true = Offset(), 3_700_000_000
    assert offset.ns == 0
    for n in range(40):
        sent = n * 1_130_000_000
        stamp = (sent + 10_000_000 + true) // S
        offset.add(sent, sent + 20_000_000, stamp)
    assert abs(offset.ns - true) < 150_000_000


def test_a_right_clock_has_no_offset():
    offset = Offset()
    for n in range(20):
        sent = n * 1_700_000_000
        offset.add(sent, sent + 30_000_000, (sent + 15_000_000) // S)
    assert offset.ns == 0


def test_a_clock_that_was_set_begins_the_offset_anew():
    offset = Offset()
    offset.add(100 * S, 100 * S, 100)
    offset.add(101 * S, 101 * S, 191)
    assert offset.resets == 1 and abs(offset.ns - 90 * S) < S


@pytest.mark.parametrize(("true_ms", "trip_ms"), [(3_700, 40), (-900, 5), (1_000_000, 250)])
def test_a_server_time_in_ms_gives_the_offset_within_half_a_trip(true_ms, trip_ms):
    offset, ms = Offset(), 1_000_000
    sent = 1_000_000 * ms
    offset.measured(Stamp(sent, sent + trip_ms * ms, sent + (trip_ms // 3 + true_ms) * ms))
    assert abs(offset.ns - true_ms * ms) <= (trip_ms / 2 + 2) * ms


def test_a_server_time_in_seconds_is_as_good_as_a_date():
    precise, dated = Offset(), Offset()
    for n in range(30):
        sent = n * 1_130_000_000
        stamp = (sent + 10_000_000 + 3_700_000_000) // S
        precise.measured(Stamp(sent, sent + 20_000_000, stamp * S, S))
        dated.add(sent, sent + 20_000_000, stamp)
    assert precise.ns == dated.ns and abs(precise.ns - 3_700_000_000) < 150_000_000


def test_a_forgotten_offset_is_that_of_the_next_answer_alone():
    offset = Offset()
    offset.measured(Stamp(100 * S, 100 * S, 100 * S))
    offset.forget()
    assert not offset.known and offset.ns == 0
    offset.measured(Stamp(101 * S, 101 * S, 191 * S))
    assert offset.known and abs(offset.ns - 90 * S) < S // 100


# --- limits ----------------------------------------------------------------------------------------


def test_a_clock_that_was_refused_is_not_taken_for_right_over_a_slow_line():
    """Ours is 1.2 s ahead, which Binance refuses, and an answer takes 3 s: 0 lies within what it says."""
    offset, ms = Offset(), 1_000_000
    stamp = Stamp(10_000 * ms, 13_000 * ms, (11_500 - 1_200) * ms)
    offset.measured(stamp)
    assert offset.ns == 0
    offset.forget()
    offset.measured(stamp)
    assert abs(offset.ns + 1_200 * ms) <= ms


def test_a_burst_goes_through_and_the_rest_is_spaced_in_line():
    limits = Limits({"a": Limit(10.0, 5.0)})
    waits = [limits.take({"a": 1}, S)[0] for _ in range(8)]
    assert waits[:5] == [0.0] * 5
    assert waits[5:] == pytest.approx([0.1, 0.2, 0.3])
    assert limits.take({"a": 1}, S + 50_000_000)[0] > 0.3, "a newcomer goes to the end of the line"
    assert limits.take({"a": 1}, 2 * S, in_line=True) == (0.0, "")


def test_an_exit_does_not_wait_behind_those_in_line():
    limits = Limits({"a": Limit(1.0, 10.0, kept_for_exits=0.2)})
    ordinary = [limits.take({"a": 1}, S)[0] for _ in range(10)]
    assert ordinary.count(0.0) == 8, "two of ten are kept"
    assert [limits.take({"a": 1}, S, urgent=True)[0] for _ in range(3)] == [0.0, 0.0, pytest.approx(1.0)]
    assert limits.take({"a": 1}, S + S, in_line=True)[0] > 0, "what exits used is missing to those in line"


def test_a_call_waits_for_all_its_limits_and_books_all_or_none():
    limits = Limits({"weight": Limit(10.0, 10.0), "orders": Limit(1.0, 1.0)})
    assert limits.take({"weight": 1, "orders": 1}, S) == (0.0, "")
    assert limits.take({"weight": 5, "orders": 1}, S) == (pytest.approx(1.0), "orders")
    assert limits.take({"weight": 9}, S, in_line=True) == (0.0, ""), "what waits has not used the other limit"
    assert limits.take({"nothing": 5}, S) == (0.0, "")


def test_what_costs_more_than_the_burst_waits_for_a_full_one():
    limits = Limits({"a": Limit(10.0, 10.0, kept_for_exits=0.5)})
    assert limits.take({"a": 25}, S) == (0.0, "")
    assert limits.take({"a": 1}, S)[0] == pytest.approx(2.1)


def test_a_wait_beyond_patience_takes_no_place_in_line():
    limits = Limits({"a": Limit(1.0, 1.0)})
    limits.take({"a": 1}, S)
    assert [limits.take({"a": 1}, S, patience_s=0.5)[0] for _ in range(3)] == [pytest.approx(1.0)] * 3


def test_after_a_ban_the_first_call_goes_alone():
    limits = Limits({"a": Limit(10.0, 100.0, kept_for_exits=0.1)})
    limits.block(0, 61 * S)
    assert limits.take({"a": 1}, S, urgent=True)[0] == pytest.approx(60.0)
    assert limits.take({"a": 1}, 61 * S)[0] == 0.0
    assert limits.take({"a": 1}, 61 * S)[0] == pytest.approx(0.1)


def test_after_a_refusal_for_one_limit_what_a_call_costs_has_to_come_back_first():
    """Of 0.33 a second five seconds bring 1.65: enough for a call that costs one, and not for one that costs two."""
    limits = Limits({"a": Limit(0.33, 14.0, kept_for_exits=0.5), "b": Limit(1.0, 5.0)})
    limits.block(S, 6 * S, "a")
    assert limits.take({"a": 2}, 6 * S, urgent=True)[0] == pytest.approx(0.35 / 0.33)
    assert limits.take({"a": 1}, 6 * S, urgent=True)[0] == 0.0
    assert limits.take({"b": 1}, S)[0] == 0.0, "the others go on"


def test_how_long_until_so_much_is_there_is_told_without_taking_it():
    limits = Limits({"a": Limit(1.0, 10.0, kept_for_exits=0.5)})
    assert [limits.lacks_s("a", 10.0, S), limits.lacks_s("a", 10.0, S), limits.lacks_s("b", 1.0, S)] == [0.0] * 3
    limits.take({"a": 4}, S)
    assert limits.lacks_s("a", 6.0, S) == 0.0 and limits.lacks_s("a", 8.0, S) == pytest.approx(2.0)


def shared(path: Path) -> Limits:
    return Limits({"a": Limit(1.0, 10.0), "own": Limit(1.0, 10.0)}, {"a": SharedUse(path)})


def test_a_shared_limit_is_used_up_by_all_processes_together(tmp_path: Path):
    one, other = shared(tmp_path / "a"), shared(tmp_path / "a")
    one.take({"a": 7, "own": 10}, S)
    assert other.take({"a": 4, "own": 10}, S) == (pytest.approx(1.0), "a")
    assert other.take({"a": 4, "own": 10}, 2 * S) == (0.0, "")
    assert one.take({"a": 1}, 2 * S)[0] == pytest.approx(1.0)
    one.block(2 * S, 4 * S, "a")
    assert other.take({"a": 3}, 4 * S)[0] == pytest.approx(2.0)


@pytest.mark.parametrize("text", ["", "much now", "nan 5", "-1 5", "1e300 5", "5", "\0" * 64])
def test_a_shared_limit_whose_file_is_broken_is_counted_by_each(tmp_path: Path, text: str):
    (tmp_path / "a").write_text(text)
    assert shared(tmp_path / "a").take({"a": 10}, S) == (0.0, "")
    assert shared(tmp_path / "a").take({"a": 1}, S)[0] == pytest.approx(1.0), "it is whole again"


def test_a_shared_limit_is_counted_by_each_while_a_stopped_process_holds_the_lock(tmp_path: Path):
    limits = shared(tmp_path / "a")
    with SharedUse(tmp_path / "a").locked() as held:
        assert held is not None
        assert limits.take({"a": 10}, S) == (0.0, "")
        assert limits.take({"a": 1}, S)[0] == pytest.approx(1.0)


def test_a_shared_limit_without_a_file_is_counted_by_each(tmp_path: Path):
    limits = shared(tmp_path / "nowhere" / "a")
    assert [limits.take({"a": 10}, S)[0], limits.take({"a": 1}, S)[0]] == [0.0, pytest.approx(1.0)]


def test_a_shared_limit_of_an_earlier_boot_counts_as_of_now(tmp_path: Path):
    shared(tmp_path / "a").take({"a": 10}, 90_000 * S)
    assert shared(tmp_path / "a").take({"a": 1}, 5 * S)[0] == pytest.approx(1.0)
    assert shared(tmp_path / "a").take({"a": 1}, 6 * S)[0] == 0.0


def test_what_is_left_by_the_venues_word_is_not_exceeded():
    limits = Limits({"a": Limit(10.0, 100.0)})
    limits.told({"a": 3.0, "b": 1.0}, S)
    assert limits.take({"a": 4}, S)[0] == pytest.approx(0.1)
    limits.told({"a": 50.0}, S)
    assert limits.take({"a": 4}, S, in_line=True)[0] > 0, "it may count less than we do, we do not count less"


def test_an_exit_goes_as_far_as_the_venue_lets_it_while_others_leave_a_share():
    limits = Limits({"a": Limit(1000.0, 300.0, kept_for_exits=0.3)})
    limits.told({"a": Left(3.0, kept=600.0, ends_s=40.0)}, S)
    assert limits.take({"a": 1}, S)[0] == pytest.approx(40.0), "others of the address used nearly all of it"
    assert [limits.take({"a": 1}, S, urgent=True)[0] for _ in range(4)] == [0.0, 0.0, 0.0, pytest.approx(40.0)]
    assert limits.take({"a": 1}, 41 * S - 1, urgent=True)[0] > 0
    assert limits.take({"a": 1}, 41 * S, in_line=True) == (0.0, ""), "the window has ended"


def test_exits_go_beyond_our_own_bucket_by_the_venues_word_and_leave_no_debt():
    """A flatten of many pairs: the venue counts orders that are not filled yet, we count all."""
    limits = Limits({"a": Limit(2.5, 20.0, kept_for_exits=0.3)})
    limits.told({"a": Left(45.0, kept=5.0, ends_s=10.0)}, S)
    assert [limits.take({"a": 1}, S, urgent=True)[0] for _ in range(46)] == [0.0] * 45 + [pytest.approx(10.0)]
    limits.told({"a": Left(50.0, kept=5.0, ends_s=10.0)}, S)  # they were filled
    assert limits.take({"a": 1}, S, urgent=True) == (0.0, "")
    assert limits.take({"a": 1}, S)[0] > 2, "ordinary orders keep to our own"
    limits.told({"a": Left(50.0, kept=5.0, ends_s=0.0)}, S)
    assert limits.take({"a": 1}, S, urgent=True)[0] == pytest.approx(0.4), "no word, and nothing to pay off"


def test_the_newest_word_of_the_venue_counts():
    limits = Limits({"a": Limit(1000.0, 300.0)})
    limits.told({"a": Left(0.0, kept=5.0, ends_s=10.0), "b": Left(0.0, 0.0, 10.0)}, S)
    assert limits.take({"a": 1}, S, urgent=True, patience_s=0.0)[0] == pytest.approx(10.0)
    limits.told({"a": Left(7.0, kept=5.0, ends_s=10.0)}, S)  # an order was filled: it counts no longer
    assert [limits.take({"a": 1}, S)[0] for _ in range(3)] == [0.0, 0.0, pytest.approx(10.0)]


def test_limits_that_change_keep_what_was_used_of_them():
    limits = Limits({"a": Limit(10.0, 100.0, kept_for_exits=0.1)})
    limits.take({"a": 60}, S)
    limits.change({"a": Limit(20.0, 200.0), "b": Limit(1.0, 1.0)})
    assert [limits.take({"a": cost}, S)[0] for cost in (140, 2)] == [0.0, pytest.approx(0.1)]
    limits.change({"a": Limit(1.0, 50.0)})
    assert limits.take({"a": 1}, S, in_line=True)[0] == pytest.approx(1.0), "empty, but no debt"


def test_what_is_left_of_a_limit_that_is_another_now_counts_no_longer():
    limits = Limits({"a": Limit(10.0, 100.0)})
    limits.told({"a": Left(0.0, 0.0, ends_s=60.0)}, S)
    limits.change({"a": Limit(10.0, 100.0)})
    assert limits.take({"a": 1}, S, patience_s=0.0)[0] == pytest.approx(60.0), "it is the same"
    limits.change({"a": Limit(20.0, 200.0)})
    assert limits.take({"a": 1}, S) == (0.0, "")


@given(st.lists(st.tuples(st.sampled_from([1.0, 4.0, 20.0]), st.booleans()), max_size=40), st.integers(0, 120))
def test_in_the_running_window_nothing_goes_beyond_the_venues_word(calls, amount):
    limits = Limits({"a": Limit(1e6, 1e6, kept_for_exits=0.3)})
    limits.told({"a": Left(float(amount), kept=30.0, ends_s=60.0)}, S)
    left = float(amount)
    for number, (cost, urgent) in enumerate(calls):
        wait_s, _ = limits.take({"a": cost}, S + number, urgent=urgent, in_line=True)
        goes = left - (0.0 if urgent else 30.0) >= cost
        assert (wait_s == 0.0) == goes, "an exit waits only where the venue would refuse it"
        left -= cost if goes else 0.0
    assert left >= 0


CALLS = st.lists(st.tuples(st.floats(0, 3), st.sampled_from([0.5, 1.0, 4.0]), st.booleans()), min_size=1, max_size=60)


@given(CALLS, st.sampled_from([0.0, 0.2, 0.5]))
def test_no_stretch_of_time_sees_more_than_burst_and_rate(calls, kept):
    """Every call waits as told and asks again; whatever went out keeps the bound, in every stretch."""
    rate, burst = 2.0, 6.0
    limits = Limits({"a": Limit(rate, burst, kept)})
    waiting, now = [], S
    for pause, cost, urgent in calls:
        now += int(pause * S)
        waiting.append((now, len(waiting), cost, urgent, False))
    gone = []
    while waiting:
        waiting.sort()
        at, number, cost, urgent, in_line = waiting.pop(0)
        wait_s, _ = limits.take({"a": cost}, at, urgent=urgent, in_line=in_line)
        if wait_s == 0.0:
            gone.append((at, cost))
        else:
            assert wait_s < 1000
            waiting.append((at + int(wait_s * S) + 1, number, cost, urgent, True))
    assert len(gone) == len(calls)
    for first in range(len(gone)):
        total = 0.0
        for at, cost in gone[first:]:
            total += cost
            assert total <= burst + rate * (at - gone[first][0]) / S + 1e-6


@pytest.mark.parametrize("protocol", ["coindcx", "binance", "kraken"])
def test_the_adapter_is_that_of_the_protocol(protocol):
    for texts in ({"VENUE": protocol}, {"SANDBOX_PROTOCOL": protocol}):
        settings = from_texts(texts)
        venue = market_data(settings, LiveClock())
        venue.close()
        assert type(venue).__module__ == f"venues.{protocol}.adapter"
        assert venue.name == settings.venue


@pytest.mark.parametrize("protocol", ["coindcx", "binance", "kraken"])
def test_a_ban_of_the_address_that_another_process_met_holds_for_both_sides_of_every_venue(protocol, tmp_path):
    name = protocol.upper()
    texts = {"VENUE": protocol, "VAR_DIR": str(tmp_path), "VENUE_REST_URL": "https://venue.invalid"}
    settings = from_texts({**texts, f"{name}_API_KEY": "key", f"{name}_SECRET_KEY": "c2VjcmV0"})
    clock = LiveClock()
    run_dir(tmp_path).joinpath(f"ban-{protocol}").write_text(f"{clock.wall_ns() + 60 * S}\n")
    venue, ours = market_data(settings, clock), account(settings, clock)
    try:
        with pytest.raises(RateLimited, match="not sent"):
            asyncio.run(venue.markets())
        with pytest.raises(RateLimited, match="not sent"):
            ours.balances()
    finally:
        venue.close()
        ours.close()


def fees(**texts):
    adapter = CoinDcx(from_texts(texts), LiveClock())
    return [adapter.fees_bps(quote)[0] for quote in ("USDT", "INR")], adapter


def test_fees_where_the_settings_do_not_say():
    assert fees(VENUE="coindcx")[0] == [Decimal(24), Decimal(59)]
    assert fees()[0] == [Decimal(5), Decimal(5)]


def test_a_player_is_its_own_clock():
    assert not fees()[1].tape_clock
    assert fees(SANDBOX_SPEED="60", SANDBOX_TAPE=__file__)[1].tape_clock
    assert not fees(VENUE="coindcx")[1].tape_clock
