"""The fold where orders are real: what the venue says moves orders, positions and the wallet; exits until flat."""

from decimal import Decimal

import msgspec
import pytest

from bus.messages import CheckedEvent, ExternalEvent, FillEvent, OrderEvent, PositionEvent, TradeEvent
from tests import trader_world as world
from tests.live_world import Venue, world_agrees
from tests.trader_world import of
from trader import inputs, venue_news
from trader.broker import BrokerEvent
from trader.orders import OrderNews, OrderState
from trader.reconcile import Orphan
from trader.state import PairState, pack, unpack
from trader.status import status_of, status_without_market

UNIT = 10**8


def entered(venue: Venue | None = None, **fill: object) -> Venue:
    """A position of 10 lots (0.010) at 100,000."""
    venue = venue or Venue()
    venue.tape.trade(100_000.0, "mr")
    venue.feed()
    venue.tell(OrderNews.ACCEPTED, venue_order_id="v1")
    venue.fill(10, "100000", **fill)  # type: ignore[arg-type]
    return venue


def test_an_entry_is_a_limited_order_and_a_fill_makes_the_position() -> None:
    venue = Venue(slippage_bps="5")
    venue.tape.trade(100_000.0, "mr")
    venue.feed()
    order = venue.last
    assert (order.kind, order.limit_ticks, order.lots) == ("ioc", 10_015_000, 10)  # 15 bps above, in ticks of 0.01
    assert order.reserve <= venue.engine.state.wallet
    venue.tell(OrderNews.ACCEPTED)
    venue.fill(10, "100010", fee="0.50")
    assert (venue.pair.lots, venue.pair.order) == (10, None)
    assert venue.engine.state.wallet == 10_000 * UNIT - int(Decimal("1000.60") * UNIT)
    assert [event.action for event in of(venue.events, TradeEvent)] == ["buy"]
    assert of(venue.events, OrderEvent)[-1].type == "ioc"


def test_a_fee_in_the_bought_coin_leaves_less_to_sell() -> None:
    venue = entered(fee="0.00001", in_base=True)  # 0.00999: nine lots and 0.00099
    assert (venue.pair.lots, venue.pair.live and venue.pair.live.spare) == (9, Decimal("0.00099"))
    assert of(venue.events, PositionEvent)[-1].quantity == "0.00999"
    assert of(venue.events, FillEvent)[-1].fee == "0.00001" and of(venue.events, TradeEvent)[-1].fee == "1"
    venue.tape.trade(99_000.0)
    venue.feed()
    assert venue.last.lots == 9
    venue.fill(9, "99000")
    position = of(venue.events, PositionEvent)[-1]
    assert (position.quantity, position.dust) == ("0", "0.00099")
    sold = of(venue.events, TradeEvent)[-1]
    assert sold.profit == "-109"  # 891 got for 1,000: what the fee left of a lot is worth nothing in the books
    assert venue.engine.state.wallet == 9_891 * UNIT


def test_a_fee_in_a_third_currency_counts_in_no_sum_and_stands_in_its_fill() -> None:
    venue = Venue()
    venue.tape.trade(100_000.0, "mr")
    venue.feed()
    venue.tell(
        OrderNews.ALL_FILLED,
        lots=10,
        price=Decimal(100_000),
        cash=1_000 * UNIT,
        fee=Decimal("0.002"),
        fee_currency="BNB",
        quantity=Decimal("0.01"),
        base=Decimal("0.01"),
        venue_fill_id="f1",
    )
    fill = of(venue.events, FillEvent)[-1]
    assert (fill.fee, fill.fee_currency, of(venue.events, TradeEvent)[-1].fee) == ("0.002", "BNB", "0")


def test_dust_of_one_position_is_not_sold_with_the_next() -> None:
    venue = entered(fee="0.00001", in_base=True)
    venue.tape.trade(99_000.0)
    venue.feed()
    venue.fill(9, "99000")
    entered(venue, fee="0.00001", in_base=True)
    assert venue.pair.lots == 9
    assert venue.pair.live is not None and venue.pair.live.dust_spare == Decimal("0.00099")


