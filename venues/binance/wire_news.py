"""Binance spot's account stream over its WebSocket API: the request for it, and what its events mean. Pure.

`userDataStream.subscribe.signature` takes a plain HMAC key. Events come wrapped, `{"subscriptionId":0,"event":{...}}`,
without numbers and without a snapshot: after every connection, REST is asked what there is. In the report of a cancel
`c` names the cancel and `C` the order.
"""

from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from core import money
from core.errors import MisconfiguredError
from venues.account import Balance, BalanceNews, Fill, FillNews, News, OrderNews
from venues.binance.wire_answers import SIDES, STATES
from venues.binance.wire_private import Keys, signed_socket_parameters
from venues.binance.wire_public import LATEST_MS
from venues.engineio import UNREADABLE, shorten
from venues.venue import SHUTDOWN, Notice

PATH = "/ws-api/v3"
SUBSCRIBE = "userDataStream.subscribe.signature"
HOST = "wss://ws-api.binance.com:443"
# Of the venue's own hosts for streams those that serve no account, with the one beside them that does.
BESIDE = {
    "stream.binance.com": HOST,
    "data-stream.binance.vision": HOST,
    "stream.testnet.binance.vision": "wss://ws-api.testnet.binance.vision",
    "demo-stream.binance.com": "wss://demo-ws-api.binance.com",
}


class Report(msgspec.Struct):
    """executionReport: an order changed."""

    s: str  # market
    c: str  # client id, of the cancel where it is one
    S: str  # side
    x: str  # what happened
    X: str  # the order's status now
    i: int  # the venue's id of the order
    C: str | None = None  # client id of the cancelled order
    l: Decimal = Decimal(0)  # noqa: E741 - the venue's name: quantity of this fill
    L: Decimal = Decimal(0)  # its price
    n: Decimal | None = None  # its fee
    N: str | None = None  # and the fee's currency
    T: int = 0  # when, ms
    t: int = -1  # id of the trade
    m: bool = False  # we were the maker


class BalanceRow(msgspec.Struct):
    """One currency: free and locked."""

    a: str
    f: Decimal
    l: Decimal  # noqa: E741 - the venue's name


class Position(msgspec.Struct):
    """outboundAccountPosition: the currencies that changed."""

    B: list[BalanceRow]


class Kind(msgspec.Struct):
    """Which event it is."""

    e: str = ""


class Error(msgspec.Struct):
    """Why a request was refused."""

    code: int = 0
    msg: str = ""


class Message(msgspec.Struct):
    """Anything that comes over the WebSocket API."""

    id: str | int | None = None
    status: int = 0
    error: Error | None = None
    event: msgspec.Raw = msgspec.Raw(b"")
    e: str = ""  # of events without a wrapper


class Answer(NamedTuple):
    """The answer to the request of that id; `code` is 0 where it was granted."""

    id: str
    status: int
    code: int
    text: str


class Ended(NamedTuple):
    """The venue ended the subscription: nothing more will come."""

    text: str


_message = msgspec.json.Decoder(Message)
_kind = msgspec.json.Decoder(Kind)
_report = msgspec.json.Decoder(Report)
_position = msgspec.json.Decoder(Position)


def host_beside(stream_url: str) -> str:
    """The host of the account's stream where VENUE_STREAM_URL is given: that itself, unless it is one of BESIDE."""
    try:
        return BESIDE.get(urlsplit(stream_url).hostname or "", stream_url)
    except ValueError:
        return stream_url  # no address: whoever connects says so


def subscribe_request(keys: Keys, request_id: str, time_ms: int) -> str:
    """Asks for the account's events; holds the key, so it is never shown."""
    request = {"id": request_id, "method": SUBSCRIBE, "params": signed_socket_parameters(keys, time_ms)}
    return msgspec.json.encode(request).decode()


def parse_message(text: str | None) -> list[News | Answer | Ended]:
    """What a frame says. Never raises: what cannot be read is a Notice with its text."""
    if text is None:
        return [Notice("unknown frame", "a binary frame")]
    try:
        message = _message.decode(text)
        event = bytes(message.event)
        kind = message.e or (_kind.decode(event).e if event else "")
    except UNREADABLE as error:
        return [Notice("unreadable frame", f"{error}: {shorten(text)}")]
    if kind:
        return _event(kind, event or text.encode(), text)
    if message.id is None and message.error is None:
        return [Notice("unknown frame", shorten(text))]
    refused = message.error or Error()
    code = refused.code or (message.status if message.status >= 400 else 0)
    return [Answer(str(message.id or ""), message.status, code, refused.msg)]


def _event(kind: str, event: bytes, text: str) -> list[News | Answer | Ended]:
    if kind == "serverShutdown":
        return [Notice(SHUTDOWN, "the venue announced that it ends this connection soon")]
    if kind == "eventStreamTerminated":
        return [Ended("the venue ended the account's stream")]
    try:
        if kind == "executionReport":
            return _report_news(_report.decode(event))
        if kind == "outboundAccountPosition":
            return [_balance_news(_position.decode(event))]
    except (*UNREADABLE, MisconfiguredError) as error:
        return [Notice("unreadable event", f"{error}: {shorten(text)}")]
    return [Notice("unknown event", f"{kind}: {shorten(text)}")]


def _report_news(report: Report) -> list[Any]:
    status, side = STATES.get(report.X), SIDES.get(report.S)
    if status is None or side is None:
        raise ValueError(f"status {report.X!r}, side {report.S!r}")
    client_id, venue_id = report.C or report.c, str(report.i)
    news: list[Any] = []
    if report.x == "TRADE" and report.t >= 0:
        fee = Decimal(0) if report.n is None else report.n
        for value in (report.L, report.l, fee):
            money.decimal_of(value, "a fill")
        if report.L <= 0 or report.l <= 0:
            raise ValueError(f"a fill of {report.l} at {report.L}")
        if not 0 < report.T < LATEST_MS:
            raise ValueError(f"a fill at the time {report.T}")
        fill = Fill(
            venue_fill_id=str(report.t),
            venue_order_id=venue_id,
            client_order_id=client_id,
            symbol=report.s,
            side=side,
            price=report.L,
            quantity=report.l,
            fee=fee,
            fee_currency=report.N or "",
            time_ms=report.T,
            maker=report.m,
        )
        news.append(FillNews(fill))
    news.append(OrderNews(client_id, venue_id, report.s, status))
    return news


def _balance_news(position: Position) -> BalanceNews:
    for row in position.B:
        for value in (row.f, row.l):
            money.decimal_of(value, f"the balance of {row.a}")
    return BalanceNews(tuple(Balance(row.a, row.f, row.l) for row in position.B))
