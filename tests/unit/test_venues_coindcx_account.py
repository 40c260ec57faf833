"""CoinDCX's account against a local server: what is sent, what is made of answers, and what is never sent twice."""

import json
import traceback
from decimal import Decimal
from email.utils import formatdate

import pytest

from core import sandbox_keys
from core.clock import LiveClock
from core.settings_load import from_texts
from tests.coindcx_data import CAPTURED, FILL, RULES, new_order
from tests.unit.http_peer import Cut, Server, http
from venues.account import FILLED, IOC, MARKET, OPEN, PENDING
from venues.choose import account as choose_account
from venues.coindcx import wire_private as wire
from venues.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Retry

SECRET = "c2VjcmV0LW9mLWNvaW5kY3g"
NOT_FOUND = http(404, b'{"code":404,"message":"Order not found","status":"error"}')
PAGE = b"<!doctype html><html><title>Just a moment...</title></html>"


def answer(value, status=200):
    return http(status, json.dumps(value).encode(), Date=formatdate(usegmt=True))


def order_row(**changes):
    return {**CAPTURED, "client_order_id": "sb-1", **changes}


@pytest.fixture
def venue():
    """A server with the routes of the venue, and our account at it."""
    server = Server(routes={wire.MARKETS: [answer(["BTCUSDT"])]})
    texts = {"VENUE": "coindcx", "VENUE_REST_URL": server.base, "VENUE_STREAM_URL": "ws://127.0.0.1:9"}
    texts |= {"COINDCX_API_KEY": "key-of-coindcx", "COINDCX_SECRET_KEY": SECRET}
    ours = choose_account(from_texts(texts), LiveClock())
    yield server, ours
    ours.close()
    server.close()


def bodies(server, path):
    return [
        json.loads(body)
        for head, body in zip(server.requests, server.bodies, strict=True)
        if head.startswith(f"POST {path} ".encode())
    ]


def test_every_private_call_is_signed_over_the_bytes_that_are_sent(venue):
    server, ours = venue
    server.routes[wire.BALANCES] = [answer([{"currency": "USDT", "balance": "80.0", "locked_balance": "1"}])]
    assert [(b.currency, b.free, b.locked) for b in ours.balances()] == [("USDT", Decimal(80), Decimal(1))]
    head, body = server.requests[-1].decode(), server.bodies[-1]
    assert f"X-AUTH-SIGNATURE: {wire.signature(SECRET, body)}" in head and "X-AUTH-APIKEY: key-of-coindcx" in head
    assert abs(json.loads(body)["timestamp"] - LiveClock().wall_ms()) < 5000


def test_the_offset_is_measured_before_the_first_signed_call(venue):
    server, ours = venue
    later = 90 + LiveClock().wall_ms() // 1000
    server.routes[wire.MARKETS] = [http(200, b"[]", Date=formatdate(later, usegmt=True))]
    server.routes[wire.BALANCES] = [http(200, b"[]", Date=formatdate(later, usegmt=True))]
    ours.balances()
    assert server.lines()[0] == "GET /exchange/v1/markets HTTP/1.1"
    assert abs(bodies(server, wire.BALANCES)[0]["timestamp"] - later * 1000) < 3000
    assert abs(ours.server_time_ms() - later * 1000) < 5000


# --- create ----------------------------------------------------------------------------------------


def test_an_order_is_sent_once_and_comes_back_as_taken(venue):
    server, ours = venue
    server.routes[wire.CREATE] = [answer({"orders": [order_row(status="init", client_order_id=None)]})]
    order = ours.create(new_order(MARKET, client_order_id="sb-1"))
    assert (order.client_order_id, order.status, order.venue_order_id) == ("sb-1", PENDING, CAPTURED["id"])
    (sent,) = bodies(server, wire.CREATE)
    assert (sent["market"], sent["order_type"], sent["client_order_id"]) == ("BTCUSDT", "market_order", "sb-1")


INDETERMINATE = {
    "no answer": b"",
    "half an answer": Cut(http(200, b'{"orders":[', length=900)),
    "429": answer({"code": 429, "message": "Too Many Requests", "status": "error"}, 429),
    "429 page": http(429, PAGE, "text/html"),
    "500": answer({"code": 500, "message": "oops", "status": "error"}, 500),
    "502 page": http(502, PAGE, "text/html"),
    "page": http(200, PAGE, "text/html"),
    "403 page": http(403, PAGE, "text/html"),
    "broken JSON": http(200, b'{"orders":[{"id":'),
    "no order": answer({"orders": []}),
    "another order": answer({"orders": [order_row(client_order_id="sb-2")]}),
    "another state": answer({"orders": [order_row(status="sleeping")]}),
    "redirect": http(307, b"{}", Location="https://elsewhere/"),
}


