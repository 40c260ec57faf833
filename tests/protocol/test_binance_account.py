"""Binance's account over real sockets: signed requests, lost answers, the clock, own fills, its stream."""

import asyncio
import subprocess
import sys
from decimal import Decimal

import msgspec
import pytest

from core import sandbox_keys
from core.clock import LiveClock, ManualClock
from core.paths import ROOT
from core.settings_load import from_texts
from tests.protocol import binance_peer as fake
from tests.protocol.binance_peer import Peer, json_answer, refusal
from tests.unit.test_venues_binance_private import FULL, MINE, QUERY, REPORT, RULES
from venues.account import Balance, BalanceNews, FillNews, NewOrder, OrderNews
from venues.binance import account as module
from venues.choose import account
from venues.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Retry, Skewed
from venues.venue import SHUTDOWN, Notice

ORDER, OPEN, FILLS = "/api/v3/order", "/api/v3/openOrders", "/api/v3/myTrades"
DAY_MS = 86_400_000


def play(scenario, secret=fake.SECRET, clock=None):
    """Runs `scenario(peer, account, call)` against a fresh peer; `call` makes a blocking call beside the loop."""

    async def main():
        async with Peer() as peer:
            texts = {"VENUE": "binance", "VENUE_REST_URL": peer.rest_url, "VENUE_STREAM_URL": peer.stream_url}
            texts |= {"BINANCE_API_KEY": fake.KEY, "BINANCE_SECRET_KEY": secret}
            side = account(from_texts(texts), clock or LiveClock())
            try:
                await asyncio.wait_for(scenario(peer, side, asyncio.to_thread), 30)
            finally:
                side.close()

    asyncio.run(main())


def order(kind="market", **more):
    given = {"rules": RULES, "client_order_id": "sb-1", "side": "buy", "kind": kind, "quantity": Decimal("0.0005")}
    return NewOrder(**given | more)


def test_an_order_goes_out_once_signed_with_its_client_id():
    async def scenario(peer, side, call):
        peer.answers["POST /api/v3/order"] = [json_answer({**FULL, "clientOrderId": "sb-1"})]
        found = await call(side.create, order())
        assert (found.client_order_id, found.status, len(found.fills)) == ("sb-1", "filled", 2)
        (asked,) = peer.signed
        assert (asked.method, asked["newClientOrderId"], asked["newOrderRespType"]) == ("POST", "sb-1", "FULL")
        assert (asked["type"], asked["quantity"]) == ("MARKET", "0.0005")

    play(scenario)


LOST = {
    "no answer": (fake.NOTHING, "without an answer"),
    "gateway": (fake.BROKEN, "502"),
    "half": (fake.HALF_JSON, "new order sb-1"),
    "another shape": (json_answer({"status": "ok"}), "new order sb-1"),
    "execution unknown": (refusal(-1007, "Timeout. Execution status unknown.", 504), "-1007"),
    "the first one arrived": (refusal(-2010, "Duplicate order sent."), "Duplicate order sent."),
    "firewall": (fake.HTML, "web page"),
}


@pytest.mark.parametrize(("answer", "words"), LOST.values(), ids=LOST)
def test_an_order_that_may_have_been_taken_is_unknown_and_not_sent_again(answer, words):
    async def scenario(peer, side, call):
        peer.answers["POST /api/v3/order"] = [answer]
        with pytest.raises(OutcomeUnknown, match=words):
            await call(side.create, order())
        assert len(peer.signed) == 1

    play(scenario)


REFUSED = {
    "filter": (refusal(-1013, "Filter failure: NOTIONAL"), Rejected, "-1013"),
    "no money": (refusal(-2010, "Account has insufficient balance for requested action."), Rejected, "-2010"),
    "would take": (refusal(-2010, "Order would immediately match and take."), Rejected, "-2010"),
    "closed": (refusal(-2010, "Market is closed."), Retry, "-2010"),
    "key": (refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401), Misconfigured, "-2015"),
    "orders": (refusal(-1015, "Too many new orders.", 429, **{"Retry-After": "5"}), RateLimited, "-1015"),
}


