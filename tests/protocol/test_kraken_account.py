"""Kraken's account against a hand-written venue over real sockets: orders once, lookups, pages, the stream."""

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from core.clock import NS_PER_S, LiveClock
from core.settings_load import from_texts
from tests.kraken_data import USD, order
from tests.protocol.kraken_desk import ORDER, asked, played, world
from tests.protocol.kraken_peer import HALF, HTML, NOTHING, Peer, bad
from venues.account import BalanceNews, FillNews, NewOrder, OrderNews
from venues.choose import account
from venues.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Retry
from venues.kraken.account import KrakenAccount

ROW = {
    "status": "open",
    "vol": "0.0005",
    "vol_exec": "0",
    "opentm": 1688592012.2317,
    "descr": {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "price": "60000.5"},
    "cl_ord_id": "scalp1",
    "oflags": "fciq",
}
FILL = {
    "ordertxid": "OABC",
    "pair": "XXBTZUSD",
    "time": 1688667796.8802,
    "type": "buy",
    "price": "30010.0",
    "vol": "0.02",
    "fee": "0.1",
    "maker": False,
}


def test_an_order_goes_out_once_with_its_deadline() -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        taken = made.create(ORDER)
        assert (taken.venue_order_id, taken.client_order_id, taken.status) == ("OABC", "scalp1", "pending")
        (fields,) = asked(peer, "AddOrder")
        assert {name: fields[name] for name in ("pair", "type", "ordertype", "timeinforce", "oflags", "cl_ord_id")} == {
            "pair": "XBTUSD",
            "type": "buy",
            "ordertype": "limit",
            "timeinforce": "IOC",
            "oflags": "fciq",
            "cl_ord_id": "scalp1",
        }
        deadline_s = datetime.fromisoformat(fields["deadline"]).timestamp()
        assert abs(deadline_s - 5 - LiveClock().wall_ns() / NS_PER_S) < 30 and len(asked(peer, "Time")) == 1

    played(play)


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        pytest.param(bad("EOrder:Insufficient funds"), Rejected, "Insufficient funds", id="refused"),
        pytest.param(bad("EService:Unavailable"), OutcomeUnknown, "EService:Unavailable", id="unavailable"),
        pytest.param(bad("EService:Deadline elapsed"), OutcomeUnknown, "look up", id="deadline"),
        pytest.param(bad("EOrder:Duplicate cl_ord_id"), OutcomeUnknown, "look up", id="there already"),
        pytest.param(bad("EOrder:Rate limit exceeded"), RateLimited, "Rate limit", id="engine's counter"),
        pytest.param(bad("EAPI:Invalid key"), Misconfigured, "Invalid key", id="key"),
        pytest.param(HTML, OutcomeUnknown, "web page", id="HTML"),
        pytest.param(NOTHING, OutcomeUnknown, "look up", id="nothing"),
        pytest.param(HALF, OutcomeUnknown, "no answer of this venue", id="half"),
    ],
)
def test_an_order_is_never_sent_twice(fault, error, words) -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.faults["AddOrder"] = [fault]
        with pytest.raises(error, match=words):
            made.create(ORDER)
        assert len(asked(peer, "AddOrder")) == 1

    played(play)


def test_an_order_whose_answer_was_lost_is_found() -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.lose.add("AddOrder")
        peer.results["OpenOrders"] = lambda fields: {"open": {"OABC": ROW}}
        with pytest.raises(OutcomeUnknown):
            made.create(ORDER)
        found = made.order(USD, "scalp1")
        assert found is not None and (found.venue_order_id, found.status) == ("OABC", "open")
        assert asked(peer, "OpenOrders") == [{"nonce": str(peer.nonces[-1]), "cl_ord_id": "scalp1"}]

    played(play)


def test_an_order_is_looked_for_among_the_open_ones_and_then_among_those_that_are_over() -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        older = ROW | {"status": "canceled", "opentm": 1600000000}
        newer = ROW | {"status": "closed", "vol_exec": "0.0005"}
        stranger = ROW | {"status": "closed", "cl_ord_id": "other", "opentm": 1900000000}
        peer.results["OpenOrders"] = lambda fields: {"open": {"OX": ROW | {"cl_ord_id": "other"}}}
        peer.results["ClosedOrders"] = lambda fields: {"closed": {"O1": older, "O2": newer, "O3": stranger}}
        found = made.order(USD, "scalp1")
        assert found is not None and (found.venue_order_id, found.status) == ("O2", "filled")
        peer.results["ClosedOrders"] = lambda fields: {"closed": {}}
        assert made.order(USD, "scalp1") is None
        assert asked(peer, "QueryOrders") == []

    played(play)


