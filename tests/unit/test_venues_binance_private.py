"""Binance's private wire: published signatures, what is asked, what answers and events mean, and its refusals."""

import json
import re
from decimal import Decimal
from email.utils import formatdate

import pytest

from core.settings_parse import Secret
from venues import account as contract
from venues.account import Balance, BalanceNews, Fill, FillNews, KeyRights, NewOrder, OrderNews
from venues.binance import wire_answers as answers
from venues.binance import wire_news
from venues.binance import wire_private as wire
from venues.binance.judge import judge
from venues.call import Failure
from venues.errors import Retry
from venues.venue import SHUTDOWN, Notice, Rules

KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
KEYS = wire.Keys(Secret(KEY), Secret(SECRET))
HOST = "https://x"
RULES = Rules("BTCUSDT", "BTCUSDT", "BTC", "USDT", *map(Decimal, ("0.01", "0.00001", "0.00001", "5")))

# --- signatures: P as published by Binance, C computed from the same key ----------------------------

LTC = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
WIDE = LTC.replace("LTCBTC", "%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96")
SPLIT = LTC.replace("GTC&quantity", "GTCquantity")  # query and body, joined without a separator
SOCKET = (
    f"apiKey={KEY}&price=52000.00&quantity=0.01000000&recvWindow=100&side=SELL&symbol=BTCUSDT"
    "&timeInForce=GTC&timestamp=1645423376532&type=LIMIT"
)
NEW = (
    "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=IOC&quantity=0.00050&price=60000.50"
    "&newClientOrderId=sb-20260101-000001&newOrderRespType=FULL&recvWindow=5000&timestamp=1767225600000"
)
ASK = "symbol=BTCUSDT&origClientOrderId=sb-20260101-000001&recvWindow=5000&timestamp=1767225600000"
VECTORS = {
    "P REST": (LTC, "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
    "P not ASCII": (WIDE, "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3"),
    "C query and body": (SPLIT, "0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77"),
    "P socket": (SOCKET, "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24"),
    "C account": (
        "timestamp=1767225600000&recvWindow=5000",
        "a9713075d96840d9262429e5ac4d0b0915b1f45f007964a5e9b7de3753d78267",
    ),
    "C new order": (NEW, "165e0812d811c7e674516adbdc16a0b39fe324d8e138f0ca0d4627ca2227ec7a"),
    "C query": (ASK, "0e3bf415b4592f4709c0518b6600b03323f96f50bb4eb334c303ea1093337d11"),
    "C user stream": (
        f"apiKey={KEY}&timestamp=1767225600000",
        "f45cc23a035650d226232d7e0635fd79429b4e58d185ffe02d57b15c45eb6071",
    ),
}


@pytest.mark.parametrize(("text", "signature"), VECTORS.values(), ids=VECTORS)
def test_published_signatures(text, signature):
    assert wire.signature(text, KEYS.secret) == signature


def test_what_is_not_ascii_is_encoded_before_it_is_signed():
    given = dict(item.split("=") for item in LTC.split("&")) | {"symbol": "１２３４５６"}
    assert wire.encoded(given) == WIDE


def test_a_query_carries_the_signature_of_its_own_text_last():
    call = wire.query_call(HOST, KEYS, "BTCUSDT", "sb-20260101-000001", "", 1767225600000)
    assert call.query == f"{ASK}&signature={VECTORS['C query'][1]}"
    assert (call.method, call.url) == ("GET", "https://x/api/v3/order")
    assert call.headers == {"X-MBX-APIKEY": KEY} and not call.changes and call.costs == {"requests": 1, "weight": 4}


def test_the_user_stream_is_asked_for_with_the_published_signature():
    request = json.loads(wire_news.subscribe_request(KEYS, "u1", 1767225600000))
    assert request == {
        "id": "u1",
        "method": "userDataStream.subscribe.signature",
        "params": {"apiKey": KEY, "timestamp": 1767225600000, "signature": VECTORS["C user stream"][1]},
    }


def test_no_secret_stands_in_what_may_be_printed():
    call = wire.create_call(HOST, KEYS, order("market"), 1)
    for text in (repr(KEYS), repr(call), str(call), call.what):
        assert SECRET not in text and KEY not in text and "signature" not in text


# --- what is asked ----------------------------------------------------------------------------------


def order(kind, **more):
    given = {"price": Decimal("60000.50")} if kind in ("limit", "ioc", "post_only") else {}
    given |= {"stop_price": Decimal("59000.00")} if kind == "stop" else {}
    given = {"side": "buy", "quantity": Decimal("0.00050000"), **given, **more}
    return NewOrder(rules=RULES, client_order_id="sb-1", kind=kind, **given)


BASE = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "quantity": "0.0005",
    "newClientOrderId": "sb-1",
    "newOrderRespType": "FULL",
}
ORDERS = {
    "market": ("market", {"type": "MARKET"}),
    "limit": ("limit", {"type": "LIMIT", "timeInForce": "GTC", "price": "60000.5"}),
    "ioc": ("ioc", {"type": "LIMIT", "timeInForce": "IOC", "price": "60000.5"}),
    "post only, without a time in force": ("post_only", {"type": "LIMIT_MAKER", "price": "60000.5"}),
    "stop at the venue": ("stop", {"type": "STOP_LOSS", "stopPrice": "59000"}),
}


