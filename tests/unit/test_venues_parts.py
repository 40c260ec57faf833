"""The small parts of venues: errors, names, the clock's offset, the token bucket, which adapter."""

from decimal import Decimal

import msgspec
import pytest

from bus import records
from core.clock import LiveClock
from core.errors import MisconfiguredError
from core.settings_load import from_texts
from venues import names, venue
from venues.choose import market_data
from venues.coindcx.adapter import CoinDcx
from venues.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Retry, VenueError
from venues.limits import Bucket
from venues.offset import Offset
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


def test_the_bucket_lets_a_burst_through_and_then_spaces():
    bucket = Bucket(10.0, 5.0)
    waits = [bucket.take(S) for _ in range(8)]
    assert waits[:5] == [0.0] * 5
    assert waits[5:] == pytest.approx([0.1, 0.2, 0.3])
    assert bucket.take(2 * S) == 0.0


@pytest.mark.parametrize("name", ["binance", "kraken"])
def test_venues_of_later_releases_are_named(name):
    settings = msgspec.structs.replace(from_texts({}), venue=name)
    with pytest.raises(Misconfigured, match=f"VENUE={name} is not in this release"):
        market_data(settings, LiveClock())
    settings = msgspec.structs.replace(from_texts({}), sandbox_protocol=name)
    with pytest.raises(Misconfigured, match=f"SANDBOX_PROTOCOL={name} is not in this release"):
        market_data(settings, LiveClock())


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