@pytest.mark.parametrize(("answer", "kind", "code"), REFUSED.values(), ids=REFUSED)
def test_an_order_that_was_certainly_not_taken_says_why(answer, kind, code):
    async def scenario(peer, side, call):
        peer.answers["POST /api/v3/order"] = [answer]
        with pytest.raises(kind) as raised:
            await call(side.create, order())
        assert raised.value.code == code and not isinstance(raised.value, OutcomeUnknown)

    play(scenario)


def test_too_many_orders_hold_up_orders_but_not_the_questions():
    async def scenario(peer, side, call):
        peer.answers["POST /api/v3/order"] = [refusal(-1015, "Too many new orders.", 429, **{"Retry-After": "60"})]
        peer.answers["GET /api/v3/order"] = [json_answer(QUERY)]
        for _ in range(2):
            with pytest.raises(RateLimited):
                await call(side.create, order())
        assert (await call(side.order, RULES, "myOrder1")).status == "open"
        assert [asked.method for asked in peer.signed] == ["POST", "GET"]

    play(scenario)


UNSENT = {
    "no price": (order("limit"), "not sent: the price of a limit order .sb-1. is missing"),
    "price nan": (order("limit", price=Decimal("nan")), "not sent: the price of a limit order .sb-1. is Decimal.'NaN'"),
    "quantity nan": (order(quantity=Decimal("nan")), "not sent: the quantity .* is Decimal.'NaN'"),
    "quantity infinite": (order(quantity=Decimal("inf")), "not sent: the quantity .* is Decimal.'Infinity'"),
    "quantity 0": (order(quantity=Decimal(0)), "not sent: the quantity .* is 0: it must be above 0"),
}


@pytest.mark.parametrize(("bad", "words"), UNSENT.values(), ids=UNSENT)
def test_what_is_no_order_is_refused_before_it_is_sent(bad, words):
    async def scenario(peer, side, call):
        with pytest.raises(Rejected, match=words):
            await call(side.create, bad)
        assert not peer.signed

    play(scenario)


# --- limits ----------------------------------------------------------------------------------------


def early_in_the_windows(peer):
    """Sets the peer's clock to 1 s into its ten seconds and 11 s into its minute; ours stands still."""
    peer.ahead_ms = 11_000 - peer.now_ms() % 60_000


def test_an_exit_uses_what_is_left_up_to_the_venues_own_limit():
    """5,970 of 6,000 are used, most of it by others: ordinary calls stand back, exits go on to the very end."""

    async def scenario(peer, side, call):
        early_in_the_windows(peer)
        used = json_answer([QUERY], **{"X-MBX-USED-WEIGHT-1M": "5970"})
        peer.answers["GET /api/v3/openOrders"] = [used]
        counted = {"X-MBX-ORDER-COUNT-10S": "1"}  # they are filled at once
        peer.answers["POST /api/v3/order"] = [json_answer({**FULL, "clientOrderId": "sb-1"}, **counted)]
        await call(side.open_orders, RULES)
        with pytest.raises(RateLimited, match="not sent: the limit 'weight' has no room"):
            await call(side.create, order())
        for _ in range(30):
            await call(side.create, order(urgent=True))
        with pytest.raises(RateLimited, match="'weight' has no room") as raised:
            await call(side.create, order(urgent=True))
        assert 30 < raised.value.retry_after_s <= 49, "until the venue's minute ends"
        assert [asked.method for asked in peer.signed] == ["GET"] + ["POST"] * 30

    play(scenario, clock=ManualClock())


def test_an_exit_may_wait_for_the_clock_when_weight_is_short():
    async def scenario(peer, side, call):
        early_in_the_windows(peer)
        peer.answers["GET /api/v3/openOrders"] = [json_answer([QUERY], **{"X-MBX-USED-WEIGHT-1M": "5970"})]
        peer.answers["POST /api/v3/order"] = [json_answer({**FULL, "clientOrderId": "sb-1"})]
        await call(side.open_orders, RULES)
        peer.ahead_ms += 3_600_000  # the clock was set
        assert (await call(side.create, order(urgent=True))).status == "filled"

    play(scenario, clock=ManualClock())