@pytest.mark.parametrize(("kind", "more"), ORDERS.values(), ids=ORDERS)
def test_every_kind_of_order(kind, more):
    assert wire.order_parameters(order(kind)) == BASE | more


def test_a_new_order_is_sent_once_and_costs_an_order():
    call = wire.create_call(HOST, KEYS, order("ioc", urgent=True), 1767225600000)
    assert (call.method, call.url, call.changes, call.urgent) == ("POST", "https://x/api/v3/order", True, True)
    assert call.costs == {"requests": 1, "weight": 1, "orders": 1, "orders of a day": 1} and call.body == b""
    text, _, signature = call.query.rpartition("&signature=")
    assert wire.signature(text, KEYS.secret) == signature and text.endswith("&recvWindow=5000&timestamp=1767225600000")


BAD_ORDERS = {
    "no price": (order("limit", price=None), "the price of a limit order (sb-1) is missing"),
    "no stop price": (order("stop", stop_price=None), "the stop price of a stop order (sb-1) is missing"),
    "price 0": (order("ioc", price=Decimal(0)), "the price of a ioc order (sb-1) is 0: it must be above 0"),
    "price below 0": (order("limit", price=Decimal("-0.5")), "(sb-1) is -0.5: it must be above 0"),
    "price nan": (order("post_only", price=Decimal("nan")), "the price of a post_only order (sb-1) is Decimal('NaN')"),
    "stop price infinite": (order("stop", stop_price=Decimal("inf")), "the stop price of a stop order (sb-1) is"),
    "nothing": (order("market", quantity=Decimal(0)), "the quantity of a market order (sb-1) is 0: it must be above 0"),
    "less than nothing": (order("market", quantity=Decimal("-1E-8")), "(sb-1) is -1E-8: it must be above 0"),
    "quantity nan": (order("market", quantity=Decimal("nan")), "the quantity of a market order (sb-1) is"),
    "quantity signalling nan": (order("limit", quantity=Decimal("snan")), "the quantity of a limit order (sb-1) is"),
    "quantity infinite": (order("market", quantity=Decimal("inf")), "Decimal('Infinity')"),
    "quantity of a megabyte": (order("market", quantity=Decimal("1E+999999")), "of usual size"),
    "no side": (order("market", side="hold"), "'hold' is no side (sb-1)"),
    "id too long": (NewOrder(RULES, "x" * 37, "buy", "market", Decimal(1)), "x" * 37),
    "id of other letters": (NewOrder(RULES, "ö", "buy", "market", Decimal(1)), "client order id 'ö'"),
    "no id": (NewOrder(RULES, "", "buy", "market", Decimal(1)), "client order id ''"),
}


