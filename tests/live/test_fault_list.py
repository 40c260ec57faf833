"""The list of faults that bots are known to fail at, F1 to F9 and F17 to F24, each met by the real trader stage.

The trader sends signed orders to the real sandbox over real sockets; prices and faults are in the test's hands. The
faults of the market's data, F10 to F16, are in `test_fault_list_feed`.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bus.messages import ExternalEvent, OrderEvent, PositionEvent, SignalEvent, TradeEvent
from core.clock import NS_PER_MS, NS_PER_S
from core.money import steps_down
from sandbox import faults as kinds
from tests.bus.test_trader_stage import numbers_of
from tests.live import crash
from tests.live.crash import UNIT
from tests.live.hand_market import PAIR
from tests.live.world import LiveWorld
from tests.pipeline import audit
from tests.protocol.account_house import house_of
from trader import risk
from trader.broker import BrokerEvent, Tick
from trader.live import LiveBroker
from trader.orders import OrderNews, OrderState
from trader.state import EXIT, Order
from trader.terms import market_terms
from venues.account import LIMIT, MARKET
from venues.errors import RateLimited

D = Decimal
Make = Callable[..., LiveWorld]
PROTOCOLS = ["coindcx", "binance", "kraken"]


# --- answers and processes that are lost ----------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_f01_order_accepted_reply_lost(make_world: Make, protocol: str) -> None:
    world = make_world(protocol)
    world.start()
    lost = world.served.fault(kinds.DROPPED_REPLY, path=world.ways.create, method="POST", times=1)
    world.buys()
    assert world.served.struck(lost) == 1
    assert world.statuses("buy")[:2] == ["submitting", "unknown"] and world.statuses("buy")[-1] == "filled"
    assert len(world.at_exchange()) == 1 and world.held() == world.coin() > 0
    world.judge()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_f02_order_never_arrived(make_world: Make, protocol: str) -> None:
    world = make_world(protocol)
    world.start()
    creates = world.calls()
    world.served.fault(kinds.LOST_REQUEST, path=world.ways.create, method="POST", times=1)
    world.trade(codes="mr")
    world.until(lambda: world.pair().order is None and world.statuses("buy")[-1] == "rejected")
    assert world.statuses("buy") == ["submitting", "unknown", "rejected"]
    assert world.at_exchange() == [] and creates() == 1, "given up, not sent blindly again"
    world.buys()
    assert len(world.at_exchange()) == 1, "the next decision is an order of its own"
    world.judge()


@pytest.mark.parametrize("status", [502, 504])
def test_f03_a_gateways_error_after_the_order_was_taken(make_world: Make, status: int) -> None:
    world = make_world("coindcx")
    world.start()
    world.served.fault(kinds.STATUS, path=world.ways.create, method="POST", status=status, acted=True, times=1)
    world.buys()
    assert "unknown" in world.statuses("buy") and world.statuses("buy")[-1] == "filled"
    assert len(world.at_exchange()) == 1
    world.judge()


def test_f04_killed_between_intent_and_send(make_world: Make) -> None:
    world = make_world("binance")
    left = crash.killed_at(world, "2", "entry")
    assert left.status == "submitting" and world.at_exchange() == []
    crash.recovered(world)
    assert any(left.order_id in line and "rejected now" in line for line in world.reports()[-1].report)
    assert world.became(left.order_id) == "rejected" and world.at_exchange() == []
    crash.adds_nothing(world)
    world.judge()


def test_f05_killed_between_fill_and_its_record(make_world: Make) -> None:
    world = make_world("coindcx")
    left = crash.killed_at(world, "5", "exit")
    assert left.fills == 0 and len(world.at_exchange("sell")) == 1
    crash.recovered(world)
    assert world.became(left.order_id) == "filled" and world.held() == 0
    # as without the kill: 10 bought at 100.01 and sold at 102.99, 5 bps of each as the fee
    assert world.state().realized == int((D("1029.9") * D("0.9995") - D("1000.1") * D("1.0005")) * UNIT)
    crash.adds_nothing(world)
    world.judge()


def test_f06_restarts_with_a_position_open(make_world: Make) -> None:
    world = make_world("coindcx")
    process = world.spawn()
    world.until(world.may_trade)
    world.trade()
    world.until(lambda: world.status().blocked == [])
    world.buys()
    highest = 100.0
    for price in ("100.20", "100.45", "100.30"):
        world.trade(price, "mr")
        highest = max(highest, float(price))
        world.until(lambda: world.status().highest == highest)  # noqa: B023 (used at once)
        world.kill(process)
        process = world.spawn()
        world.until(lambda: world.reports()[-1].agreed)
        world.trade("100.10", "mr")  # it may trade, and does not buy again
        seen = world.stage.tape.rows[-1]["number"]
        world.until(lambda: world.status().record == seen)  # noqa: B023 (used at once)
        assert (world.status().highest, world.status().status) == (highest, "in_position")
    assert world.status().stop_price == highest * (1.0 - 0.005)
    world.sells("99.90", "warm")
    (sale,) = [event for event in world.events(TradeEvent) if event.action == "sell"]
    assert sale.reason == "trailing_stop" and len(world.at_exchange("buy")) == 1
    world.judge()


def test_f07_the_power_is_cut(make_world: Make, tmp_path: Path) -> None:
    """At whatever moment the files are looked at: whole, every order at the exchange has its intent in them."""
    world = make_world("binance")
    world.start()
    moments: list[tuple[Path, list[str], int]] = []

    def cut() -> bool:
        sent, known = [order.client_id for order in world.at_exchange()], numbers_of(world.heard)[-1]
        folder = tmp_path / f"cut{len(moments)}"
        folder.mkdir()
        for name in ("journal.db", "journal.db-wal"):
            shutil.copy(world.book / name, folder)
        moments.append((folder, sent, known))
        return world.pair().order is None

    for price, codes, held in (("100.00", "mr", True), ("103.00", "tp", False)) * 2:
        world.trade(price, codes)
        world.until(lambda: cut() and bool(world.pair().lots) is held)  # noqa: B023 (used at once)
    assert len(moments) >= 4 and len(moments[-1][1]) >= 3
    for folder, sent, known in moments:
        with closing(sqlite3.connect(folder / "journal.db")) as file:
            assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        entries = audit.journal(folder)
        intents = {event.client_order_id for event in audit.events_of(entries, OrderEvent)}
        assert intents >= set(sent) and entries[-1].number >= known
    world.judge()


# --- what others do, and a venue that is away --------------------------------------------------------------


@pytest.mark.parametrize(("protocol", "left"), [("binance", "0"), ("coindcx", "6"), ("kraken", "6")])
def test_f08_the_position_is_sold_by_hand(make_world: Make, protocol: str, left: str) -> None:
    """All of it, or a part: then the stop sells what is left."""
    world = make_world(protocol, reconcile_seconds="5")
    world.start()
    world.buys()
    world.sell_by_hand(world.coin() - D(left))
    world.until(lambda: world.held() == D(left) and world.state().wallet == world.quote() * UNIT)
    sold = [event for event in world.events(TradeEvent) if event.action == "sell"]
    assert [(event.reason, event.client_order_id) for event in sold] == [("external", "")]
    assert [order.client_id for order in world.at_exchange("sell")] == ["by-hand"]
    assert [event.pair for event in world.events(ExternalEvent)[-2:]] == [world.rules.pair, ""]
    world.until(lambda: world.status().blocked == [])
    if D(left):
        world.sells("99.00", "warm")
    else:
        world.buys()
        world.sells("103.00")
    assert world.at_exchange("sell")[-1].client_id.startswith("scalp") and world.coin() == 0
    world.until(lambda: world.state().wallet == world.quote() * UNIT)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_f09_the_venue_is_away_at_the_start(make_world: Make, protocol: str) -> None:
    world = make_world(protocol)
    world.served.fault(kinds.MAINTENANCE)
    world.start(ready=False)
    world.until(lambda: len(world.reports()) >= 3 and world.status().mode == "reconciling")
    assert not any(report.agreed for report in world.reports())
    assert "recovering" in world.status().blocked
    world.trade(codes="mr")
    world.until(lambda: world.events(SignalEvent)[-1].outcome == "refused:recovering")
    world.served.no_faults()
    world.until(lambda: world.reports()[-1].agreed and world.status().blocked == [])
    assert world.at_exchange() == []
    world.buys()
    world.judge()


STAMP = '{"code":-1021,"msg":"Timestamp for this request is outside of the recvWindow."}'


def test_f17_the_stamp_lies_outside_the_window(make_world: Make) -> None:
    world = make_world("binance")
    world.start()
    creates = world.calls()
    world.served.fault(kinds.CLOCK_SKEW, ms=-120_000)
    world.buys()
    assert creates() == 2 and len(world.at_exchange()) == 1, "measured anew, sent once more"
    world.served.no_faults()
    world.sells("103.00")

    creates = world.calls()
    for path in ("order", "account", "openOrders", "myTrades"):
        world.served.fault(kinds.STATUS, path=f"/api/v3/{path}", status=400, body=STAMP)
    world.trade(codes="mr")
    world.until(lambda: world.statuses("buy")[-1] == "rejected" and "reconciling" in world.status().blocked)
    assert creates() == 2, "once more, and no oftener"
    world.trade(codes="mr")
    world.until(lambda: world.events(SignalEvent)[-1].outcome == "refused:reconciling")
    assert creates() == 2 and len(world.at_exchange("buy")) == 1
    world.judge()


def test_f18_asked_too_often_then_banned(monkeypatch: pytest.MonkeyPatch) -> None:
    with house_of("binance") as house:
        waits: list[float] = []

        def wait(seconds: float) -> None:
            waits.append(seconds)
            house.breathe(int(seconds * NS_PER_S) + 1)

        monkeypatch.setattr("venues.rest.sleep", wait)
        house.account.balances()
        for status, seconds in ((429, 60), (418, 1_800)):
            house.served.fault(kinds.STATUS, path="*", status=status, retry_after_s=seconds, times=1)
            went = house.calls("*", method="*")
            with pytest.raises(RateLimited):
                house.hasty.balances()
            before = went()
            for _ in range(2):
                with pytest.raises(RateLimited, match="not sent"):
                    house.hasty.create(house.order("x1", MARKET, urgent=True))
                house.breathe((seconds // 2 - 1) * NS_PER_S)
            assert went() == before, "no call while banned, not even for an exit"
            house.breathe(4 * NS_PER_S)
            house.served.no_faults()
            assert house.hasty.balances()
        house.deposit("BTC", "1")
        number = 0
        waits.clear()
        while not waits and number < 100:
            number += 1
            house.hasty.create(house.order(f"e{number}", MARKET, "0.0005"))
        assert waits, "entries wait for room in the end"
        waits.clear()
        house.hasty.create(house.order("exit", MARKET, "0.0005", side="sell", urgent=True))
        assert not waits, "an exit has its own share"


# --- exits and sizes ---------------------------------------------------------------------------------------

POOR = '{"code":-2010,"msg":"Account has insufficient balance for requested action."}'


def test_f19_the_price_falls_through_the_stop(make_world: Make) -> None:
    world = make_world("binance")
    world.start()
    world.buys()
    world.until(lambda: world.status().status == "in_position")
    stop = world.status().stop_price
    world.served.fault(kinds.STATUS, path=world.ways.create, method="POST", status=400, body=POOR, times=1)
    world.sells("97.00", "warm")
    signal = world.events(SignalEvent)[-1]
    (sale,) = [event for event in world.events(TradeEvent) if event.action == "sell"]
    exits = [event for event in world.events(OrderEvent) if event.side == "sell"]
    assert [event.type for event in exits] == ["market"] * len(exits)
    assert exits[0].client_order_id != sale.client_order_id, "refused once, tried again until flat"
    assert world.became(exits[0].client_order_id) == "rejected"
    (sold,) = world.at_exchange("sell")
    assert sold.client_id == sale.client_order_id and world.coin() == 0
    # the slippage is on record: the stop, the price of the decision, the price of the fill
    assert (stop, signal.reason, signal.price) == (100.0 * (1.0 - 0.005), "trailing_stop", 97.0)
    assert D(sale.price) == D("96.99")
    world.judge()


def test_f20_an_exit_at_the_venue_is_never_joined_by_another(make_world: Make) -> None:
    """The book walks away under a market order: it works on, and what the stop wants meanwhile sends nothing."""
    world = make_world("coindcx")
    world.start()
    world.buys()
    creates = world.calls()
    thin = world.served.fault(kinds.PARTIAL_FILLS, share=0.000001)
    world.trade("99.00", quantity=D(1))
    world.until(lambda: world.statuses("sell")[-1] == "working")
    for price in ("98.00", "97.00", "96.00"):
        world.trade(price, "tp", quantity=D(1))
        world.until(lambda: world.status().record == world.stage.tape.rows[-1]["number"])
        working = [order for order in world.at_exchange("sell") if order.status.working]
        assert len(working) == 1
    assert thin and creates() == 1
    world.served.no_faults()
    world.sells("95.00")
    assert len(world.at_exchange("sell")) == 1
    world.judge()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_f20_an_exit_with_a_limit_is_cancelled_confirmed_and_priced_anew(
    make_world: Make, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker's part, where a venue takes no market orders: at most one sell works at any time."""
    monkeypatch.setattr("trader.tracking.EXIT_REST_S", 3.0)  # the price comes within that
    world = make_world(protocol)
    world.served.deposit(world.rules.base, "1")
    told: list[BrokerEvent] = []
    broker = LiveBroker(world.hand, lambda: [world.rules], world.clock, told.extend)
    market = market_terms(world.stage.tape.start.markets[0])
    most = 0

    def exit_at(number: int, price: str, quantity: D) -> None:
        ticks, now_ms = steps_down(price, market.scale.tick), world.clock.wall_ms()
        order = Order(
            id=f"scalpexit{number}",
            pair=world.rules.pair,
            purpose=EXIT,
            reason="trailing_stop",
            lots=steps_down(quantity, market.scale.step),
            ticks=ticks,
            decided_ns=now_ms * NS_PER_MS,
            created_ms=now_ms,
            updated_ms=now_ms,
            state=OrderState.SUBMITTING,
            kind=LIMIT,
            limit_ticks=ticks,
        )
        verdict = risk.judge(order, order.lots, "")
        assert isinstance(verdict, risk.Approved)
        broker.submit(verdict, Tick(0, 0, 0, 0.0, ticks, 0, 0, 0.0, 0.0, 0, 0, 0), market, 0)
        broker.mark(number)
        broker.committed(number)

    def over(order_id: str) -> bool:
        nonlocal most
        most = max(most, sum(order.status.working for order in world.at_exchange("sell")))
        last = [event.news for event in told if event.order_id == order_id][-1:]
        return last in ([OrderNews.CANCEL_DONE], [OrderNews.ALL_FILLED])

    try:
        exit_at(1, "101.00", D(1))
        world.until(lambda: any(order.status.working for order in world.at_exchange("sell")))
        world.served.price("101.00", D("0.4"))
        world.until(lambda: over("scalpexit1"))
        filled = sum((event.quantity or D(0) for event in told), D(0))
        assert filled == D("0.4") and [event.news for event in told if not event.quantity] == [
            OrderNews.ACCEPTED,
            OrderNews.CANCEL_SENT,
            OrderNews.CANCEL_DONE,
        ]
        exit_at(2, "99.90", D(1) - filled)
        world.until(lambda: over("scalpexit2"))
    finally:
        broker.close(5.0)
    assert [order.filled for order in world.at_exchange("sell")] == [D("0.4"), D("0.6")] and world.coin() == 0
    assert most == 1


