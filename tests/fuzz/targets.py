"""Everything that eats bytes from outside: by name its parser, the errors of ours, and a few whole inputs."""

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from bus import frames
from bus.messages import At, Entry, Event, StateEvent
from bus.segment import SegmentDamaged
from core.paths import STAGES
from dashboard.access import origin_allowed
from dashboard.control import BadCommand, command_of
from dashboard.sessions import Sessions
from tests.fuzz.peers import FRAMES, TAPE, TAPE_START, frames_cut, tape_header, tape_start
from venues import answers, engineio
from venues.account import BUY, LIMIT, NewOrder
from venues.binance import judge as binance_judge
from venues.binance import wire_answers as binance_answers
from venues.binance import wire_news as binance_news
from venues.binance import wire_public as binance_public
from venues.binance.wire_stream import Reader
from venues.call import Call
from venues.coindcx import wire_private as coindcx_private
from venues.coindcx import wire_public as coindcx_public
from venues.errors import VenueError
from venues.kraken import frames as kraken_frames
from venues.kraken import judge as kraken_judge
from venues.kraken import wire_answers as kraken_answers
from venues.kraken import wire_public as kraken_public
from venues.kraken.adapter import read_trades
from venues.kraken.wire_news import Lost, Reports
from venues.venue import Rules

SESSIONS = Sessions(bytes(32), "correct horse")
PAUSES = answers.Pauses(60.0, 120.0)
PAIR = "BTC/USDT"
RULES = Rules("BTC/USDT", "XBTUSDT", "BTC", "USDT", *map(Decimal, ("0.1", "0.00000001", "0.00005", "0.5")))
NOW_NS = 1_700_000_000_000_000_000


def keeps(data: bytes, error: BaseException) -> bool:
    """Whether an error's text has the beginning of what came, whichever way it is quoted."""
    begun = data[:1000].decode(errors="replace")[:40]
    told = _unquoted(str(error))
    return _unquoted(begun) in told or _unquoted(repr(begun)) in told


def _unquoted(text: str) -> str:
    return "".join(sign for sign in text if sign not in "\\'\"")


class Target(NamedTuple):
    """`parse(data)` may answer or raise one of `ours`."""

    parse: Callable[[bytes], object]
    ours: tuple[type[BaseException], ...]
    seeds: Sequence[bytes]