@pytest.mark.parametrize(("bad", "words"), BAD_ORDERS.values(), ids=BAD_ORDERS)
def test_what_is_no_order_is_not_built_and_its_value_is_named(bad, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        wire.order_parameters(bad)


def test_an_order_of_no_kind_is_not_built():
    with pytest.raises(ValueError, match="'iceberg' is no kind of order"):
        wire.order_parameters(order("iceberg"))


def test_parameters_stand_in_the_order_of_the_published_request():
    assert [*wire.order_parameters(order("ioc")), "recvWindow", "timestamp"] == [
        item.partition("=")[0] for item in NEW.split("&")
    ]


@pytest.mark.parametrize(
    ("number", "text"),
    [("1E-5", "0.00001"), ("1E+2", "100"), ("0.10", "0.1"), ("12345678.00000001", "12345678.00000001")],
)
def test_numbers_go_out_in_plain_notation(number, text):
    assert wire.order_parameters(order("market", quantity=Decimal(number)))["quantity"] == text


def test_cancel_and_the_reads():
    cancel = wire.cancel_call(HOST, KEYS, "BTCUSDT", "sb-1", "9", 5)
    assert (cancel.method, cancel.changes, cancel.urgent) == ("DELETE", False, True)
    assert cancel.query.startswith("symbol=BTCUSDT&origClientOrderId=sb-1&recvWindow=")
    assert wire.query_call(HOST, KEYS, "BTCUSDT", "", "9", 5).query.startswith("symbol=BTCUSDT&orderId=9&")
    assert wire.open_orders_call(HOST, KEYS, "BTCUSDT", 5).costs == {"requests": 1, "weight": 6}
    window = wire.fills_call(HOST, KEYS, "BTCUSDT", 5, since_ms=1000, until_ms=86400999)
    assert window.query.startswith("symbol=BTCUSDT&startTime=1000&endTime=86400999&limit=1000&")
    assert wire.fills_call(HOST, KEYS, "BTCUSDT", 5, from_id=7).query.startswith("symbol=BTCUSDT&fromId=7&limit=1000&")
    assert wire.account_call(HOST, KEYS, 5).query.startswith("omitZeroBalances=true&")
    assert wire.commission_call(HOST, KEYS, "BTCUSDT", 5).url == "https://x/api/v3/account/commission"
    rights = wire.key_rights_call(HOST, KEYS, 5)
    assert (rights.method, rights.url, rights.changes) == ("GET", "https://x/sapi/v1/account/apiRestrictions", False)
    assert rights.query.startswith("recvWindow=5000&timestamp=5&signature=")


# --- what answers mean ------------------------------------------------------------------------------

FULL = {
    "symbol": "BTCUSDT",
    "orderId": 28,
    "orderListId": -1,
    "clientOrderId": "6gCrw2kRUAF9CvJDGP16IP",
    "transactTime": 1507725176595,
    "price": "0.00000000",
    "origQty": "10.00000000",
    "executedQty": "10.00000000",
    "origQuoteOrderQty": "0.000000",
    "cummulativeQuoteQty": "39999.00000000",
    "status": "FILLED",
    "timeInForce": "GTC",
    "type": "MARKET",
    "side": "SELL",
    "workingTime": 1507725176595,
    "selfTradePreventionMode": "NONE",
    "fills": [
        {"price": "4000.0", "qty": "1.0", "commission": "4.0", "commissionAsset": "USDT", "tradeId": 56},
        {"price": "3999.0", "qty": "9.0", "commission": "35.991", "commissionAsset": "USDT", "tradeId": 57},
    ],
}
QUERY = {
    "symbol": "LTCBTC",
    "orderId": 1,
    "clientOrderId": "myOrder1",
    "price": "0.1",
    "origQty": "1.0",
    "executedQty": "0.0",
    "cummulativeQuoteQty": "0.0",
    "status": "NEW",
    "timeInForce": "GTC",
    "type": "LIMIT",
    "side": "BUY",
    "stopPrice": "0.0",
    "icebergQty": "0.0",
    "time": 1499827319559,
    "updateTime": 1499827319560,
    "isWorking": True,
}


def parsed(body, **changes):
    return answers.parse_order(json.dumps({**body, **changes}).encode())


def test_a_full_answer_brings_its_fills():
    found = parsed(FULL)
    assert (found.client_order_id, found.venue_order_id, found.side) == ("6gCrw2kRUAF9CvJDGP16IP", "28", "sell")
    assert (found.kind, found.status, found.quantity, found.filled) == ("market", "filled", Decimal(10), Decimal(10))
    assert (found.price, found.average_price) == (None, Decimal("3999.9"))
    assert (found.created_ms, found.updated_ms) == (1507725176595, 1507725176595)
    first = Fill("56", "28", "6gCrw2kRUAF9CvJDGP16IP", "BTCUSDT", "sell", *map(Decimal, ("4000", "1", "4")), "USDT", 0)
    assert found.fills[0] == Fill(*[getattr(first, name) for name in first.__struct_fields__][:9], 1507725176595, False)
    assert sum(fill.quantity for fill in found.fills) == found.filled


def test_an_order_that_rests():
    found = parsed(QUERY)
    assert found.live and (found.status, found.price, found.average_price) == ("open", Decimal("0.1"), None)
    assert (found.created_ms, found.updated_ms, found.fills) == (1499827319559, 1499827319560, ())


def test_the_answer_to_a_cancel_names_the_order_and_not_the_cancel():
    body = {**QUERY, "origClientOrderId": "myOrder1", "clientOrderId": "cancelMyOrder1", "status": "CANCELED"}
    found = parsed({**body, "time": 0, "updateTime": 0, "transactTime": 1684804350068, "executedQty": "0.4"})
    assert (found.client_order_id, found.status, found.filled) == ("myOrder1", "cancelled", Decimal("0.4"))
    assert (found.created_ms, found.updated_ms) == (0, 1684804350068)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("NEW", contract.OPEN),
        ("PENDING_NEW", contract.PENDING),
        ("PARTIALLY_FILLED", contract.PARTIALLY_FILLED),
        ("FILLED", contract.FILLED),
        ("CANCELED", contract.CANCELLED),
        ("REJECTED", contract.REJECTED),
        ("EXPIRED", contract.EXPIRED),
        ("EXPIRED_IN_MATCH", contract.EXPIRED),
    ],
)
def test_states(name, status):
    assert parsed(QUERY, status=name).status == status