@pytest.mark.parametrize("given", INDETERMINATE.values(), ids=INDETERMINATE)
def test_a_create_without_a_clear_answer_is_unknown_and_never_sent_twice(venue, given):
    server, ours = venue
    server.routes[wire.CREATE] = [given]
    with pytest.raises(OutcomeUnknown, match="look up") as caught:
        ours.create(new_order(client_order_id="sb-1"))
    assert len(bodies(server, wire.CREATE)) == 1
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown and "key-of-coindcx" not in shown


TAKEN = (
    "Client order id already exists",
    "client_order_id must be unique",
    "A client_order_id of this name exists",
    "Duplicate order",
    "Order with the same id already placed",
)


@pytest.mark.parametrize("message", TAKEN)
@pytest.mark.parametrize("inside", [False, True], ids=["refusal", "in the answer"])
def test_an_order_whose_id_may_be_there_already_is_looked_up_in_whatever_words_it_is_said(venue, message, inside):
    server, ours = venue
    refusal = answer({"code": 422, "message": message, "status": "error"}, 422)
    server.routes[wire.CREATE] = [answer({"orders": [{"error_message": message}]}) if inside else refusal]
    with pytest.raises(OutcomeUnknown, match="look up"):
        ours.create(new_order())
    assert len(bodies(server, wire.CREATE)) == 1


REFUSALS = {
    "funds": (400, "Insufficient funds"),
    "price": (422, "Price outside permitted band"),
    "pair": (422, "Currency pair is not valid"),
    "bad request": (400, "bad_request"),
}


@pytest.mark.parametrize(("status", "message"), REFUSALS.values(), ids=REFUSALS)
def test_a_create_that_was_clearly_refused_was_not_taken(venue, status, message):
    server, ours = venue
    server.routes[wire.CREATE] = [answer({"code": status, "message": message, "errorCode": "OMS-VF-0001"}, status)]
    with pytest.raises(Rejected, match=message) as caught:
        ours.create(new_order())
    assert caught.value.code == "OMS-VF-0001" and len(bodies(server, wire.CREATE)) == 1


@pytest.mark.parametrize(
    "message",
    ["Duplicate order", "clientOrderId has been used", "Order already exists", "client_order_id is not unique"],
)
def test_a_refusal_that_may_mean_that_the_id_was_used_is_looked_up(venue, message):
    """The venue's words for it are not known; taken for a refusal, the first order of that id would be forgotten."""
    server, ours = venue
    server.routes[wire.CREATE] = [answer({"code": 422, "message": message, "status": "error"}, 422)]
    with pytest.raises(OutcomeUnknown, match=message):
        ours.create(new_order())


def test_a_create_refused_in_the_answer_itself(venue):
    server, ours = venue
    server.routes[wire.CREATE] = [answer({"orders": [{"error_message": "Order type not allowed"}]})]
    with pytest.raises(Rejected, match="Order type not allowed"):
        ours.create(new_order())


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": IOC},
        {"client_order_id": "x" * 37},
        {"client_order_id": "ä"},
        {"side": "hold"},
        {"quantity": Decimal(0)},
        {"price": Decimal("NaN")},
    ],
)
def test_what_the_venue_cannot_do_is_refused_before_anything_is_sent(venue, changes):
    server, ours = venue
    with pytest.raises(Rejected, match="not sent"):
        ours.create(new_order(**changes))
    assert server.requests == []


def test_wrong_keys_are_for_a_person_after_the_clock_was_measured_once_more(venue):
    server, ours = venue
    server.routes[wire.CREATE] = [answer({"code": 401, "message": "Invalid credentials", "status": "error"}, 401)]
    with pytest.raises(Misconfigured, match=r"Invalid credentials.*API key"):
        ours.create(new_order())
    assert len(bodies(server, wire.CREATE)) == 2, "refused for certain, so it may go out a second time"
    assert [line.split()[1] for line in server.lines()].count(wire.MARKETS) == 2


def test_a_wrong_clock_is_put_right_by_the_second_try(venue):
    server, ours = venue
    refused = answer({"code": 401, "message": "Invalid credentials", "status": "error"}, 401)
    server.routes[wire.CREATE] = [refused, answer({"orders": [order_row()]})]
    assert ours.create(new_order(client_order_id="sb-1")).status == OPEN


def test_while_the_venue_wants_rest_nothing_is_sent(venue):
    server, ours = venue
    server.routes[wire.CREATE] = [answer({"code": 429, "message": "Too Many Requests"}, 429)]
    with pytest.raises(OutcomeUnknown):
        ours.create(new_order())
    count = len(server.requests)
    with pytest.raises(RateLimited) as caught:
        ours.order(RULES, "sb-1")
    assert 50 < caught.value.retry_after_s <= 60 and len(server.requests) == count