def test_the_venues_limits_are_read_before_the_first_question_that_can_wait():
    async def scenario(peer, side, call):
        early_in_the_windows(peer)
        peer.limits = [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
        ]
        peer.answers["GET /api/v3/openOrders"] = [json_answer([QUERY], **{"X-MBX-USED-WEIGHT-1M": "1100"})]
        told = {"X-MBX-ORDER-COUNT-10S": "70"}
        peer.answers["POST /api/v3/order"] = [json_answer({**FULL, "clientOrderId": "sb-1"}, **told)]
        await call(side.create, order())
        with pytest.raises(RateLimited, match="'orders' has no room"):
            await call(side.create, order())  # it would be one of 50 until the limits are read
        await call(side.create, order(urgent=True))
        await call(side.open_orders, RULES)
        assert sum("exchangeInfo?symbol=BTCUSDT" in target for target in peer.asked) == 1
        with pytest.raises(RateLimited, match="'weight' has no room"):
            await call(side.open_orders, RULES)  # 1,100 of 1,200 are used
        peer.answers["GET /api/v3/order"] = [json_answer(QUERY, **{"X-MBX-USED-WEIGHT-1M": "100"})]
        await call(side.order, RULES, "myOrder1")
        for _ in range(2):
            await call(side.create, order())  # 70 of 100

    play(scenario, clock=ManualClock())


def test_limits_that_cannot_be_read_stay_as_they_were_and_the_question_is_asked():
    async def scenario(peer, side, call):
        peer.answers["GET /api/v3/openOrders"] = [json_answer([QUERY])]
        peer.faults["/api/v3/exchangeInfo"] = [fake.BROKEN]
        for _ in range(2):
            assert len(await call(side.open_orders, RULES)) == 1
        assert sum("exchangeInfo" in target for target in peer.asked) == 1, "not asked for again at once"

    play(scenario)


def test_a_window_of_orders_that_is_full_is_waited_out_by_its_text():
    """Without a Retry-After: an exit does not wait a minute for ten seconds to end."""

    async def scenario(peer, side, call):
        text = "Too many new orders; current limit is 50 orders per 10s."
        peer.answers["POST /api/v3/order"] = [refusal(-1015, text, 429)]
        with pytest.raises(RateLimited) as raised:
            await call(side.create, order(urgent=True))
        assert 0 < raised.value.retry_after_s <= 10

    play(scenario)


ANOTHER = {"another id": {"clientOrderId": "sb-2"}, "another market": {"clientOrderId": "sb-1", "symbol": "ETHUSDT"}}


@pytest.mark.parametrize("told", ANOTHER.values(), ids=ANOTHER)
def test_an_answer_about_another_order_leaves_open_what_became_of_ours(told):
    async def scenario(peer, side, call):
        peer.answers["POST /api/v3/order"] = [json_answer({**FULL, **told})]
        with pytest.raises(OutcomeUnknown, match="new order sb-1: it tells of"):
            await call(side.create, order())
        assert len(peer.signed) == 1

    play(scenario)


ONE = FULL["fills"][:1]
ENDED = {
    "IOC that met nobody": ("ioc", {"status": "EXPIRED", "executedQty": "0", "fills": []}, "expired", "0", 0),
    "IOC filled in part": (
        "ioc",
        {"status": "EXPIRED", "executedQty": "1", "fills": ONE},
        "expired",
        "1",
        1,
    ),
    "market order on an empty book": (
        "market",
        {"status": "EXPIRED", "executedQty": "0", "fills": []},
        "expired",
        "0",
        0,
    ),
    "self-trade prevented": (
        "ioc",
        {"status": "EXPIRED_IN_MATCH", "executedQty": "1", "fills": ONE, "preventedQuantity": "9"},
        "expired",
        "1",
        1,
    ),
    "rejected late": ("limit", {"status": "REJECTED", "executedQty": "0", "fills": []}, "rejected", "0", 0),
}