def _told(parse: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """For parsers that refuse: the error keeps the raw text."""

    def parsed(data: bytes) -> object:
        try:
            return parse(data)
        except (VenueError, ValueError) as error:
            if not keeps(data, error):
                raise AssertionError(f"the raw text is lost: {error}") from error
            raise

    return parsed


def _json(*values: Any) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    """For parsers of text frames: what is no UTF-8 never reaches them."""
    return lambda data: parse(data.decode(errors="replace"))


def _judged(judge: Any) -> Callable[[bytes], object]:
    def parse(data: bytes) -> None:
        for status, changes in ((200, False), (400, True), (429, True), (503, False)):
            judge(status, {"date": "Thu, 26 Nov 2026 12:00:00 GMT"}, data, changes)
            answer = answers.Answer(status, {"content-type": "application/json"}, data)
            answers.read("venue", Call("GET", "https://x/y", changes=changes), "GET /y", answer, judge, NOW_NS, PAUSES)

    return parse


def _kraken_account(text: str) -> object:
    return Reports({"BTC/USDT": "XBTUSDT"}).read(kraken_frames.read(text), text)


def _kraken_stream(text: str) -> object:
    told = read_trades(text, 1, {PAIR: PAIR})
    return kraken_frames.control(kraken_frames.read(text), text) if told is None else told


def _engineio(text: str) -> object:
    return [engineio.Session(version, 0).receive(text, 1) for version in (3, 4)]


def _bus_frame(data: bytes) -> object:
    cut = data[0] if data else 0
    return frames.decode([data[1 : cut + 1], data[cut + 1 :]] if cut else [data[1:]])


def _packed(kind: Any) -> Callable[[bytes], object]:
    decoder = msgspec.msgpack.Decoder(kind)
    return lambda data: frames.messages(frames.Frame("event/0/", 1, 2, 3, 4, data), decoder)


_pack = msgspec.msgpack.encode
STATE = StateEvent(At(1, 2, 3), "paused", "", "pause", "id")


ORDER = NewOrder(RULES, "sb-1", BUY, LIMIT, Decimal("0.001"), Decimal("60000.5"))
BINANCE_ORDER = {
    "symbol": "BTCUSDT",
    "orderId": 28,
    "clientOrderId": "sb-1",
    "transactTime": 1507725176595,
    "price": "1.0",
    "origQty": "10.0",
    "executedQty": "10.0",
    "cummulativeQuoteQty": "10.0",
    "status": "FILLED",
    "side": "SELL",
    "timeInForce": "GTC",
    "type": "MARKET",
    "fills": [{"price": "4.0", "qty": "1.0", "commission": "4.0", "commissionAsset": "USDT", "tradeId": 56}],
}
BINANCE_MARKET = {
    "symbol": "BTCUSDT",
    "status": "TRADING",
    "baseAsset": "BTC",
    "quoteAsset": "USDT",
    "orderTypes": ["LIMIT"],
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.0", "tickSize": "0.01"},
        {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000.0", "stepSize": "0.00001"},
        {"filterType": "NOTIONAL", "minNotional": "5.0", "applyMinToMarket": True},
    ],
}
KRAKEN_ORDER = {
    "status": "closed",
    "opentm": 1688592012.2317,
    "vol": "0.25",
    "vol_exec": "0.25",
    "cost": "7500.0",
    "fee": "7.5",
    "price": "30000.0",
    "cl_ord_id": "sb-1",
    "reason": None,
    "oflags": "fciq",
    "misc": "",
    "closetm": 1688592013.1,
    "descr": {"pair": "XBTUSDT", "type": "sell", "ordertype": "limit", "price": "30000"},
}
KRAKEN_MARKET = {
    "altname": "XBTUSDT",
    "wsname": "XBT/USDT",
    "base": "XXBT",
    "quote": "USDT",
    "pair_decimals": 1,
    "ordermin": "0.1",
    "lot_decimals": 8,
    "costmin": "0.5",
    "tick_size": "0.1",
    "status": "online",
    "fees": [[0, 0.4]],
}
COINDCX_ORDER = {
    "id": "fcaae278",
    "client_order_id": "sb-1",
    "order_type": "limit_order",
    "side": "buy",
    "status": "open",
    "total_quantity": 0.0001,
    "remaining_quantity": 0.0001,
    "avg_price": 0.0,
    "price_per_unit": 65483.14,
    "market": "BTCUSDT",
    "created_at": 1718386312000,
    "updated_at": "2024-06-14T17:31:52.000Z",
    "fee": 0.1,
}
COINDCX_MARKET = {
    "coindcx_name": "BTCUSDT",
    "base_currency_short_name": "USDT",
    "target_currency_short_name": "BTC",
    "step": 1e-05,
    "base_currency_precision": 2,
    "target_currency_precision": 5,
    "min_quantity": 1e-05,
    "pair": "B-BTC_USDT",
    "min_notional": 5,
    "max_quantity_market": 252.4,
    "status": "active",
    "ecode": "B",
}


def _result(value: Any) -> dict[str, Any]:
    return {"error": [], "result": value}


ANSWER = (VenueError,)
KRAKEN = (VenueError, kraken_frames.WireError)
COINDCX = (VenueError, coindcx_public.WireError)
REFUSALS = _json(
    {"code": -1003, "msg": "banned until 1659146400000"}, {"error": ["EService: Throttled: 1"]}, {"code": 422}
)
STREAMED = {
    "stream": "btcusdt@trade",
    "data": {"e": "trade", "E": 1, "s": "BTCUSDT", "t": 2, "p": "1.5", "q": "2", "T": 1, "m": True},
}
SPOKEN = {
    "channel": "trade",
    "type": "update",
    "data": [
        {
            "symbol": PAIR,
            "side": "buy",
            "price": 1.5,
            "qty": 2,
            "trade_id": 3,
            "timestamp": "2023-10-06T17:35:55.440295Z",
        }
    ],
}
EXECUTED = {
    "order_id": "O1",
    "exec_id": "T1",
    "exec_type": "trade",
    "trade_id": 7,
    "symbol": PAIR,
    "side": "sell",
    "last_qty": 0.5,
    "last_price": 2.5,
    "cum_qty": 0.5,
    "order_status": "filled",
    "fees": [{"asset": "USDT", "qty": 0.1}],
    "timestamp": "2023-09-22T10:33:05.709993Z",
}
EVENT = {"event": "new-trade", "data": json.dumps({"T": 1, "p": "1.5", "q": "2", "m": 1, "s": "B-BTC_USDT"})}

TARGETS: dict[str, Target] = {
    "page command": Target(
        lambda data: command_of(data, STAGES),
        (BadCommand,),
        [
            b'{"action":"restart","stage":"feeder","id":"page-00000001","expires_ms":9000,"reason":"slow"}',
            b'{"action":"pause","id":"cron-20260101"}',
        ],
    ),
    "page cookie": Target(
        lambda data: SESSIONS.valid(data.decode("latin-1"), NOW_NS // 10**9),
        (),
        [SESSIONS.issue(NOW_NS // 10**9, bytes(16)).encode()],
    ),
    "page origin": Target(
        lambda data: origin_allowed(data.decode("latin-1"), "localhost:3000"), (), [b"http://localhost:3000"]
    ),
    "binance time": Target(binance_public.parse_time, ANSWER, _json({"serverTime": 1499827319559})),
    "binance markets": Target(
        binance_public.parse_markets, ANSWER, _json({"symbols": [BINANCE_MARKET], "rateLimits": []})
    ),
    "binance limits": Target(
        binance_public.parse_limits,
        ANSWER,
        _json(
            {
                "rateLimits": [
                    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
                    {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300000},
                ]
            }
        ),
    ),
    "binance trades": Target(
        lambda data: binance_public.parse_trades(data, "BTCUSDT", 1),
        ANSWER,
        _json([{"id": 28457, "price": "4.0", "qty": "12.0", "time": 1499865549590, "isBuyerMaker": True}]),
    ),
    "binance first trade": Target(
        lambda data: binance_public.parse_first_trade(data, "BTCUSDT"),
        ANSWER,
        _json([{"a": 26129, "p": "0.01633102", "q": "4.70443515", "f": 27781, "l": 27781, "T": 1498793709153}], []),
    ),
    "binance candles": Target(
        lambda data: binance_public.parse_candles(data, "BTCUSDT"),
        ANSWER,
        _json([[1499040000000, "2", "3", "1", "2.5", "148.5", 1499040059999, "297.0", 308, "1", "2", "0"]]),
    ),
    "binance stream": Target(
        _text(lambda text: Reader({"BTCUSDT": "BTCUSDT"}).read([text], 1)),
        (),
        _json(STREAMED, {"id": 1, "result": None}, {"code": 2, "msg": "x"}, {"e": "serverShutdown"}),
    ),
    "binance order": Target(binance_answers.parse_order, ANSWER, _json(BINANCE_ORDER)),
    "binance new order": Target(
        lambda data: binance_answers.parse_created(data, "BTCUSDT", "sb-1"), ANSWER, _json(BINANCE_ORDER)
    ),
    "binance open orders": Target(binance_answers.parse_open_orders, ANSWER, _json([BINANCE_ORDER])),
    "binance fills": Target(
        binance_answers.parse_fills,
        ANSWER,
        _json(
            [
                {
                    "symbol": "BTCUSDT",
                    "id": 7,
                    "orderId": 8,
                    "price": "4.0",
                    "qty": "1.0",
                    "commission": "0.1",
                    "commissionAsset": "BNB",
                    "time": 1499865549590,
                    "isBuyer": True,
                    "isMaker": False,
                }
            ]
        ),
    ),
    "binance balances": Target(
        binance_answers.parse_balances, ANSWER, _json({"balances": [{"asset": "BTC", "free": "1.5", "locked": "0"}]})
    ),
    "binance fees": Target(
        binance_answers.parse_fees_bps,
        ANSWER,
        _json(
            {"standardCommission": {"maker": "0.001", "taker": "0.001"}, "taxCommission": {"maker": "0", "taker": "0"}}
        ),
    ),
    "binance key": Target(
        lambda data: binance_answers.parse_key_rights(data, True),
        ANSWER,
        _json({"ipRestrict": False, "enableWithdrawals": False, "enableSpotAndMarginTrading": True}),
    ),
    "binance may trade": Target(binance_answers.parse_can_trade, ANSWER, _json({"canTrade": True, "balances": []})),
    "binance account": Target(
        _text(binance_news.parse_message),
        (),
        _json(
            {"subscriptionId": 0, "event": {"e": "outboundAccountPosition", "B": [{"a": "E", "f": "1", "l": "0"}]}},
            {"id": "u1", "status": 400, "error": {"code": -1022, "msg": "x"}},
        ),
    ),
    "binance judge": Target(_judged(binance_judge.judge), (), REFUSALS),
    "coindcx markets": Target(coindcx_public.parse_markets, ANSWER, _json([COINDCX_MARKET])),
    "coindcx trades": Target(
        lambda data: coindcx_public.parse_trades(data, "B-BTC_USDT", 1),
        ANSWER,
        _json([{"p": 11603.88, "q": 0.023519, "s": "BTCUSDT", "T": 1565163305770, "m": False}]),
    ),
    "coindcx candles": Target(
        lambda data: coindcx_public.parse_candles(data, "B-BTC_USDT"),
        ANSWER,
        _json([{"open": 2, "high": 3, "low": 1, "close": 2.5, "volume": 7.6, "time": 1717692120000}]),
    ),
    "coindcx event": Target(
        lambda data: coindcx_public.parse_event("new-trade", data, 1, {"B-BTC_USDT": "B-BTC_USDT"}, "B-BTC_USDT"),
        COINDCX,
        _json(EVENT, {"T": 1, "p": 1, "q": 1, "m": True}),
    ),
    "coindcx orders": Target(
        coindcx_private.parse_orders, COINDCX, _json({"orders": [COINDCX_ORDER]}, [COINDCX_ORDER])
    ),
    "coindcx created": Target(
        lambda data: coindcx_private.parse_created(data, "sb-1"), COINDCX, _json({"orders": [COINDCX_ORDER]})
    ),
    "coindcx status": Target(lambda data: coindcx_private.parse_status(data, "sb-1"), COINDCX, _json(COINDCX_ORDER)),
    "coindcx cancelled": Target(
        coindcx_private.parse_cancelled, COINDCX, _json({"message": "success", "status": 200, "code": 200})
    ),
    "coindcx fills": Target(
        lambda data: coindcx_private.parse_fills(data, RULES),
        COINDCX,
        _json(
            [
                {
                    "id": 252949810,
                    "order_id": "284195365",
                    "side": "buy",
                    "fee_amount": 2.9,
                    "ecode": "I",
                    "quantity": 4.97,
                    "price": 100.5,
                    "symbol": "XBTUSDT",
                    "timestamp": 1780415747836.5,
                }
            ]
        ),
    ),
    "coindcx balances": Target(
        coindcx_private.parse_balances, COINDCX, _json([{"currency": "BTC", "balance": 1.1, "locked_balance": "2"}])
    ),
    "coindcx order event": Target(
        lambda data: coindcx_private.parse_account_event("order-update", data),
        COINDCX,
        _json({"event": "order-update", "data": json.dumps([COINDCX_ORDER])}),
    ),
    "coindcx trade event": Target(
        lambda data: coindcx_private.parse_account_event("trade-update", data),
        COINDCX,
        _json(
            [{"T": 1739840633115.661, "c": None, "f": "1.4", "m": True, "o": "38780e28", "s": "ETHINR", "x": "filled"}]
        ),
    ),
    "coindcx balance event": Target(
        lambda data: coindcx_private.parse_account_event("balance-update", data),
        COINDCX,
        _json([{"id": "x", "balance": "80.0", "locked_balance": "5", "currency_short_name": "INR"}]),
    ),
    "coindcx judge": Target(_judged(coindcx_public.judge), (), REFUSALS),
    "coindcx engine.io": Target(
        _text(_engineio),
        (),
        [b'0{"sid":"x","pingInterval":25000,"pingTimeout":20000}', b'40{"sid":"y"}', b'42["a",{}]', b"2"],
    ),
    "kraken time": Target(kraken_public.parse_time_s, KRAKEN, _json(_result({"unixtime": 1688669448}))),
    "kraken markets": Target(kraken_public.parse_markets, KRAKEN, _json(_result({"XBTUSDT": KRAKEN_MARKET}))),
    "kraken trades": Target(
        lambda data: kraken_public.parse_trades(data, PAIR, 1),
        KRAKEN,
        _json(_result({"XBTUSDT": [["30243.4", "0.345", 1688669597.8277369, "b", "m", "", 61044952]], "last": "1688"})),
    ),
    "kraken candles": Target(
        lambda data: kraken_public.parse_candles(data, PAIR),
        KRAKEN,
        _json(_result({"XBTUSDT": [[1688671200, "2", "3", "1", "2.5", "2.1", "3.39", 23]], "last": 1688672160})),
    ),
    "kraken stream": Target(
        _text(_kraken_stream),
        KRAKEN,
        _json(SPOKEN, {"channel": "heartbeat"}, {"method": "subscribe", "success": False, "error": "x", "symbol": "y"}),
    ),
    "kraken added": Target(
        lambda data: kraken_answers.parse_added(data, ORDER), KRAKEN, _json(_result({"descr": {}, "txid": ["OUF4EM"]}))
    ),
    "kraken cancelled": Target(kraken_answers.parse_cancelled, KRAKEN, _json(_result({"count": 1}))),
    "kraken orders by id": Target(kraken_answers.parse_orders_by_id, KRAKEN, _json(_result({"O1": KRAKEN_ORDER}))),
    "kraken open orders": Target(
        kraken_answers.parse_open_orders, KRAKEN, _json(_result({"open": {"O1": KRAKEN_ORDER}}))
    ),
    "kraken closed orders": Target(
        kraken_answers.parse_closed_orders, KRAKEN, _json(_result({"closed": {"O1": KRAKEN_ORDER}, "count": 1}))
    ),
    "kraken fills": Target(
        lambda data: kraken_answers.parse_fills(data, RULES),
        KRAKEN,
        _json(
            _result(
                {
                    "count": 1,
                    "trades": {
                        "T1": {
                            "ordertxid": "O1",
                            "pair": "XBTUSDT",
                            "time": 1688667796.8802,
                            "type": "buy",
                            "price": "30010.0",
                            "vol": "0.02",
                            "fee": "0.1",
                            "cost": "600.2",
                            "maker": True,
                        }
                    },
                }
            )
        ),
    ),
    "kraken balances": Target(
        kraken_answers.parse_balances,
        KRAKEN,
        _json(_result({"XXBT": {"balance": "1.2", "hold_trade": "0.8"}, "USDT.F": {"balance": 2.5}})),
    ),
    "kraken fees": Target(
        lambda data: kraken_answers.parse_fees_bps(data, RULES),
        KRAKEN,
        _json(_result({"fees": {"XBTUSDT": {"fee": "0.4"}}, "fees_maker": {"XBTUSDT": {"fee": "0.25"}}})),
    ),
    "kraken token": Target(kraken_answers.parse_token, KRAKEN, _json(_result({"token": "t", "expires": 900}))),
    "kraken key": Target(
        kraken_answers.parse_key_rights,
        KRAKEN,
        _json(_result({"apiKey": "k", "permissions": ["query-funds", "modify-trades"], "ipAllowlist": []})),
    ),
    "kraken account": Target(
        _text(_kraken_account),
        (*KRAKEN, Lost),
        _json(
            {"channel": "executions", "type": "snapshot", "sequence": 1, "data": [EXECUTED]},
            {"channel": "balances", "type": "update", "sequence": 1, "data": [{"asset": "USDT", "balance": 5.5}]},
        ),
    ),
    "kraken judge": Target(_judged(kraken_judge.judge), (), REFUSALS),
    "websocket": Target(frames_cut, (), FRAMES),
    "tape header": Target(tape_header, (SegmentDamaged,), TAPE),
    "tape start": Target(tape_start, (SegmentDamaged,), TAPE_START),
    "bus frame": Target(
        _bus_frame, (frames.FrameError,), [b"\0" + frames.HEAD.pack(b"trade/0/", 1, 2, 3, 4, 5) + bytes(64)]
    ),
    "bus events": Target(_packed(list[Event]), (frames.FrameError,), [_pack([Event("feeder", "info", "x", 1)])]),
    "bus entries": Target(_packed(list[Entry]), (frames.FrameError,), [_pack([Entry(1, STATE)])]),
}

for _name, _target in TARGETS.items():
    if VenueError in _target.ours and _name not in ("kraken token", "kraken key"):  # they hold secrets
        TARGETS[_name] = _target._replace(parse=_told(_target.parse))