def test_an_order_is_asked_for_by_the_venues_id_where_it_is_known() -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        key_named = ROW | {"descr": ROW["descr"] | {"pair": "XXBTZUSD"}}
        peer.results["QueryOrders"] = lambda fields: {fields["txid"]: key_named}
        found = made.order(USD, "scalp1", "OABC")
        assert found is not None and (found.venue_order_id, found.symbol) == ("OABC", "XBTUSD")
        assert asked(peer, "OpenOrders") == []
        peer.faults["QueryOrders"] = [bad("EOrder:Invalid order")]
        peer.results["OpenOrders"] = lambda fields: {"open": {"OABC": ROW}}
        found = made.order(USD, "scalp1", "OXYZ")
        assert found is not None and found.venue_order_id == "OABC"

    played(play)


def test_a_cancel_is_accepted_or_there_is_nothing_to_cancel() -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.results["CancelOrder"] = lambda fields: {"count": 1}
        made.cancel(USD, "scalp1")
        assert asked(peer, "CancelOrder")[0]["cl_ord_id"] == "scalp1"
        peer.results["CancelOrder"] = lambda fields: {"count": 0}
        with pytest.raises(Rejected, match="no order to cancel"):
            made.cancel(USD, "scalp1")
        peer.faults["CancelOrder"] = [bad("EOrder:Unknown order")]
        with pytest.raises(Rejected, match="Unknown order"):
            made.cancel(USD, "scalp1")
        peer.faults["CancelOrder"] = [NOTHING]
        with pytest.raises(Retry):
            made.cancel(USD, "scalp1")

    played(play)


def test_open_orders_of_one_market() -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        other = ROW | {"descr": ROW["descr"] | {"pair": "ETHUSD"}}
        peer.results["OpenOrders"] = lambda fields: {"open": {"O1": ROW, "O2": other}}
        assert [item.venue_order_id for item in made.open_orders(USD)] == ["O1"]

    played(play)


def test_fills_since_a_time_from_all_pages_oldest_first_each_once() -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        rows = {f"T{n:03}": FILL | {"time": 1688667796.5 + n} for n in range(120)}
        rows["T999"] = FILL | {"time": 1688667795.0}
        newest = sorted(rows, key=lambda name: -rows[name]["time"])

        def page(fields: dict[str, str]) -> object:
            first = int(fields["ofs"])
            if first == 50:  # one more has happened meanwhile
                newest.insert(0, "T500")
                rows["T500"] = FILL | {"time": 1688669000.0}
            return {"trades": {name: rows[name] for name in newest[first : first + 50]}, "count": len(newest)}

        peer.results["TradesHistory"] = page
        fills = made.fills(USD, 1688667796_500)
        assert [fill.venue_fill_id for fill in fills] == [f"T{n:03}" for n in range(120)]
        assert all(fields["consolidate_taker"] == "false" for fields in asked(peer, "TradesHistory"))
        assert [fields["ofs"] for fields in asked(peer, "TradesHistory")] == ["0", "50", "100"]

    played(play)


@pytest.mark.parametrize(
    ("rows", "a_page", "told"),
    [(rows, 50, told) for rows in (0, 50, 51, 100) for told in (True, False)] + [(45, 20, True)],
)
def test_all_pages_of_fills_however_long_they_are(rows: int, a_page: int, told: bool) -> None:
    """Shorter pages than documented are seen by the count that comes with them."""

    def play(peer: Peer, made: KrakenAccount) -> None:
        def page(fields: dict[str, str]) -> object:
            first = int(fields["ofs"])
            names = [f"T{n:03}" for n in range(rows)][first : first + a_page]
            return {"trades": dict.fromkeys(names, FILL)} | ({"count": rows} if told else {})

        peer.results["TradesHistory"] = page
        assert len(made.fills(USD, 1688667796_000)) == rows

    played(play)


def test_an_answer_full_of_other_orders_is_no_proof_that_there_is_none() -> None:
    """The venue overlooked what was asked for: taken for absence, a second order would go out."""

    def play(peer: Peer, made: KrakenAccount) -> None:
        stranger = ROW | {"status": "closed", "cl_ord_id": "other"}
        peer.results["OpenOrders"] = lambda fields: {"open": {}}
        peer.results["ClosedOrders"] = lambda fields: {"closed": {f"O{n}": stranger for n in range(50)}}
        with pytest.raises(Retry, match="50 orders, none of them of that id"):
            made.order(USD, "scalp1")

    played(play)