@pytest.mark.parametrize(("kind", "told", "status", "filled", "fills"), ENDED.values(), ids=ENDED)
def test_an_order_that_ended_in_its_own_answer_keeps_what_was_filled(kind, told, status, filled, fills):
    async def scenario(peer, side, call):
        answer = {**FULL, "clientOrderId": "sb-1", "cummulativeQuoteQty": filled, **told}
        peer.answers["POST /api/v3/order"] = [json_answer(answer)]
        found = await call(side.create, order(kind, price=Decimal("1.5")))
        assert (found.status, found.live, found.filled, len(found.fills)) == (status, False, Decimal(filled), fills)

    play(scenario)


@pytest.mark.parametrize("ahead_ms", [-90_000, 90_000])
def test_a_clock_that_differs_is_measured_before_the_first_request(ahead_ms):
    async def scenario(peer, side, call):
        peer.ahead_ms = ahead_ms
        peer.answers["GET /api/v3/openOrders"] = [json_answer([QUERY])]
        assert len(await call(side.open_orders, RULES)) == 1
        assert abs(await call(side.server_time_ms) - peer.now_ms()) < 1000

    play(scenario)


def test_a_clock_that_was_set_is_measured_anew_and_the_request_goes_out_once_more():
    async def scenario(peer, side, call):
        peer.answers["POST /api/v3/order"] = [json_answer({**FULL, "clientOrderId": "sb-1"})]
        await call(side.server_time_ms)
        peer.ahead_ms = 3_600_000
        assert (await call(side.create, order())).status == "filled"
        assert len(peer.signed) == 1  # the first one was refused and never reached the book

    play(scenario)


def test_a_clock_that_is_refused_twice_is_told():
    async def scenario(peer, side, call):
        peer.answers["POST /api/v3/order"] = [refusal(-1021, "Timestamp for this request was 1000ms ahead.")]
        with pytest.raises(Skewed):
            await call(side.create, order())
        assert len(peer.signed) == 2

    play(scenario)


def test_a_wrong_secret_is_for_a_person_and_stands_in_no_message():
    async def scenario(peer, side, call):
        with pytest.raises(Misconfigured, match="-1022") as raised:
            await call(side.balances)
        assert "wrong-secret" not in str(raised.value) and "signature=" not in str(raised.value)

    play(scenario, secret="wrong-secret")


def test_an_order_is_asked_for_by_its_client_id():
    async def scenario(peer, side, call):
        peer.answers["GET /api/v3/order"] = [json_answer(QUERY)]
        assert (await call(side.order, RULES, "myOrder1", "1")).venue_order_id == "1"
        assert peer.signed[0]["origClientOrderId"] == "myOrder1" and "orderId" not in peer.signed[0]
        peer.answers["GET /api/v3/order"] = [json_answer({**QUERY, "clientOrderId": "of-the-cancel"})]
        assert (await call(side.order, RULES, "myOrder1")).client_order_id == "myOrder1"
        peer.signed.pop()
        await call(side.order, RULES, "", "1")
        assert peer.signed[1]["orderId"] == "1"

    play(scenario)


def test_an_order_that_the_venue_does_not_know_is_none_and_an_archived_one_is_over():
    async def scenario(peer, side, call):
        peer.answers["GET /api/v3/order"] = [
            refusal(-2013, "Order does not exist."),
            refusal(-2026, "Order was canceled or expired with no executed qty over 90 days ago."),
            refusal(-1100, "Illegal characters."),
        ]
        assert await call(side.order, RULES, "sb-1") is None
        found = await call(side.order, RULES, "sb-1", "9")
        assert (found.status, found.filled, found.client_order_id) == ("cancelled", Decimal(0), "sb-1")
        assert "90 days ago" in found.reason
        with pytest.raises(Rejected, match="-1100"):
            await call(side.order, RULES, "sb-1")

    play(scenario)


def test_cancelling_and_what_is_not_there_to_cancel():
    async def scenario(peer, side, call):
        peer.answers["DELETE /api/v3/order"] = [
            json_answer({**QUERY, "status": "CANCELED"}),
            fake.NOTHING,
            refusal(-2011, "Unknown order sent."),
        ]
        await call(side.cancel, RULES, "sb-1")
        with pytest.raises(Retry):  # a lost answer: asking again does no harm
            await call(side.cancel, RULES, "sb-1")
        with pytest.raises(Rejected) as raised:
            await call(side.cancel, RULES, "sb-1")
        assert raised.value.code == "-2011" and len(peer.signed) == 3

    play(scenario)