# --- looking up, cancelling ------------------------------------------------------------------------


def test_an_order_by_our_id(venue):
    server, ours = venue
    server.routes[wire.STATUS] = [
        answer(order_row(status="filled", remaining_quantity=0, taker_fee=0.59, maker_fee=0.5))
    ]
    order = ours.order(RULES, "sb-1", "77")
    assert order is not None and order.status == FILLED
    assert bodies(server, wire.STATUS)[0]["client_order_id"] == "sb-1"
    assert ours.fees_bps(RULES) == (Decimal(59), Decimal(50))


def test_an_order_that_nobody_knows_is_none_and_theirs_is_the_second_name(venue):
    server, ours = venue
    server.routes[wire.STATUS] = [NOT_FOUND]
    assert ours.order(RULES, "sb-1") is None
    assert ours.order(RULES, "sb-1", "796071145") is None
    assert [{**body, "timestamp": 0} for body in bodies(server, wire.STATUS)] == [
        {"client_order_id": "sb-1", "timestamp": 0},
        {"client_order_id": "sb-1", "timestamp": 0},
        {"id": 796071145, "timestamp": 0},
    ]
    assert ours.fees_bps(RULES) is None


@pytest.mark.parametrize("given", [http(404, b'{"message":"not_found"}'), http(422, b'{"message":"Invalid Request"}')])
def test_another_refusal_is_not_an_unknown_order(venue, given):
    server, ours = venue
    server.routes[wire.STATUS] = [given]
    with pytest.raises(Rejected):
        ours.order(RULES, "sb-1")


@pytest.mark.parametrize("given", [b"", http(502, PAGE, "text/html"), http(200, b"[1,"), answer({}), answer([])])
def test_a_question_without_an_answer_may_be_asked_again(venue, given):
    server, ours = venue
    server.routes[wire.STATUS] = [given]
    with pytest.raises(Retry):
        ours.order(RULES, "sb-1")


def test_a_cancel_that_was_accepted_and_one_that_was_not(venue):
    server, ours = venue
    server.routes[wire.CANCEL] = [answer({"message": "success", "status": 200})]
    ours.cancel(RULES, "sb-1")
    assert bodies(server, wire.CANCEL)[0]["client_order_id"] == "sb-1"
    server.routes[wire.CANCEL] = [http(422, b'{"code":422,"message":"Invalid Request","status":"error"}')]
    with pytest.raises(Rejected, match="Invalid Request"):
        ours.cancel(RULES, "sb-1", "77")
    server.routes[wire.CANCEL] = [NOT_FOUND, answer({"message": "success", "status": "success", "code": 200})]
    ours.cancel(RULES, "sb-1", "77")
    assert bodies(server, wire.CANCEL)[-1]["id"] == 77


@pytest.mark.parametrize("given", [b"", http(503, b"{}"), answer({"message": "?"})])
def test_a_cancel_is_safe_to_repeat(venue, given):
    server, ours = venue
    server.routes[wire.CANCEL] = [given]
    with pytest.raises(Retry):
        ours.cancel(RULES, "sb-1")


def test_open_orders_are_those_of_the_market_that_live(venue):
    server, ours = venue
    rows = [order_row(id=1), order_row(id=2, market="ETHUSDT"), order_row(id=3, status="cancelled")]
    server.routes[wire.ACTIVE] = [answer({"orders": rows}), answer(rows)]
    for _ in range(2):
        assert [order.venue_order_id for order in ours.open_orders(RULES)] == ["1"]
    assert bodies(server, wire.ACTIVE)[0]["market"] == "BTCUSDT"


# --- fills -----------------------------------------------------------------------------------------


class History:
    """Serves own trades as the documents say, or in the other order, from after the time asked for, fewer at once."""

    def __init__(self, rows, descending=False, after=False, most=500):
        self.rows = rows
        self.descending = descending
        self.after = after
        self.most = most

    def __call__(self, body):
        asked = json.loads(body)
        from_ms, to_ms = asked["from_timestamp"] + self.after, asked["to_timestamp"]
        rows = [row for row in self.rows if from_ms <= row["timestamp"] <= to_ms]
        rows = sorted(rows, key=lambda row: row["timestamp"], reverse=self.descending)
        return answer(rows[: min(asked["limit"], self.most)])


BEGAN_MS = 1780000000000