@pytest.mark.parametrize(
    ("venue_type", "in_force", "kind"),
    [
        ("MARKET", "GTC", "market"),
        ("LIMIT", "GTC", "limit"),
        ("LIMIT", "IOC", "ioc"),
        ("LIMIT", "FOK", ""),
        ("LIMIT_MAKER", "GTC", "post_only"),
        ("STOP_LOSS", "GTC", "stop"),
        ("TAKE_PROFIT", "GTC", ""),
    ],
)
def test_kinds(venue_type, in_force, kind):
    assert parsed(QUERY, type=venue_type, timeInForce=in_force).kind == kind


def test_why_an_order_ended_is_kept():
    assert parsed(QUERY, status="EXPIRED", expiryReason="INSUFFICIENT_LIQUIDITY").reason == "INSUFFICIENT_LIQUIDITY"
    assert parsed(QUERY, status="EXPIRED_IN_MATCH").reason == "EXPIRED_IN_MATCH"


def test_an_average_that_is_not_known_is_none():
    assert parsed(FULL, cummulativeQuoteQty="-1").average_price is None


BAD_BODIES = {
    "unknown status": {"status": "LOST"},
    "unknown side": {"side": "HOLD"},
    "nan": {"executedQty": "NaN"},
    "signalling nan": {"cummulativeQuoteQty": "sNaN"},
    "absurd": {"cummulativeQuoteQty": "1E+999999", "executedQty": "0.1"},
    "tiny": {"price": "1E-999999"},
    "below 0": {"origQty": "-1"},
    "no id": {"orderId": None},
    "fill of nothing": {"fills": [{"price": "1"}]},
    "fill without a time": {"fills": FULL["fills"], "transactTime": 0},
    "fill of nan": {"fills": [{**FULL["fills"][0], "commission": "nan"}], "transactTime": 1},
}


@pytest.mark.parametrize("changes", BAD_BODIES.values(), ids=BAD_BODIES)
def test_an_order_that_cannot_be_read_keeps_its_text(changes):
    with pytest.raises(Retry, match="bytes") as raised:
        parsed(QUERY, **changes)
    assert '"symbol"' in raised.value.text