def test_balances_and_fees() -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.results["BalanceEx"] = lambda fields: {"ZUSD": {"balance": "10.5", "hold_trade": "0.5"}}
        peer.results["TradeVolume"] = lambda fields: {
            "fees": {"XXBTZUSD": {"fee": "0.40"}},
            "fees_maker": {"XXBTZUSD": {"fee": "0.25"}},
        }
        assert [(item.currency, item.free) for item in made.balances()] == [("USD", Decimal(10))]
        assert made.fees_bps(USD) == (40, 25)
        assert asked(peer, "TradeVolume")[0]["pair"] == "XBTUSD"

    played(play)


def test_a_query_whose_answer_is_broken_is_asked_again_by_others() -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        for fault in (HALF, HTML, NOTHING, bad("EService:Busy")):
            peer.faults["BalanceEx"] = [fault]
            with pytest.raises(Retry):
                made.balances()

    played(play)


# --- the stream ---

REPORT = {
    "order_id": "OABC",
    "cl_ord_id": "scalp1",
    "symbol": "BTC/USD",
    "side": "buy",
    "exec_type": "new",
    "order_status": "new",
}
TRADED = {
    "order_id": "OABC",
    "exec_id": "T1",
    "exec_type": "trade",
    "order_status": "partially_filled",
    "last_qty": 0.0002,
    "last_price": 60000.5,
    "liquidity_ind": "t",
    "fees": [{"asset": "USD", "qty": 0.048}],
    "timestamp": "2023-09-22T10:33:05.709993Z",
}


def executions(sequence: int, *rows: object, kind: str = "update") -> dict[str, object]:
    return {"channel": "executions", "type": kind, "sequence": sequence, "data": list(rows)}


def test_the_account_stream_tells_of_orders_fills_and_balances() -> None:
    async def run() -> None:
        async with world() as (peer, made):
            peer.results["GetWebSocketsToken"] = lambda fields: {"token": "the-token", "expires": 900}
            stream = await made.open_stream([USD])
            assert [request["params"]["channel"] for request in peer.requests] == ["executions", "balances"]
            assert {request["params"]["token"] for request in peer.requests} == {"the-token"}
            await peer.send(executions(1, REPORT, kind="snapshot"), "executions")
            await peer.send(executions(2, TRADED), "executions")
            balance = {
                "channel": "balances",
                "type": "update",
                "data": [{"asset": "USD", "balance": 7.5}],
                "sequence": 1,
            }
            await peer.send(balance, "balances")
            news: list[Any] = []
            while len(news) < 4:
                news += await stream.read()
            kinds = [type(item) for item in news]
            assert kinds == [OrderNews, FillNews, OrderNews, BalanceNews]
            fill = news[1].fill
            assert (fill.client_order_id, fill.symbol, fill.quantity) == ("scalp1", "XBTUSD", Decimal("0.0002"))
            await peer.send(executions(4), "executions")
            with pytest.raises(Retry, match=r"gap .*4 came after 2"):
                await stream.read()
            await stream.close()
            again = await made.open_stream([USD])
            assert len(asked(peer, "GetWebSocketsToken")) == 2
            await again.close()

    asyncio.run(run())


def test_a_token_that_is_refused_is_told_without_it() -> None:
    async def run() -> None:
        async with world() as (peer, made):
            peer.results["GetWebSocketsToken"] = lambda fields: {"token": "the-token", "expires": 900}
            peer.refused[""] = "EAPI:Invalid session token"
            with pytest.raises(Retry, match=r"every subscription was refused: *EAPI:Invalid session") as told:
                await made.open_stream([USD])
            assert "the-token" not in str(told.value)

    asyncio.run(run())


# --- keys ---


def test_the_sandbox_has_its_own_keys_and_the_venue_needs_real_ones() -> None:
    sandbox = {"VENUE": "sandbox", "KRAKEN_API_KEY": "real", "KRAKEN_SECRET_KEY": "no base64!"}
    settings = from_texts(sandbox)
    made = KrakenAccount(settings, LiveClock())
    assert made._key.api_key == "sandbox"
    made.close()
    with pytest.raises(Misconfigured, match="KRAKEN_API_KEY and KRAKEN_SECRET_KEY"):
        account(from_texts({"VENUE": "kraken"}), LiveClock())


def test_what_this_account_can_do() -> None:
    can = KrakenAccount.capabilities
    assert can.native_stop and can.ioc and can.post_only and can.client_id_lookup and can.stream
    assert (can.client_id_unique, can.client_id_max) == ("while_open", 18)


def test_an_order_that_cannot_be_sent_is_not_sent() -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        long: NewOrder = order(rules=USD, client_order_id="x" * 19)
        with pytest.raises(Rejected, match="1 to 18"):
            made.create(long)
        assert asked(peer, "AddOrder") == []

    played(play)