def test_one_exit_at_a_time_and_its_id_is_of_the_position() -> None:
    venue = entered()
    first_id = venue.engine.exit_id(venue.pair)
    venue.tape.trades([99_400.0, 99_300.0, 99_200.0])
    venue.feed()
    exits = [order for order in venue.broker.sent if order.purpose == "exit"]
    assert [order.id for order in exits] == [first_id]
    assert exits[0].kind == "market"


def test_a_rejected_exit_is_tried_again_when_told_to_and_not_before() -> None:
    venue = entered()
    venue.tape.trade(99_400.0)
    venue.feed()
    first = venue.last
    venue.tell(OrderNews.REFUSED, note="no market orders now")
    assert venue_news.exits_wanted(venue.engine) == [venue.pair.pair]
    venue.tape.trades([99_300.0, 99_900.0])  # also where the price is above the stop again
    venue.feed()
    assert venue.last is first
    venue.give(inputs.Again(venue.pair.pair))
    assert venue.last is not first and venue.last.id != first.id
    assert (venue.last.attempt, venue.last.reason) == (2, "trailing_stop")
    venue.fill(10, "99900")
    assert venue.pair.lots == 0 and venue_news.exits_wanted(venue.engine) == []
    venue.give(inputs.Again(venue.pair.pair))
    assert venue.pair.order is None


def test_what_a_filled_exit_leaves_is_sold_at_once() -> None:
    tape = world.Tape(world.start(world.market(max_quantity="0.004")))
    venue = entered(Venue(tape))
    venue.pair.lots = 10
    venue.tape.trade(99_400.0)
    venue.feed()
    sold = []
    while venue.pair.order is not None:
        sold.append(venue.last.lots)
        venue.fill(venue.last.lots, "99400")
    assert sold == [4, 4, 2]
    assert len({order.id for order in venue.broker.sent}) == 4


def test_a_stop_hit_while_the_entry_works_cancels_it_and_sells_what_is_held() -> None:
    venue = Venue()
    venue.tape.trade(100_000.0, "mr")
    venue.feed()
    entry = venue.last
    venue.tell(OrderNews.ACCEPTED)
    venue.fill(4, "100000", whole=False)
    venue.tape.trades([99_400.0, 99_300.0])
    venue.feed()
    assert venue.broker.cancelled == [entry.id]  # asked once
    assert venue.last is entry
    venue.tell(OrderNews.CANCEL_DONE)
    assert venue.last.purpose == "exit" and venue.last.lots == 4


def test_a_stop_hit_while_the_entry_is_being_cancelled_for_another_reason_sells_when_it_is_over() -> None:
    venue = Venue()
    venue.tape.trade(100_000.0, "mr")
    venue.feed()
    venue.tell(OrderNews.ACCEPTED)
    venue.fill(4, "100000", whole=False)
    venue.give(inputs.Command("halt", "c1"))
    venue.tape.trades([99_400.0, 99_600.0])  # hit, and above the stop again
    venue.feed()
    assert venue.broker.cancelled == [venue.last.id]  # asked once
    venue.tell(OrderNews.CANCEL_DONE)
    assert (venue.last.purpose, venue.last.reason, venue.last.lots) == ("exit", "trailing_stop", 4)


def test_a_fill_that_comes_after_the_end_is_booked() -> None:
    venue = Venue()
    venue.tape.trade(100_000.0, "mr")
    venue.feed()
    entry = venue.last.id
    venue.tell(OrderNews.ACCEPTED)
    venue.tell(OrderNews.CANCEL_DONE)
    assert venue.pair.order is None and venue.pair.lots == 0
    venue.fill(10, "100000", order_id=entry, whole=False)
    assert venue.pair.lots == 10
    assert [event.quantity for event in of(venue.events, TradeEvent)] == ["0.01"]
    assert venue.engine.state.wallet == 9_000 * UNIT
    venue.tape.trade(99_400.0)
    venue.feed()
    assert venue.last.purpose == "exit"