@pytest.mark.parametrize("descending", [False, True], ids=["oldest first", "newest first"])
@pytest.mark.parametrize("after", [False, True], ids=["from", "after"])
@pytest.mark.parametrize("most", [500, 100], ids=["500 a page", "100 a page"])
@pytest.mark.parametrize("at_once", [1, 3, 7, 40])
def test_no_fill_is_lost_or_doubled_where_several_of_one_time_lie_across_a_page_border(
    venue, descending, after, most, at_once
):
    """Neither whether the first time asked for is part of the answer nor how long answers are is for certain."""
    server, ours = venue
    count = most * 5 // 2
    rows = [{**FILL, "id": n, "timestamp": BEGAN_MS + n // at_once + 0.25} for n in range(count)]
    server.routes[wire.TRADES] = [History(rows, descending, after, most)]
    fills = ours.fills(RULES, BEGAN_MS)
    assert [fill.venue_fill_id for fill in fills] == [str(n) for n in range(count)]


def test_fills_of_other_markets_in_an_answer_end_no_paging(venue):
    """A venue that overlooks the market asked for: a page may hold none of its fills, the next one some."""
    server, ours = venue
    others = [{**FILL, "id": n, "symbol": "ETHUSDT", "timestamp": BEGAN_MS + n} for n in range(600)]
    server.routes[wire.TRADES] = [History([*others, {**FILL, "id": 700, "timestamp": BEGAN_MS + 700}])]
    assert [fill.venue_fill_id for fill in ours.fills(RULES, BEGAN_MS)] == ["700"]


@pytest.mark.parametrize("first_refused", [False, True])
def test_the_newest_fills_are_asked_for_by_the_venues_clock_also_in_the_first_call(venue, first_refused):
    """After a restart with a clock an hour behind, an hour of own fills would be missing without a word."""
    server, ours = venue
    ahead_s = 3600 + LiveClock().wall_ms() // 1000
    in_time = {"Date": formatdate(ahead_s, usegmt=True)}
    server.routes[wire.MARKETS] = [http(200, b"[]", **in_time)]
    history = History([{**FILL, "timestamp": ahead_s * 1000 - 5}])
    if first_refused:  # the clock was set in mid-life
        server.routes[wire.MARKETS] = [http(200, b"[]", Date=formatdate(usegmt=True)), http(200, b"[]", **in_time)]
    refused = answer({"code": 401, "message": "Invalid credentials", "status": "error"}, 401)
    server.routes[wire.TRADES] = [refused, history] if first_refused else [history]
    assert len(ours.fills(RULES, 1)) == 1


def test_fills_older_than_asked_for_are_left_out(venue):
    server, ours = venue
    server.routes[wire.TRADES] = [answer([FILL, {**FILL, "id": 1, "timestamp": 5}])]
    assert [fill.venue_fill_id for fill in ours.fills(RULES, 1000)] == ["252949810"]


def test_more_fills_at_one_time_than_a_page_holds_are_told_not_lost(venue):
    server, ours = venue
    server.routes[wire.TRADES] = [History([{**FILL, "id": n} for n in range(700)])]
    with pytest.raises(Retry, match="more than 500 at one time"):
        ours.fills(RULES, 1)


def test_a_venue_that_does_not_obey_the_times_asked_for_is_told(venue):
    server, ours = venue
    server.routes[wire.TRADES] = [answer([{**FILL, "id": n, "timestamp": 1780000000000 + n} for n in range(500)])]
    with pytest.raises(Retry, match="fills of BTCUSDT"):
        ours.fills(RULES, 1)


# --- choosing --------------------------------------------------------------------------------------


def test_an_account_without_keys_is_for_a_person():
    with pytest.raises(Misconfigured, match="COINDCX_API_KEY"):
        choose_account(from_texts({"VENUE": "coindcx", "COINDCX_API_KEY": "a"}), LiveClock())


def test_the_sandbox_has_its_own_keys_and_real_ones_are_not_used():
    texts = {"COINDCX_API_KEY": "real", "COINDCX_SECRET_KEY": "real-secret"}
    server = Server(routes={wire.MARKETS: [answer([])], wire.BALANCES: [answer([])]})
    ours = choose_account(from_texts({**texts, "VENUE_REST_URL": server.base}), LiveClock())
    try:
        ours.balances()
        head = server.requests[-1].decode()
        assert f"X-AUTH-APIKEY: {sandbox_keys.API_KEY}" in head
        assert wire.signature(sandbox_keys.SECRET_KEY, server.bodies[-1]) in head
    finally:
        ours.close()
        server.close()


def test_it_says_what_it_can_do(venue):
    _, ours = venue
    can = ours.capabilities
    assert not (can.native_stop or can.native_trailing or can.ioc or can.post_only)
    assert (can.client_id_max, can.client_id_lookup, can.stream, can.client_id_unique) == (36, True, True, "unknown")
