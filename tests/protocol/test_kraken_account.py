"""Kraken's account against a hand-written venue over real sockets: orders once, lookups, pages, nonces in order."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from core.clock import NS_PER_S, Clock, LiveClock, ManualClock
from core.settings_load import from_texts
from tests.kraken_data import USD, order
from tests.protocol.kraken_peer import API_KEY, HALF, HTML, NOTHING, SECRET, Peer, bad
from venues.account import BalanceNews, FillNews, NewOrder, OrderNews
from venues.choose import account
from venues.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Retry, Skewed
from venues.kraken.account import KrakenAccount, Nonce
from venues.kraken.wire_private import cancel_cost

ORDER = order(rules=USD, client_order_id="scalp1")
ADDED = {"descr": {"order": "buy"}, "txid": ["OABC"]}
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


class Held(LiveClock):
    """A clock whose monotonic time can be stopped: no room comes back into the limits then."""

    __slots__ = ("held_ns",)

    def __init__(self) -> None:
        self.held_ns: int | None = None

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() if self.held_ns is None else self.held_ns


@contextlib.asynccontextmanager
async def world(clock: Clock | None = None) -> AsyncIterator[tuple[Peer, KrakenAccount]]:
    async with Peer() as peer:
        peer.results["AddOrder"] = lambda fields: ADDED
        texts = {
            "VENUE": "kraken",
            "VENUE_REST_URL": peer.rest_url,
            "VENUE_STREAM_URL": peer.stream_url,
            "KRAKEN_API_KEY": API_KEY,
            "KRAKEN_SECRET_KEY": SECRET,
        }
        made = KrakenAccount(from_texts(texts), clock or LiveClock())
        try:
            yield peer, made
        finally:
            made.close()


def played(play: Callable[[Peer, KrakenAccount], Any], clock: Clock | None = None) -> Any:
    """Runs a blocking `play` beside the venue."""

    async def run() -> Any:
        async with world(clock) as (peer, made):
            return await asyncio.to_thread(play, peer, made)

    return asyncio.run(run())


def asked(peer: Peer, method: str) -> list[dict[str, str]]:
    return [fields for name, fields in peer.asked if name == method]


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


# --- nonces ---


def test_nonces_rise_whatever_the_clock_does() -> None:
    clock = ManualClock()
    nonce = Nonce()
    given = [nonce.next(clock.wall_ns()) for _ in range(3)]
    clock.set_wall_ns(clock.wall_ns() - 3600 * NS_PER_S)
    given += [nonce.next(clock.wall_ns()) for _ in range(3)]
    clock.set_wall_ns(clock.wall_ns() + 7200 * NS_PER_S)
    given += [nonce.next(clock.wall_ns())]
    assert given == sorted(set(given)) and given[-1] == clock.wall_ns()
    after_restart = Nonce()
    clock.advance(1)
    assert after_restart.next(clock.wall_ns()) > given[-1]


def test_nonces_are_given_once_to_many_threads() -> None:
    nonce = Nonce()
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda _: [nonce.next(5) for _ in range(200)], range(8)))
    assert len({number for numbers in given for number in numbers}) == 1600


def test_calls_of_many_threads_arrive_in_the_order_of_their_nonces() -> None:
    """The peer refuses a nonce that does not rise: none of these calls is refused."""

    def play(peer: Peer, made: KrakenAccount) -> None:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda n: made.create(order(rules=USD, client_order_id=f"o{n}")), range(24)))
        assert len(asked(peer, "AddOrder")) == 24 and peer.nonces == sorted(peer.nonces)

    played(play)


def test_a_refused_nonce_is_followed_by_a_larger_one_once() -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.faults["AddOrder"] = [bad("EAPI:Invalid nonce")]
        assert made.create(ORDER).venue_order_id == "OABC"
        first, second = asked(peer, "AddOrder")
        assert int(second["nonce"]) > int(first["nonce"]) and second["cl_ord_id"] == first["cl_ord_id"]
        peer.faults["AddOrder"] = [bad("EAPI:Invalid nonce"), bad("EAPI: Invalid nonce")]
        with pytest.raises(Skewed, match="a key of its own"):
            made.create(ORDER)

    played(play)


def test_an_order_does_not_queue_behind_a_query_that_waits_for_room() -> None:
    clock = Held()

    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.results["OpenOrders"] = lambda fields: {"open": {}}
        clock.held_ns = clock.monotonic_ns()
        for _ in range(14):
            made.open_orders(USD)
        waiting = threading.Thread(target=lambda: made.open_orders(USD), daemon=True)
        waiting.start()
        made.create(order(rules=USD))
        assert waiting.is_alive() and len(asked(peer, "OpenOrders")) == 14
        clock.held_ns += 4 * NS_PER_S
        waiting.join(20)
        assert len(asked(peer, "OpenOrders")) == 15

    played(play, clock)


def test_cancels_of_young_orders_leave_room_for_exits_alone() -> None:
    """Six of them are 6 x (1 + 8) of the engine's 60: a further entry would be the last order of all."""
    clock = Held()

    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.results["CancelOrder"] = lambda fields: {"count": 1}
        made.server_time_ms()
        clock.held_ns = clock.monotonic_ns()
        for n in range(6):
            made.create(order(rules=USD, client_order_id=f"scalp{n}"))
            made.cancel(USD, f"scalp{n}")
        waiting = threading.Thread(target=lambda: made.create(order(rules=USD, client_order_id="entry")), daemon=True)
        waiting.start()
        made.create(order(rules=USD, client_order_id="exit", urgent=True))
        assert waiting.is_alive()
        clock.held_ns += 60 * NS_PER_S
        waiting.join(20)
        assert [fields["cl_ord_id"] for fields in asked(peer, "AddOrder")][-2:] == ["exit", "entry"]

    played(play, clock)


@pytest.mark.parametrize(("age_s", "cost"), [(0, 8), (4.9, 8), (5, 6), (14, 5), (44, 4), (89, 2), (299, 1), (300, 0)])
def test_what_a_cancel_costs_by_the_age_of_its_order(age_s: float, cost: float) -> None:
    assert cancel_cost(age_s) == cost


def test_a_full_counter_holds_up_queries_and_no_orders() -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.faults["BalanceEx"] = [bad("EAPI:Rate limit exceeded")]
        with pytest.raises(RateLimited, match="no request for 5 s"):
            made.balances()
        assert made.create(ORDER).venue_order_id == "OABC"

    played(play)


def test_a_lockout_holds_up_everything() -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.faults["BalanceEx"] = [bad("EGeneral:Temporary lockout")]
        with pytest.raises(RateLimited, match="no request for 900 s"):
            made.balances()
        with pytest.raises(RateLimited, match="not sent"):
            made.create(order(rules=USD, urgent=True))
        assert asked(peer, "AddOrder") == []

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