def test_a_list_of_open_orders():
    body = json.dumps([QUERY, {**QUERY, "orderId": 2}]).encode()
    assert [found.venue_order_id for found in answers.parse_open_orders(body)] == ["1", "2"]
    with pytest.raises(Retry):
        answers.parse_open_orders(b"{}")


MINE = {
    "symbol": "BNBBTC",
    "id": 28457,
    "orderId": 100234,
    "price": "4.00000100",
    "qty": "12.00000000",
    "quoteQty": "48.000012",
    "commission": "10.10000000",
    "commissionAsset": "BNB",
    "time": 1499865549590,
    "isBuyer": True,
    "isMaker": False,
    "isBestMatch": True,
}


def test_own_fills_are_oldest_first_with_the_currency_of_their_fee():
    body = json.dumps([{**MINE, "id": 28458, "isBuyer": False, "isMaker": True}, MINE]).encode()
    first, second = answers.parse_fills(body)
    amounts = (Decimal("4.000001"), Decimal(12), Decimal("10.1"))
    assert first == Fill("28457", "100234", "", "BNBBTC", "buy", *amounts, "BNB", 1499865549590, False)
    assert (second.venue_fill_id, second.side, second.maker) == ("28458", "sell", True)
    with pytest.raises(Retry, match="impossible fill"):
        answers.parse_fills(json.dumps([{**MINE, "time": 0}]).encode())


def test_balances_of_which_there_is_something():
    rows = [{"asset": "BTC", "free": "4723846.89208129", "locked": "0.00000000"}]
    rows += [{"asset": "A", "free": "0.0", "locked": "0.0"}, {"asset": "B", "free": "0.0", "locked": "1"}]
    found = answers.parse_balances(json.dumps({"balances": rows, "canTrade": True}).encode())
    assert found == [
        Balance("BTC", Decimal("4723846.89208129"), Decimal(0)),
        Balance("B", Decimal(0), Decimal(1)),
    ]


def test_fees_are_the_sum_of_all_kinds_for_the_dearer_side():
    rates = {"maker": "0.00100000", "taker": "0.00110000", "buyer": "0", "seller": "0"}
    body = {"symbol": "BTCUSDT", "standardCommission": rates}
    assert answers.parse_fees_bps(json.dumps(body).encode()) == (Decimal(11), Decimal(10))
    tax = {"maker": "0.0001", "taker": "0.0002", "buyer": "0.00001", "seller": "0.00003"}
    discount = {"enabledForAccount": True, "enabledForSymbol": True, "discountAsset": "BNB", "discount": "0.75"}
    body |= {"taxCommission": tax, "discount": discount}
    assert answers.parse_fees_bps(json.dumps(body).encode()) == (Decimal("13.3"), Decimal("11.3"))


KEY_ROW = {"ipRestrict": False, "createTime": 1623840271000, "enableReading": True, "enableWithdrawals": False}
KEY_ROW |= {"enableSpotAndMarginTrading": True, "enableMargin": False, "enableFutures": False}


@pytest.mark.parametrize(
    ("change", "account_may", "rights"),
    [
        ({}, True, KeyRights(True, False, False)),
        ({}, False, KeyRights(False, False, False)),
        ({"enableSpotAndMarginTrading": False}, True, KeyRights(False, False, False)),
        ({"enableWithdrawals": True, "ipRestrict": True}, True, KeyRights(True, True, True)),
    ],
)
def test_what_a_key_may_do(change, account_may, rights):
    assert answers.parse_key_rights(json.dumps(KEY_ROW | change).encode(), account_may) == rights


@pytest.mark.parametrize("body", [b"{}", b"[]", json.dumps({**KEY_ROW, "enableWithdrawals": "no"}).encode()])
def test_rights_that_are_not_told_are_not_taken_for_granted(body):
    with pytest.raises(Retry):
        answers.parse_key_rights(body, True)


@pytest.mark.parametrize("may", [True, False])
def test_whether_the_account_may_trade(may):
    assert answers.parse_can_trade(json.dumps({"canTrade": may, "balances": []}).encode()) is may
    with pytest.raises(Retry):
        answers.parse_can_trade(b'{"balances":[]}')


# --- the account's events ---------------------------------------------------------------------------