@pytest.mark.parametrize("protocol", ["coindcx", "binance"])
def test_f21_an_entry_fills_in_part_and_its_rest_is_cancelled(make_world: Make, protocol: str) -> None:
    world = make_world(protocol, entry_timeout_ms="500")
    world.start()
    world.shallow("0.1")
    world.tick("100.00", "mr")
    world.until(lambda: world.statuses("buy")[-1] == "cancelled" and world.pair().order is None)
    (entry,) = world.at_exchange("buy")
    assert 0 < entry.filled < entry.quantity and world.held() == world.coin()
    held = world.held()
    world.until(lambda: D(world.status().quantity) == held)
    world.sells("98.00", "warm")
    (sold,) = world.at_exchange("sell")
    step = world.rules.step
    assert sold.quantity == sold.filled == held // step * step
    world.judge()


def test_f22_the_fee_is_taken_from_what_was_bought(make_world: Make) -> None:
    world = make_world("binance", trade_capital="997.37")
    world.start()
    world.buys()
    (entry,) = world.at_exchange("buy")
    held, step = world.held(), world.rules.step
    assert held == world.coin() < entry.filled and held % step, "a fee in the coin, and not in whole steps"
    world.sells("103.00")
    (sold,) = world.at_exchange("sell")
    assert sold.quantity == sold.filled == held // step * step
    assert D(world.events(PositionEvent)[-1].dust) == world.coin() == held % step
    for price in ("90.00", "80.00"):
        world.trade(price, "tp")
        world.until(lambda: world.status().record == world.stage.tape.rows[-1]["number"])
    assert len(world.at_exchange("sell")) == 1, "dust is not tried again"
    world.judge()


