"""What every refusal of Binance's makes of a new order, of a cancel and of a question: the error that is raised, and
for how long nothing more is sent.

The calls are those that the account builds, the answers pass the same door as live ones.
"""

import json
from decimal import Decimal

import pytest

from core.settings_parse import Secret
from venues import answers
from venues.account import NewOrder
from venues.answers import Answer
from venues.binance import wire_private as wire
from venues.binance.judge import judge
from venues.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Retry, Skewed
from venues.venue import Rules

KEYS = wire.Keys(Secret("key"), Secret("secret"))
RULES = Rules("BTCUSDT", "BTCUSDT", "BTC", "USDT", *map(Decimal, ("0.01", "0.00001", "0.00001", "5")))
POST = wire.create_call("https://x", KEYS, NewOrder(RULES, "sb-1", "sell", "market", Decimal(1), urgent=True), 1)
DELETE = wire.cancel_call("https://x", KEYS, "BTCUSDT", "sb-1", "", 1)
GET = wire.query_call("https://x", KEYS, "BTCUSDT", "sb-1", "", 1)
DATE = "Thu, 01 Jan 2026 00:00:13 GMT"
PAUSES = answers.Pauses(60.0, 120.0)


def refusal_of(call, status, code, text, headers=()):
    body = json.dumps({"code": code, "msg": text}).encode()
    given = {"content-type": "application/json;charset=UTF-8", "date": DATE, **dict(headers)}
    found = answers.read("binance", call, call.what, Answer(status, given, body), judge, 0, PAUSES)
    assert found is not None and found.error.code == str(code)
    return found