REPORT = {
    "e": "executionReport",
    "E": 1499405658658,
    "s": "ETHBTC",
    "c": "sb-1",
    "S": "BUY",
    "o": "LIMIT",
    "f": "GTC",
    "q": "1.00000000",
    "p": "0.10264410",
    "C": "",
    "x": "NEW",
    "X": "NEW",
    "r": "NONE",
    "i": 4293153,
    "l": "0.00000000",
    "z": "0.00000000",
    "L": "0.00000000",
    "n": "0",
    "N": None,
    "T": 1499405658657,
    "t": -1,
    "w": True,
    "m": False,
    "I": 8641984,
}


@pytest.mark.parametrize(
    ("stream_url", "host"),
    [
        ("wss://stream.testnet.binance.vision", "wss://ws-api.testnet.binance.vision"),
        ("wss://stream.binance.com:9443", "wss://ws-api.binance.com:443"),
        ("wss://demo-stream.binance.com", "wss://demo-ws-api.binance.com"),
        ("ws://127.0.0.1:3080", "ws://127.0.0.1:3080"),
        ("wss://[", "wss://["),
    ],
)
def test_the_accounts_stream_is_beside_the_markets(stream_url, host):
    assert wire_news.host_beside(stream_url) == host


def news(event, **more):
    return wire_news.parse_message(json.dumps({"subscriptionId": 0, "event": event, **more}))


def test_a_new_order_is_told():
    assert news(REPORT) == [OrderNews("sb-1", "4293153", "ETHBTC", "open")]


def test_a_fill_is_told_before_the_order_it_belongs_to():
    trade = {"x": "TRADE", "X": "PARTIALLY_FILLED", "l": "0.4", "L": "0.1026", "n": "0.0004", "N": "ETH", "t": 77}
    fill, changed = news({**REPORT, **trade, "m": True})
    amounts = (Decimal("0.1026"), Decimal("0.4"), Decimal("0.0004"))
    assert fill == FillNews(Fill("77", "4293153", "sb-1", "ETHBTC", "buy", *amounts, "ETH", 1499405658657, True))
    assert changed == OrderNews("sb-1", "4293153", "ETHBTC", "partially_filled")


def test_the_report_of_a_cancel_names_the_order_and_not_the_cancel():
    assert news({**REPORT, "x": "CANCELED", "X": "CANCELED", "c": "cancel-1", "C": "sb-1"}) == [
        OrderNews("sb-1", "4293153", "ETHBTC", "cancelled")
    ]


def test_balances_that_changed():
    event = {"e": "outboundAccountPosition", "u": 1, "B": [{"a": "ETH", "f": "10000.000000", "l": "0.5"}]}
    assert news(event) == [BalanceNews((Balance("ETH", Decimal(10000), Decimal("0.5")),))]


EVENTS = {
    "terminated": (news({"e": "eventStreamTerminated", "E": 1}), wire_news.Ended),
    "shutdown": (news({"e": "serverShutdown", "E": 1}), SHUTDOWN),
    "shutdown, bare": (wire_news.parse_message('{"e":"serverShutdown","E":1}'), SHUTDOWN),
    "deposit": (news({"e": "balanceUpdate", "a": "BTC", "d": "1", "T": 1}), "unknown event"),
    "list": (wire_news.parse_message("[1]"), "unreadable frame"),
    "half": (wire_news.parse_message('{"event":{"e"'), "unreadable frame"),
    "binary": (wire_news.parse_message(None), "unknown frame"),
    "nothing known": (wire_news.parse_message('{"x":1}'), "unknown frame"),
    "unknown state": (news({**REPORT, "X": "LOST"}), "unreadable event"),
    "fill of nan": (news({**REPORT, "x": "TRADE", "t": 1, "l": "nan"}), "unreadable event"),
    "fill without a time": (news({**REPORT, "x": "TRADE", "t": 1, "l": "1", "L": "1", "T": 0}), "unreadable event"),
    "fill of nothing": (news({**REPORT, "x": "TRADE", "t": 1}), "unreadable event"),
    "balance of nan": (
        news({"e": "outboundAccountPosition", "B": [{"a": "E", "f": "nan", "l": "0"}]}),
        "unreadable event",
    ),
}