def test_balances_and_fees():
    async def scenario(peer, side, call):
        rows = [{"asset": "BTC", "free": "1.5", "locked": "0.5"}]
        peer.answers["GET /api/v3/account"] = [json_answer({"balances": rows})]
        rates = {"maker": "0.001", "taker": "0.002", "buyer": "0", "seller": "0"}
        peer.answers["GET /api/v3/account/commission"] = [json_answer({"standardCommission": rates})]
        assert await call(side.balances) == [Balance("BTC", Decimal("1.5"), Decimal("0.5"))]
        assert await call(side.fees_bps, RULES) == (Decimal(20), Decimal(10))

    play(scenario)


# --- own fills -------------------------------------------------------------------------------------


def serve_fills(peer, fills, newest=False):
    """Answers myTrades of these (id, time) as the venue pages them; `newest`: of a window too full the newest part."""

    class Pages(list):
        def __len__(self):
            return 1

        def __getitem__(self, _):
            asked = peer.signed[-1]
            rows = [{**MINE, "id": n, "time": t} for n, t in fills]
            if "fromId" in asked:
                rows = [row for row in rows if row["id"] >= int(asked["fromId"])]
            else:
                assert int(asked["endTime"]) - int(asked["startTime"]) < DAY_MS, "more than 24 hours"
                rows = [row for row in rows if int(asked["startTime"]) <= row["time"] <= int(asked["endTime"])]
                if newest:
                    return json_answer(rows[-int(asked["limit"]) :])
            return json_answer(rows[: int(asked["limit"])])

    peer.answers["GET /api/v3/myTrades"] = Pages()


FILL_CASES = {
    # days ago asked from, fills as (count, days ago), answered, requests
    "none": (0.5, [], 0, 1),
    "none for days": (3.5, [], 0, 4),
    "today": (0.5, [(3, 0.2)], 3, 1),
    "older ones are left out": (0.5, [(5, 2.0), (3, 0.2)], 3, 1),
    "found on the second day, then by id": (2.5, [(2, 1.2), (4, 0.1)], 6, 3),
    "more than a page today": (0.5, [(2300, 0.2)], 2300, 5),
    "exactly a page today": (0.5, [(1000, 0.2)], 1000, 3),
    "over many days by id": (20.0, [(1, 19.5), (1500, 10.0), (700, 0.3)], 2201, 4),
    "so long ago that the first one on is less to ask": (100.0, [(3, 200.0), (1200, 50.0)], 1200, 2),
}


@pytest.mark.parametrize(("days", "groups", "count", "requests"), FILL_CASES.values(), ids=FILL_CASES)
def test_own_fills_since_a_time_each_once(days, groups, count, requests):
    async def scenario(peer, side, call):
        now_ms = peer.now_ms()
        fills = []
        for amount, ago in groups:
            fills += [(len(fills) + n + 1, int(now_ms - ago * DAY_MS) + n) for n in range(amount)]
        serve_fills(peer, fills)
        found = await call(side.fills, RULES, int(now_ms - days * DAY_MS))
        wanted = [str(n) for n, at_ms in fills if at_ms >= now_ms - days * DAY_MS]
        assert [fill.venue_fill_id for fill in found] == wanted and len(found) == count
        assert len(peer.signed) == requests

    play(scenario)