REACTIONS = {
    # HTTP status, code, text: what a new order, a cancel and a question get
    "-1000 unknown": (400, -1000, "An unknown error occurred.", OutcomeUnknown, Retry, Retry),
    "-1001 disconnected": (400, -1001, "Internal error; unable to process.", OutcomeUnknown, Retry, Retry),
    "-1002 unauthorized": (401, -1002, "You are not authorized.", Misconfigured, Misconfigured, Misconfigured),
    "-1003 weight": (429, -1003, "Too much request weight used.", RateLimited, RateLimited, RateLimited),
    "-1003 banned": (418, -1003, "Way too much request weight used.", RateLimited, RateLimited, RateLimited),
    "-1003 queued": (400, -1003, "Too many requests queued.", RateLimited, RateLimited, RateLimited),
    "-1006 unexpected": (500, -1006, "Execution status unknown.", OutcomeUnknown, Retry, Retry),
    "-1006 with 4xx": (400, -1006, "Execution status unknown.", OutcomeUnknown, Retry, Retry),
    "-1007 timeout": (504, -1007, "Send status unknown.", OutcomeUnknown, Retry, Retry),
    "-1007 with 4xx": (408, -1007, "Send status unknown.", OutcomeUnknown, Retry, Retry),
    "-1008 overloaded": (503, -1008, "Server is currently overloaded.", OutcomeUnknown, Retry, Retry),
    "-1010 engine, duplicate": (400, -1010, "Duplicate order sent.", OutcomeUnknown, Rejected, Rejected),
    "-1013 filter": (400, -1013, "Filter failure: LOT_SIZE", Rejected, Rejected, Rejected),
    "-1013 notional": (400, -1013, "Filter failure: NOTIONAL", Rejected, Rejected, Rejected),
    "-1013 orders open": (400, -1013, "Filter failure: MAX_NUM_ORDERS", Rejected, Rejected, Rejected),
    "-1013 closed": (400, -1013, "Market is closed.", Retry, Retry, Retry),
    "-1014 combination": (400, -1014, "Unsupported order combination.", Rejected, Rejected, Rejected),
    "-1015 orders": (429, -1015, "Too many new orders.", RateLimited, RateLimited, RateLimited),
    "-1016 shutting down": (400, -1016, "This service is no longer available.", Retry, Retry, Retry),
    "-1016 with 5xx": (503, -1016, "This service is no longer available.", OutcomeUnknown, Retry, Retry),
    "-1020 unsupported": (400, -1020, "This operation is not supported.", Rejected, Rejected, Rejected),
    "-1021 too old": (400, -1021, "Timestamp is outside of the recvWindow.", Skewed, Skewed, Skewed),
    "-1021 ahead": (400, -1021, "Timestamp was 1000ms ahead.", Skewed, Skewed, Skewed),
    "-1022 signature": (400, -1022, "Signature is not valid.", Misconfigured, Misconfigured, Misconfigured),
    "-1034 connections": (400, -1034, "Too many concurrent connections.", Retry, Retry, Retry),
    "-1100 characters": (400, -1100, "Illegal characters found.", Rejected, Rejected, Rejected),
    "-1102 mandatory": (400, -1102, "Mandatory parameter 'side' was not sent.", Rejected, Rejected, Rejected),
    "-1106 not required": (400, -1106, "Parameter 'timeInForce' sent when not required.", Rejected, Rejected, Rejected),
    "-1111 precision": (400, -1111, "Parameter 'quantity' has too much precision.", Rejected, Rejected, Rejected),
    "-1112 empty book": (400, -1112, "No orders on book for symbol.", Retry, Retry, Retry),
    "-1116 type": (400, -1116, "Invalid orderType.", Rejected, Rejected, Rejected),
    "-1121 symbol": (400, -1121, "Invalid symbol.", Rejected, Rejected, Rejected),
    "-2010 no money": (400, -2010, "Account has insufficient balance.", Rejected, Rejected, Rejected),
    "-2010 duplicate": (400, -2010, "Duplicate order sent.", OutcomeUnknown, Rejected, Rejected),
    "-2010 would take": (400, -2010, "Order would immediately match and take.", Rejected, Rejected, Rejected),
    "-2010 would trigger": (400, -2010, "Order would trigger immediately.", Rejected, Rejected, Rejected),
    "-2010 closed": (400, -2010, "Market is closed.", Retry, Retry, Retry),
    "-2010 not permitted": (
        400,
        -2010,
        "This symbol is not permitted for this account.",
        Misconfigured,
        Misconfigured,
        Misconfigured,
    ),
    "-2011 nothing to cancel": (400, -2011, "Unknown order sent.", Rejected, Rejected, Rejected),
    "-2011 restrictions": (
        400,
        -2011,
        "Order was not canceled due to cancel restrictions.",
        Rejected,
        Rejected,
        Rejected,
    ),
    "-2011 account": (
        400,
        -2011,
        "This account may not place or cancel orders.",
        Misconfigured,
        Misconfigured,
        Misconfigured,
    ),
    "-2013 no such order": (400, -2013, "Order does not exist.", Rejected, Rejected, Rejected),
    "-2014 key format": (401, -2014, "API-key format invalid.", Misconfigured, Misconfigured, Misconfigured),
    "-2015 key": (401, -2015, "Invalid API-key, IP, or permissions.", Misconfigured, Misconfigured, Misconfigured),
    "-2015 with 4xx": (400, -2015, "Invalid API-key, IP, or permissions.", Misconfigured, Misconfigured, Misconfigured),
    "-2021 replaced in part": (409, -2021, "Order cancel-replace partially failed.", OutcomeUnknown, Retry, Retry),
    "-2022 not replaced": (400, -2022, "Order cancel-replace failed.", OutcomeUnknown, Retry, Retry),
    "-2026 archived": (400, -2026, "Order was canceled over 90 days ago.", Rejected, Rejected, Rejected),
    "-2039 another id": (400, -2039, "Client order ID is not correct.", Rejected, Rejected, Rejected),
    "of tomorrow": (400, -9999, "New.", Rejected, Rejected, Rejected),
    "of tomorrow with 5xx": (502, -9999, "New.", OutcomeUnknown, Retry, Retry),
}


@pytest.mark.parametrize(("status", "code", "text", "order", "cancel", "question"), REACTIONS.values(), ids=REACTIONS)
def test_what_a_refusal_calls_for(status, code, text, order, cancel, question):
    for call, kind in ((POST, order), (DELETE, cancel), (GET, question)):
        assert type(refusal_of(call, status, code, text).error) is kind, call.method