def test_a_result_of_an_order_that_nobody_knows_is_named_and_changes_nothing() -> None:
    venue = entered()
    before = pack(venue.engine.sync())
    venue.tell(OrderNews.ALL_FILLED, "stranger", lots=1)
    event = of(venue.events, ExternalEvent)[-1]
    assert "stranger" in event.why
    assert pack(venue.engine.sync()) == before


def test_a_new_book_says_that_it_begins_with_what_the_account_holds_and_later_ones_what_nobody_explains() -> None:
    venue = Venue(wallet="7")
    venue.give(inputs.Checked(world_agrees(9 * UNIT)))
    born, later = of(venue.events, ExternalEvent)
    assert "a new book begins with" in born.why and "no order of ours explains" in later.why
    assert (venue.engine.state.wallet, later.quote) == (9 * UNIT, "2")


def test_nothing_is_sent_before_a_start_agrees_and_a_stop_hit_meanwhile_is_sold_then() -> None:
    venue = entered()
    venue.give(inputs.Block(venue_news.RECOVERING, True))
    venue.tape.trades([99_400.0, 99_900.0])
    venue.feed()
    assert len(venue.broker.sent) == 1
    venue.give(inputs.Again(venue.pair.pair))
    assert len(venue.broker.sent) == 1 and venue_news.exits_wanted(venue.engine) == []
    venue.give(inputs.Block(venue_news.RECOVERING, False))
    assert venue_news.exits_wanted(venue.engine) == [venue.pair.pair]
    venue.give(inputs.Again(venue.pair.pair))
    assert venue.last.reason == "trailing_stop"


def test_entries_wait_while_the_latest_comparison_did_not_agree() -> None:
    venue = Venue()
    venue.give(inputs.Block(venue_news.RECONCILING, True))
    venue.tape.trade(100_000.0, "mr")
    venue.feed()
    assert venue.broker.sent == []


def test_flatten_sells_without_a_trade() -> None:
    venue = entered()
    venue.give(inputs.Command("flatten", "c1"))
    assert venue_news.exits_wanted(venue.engine) == [venue.pair.pair]
    venue.give(inputs.Again(venue.pair.pair))
    assert (venue.last.purpose, venue.last.reason) == ("exit", "flatten")


def orphan(venue: Venue, lots: int, order_id: str = "") -> Orphan:
    """The guardian's sale."""
    quantity = lots * venue.pair.step
    fill = BrokerEvent(
        order_id or venue.engine.exit_id(venue.pair),
        OrderNews.ALL_FILLED,
        lots=lots,
        price=Decimal(99_000),
        cash=int(99_000 * quantity * UNIT),
        quantity=quantity,
        base=quantity,
        venue_fill_id="g1",
        fee_currency="USDT",
    )
    return Orphan(venue.pair.pair, fill.order_id, "v9", "sell", quantity, (fill,))


def test_the_guardians_sale_is_adopted_once() -> None:
    venue = entered()
    sale = orphan(venue, 10)
    found = world_agrees(orphans=(sale,), at_start=True, report=("sold by the guardian",))
    venue.give(inputs.Checked(found, wall_ms=77))
    assert venue.pair.lots == 0
    trade = of(venue.events, TradeEvent)[-1]
    assert (trade.action, trade.reason, trade.profit, trade.client_order_id) == (
        "sell",
        "guardian",
        "-10",
        sale.client_order_id,
    )
    checked = of(venue.events, CheckedEvent)[-1]
    assert (checked.before, checked.after, checked.wall_ms) == ({venue.pair.pair: "0.01"}, {}, 77)
    trades, wallet = len(of(venue.events, TradeEvent)), venue.engine.state.wallet
    venue.give(inputs.Checked(world_agrees(orphans=(sale,))))
    assert (len(of(venue.events, TradeEvent)), venue.engine.state.wallet) == (trades, wallet)