@pytest.mark.parametrize(("items", "wanted"), EVENTS.values(), ids=EVENTS)
def test_other_messages(items, wanted):
    assert len(items) == 1
    assert isinstance(items[0], wanted) if isinstance(wanted, type) else items[0].kind == wanted


def test_answers_on_the_socket():
    granted = '{"id":"u1","status":200,"result":{"subscriptionId":0},"rateLimits":[]}'
    assert wire_news.parse_message(granted) == [wire_news.Answer("u1", 200, 0, "")]
    refused = '{"id":"u1","status":400,"error":{"code":-1022,"msg":"Signature for this request is not valid."}}'
    assert wire_news.parse_message(refused) == [
        wire_news.Answer("u1", 400, -1022, "Signature for this request is not valid.")
    ]
    assert wire_news.parse_message('{"id":7,"status":503}') == [wire_news.Answer("7", 503, 503, "")]
    assert isinstance(wire_news.parse_message('{"id":"x","status":200}')[0], wire_news.Answer)
    assert not isinstance(wire_news.parse_message('{"id":"x","status":200}')[0], Notice)


# --- refusals: code, text and the reaction -----------------------------------------------------------

REFUSALS = {
    # code, HTTP status, text, kind of what only asks, kind of a new order
    "unknown": (-1000, 400, "An unknown error occurred while processing the request.", "retry", "unknown"),
    "disconnected": (-1001, 400, "Internal error; unable to process your request.", "retry", "unknown"),
    "not authorized": (-1002, 400, "You are not authorized to execute this request.", "misconfigured", "misconfigured"),
    "weight": (-1003, 429, "Too much request weight used; current limit is 6000.", "rate_limited", "rate_limited"),
    "banned": (-1003, 418, "Way too much request weight used; IP banned.", "rate_limited", "rate_limited"),
    "queued": (-1003, 400, "Too many requests queued.", "rate_limited", "rate_limited"),
    "unexpected": (-1006, 500, "An unexpected response. Execution status unknown.", "retry", "unknown"),
    "timeout": (-1007, 504, "Timeout waiting for response. Execution status unknown.", "retry", "unknown"),
    "timeout with 4xx": (-1007, 408, "Timeout waiting for response.", "retry", "unknown"),
    "overloaded": (-1008, 503, "Server is currently overloaded.", "retry", "unknown"),
    "filter": (-1013, 400, "Filter failure: LOT_SIZE", "rejected", "rejected"),
    "notional": (-1013, 400, "Filter failure: NOTIONAL", "rejected", "rejected"),
    "closed, before the engine": (-1013, 400, "Market is closed.", "retry", "retry"),
    "orders": (-1015, 429, "Too many new orders; current limit is 50 orders per 10s.", "rate_limited", "rate_limited"),
    "shutting down": (-1016, 400, "This service is no longer available.", "retry", "retry"),
    "shutting down with 5xx": (-1016, 503, "This service is no longer available.", "retry", "unknown"),
    "clock": (-1021, 400, "Timestamp for this request is outside of the recvWindow.", "skewed", "skewed"),
    "clock ahead": (-1021, 400, "Timestamp was 1000ms ahead of the server's time.", "skewed", "skewed"),
    "signature": (-1022, 400, "Signature for this request is not valid.", "misconfigured", "misconfigured"),
    "connections": (-1034, 400, "Too many connections.", "retry", "retry"),
    "letters": (-1100, 400, "Illegal characters found in parameter 'quantity'.", "rejected", "rejected"),
    "mandatory": (-1102, 400, "Mandatory parameter 'side' was not sent.", "rejected", "rejected"),
    "not required": (-1106, 400, "Parameter 'timeInForce' sent when not required.", "rejected", "rejected"),
    "precision": (-1111, 400, "Parameter 'quantity' has too much precision.", "rejected", "rejected"),
    "order type": (-1116, 400, "Invalid orderType.", "rejected", "rejected"),
    "symbol": (-1121, 400, "Invalid symbol.", "rejected", "rejected"),
    "no money": (-2010, 400, "Account has insufficient balance for requested action.", "rejected", "rejected"),
    "duplicate": (-2010, 400, "Duplicate order sent.", "rejected", "unknown"),
    "would take": (-2010, 400, "Order would immediately match and take.", "rejected", "rejected"),
    "would trigger": (-2010, 400, "Order would trigger immediately.", "rejected", "rejected"),
    "closed": (-2010, 400, "Market is closed.", "retry", "retry"),
    "not permitted": (
        -2010,
        400,
        "This symbol is not permitted for this account.",
        "misconfigured",
        "misconfigured",
    ),
    "disabled": (-2010, 400, "This action is disabled on this account.", "misconfigured", "misconfigured"),
    "nothing to cancel": (-2011, 400, "Unknown order sent.", "rejected", "rejected"),
    "no such order": (-2013, 400, "Order does not exist.", "rejected", "rejected"),
    "key format": (-2014, 401, "API-key format invalid.", "misconfigured", "misconfigured"),
    "key": (-2015, 401, "Invalid API-key, IP, or permissions for action.", "misconfigured", "misconfigured"),
    "archived": (-2026, 400, "Order was canceled or expired with no executed qty.", "rejected", "rejected"),
    "other id": (-2039, 400, "Client order ID is not correct for this order ID.", "rejected", "rejected"),
    "replaced in part": (-2021, 409, "Order cancel-replace partially failed.", "retry", "unknown"),
    "not replaced": (-2022, 409, "Order cancel-replace failed.", "retry", "unknown"),
    "region": (0, 451, "Service unavailable from a restricted location.", "misconfigured", "misconfigured"),
    "a code of tomorrow": (-9999, 400, "New.", "rejected", "rejected"),
    "a code of tomorrow with 5xx": (-9999, 502, "New.", "retry", "unknown"),
}