PAUSED = {
    # HTTP status, code, text, headers: for how long, and what alone is held up
    "weight, told": (429, -1003, "Too much.", {"retry-after": "7"}, 7.0, ""),
    "weight, not told": (429, -1003, "Too much.", {}, 60.0, ""),
    "ban, told": (418, -1003, "IP banned until 1767225733000.", {"retry-after": "120"}, 120.0, ""),
    "ban, in the text": (418, -1003, "Way too much; IP banned until 1767225733000. Please", {}, 120.0, ""),
    "ban, in capitals": (418, -1003, "IP BANNED UNTIL 1767225733000", {}, 120.0, ""),
    "orders, told": (429, -1015, "Too many new orders.", {"retry-after": "3"}, 3.0, "orders"),
    "orders, told beside the text": (
        429,
        -1015,
        "current limit is 50 orders per 10s.",
        {"retry-after": "3"},
        3.0,
        "orders",
    ),
    "orders, in the text": (429, -1015, "current limit is 50 orders per 10s.", {}, 7.0, "orders"),
    "orders, in long words": (429, -1015, "Current limit is 100 orders per 10 SECOND.", {}, 7.0, "orders"),
    "orders of a day, in the text": (429, -1015, "current limit is 160000 orders per 1 DAY.", {}, 86_387.0, "orders"),
    "orders, by a text of tomorrow": (429, -1015, "Too many new orders.", {}, 60.0, "orders"),
    "overloaded": (503, -1008, "Server is currently overloaded.", {}, 10.0, "orders"),
    "closed": (400, -2010, "Market is closed.", {}, None, ""),
    "no money": (400, -2010, "Account has insufficient balance for requested action.", {}, None, ""),
}


@pytest.mark.parametrize(("status", "code", "text", "headers", "pause_s", "limit"), PAUSED.values(), ids=PAUSED)
def test_for_how_long_nothing_more_is_sent(status, code, text, headers, pause_s, limit):
    found = refusal_of(POST, status, code, text, headers)
    assert (found.pause_s, found.limit) == (None if pause_s is None else pytest.approx(pause_s), limit)


SAID_OTHERWISE = {
    "as documented": "Duplicate order sent.",
    "without its stop": "Duplicate order sent",
    "in capitals": "DUPLICATE ORDER SENT!",
    "with more behind it": "Duplicate order sent: clientOrderId sb-1 is in use.",
    "with more room": "  Duplicate  order\tsent. ",
    "with dashes": "Duplicate-order-sent",
}


@pytest.mark.parametrize("text", SAID_OTHERWISE.values(), ids=SAID_OTHERWISE)
def test_a_duplicate_is_one_however_it_is_written(text):
    assert type(refusal_of(POST, 400, -2010, text).error) is OutcomeUnknown


NO_DUPLICATES = {
    "another refusal": (-2010, "Account has insufficient balance for requested action."),
    "another word": (-2010, "Duplicated order sent."),
    "denied": (-2010, "No duplicate order sent."),
    "half of it": (-2010, "Duplicate order"),
    "unknown order": (-2010, "Unknown order sent."),
    "of a parameter": (-1101, "Duplicate values for a parameter detected."),
    "another code": (-1130, "Duplicate order sent."),
    "nothing": (-2010, ""),
}


@pytest.mark.parametrize(("code", "text"), NO_DUPLICATES.values(), ids=NO_DUPLICATES)
def test_no_other_refusal_is_taken_for_a_duplicate(code, text):
    assert type(refusal_of(POST, 400, code, text).error) is Rejected


WRITTEN = {
    "closed": ("MARKET IS CLOSED", Retry),
    "closed, and why": ("Market is closed. Please try again later.", Retry),
    "not permitted": ("this symbol is not permitted for this account", Misconfigured),
    "restricted": ("This symbol is restricted for this account!", Misconfigured),
    "disabled": ("This action is disabled on this account. Contact support.", Misconfigured),
    "not here": ("Rest API trading is not enabled", Misconfigured),
    "no such market": ("Market orders are not supported for this symbol.", Rejected),
    "not closed": ("Market is close to its limit.", Rejected),
}


@pytest.mark.parametrize(("text", "kind"), WRITTEN.values(), ids=WRITTEN)
def test_other_texts_count_however_they_are_written(text, kind):
    assert type(refusal_of(POST, 400, -2010, text).error) is kind