def test_f23_what_is_left_is_too_little_to_be_sold(make_world: Make) -> None:
    world = make_world("coindcx", entry_timeout_ms="500")
    world.start()
    world.shallow("0.002")
    world.tick("100.00", "mr")
    world.until(lambda: world.statuses("buy")[-1] == "cancelled" and world.pair().order is None)
    (entry,) = world.at_exchange("buy")
    assert 0 < entry.filled * 100 < world.rules.min_notional
    assert world.held() == 0 and D(world.events(PositionEvent)[-1].dust) == world.coin() == entry.filled
    creates = world.calls()
    world.trade("90.00", "tp")
    world.until(lambda: world.status().record == world.stage.tape.rows[-1]["number"])
    assert world.status().status == "idle" and creates() == 0
    world.judge()
    world.buys("90.00")
    world.sells("93.00")
    assert world.coin() == entry.filled, "a later position goes without it"
    world.judge()


def test_f24_the_venue_changes_its_lots(make_world: Make) -> None:
    world = make_world("coindcx", trade_capital="997.37")
    world.start()
    world.buys()
    held, creates = world.held(), world.calls()
    assert held % D("0.01")
    world.served.fault(kinds.LOT_RULES, pair=PAIR, step="0.01", min_quantity="0.01")
    world.sells("103.00")
    (sold,) = world.at_exchange("sell")
    assert sold.quantity == sold.filled == held // D("0.01") * D("0.01")
    assert creates() == 2, "refused once, read anew, sent once by the rules of now"
    assert D(world.events(PositionEvent)[-1].dust) == world.coin() == held - sold.filled
    words: list[Any] = [event.reason for event in world.events(OrderEvent) if event.side == "sell"]
    assert any("in place of" in text for text in words)
    world.judge()