def test_a_new_book_adopts_nothing_of_an_earlier_one() -> None:
    venue = entered()
    sale = orphan(venue, 10)
    fresh = Venue(agrees=False)
    fresh.give(inputs.Checked(world_agrees(5 * UNIT, orphans=(sale,)), 90_000))
    assert of(fresh.events, TradeEvent) == []
    assert fresh.engine.state.live is not None and fresh.engine.state.live.known_from_ms == 89_000


def test_a_position_sold_by_hand_is_external_and_the_wallet_follows_the_venue() -> None:
    venue = entered()
    venue.tape.trade(101_000.0)
    venue.feed()
    peak = venue.engine.state.risk.peak
    venue.give(
        inputs.Checked(world_agrees(10_020 * UNIT, external=((venue.pair.pair, Decimal("0.01")),), report=("sold",)))
    )
    assert venue.pair.lots == 0 and venue.engine.state.wallet == 10_020 * UNIT
    trade = of(venue.events, TradeEvent)[-1]
    assert (trade.reason, trade.price, trade.profit) == ("external", "101000", "10")
    assert venue.engine.state.risk.peak == peak + 10 * UNIT  # 1,020 came for coin that was worth 1,010
    assert venue_news.exits_wanted(venue.engine) == []


def test_a_position_sold_by_hand_is_no_drawdown() -> None:
    venue = entered(Venue(max_drawdown_pct="0.05"))
    venue.give(inputs.Checked(world_agrees(external=((venue.pair.pair, Decimal("0.01")),))))
    venue.tape.trade(100_000.0, after_ms=61_000)
    venue.feed()
    assert venue.engine.state.trading == "active"  # the coin is gone, and what it was sold for not seen yet
    venue.give(inputs.Checked(world_agrees(10_000 * UNIT)))
    venue.tape.trade(100_000.0, after_ms=61_000)
    venue.feed()
    assert venue.engine.state.trading == "active"


def unnamed(venue: Venue) -> PairState:
    """A new tape begins whose START does not name the pair: it is not among PAIRS any more."""
    start = venue.tape.start
    other = msgspec.structs.replace(start.markets[0], pair="B-ETH_USDT", base="ETH")
    pair = venue.pair
    venue.give(inputs.NewStart(2, 0, msgspec.structs.replace(start, markets=[other])))
    return pair


def test_a_pair_that_no_start_names_any_more_is_sold_by_hand() -> None:
    venue = entered()
    pair = unnamed(venue)
    venue.give(inputs.Checked(world_agrees(external=((pair.pair, Decimal("0.01")),))))
    trade = of(venue.events, TradeEvent)[-1]
    assert (pair.lots, trade.reason, trade.price, trade.profit) == (0, "external", "100000", "0")


@pytest.mark.parametrize(("in_base", "fee", "told"), [(True, "0.00001", "0.99"), (False, "0.5", "0.5")])
def test_an_exit_of_a_pair_that_no_start_names_any_more_fills(in_base: bool, fee: str, told: str) -> None:
    venue = entered()
    venue.tape.trade(99_000.0)
    venue.feed()
    pair = unnamed(venue)
    exit_id, step = venue.last.id, pair.step
    paid = Decimal(fee)
    venue.tell(
        OrderNews.ALL_FILLED,
        exit_id,
        lots=10,
        price=Decimal(99_000),
        cash=990 * UNIT - (0 if in_base else int(paid * UNIT)),
        fee=paid,
        fee_currency="BTC" if in_base else "USDT",
        quantity=10 * step,
        base=10 * step + (paid if in_base else 0),
        venue_fill_id="f1",
    )
    assert (pair.lots, pair.order) == (0, None)
    assert of(venue.events, TradeEvent)[-1].fee == told


def test_two_positions_at_one_record_have_exits_of_different_ids() -> None:
    """An entry's late fill, after what came first is sold, while no trade of the market has come."""
    venue = entered()
    entry, ids = venue.last.id, []
    for lots in (10, 2):
        venue.give(inputs.Command("flatten", f"c{lots}"))
        venue.give(inputs.Again(venue.pair.pair))
        ids.append(venue.last.id)
        assert venue.last.lots == lots
        venue.fill(lots, "100000")
        venue.fill(2, "100000", order_id=entry)
    assert len(set(ids)) == 2