@pytest.mark.parametrize(("code", "status", "text", "asking", "new_order"), REFUSALS.values(), ids=REFUSALS)
def test_refusals_call_for_a_reaction(code, status, text, asking, new_order):
    body = json.dumps({"code": code, "msg": text}).encode()
    for changes, kind in ((False, asking), (True, new_order)):
        failure = judge(status, {}, body, changes)
        assert (failure.kind, failure.message) == (kind, text)
        assert failure.code == str(code or status)


WITHOUT_A_CODE = {
    "firewall": (403, b"{}", "retry", "unknown"),
    "keys": (401, b'"no"', "misconfigured", "misconfigured"),
    "nowhere": (404, b"[]", "rejected", "unknown"),
    "gateway": (502, b"null", "retry", "unknown"),
    "too often": (429, b"{}", "rate_limited", "rate_limited"),
    "banned": (418, b"\xff", "rate_limited", "rate_limited"),
    "code as text": (400, b'{"code":"x"}', "rejected", "unknown"),
}


@pytest.mark.parametrize(("status", "body", "asking", "new_order"), WITHOUT_A_CODE.values(), ids=WITHOUT_A_CODE)
def test_refusals_without_a_code_go_by_their_status(status, body, asking, new_order):
    assert judge(status, {}, body, False) == Failure(asking, str(status), "")
    assert judge(status, {}, body, True).kind == new_order


@pytest.mark.parametrize("status", [200, 201, 301])
def test_an_answer_is_no_refusal(status):
    assert judge(status, {}, b'{"code":-1000,"msg":"in an answer"}', True) is None


def test_too_many_orders_hold_up_orders_alone():
    failure = judge(429, {"retry-after": "3"}, b'{"code":-1015,"msg":"Too many new orders."}', True)
    assert (failure.kind, failure.limit, failure.pause_s) == ("rate_limited", "orders", None)


def test_an_overloaded_venue_gets_a_pause_of_new_orders():
    failure = judge(503, {}, b'{"code":-1008,"msg":"overloaded"}', True)
    assert (failure.kind, failure.limit, failure.pause_s) == ("unknown", "orders", 10.0)


def test_the_end_of_a_ban_is_read_from_the_text_where_no_header_tells():
    body = b'{"code":-1003,"msg":"Way too much request weight used; IP banned until 1659146400000. Please"}'
    date = {"date": formatdate(1659146400 - 125, usegmt=True)}
    assert judge(418, date, body, False).pause_s == pytest.approx(125.0)
    assert judge(418, {**date, "retry-after": "7"}, body, False).pause_s is None
    assert judge(418, {}, body, False).pause_s is None