MANY = {
    "some pages": [(n, n * 1000) for n in range(1, 3500)],
    "several at a time": [(n, n // 7 * 1000) for n in range(1, 2500)],
    "too many in one millisecond": [(n, 5_000) for n in range(1, 2200)] + [(2200, 9_000)],
}


@pytest.mark.parametrize("newest", [False, True], ids=["oldest first", "newest first"])
@pytest.mark.parametrize("fills", MANY.values(), ids=MANY)
def test_a_day_with_more_fills_than_an_answer_holds_is_told_whole(fills, newest):
    async def scenario(peer, side, call):
        begun_ms = peer.now_ms() - DAY_MS // 2
        serve_fills(peer, [(n, begun_ms + ms) for n, ms in fills], newest)
        found = await call(side.fills, RULES, begun_ms)
        assert [int(fill.venue_fill_id) for fill in found] == [n for n, _ in fills]

    play(scenario)


def test_fills_that_do_not_end_are_an_error_and_nothing_is_left_out(monkeypatch):
    monkeypatch.setattr(module, "FILLS_PAGES_MAX", 2)

    async def scenario(peer, side, call):
        now_ms = peer.now_ms()
        serve_fills(peer, [(n, now_ms - 1000) for n in range(1, 3000)])
        with pytest.raises(Retry, match="not at the end after 2 requests"):
            await call(side.fills, RULES, now_ms - 10_000)

    play(scenario)


# --- the account's stream --------------------------------------------------------------------------


def granted(request):
    return {"id": request["id"], "status": 200, "result": {"subscriptionId": 0}, "rateLimits": []}


def wrapped(event):
    return {"subscriptionId": 0, "event": event}


async def collect(stream, count):
    news = []
    while len(news) < count:
        news += await stream.read()
    return news


def test_the_stream_tells_of_orders_fills_and_balances():
    async def scenario(peer, side, call):
        peer.acknowledge = granted
        stream = await side.open_stream([RULES])
        (request,) = peer.requests
        assert request["method"] == "userDataStream.subscribe.signature"
        assert request["params"]["apiKey"] == fake.KEY
        await peer.tell(wrapped(REPORT))
        await peer.tell(wrapped({**REPORT, "x": "TRADE", "X": "FILLED", "l": "1", "L": "2", "t": 5}))
        await peer.tell(wrapped({"e": "outboundAccountPosition", "B": [{"a": "ETH", "f": "1", "l": "0"}]}))
        news = await collect(stream, 4)
        assert [type(item) for item in news] == [OrderNews, FillNews, OrderNews, BalanceNews]
        assert news[1].fill.venue_fill_id == "5" and news[2].status == "filled"
        await peer.cut()
        with pytest.raises(Retry, match="the stream was cut"):
            await stream.read()
        await stream.close()

    play(scenario)


def test_the_stream_goes_by_the_venues_clock():
    async def scenario(peer, side, call):
        peer.ahead_ms = 500_000
        peer.acknowledge = granted
        stream = await side.open_stream([RULES])
        assert abs(peer.requests[0]["params"]["timestamp"] - peer.now_ms()) < 2000
        await stream.close()

    play(scenario)


def test_a_subscription_refused_for_its_time_is_asked_for_once_more():
    async def scenario(peer, side, call):
        error = {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}
        peer.acknowledge = lambda request: (
            granted(request) if len(peer.requests) > 1 else {"id": request["id"], "status": 400, "error": error}
        )
        stream = await side.open_stream([RULES])
        assert len(peer.requests) == 2
        await stream.close()

    play(scenario)


def test_a_subscription_refused_for_its_time_does_not_take_our_clock_for_right_over_a_slow_line():
    """The venue is 1 s ahead and an answer takes 1.1 s: that our clock is right lies within what it says."""
    clock = ManualClock()

    async def scenario(peer, side, call):
        peer.now_ms = lambda: clock.wall_ms() + 1_000
        at_once = peer._answer

        def slowly(method, target, headers):
            answer = at_once(method, target, headers)
            clock.advance(1_100_000_000)
            return answer

        peer._answer = slowly
        error = {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}
        peer.acknowledge = lambda request: (
            granted(request)
            if abs(peer.now_ms() - request["params"]["timestamp"]) < 800
            else {"id": request["id"], "status": 400, "error": error}
        )
        stream = await side.open_stream([RULES])
        assert len(peer.requests) == 2
        await stream.close()

    play(scenario, clock=clock)


STREAM_REFUSALS = {
    "key": (401, -2015, "Invalid API-key, IP, or permissions for action.", Misconfigured),
    "signature": (400, -1022, "Signature for this request is not valid.", Misconfigured),
    "clock, again": (400, -1021, "Timestamp for this request is outside of the recvWindow.", Skewed),
    "weight": (429, -1003, "Too much request weight used.", RateLimited),
    "overloaded": (503, -1008, "Server is currently overloaded.", Retry),
    "malformed": (400, -1102, "Mandatory parameter was not sent.", Rejected),
}


@pytest.mark.parametrize(("status", "code", "text", "kind"), STREAM_REFUSALS.values(), ids=STREAM_REFUSALS)
def test_a_refused_subscription_calls_for_a_reaction(status, code, text, kind):
    async def scenario(peer, side, call):
        peer.acknowledge = lambda request: {
            "id": request["id"],
            "status": status,
            "error": {"code": code, "msg": text},
        }
        with pytest.raises(kind, match=text) as raised:
            await side.open_stream([RULES])
        assert type(raised.value) is kind and fake.KEY not in str(raised.value)

    play(scenario)


def test_a_subscription_without_an_answer_is_told(monkeypatch):
    monkeypatch.setattr(module, "ACK_S", 0.1)

    async def scenario(peer, side, call):
        peer.acknowledge = lambda request: None
        with pytest.raises(Retry, match="no answer to the subscription"):
            await side.open_stream([RULES])

    play(scenario)


def test_an_ended_subscription_ends_the_stream_after_what_it_brought():
    async def scenario(peer, side, call):
        peer.acknowledge = granted
        stream = await side.open_stream([RULES])
        await peer.tell(wrapped({"e": "serverShutdown", "E": 1}))
        await peer.tell(wrapped(REPORT))
        await peer.tell(wrapped({"e": "eventStreamTerminated", "E": 1}))
        notice, changed = await collect(stream, 2)
        assert (notice.kind, type(notice), type(changed)) == (SHUTDOWN, Notice, OrderNews)
        with pytest.raises(Retry, match="ended the account's stream"):
            await stream.read()
        await stream.close()

    play(scenario)


class Mute:
    """A socket on which nothing comes; `silent_for` are the answers to how long nothing was heard."""

    def __init__(self, *silent_for):
        self.silent_for = list(silent_for)

    async def receive_many(self):
        await asyncio.Event().wait()

    def silent_s(self):
        return self.silent_for.pop(0)


def test_a_stream_without_pings_is_lost_and_one_with_them_may_be_silent(monkeypatch):
    """A connection that died without a farewell would never tell of a fill again."""
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    socket = Mute(20.0, module.SILENT_S, 5.0, module.SILENT_S + 1)
    with pytest.raises(Retry, match="the account stream is silent: no ping for 71 s"):
        asyncio.run(module.BinanceAccountStream("binance", socket).read())
    assert socket.silent_for == []


# --- which account ----------------------------------------------------------------------------------


def test_without_keys_there_is_no_account():
    with pytest.raises(Misconfigured, match="BINANCE_API_KEY and BINANCE_SECRET_KEY"):
        account(from_texts({"VENUE": "binance"}), LiveClock())


def test_the_sandbox_has_keys_of_its_own_and_real_ones_are_not_read():
    settings = from_texts({"BINANCE_API_KEY": "real", "BINANCE_SECRET_KEY": "real"})
    side = account(msgspec.structs.replace(settings, sandbox_protocol="binance", sandbox_port=3999), LiveClock())
    assert side._keys.key.reveal() == sandbox_keys.API_KEY
    assert side._keys.secret.reveal() == sandbox_keys.SECRET_KEY
    assert (side._api, side._socket_api) == ("http://127.0.0.1:3999", "ws://127.0.0.1:3999")


def test_an_account_without_its_stream_does_not_load_the_websockets_client():
    """A Raspberry Pi pays for it in every process."""
    program = (
        "import sys; from core.settings_load import from_texts; from core.clock import LiveClock;"
        "from venues.choose import account;"
        "account(from_texts({'VENUE': 'binance', 'BINANCE_API_KEY': 'k', 'BINANCE_SECRET_KEY': 's'}), LiveClock());"
        "print('websockets' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