def test_a_part_sold_by_hand_leaves_a_smaller_position_and_a_smaller_exit() -> None:
    venue = entered()
    venue.give(inputs.Checked(world_agrees(external=((venue.pair.pair, Decimal("0.0035")),))))
    assert (venue.pair.lots, venue.pair.live and venue.pair.live.spare) == (6, Decimal("0.0005"))
    venue.tape.trade(99_400.0)
    venue.feed()
    assert venue.last.lots == 6


def test_money_put_in_or_taken_out_is_no_profit_and_no_drawdown() -> None:
    venue = Venue(max_drawdown_pct="0.05")
    venue.tape.trade(100_000.0)
    venue.feed()
    venue.give(inputs.Checked(world_agrees(5_000 * UNIT)))
    venue.tape.trade(100_000.0, after_ms=61_000)
    venue.feed()
    assert venue.engine.state.trading == "active"
    assert venue.engine.state.realized == 0


def round_trip(venue: Venue) -> int:
    """Buys and sells; gives the lots bought."""
    venue.tape.trade(100_000.0, "mr")
    venue.feed()
    lots = venue.last.lots
    venue.fill(lots, "100000")
    venue.tape.trade(99_000.0)
    venue.feed()
    venue.fill(lots, "99000")
    venue.give(inputs.Checked(world_agrees(venue.engine.state.wallet)))
    return lots


def test_the_stake_grows_with_reconciled_trades_and_falls_where_journal_and_venue_differ() -> None:
    venue = Venue(live_start_capital="200", live_grow_trades="2")
    assert [round_trip(venue) for _ in range(7)] == [2, 2, 4, 4, 8, 8, 10]
    venue.give(inputs.Checked(world_agrees(venue.engine.state.wallet - 1)))
    assert round_trip(venue) == 2


def test_what_an_entry_may_cost_is_shown_where_orders_are_real() -> None:
    venue = Venue(live_start_capital="200", live_grow_trades="1")
    shown = lambda: status_of(venue.engine, venue.pair, "normal").stake  # noqa: E731
    assert (shown(), round_trip(venue), shown()) == ("200", 2, "400")
    assert status_without_market(venue.engine, "ETH/USDT", "normal").stake == "400"
    paper = world.Live(world.Tape(world.start()).trade(100))
    paper.feed()
    assert status_of(paper.engine, paper.engine.sync().pairs["B-BTC_USDT"], "normal").stake is None


def test_a_comparison_that_is_not_over_neither_grows_nor_shrinks_the_stake() -> None:
    venue = Venue(live_start_capital="200", live_grow_trades="1")
    assert round_trip(venue) == 2
    venue.give(inputs.Checked(world_agrees(agreed=False)))
    assert round_trip(venue) == 4


def test_the_accounts_own_fee_counts_and_is_told_once() -> None:
    venue = Venue()
    told = venue.give(inputs.Fee(1_000))
    assert [type(event).__name__ for event in told] == ["CostsEvent"]
    assert venue.engine.ledger.fee == 1_000
    assert venue.give(inputs.Fee(1_000)) == []
    venue.give(inputs.NewStart(1, 1, world.start(fee="5")))
    assert venue.engine.ledger.fee == 1_000


def test_a_fee_of_the_settings_counts_before_the_accounts() -> None:
    venue = Venue(taker_fee_bps="7")
    assert venue.give(inputs.Fee(1_000)) == []
    assert venue.engine.ledger.fee == 700


def test_a_check_that_finds_nothing_says_nothing() -> None:
    venue = entered()
    before = len(venue.events)
    venue.give(inputs.Checked(world_agrees(venue.engine.state.wallet)))
    assert venue.events[before:] == []


def test_lots_of_a_new_step_keep_every_digit_of_the_base_coin() -> None:
    venue = entered(fee="0.00001", in_base=True)
    venue.give(inputs.NewStart(1, 1, world.start(world.market(step="0.004"))))
    assert (venue.pair.lots, venue.pair.live and venue.pair.live.spare) == (2, Decimal("0.00199"))


@pytest.mark.parametrize("step", ["0.0001", "0.005"])
def test_a_fill_told_in_lots_of_the_step_before_is_booked_in_those_of_now(step: str) -> None:
    venue = entered()
    venue.tape.trade(99_000.0)
    venue.feed()
    start = venue.tape.start
    market = msgspec.structs.replace(start.markets[0], step=step, min_quantity=step)
    venue.give(inputs.NewStart(1, 3, msgspec.structs.replace(start, markets=[market])))
    venue.tell(  # the broker counts on in the lots of 0.001 that it sent
        OrderNews.ALL_FILLED,
        lots=10,
        price=Decimal(99_000),
        cash=990 * UNIT,
        quantity=Decimal("0.010"),
        base=Decimal("0.010"),
        venue_fill_id="f1",
    )
    sold = of(venue.events, TradeEvent)[-1]
    assert (venue.pair.lots, sold.quantity, sold.price, sold.profit) == (0, "0.01", "99000", "-10")


def test_a_late_fill_of_what_was_booked_as_dust_takes_its_cost_along() -> None:
    """9 of 10 lots are told and the order as over; what is left is too little to be sold, and was sold all the same."""
    tape = world.Tape(world.start(world.market(min_notional="150")))
    venue = entered(Venue(tape))
    venue.tape.trade(99_000.0)
    venue.feed()
    venue.fill(9, "99000", whole=False)
    venue.tell(OrderNews.CANCEL_DONE)
    assert (venue.pair.lots, venue.pair.dust_lots, venue.pair.dust_cost) == (0, 1, 100 * UNIT)
    venue.fill(1, "99000")
    assert (venue.pair.dust_lots, venue.pair.dust_cost) == (0, 0)
    assert [trade.profit for trade in of(venue.events, TradeEvent)] == [None, "-9", "-1"]
    assert venue.engine.state.realized == -10 * UNIT


def test_the_state_survives_packing() -> None:
    venue = entered(fee="0.00001", in_base=True)
    state = venue.engine.sync()
    assert unpack(pack(state)) == state


def test_an_unknown_outcome_is_neither_end_nor_fill() -> None:
    venue = Venue()
    venue.tape.trade(100_000.0, "mr")
    venue.feed()
    venue.tell(OrderNews.NO_ANSWER)
    assert venue.pair.order is not None and venue.pair.order.state == OrderState.UNKNOWN
    venue.tape.trade(99_000.0, "mr")
    venue.feed()
    assert len(venue.broker.sent) == 1
    venue.tell(OrderNews.ABSENT)
    assert venue.pair.order is None


def test_an_answer_that_is_lost_after_a_comparison_told_of_a_fill_leaves_the_fill() -> None:
    venue = Venue()
    venue.tape.trade(100_000.0, "mr")
    venue.feed()
    found = BrokerEvent(
        venue.last.id,
        OrderNews.PART_FILLED,
        4,
        Decimal(100_000),
        400 * UNIT,
        quantity=Decimal("0.004"),
        base=Decimal("0.004"),
        venue_fill_id="a",
    )
    venue.give(inputs.Checked(world_agrees(told=(found,))))
    venue.tell(OrderNews.NO_ANSWER)
    assert venue.last.state is OrderState.UNKNOWN and venue.pair.lots == 4
    venue.tell(OrderNews.ACCEPTED, venue_order_id="v1")
    venue.give(inputs.Told(found))
    venue.tell(OrderNews.CANCEL_DONE)
    assert (venue.pair.lots, venue.pair.order, venue.last.filled) == (4, None, 4)


def test_a_simulated_book_takes_no_word_of_a_venue() -> None:
    live = world.Live(world.Tape())
    with pytest.raises(TypeError, match="simulated book"):
        live.give(inputs.Again("B-BTC_USDT"))
