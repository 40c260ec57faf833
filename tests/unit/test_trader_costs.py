"""The cost gate: break-even moves to the digit, what they do to entries, how they are told; and the day's costs."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from bus.messages import CostsEvent, DayCostsEvent, FillEvent, SignalEvent, TradeEvent
from core.errors import MisconfiguredError
from core.money import PARTS
from core.settings_load import from_texts
from tests.trader_world import HASH, Live, Tape, market, of, run, settings, start
from trader import inputs, replay
from trader.costs import Round, break_even_move, exceed_stop, per_cent, round_of, sentence
from trader.fills import buy_cost, sell_proceeds
from trader.state import pack, unpack
from trader.status import status_of
from trader.terms import terms_of
from trader.words import words

CHEAP, COSTLY = "10", "50"  # bps a side: 0.20 % and 1.01 % a round trip


# --- the formula ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("costs", "shown"),
    [
        pytest.param(Round(1_000), "0.20", id="0.1 % a side"),
        pytest.param(Round(2_006), "0.40", id="0.17 % and 18 % GST on it"),
        pytest.param(Round(5_000), "1.01", id="0.5 % a side"),
        pytest.param(Round(5_900), "1.19", id="0.5 % and 18 % GST on it"),
        pytest.param(Round(1_000, 10_000, 10_000), "2.22", id="0.1 % and 1 % tax on both sides"),
        pytest.param(Round(0, 10_000, 10_000), "2.02", id="1 % tax on both sides alone"),
        pytest.param(Round(0, 0, 0, 500), "0.10", id="slippage"),
        pytest.param(Round(0, 0, 0, 0, 1_000), "0.10", id="spread"),
        pytest.param(Round(-1_000), "-0.20", id="a rebate"),
        pytest.param(Round(0), "0.00", id="nothing"),
    ],
)
def test_break_even_moves(costs: Round, shown: str) -> None:
    move = break_even_move(costs)
    assert move is not None
    assert per_cent(move) == shown


def test_the_move_is_exact() -> None:
    assert break_even_move(Round(1_000)) == Fraction(1_001, 999) - 1


def test_where_fees_and_taxes_take_everything_no_move_pays() -> None:
    costs = Round(600_000, 0, 400_000)
    assert break_even_move(costs) is None
    assert exceed_stop(costs, Decimal("0.999"))


PART = st.integers(0, 100_000)


ROUNDS = st.builds(Round, st.integers(-1_000, 100_000), PART, PART, PART, PART)


def won(costs: Round, value: int, rise: Fraction) -> int:
    """Units a wallet wins: something worth `value` is bought, its price rises, it is sold; by the fills' arithmetic."""
    worse = Fraction(costs.spread, 2 * PARTS), Fraction(costs.slippage, PARTS)
    ask, bid = (1 + worse[0]) * (1 + worse[1]), (1 - worse[0]) * (1 - worse[1])
    paid = buy_cost(1, round(value * ask), 1, 1, costs.fee, costs.tax_buy)
    return sell_proceeds(1, round(value * (1 + rise) * bid), 1, 1, costs.fee, costs.tax_sell) - paid


@given(ROUNDS, st.integers(10**6, 10**14))
def test_a_wallet_is_whole_again_at_the_break_even_move_and_not_before(costs: Round, value: int) -> None:
    move = break_even_move(costs)
    assert move is not None
    assert -8 <= won(costs, value, move) <= 2  # the rounding of four amounts
    assert won(costs, value, move - Fraction(1, 1_000)) < 0
    assert won(costs, value, move + Fraction(1, 1_000)) > 0


@given(ROUNDS, st.decimals("0.0001", "0.9", places=6))
def test_the_gate_compares_without_rounding(costs: Round, stop: Decimal) -> None:
    move = break_even_move(costs)
    assert move is not None
    assert exceed_stop(costs, stop) == (move > Fraction(stop))


def test_a_stop_at_the_break_even_move_itself_is_not_exceeded() -> None:
    assert not exceed_stop(Round(0, 0, 500_000), Decimal(1))  # 1 / 0.5 - 1
    assert exceed_stop(Round(0, 0, 500_000), Decimal("0.999999"))


def test_the_numbers_in_words() -> None:
    terms = terms_of(settings(tax_sell_bps="100", slippage_bps="5", spread_bps="10"), HASH)
    assert sentence(1_000, terms_of(settings(), HASH)) == (
        "a round trip costs 0.20 % (fees 0.20 %), the stop is at 0.5 %"
    )
    assert sentence(1_000, terms) == (
        "a round trip costs 1.42 % (fees 0.20 %, taxes 1.00 %, slippage 0.10 %, spread 0.10 %), more than the stop's"
        " distance of 0.5 %: lower fees or a wider TRAILING_STOP_PCT are needed"
    )


# --- the gate ---------------------------------------------------------------------------------------


def outcomes(fee: str, **changed: str) -> list[str]:
    tape = Tape(start(fee=fee)).trade(100, "mr").trade(99)
    return [signal.outcome for signal in of(run(tape, **changed), SignalEvent)]


@pytest.mark.parametrize("gate", ["off", "warn"])
def test_by_default_and_off_nothing_is_refused(gate: str) -> None:
    assert settings().cost_gate == "warn"
    assert outcomes(COSTLY, cost_gate=gate) == ["approved", "approved"]


def test_cost_gate_refuse_takes_no_entry_while_costs_exceed_the_stop() -> None:
    assert outcomes(CHEAP, cost_gate="refuse") == ["approved", "approved"]
    assert outcomes(COSTLY, cost_gate="refuse") == ["refused:costs_exceed_stop"]
    assert outcomes(COSTLY, cost_gate="refuse", trailing_stop_pct="0.011") == ["approved"]
    assert outcomes(CHEAP, cost_gate="refuse", spread_bps="31") == ["refused:costs_exceed_stop"]
    assert outcomes(COSTLY, cost_gate="refuse", taker_fee_bps="10") == ["approved", "approved"]


def test_the_refusal_says_the_numbers() -> None:
    tape = Tape(start(fee=COSTLY)).trade(100, "mr")
    refused = of(run(tape, cost_gate="refuse"), SignalEvent)[0]
    said = words(refused)
    assert said is not None
    assert said[:2] == (
        "refusal",
        "entry (mean_reversion) at 100 refused: costs_exceed_stop (a round trip costs 1.01 % (fees 1.00 %), more than"
        " the stop's distance of 0.5 %: lower fees or a wider TRAILING_STOP_PCT are needed)",
    )


def test_a_fee_that_falls_opens_the_gate_and_one_that_rises_never_holds_an_exit() -> None:
    live = Live(Tape(start(fee=COSTLY)).trade(100, "mr"), cost_gate="refuse")
    live.feed()
    live.give(inputs.NewStart(1, 1, start(fee=CHEAP)))
    live.tape.trade(100, "mr")
    assert [signal.outcome for signal in of(live.feed(), SignalEvent)][-1] == "approved"
    live.give(inputs.NewStart(1, 2, start(fee=COSTLY)))
    live.tape.trade(99)
    assert [signal.action for signal in of(live.feed(), SignalEvent)] == ["exit"]


# --- told -------------------------------------------------------------------------------------------


def test_the_costs_are_told_at_the_first_market_at_each_start_and_when_the_fee_changes() -> None:
    live = Live(Tape(start(fee=CHEAP)).trade(100))
    assert [(e.level, e.break_even_pct, e.stop_pct) for e in of(live.events, CostsEvent)] == [("info", "0.20", "0.5")]
    live.give(inputs.NewStart(1, 1, start(market(), market("B-ETH_USDT"), fee=CHEAP)))
    assert len(of(live.events, CostsEvent)) == 1  # nothing about costs has changed
    live.give(inputs.NewStart(1, 1, start(fee=COSTLY)))
    assert [(e.level, e.break_even_pct) for e in of(live.events, CostsEvent)][1:] == [("warn", "1.01")]
    again = replay.new_engine(terms_of(settings(), HASH), unpack(pack(live.engine.sync())))
    assert again.handle(inputs.NewStart(1, 1, start(fee=COSTLY))) == []
    assert [(e.level, e.break_even_pct) for e in of(again.handle(inputs.Began("b", {}, "new", "")), CostsEvent)] == [
        ("warn", "1.01")
    ]


def test_a_gate_that_is_off_never_warns() -> None:
    live = Live(Tape(start(fee=COSTLY)), cost_gate="off")
    told = of(live.events, CostsEvent)[0]
    assert told.level == "info"
    assert words(told) == ("info", told.text, "")


def test_the_page_gets_the_numbers() -> None:
    live = Live(Tape(start(fee=COSTLY)).trade(100), cost_gate="refuse")
    live.feed()
    live.engine.sync()
    status = status_of(live.engine, live.engine.state.pairs["B-BTC_USDT"], "normal")
    assert status.break_even_pct == pytest.approx(100 * (1.005 / 0.995 - 1))
    assert status.stop_pct == 0.5
    assert status.blocked == ["costs_exceed_stop"]


@pytest.mark.parametrize("changed", [{"cost_gate": "maybe"}, {"spread_bps": "-1"}, {"spread_bps": "5001"}])
def test_what_the_settings_refuse(changed: dict[str, str]) -> None:
    with pytest.raises(MisconfiguredError, match=next(iter(changed)).upper()):
        from_texts({name.upper(): value for name, value in changed.items()})


# --- the day ----------------------------------------------------------------------------------------

DAY_MS = 86_400_000


def trips(tape: Tape, count: int, sold: float) -> Tape:
    for _ in range(count):
        tape.trade(100, "mr").trade(sold, "tp")
    return tape


@pytest.mark.parametrize(
    ("sold", "level", "part"),
    [
        (101, "info", "2 round trips made 20.00 USDT before costs, costs were 4.02, 20.10 % of it: 15.98 was left"),
        (
            100.1,
            "warn",
            "made 2.00 USDT before costs, costs were 4.00, 200.10 % of it: at these costs the venue was not",
        ),
        (99, "info", "lost 20.00 USDT before costs, costs were 3.98: it would have lost without costs too"),
    ],
)
def test_once_a_day_it_is_told_whether_the_venue_was_tradable(sold: float, level: str, part: str) -> None:
    tape = trips(Tape(start(fee=CHEAP)), 2, sold).trade(100, after_ms=DAY_MS).trade(100, after_ms=DAY_MS)
    told = of(run(tape), DayCostsEvent)
    assert [(one.trips, one.level) for one in told] == [(2, level)]
    assert part in told[0].text
    assert told[0].text.startswith("2023-11-14: ")
    assert told[0].at.record == 5


def test_a_day_without_a_round_trip_is_not_told() -> None:
    tape = Tape(start(fee=CHEAP)).trade(100, "mr").trade(100, after_ms=DAY_MS).trade(100, after_ms=DAY_MS)
    assert of(run(tape), DayCostsEvent) == []


def test_the_day_begins_at_its_offset() -> None:
    """The world's clock starts at 22:14 UTC; 105 minutes ahead of UTC the day ends one minute later."""
    tape = trips(Tape(start(fee=CHEAP)), 1, 101).trade(100, after_ms=120_000)
    assert of(run(tape), DayCostsEvent) == []
    told = of(run(tape, day_offset_minutes="105"), DayCostsEvent)
    assert [one.text[:10] for one in told] == ["2023-11-14"]


TRIPS = st.lists(st.tuples(st.integers(9_000, 11_000), st.integers(9_000, 11_000)), min_size=50, max_size=50)


@profile(max_examples=20, deadline=None)
@given(
    TRIPS, st.sampled_from(["0", "10", "40.12"]), st.sampled_from(["0", "100"]), st.sampled_from(["instant", "tape"])
)
def test_fifty_trades_cost_what_a_hand_calculation_says(
    prices: list[tuple[int, int]], fee: str, tax: str, fills: str
) -> None:
    """The day's sums against the fills' exact text: gross = sold - bought, costs = every fee and tax that was paid."""
    tape = Tape(start(market(min_notional="0"), fee=fee))
    for bought, sold in prices:
        for price, codes in ((bought / 100, "mr"), (sold / 100, "tp")):
            tape.trade(price, codes).trade(price)
    tape.trade(100, after_ms=DAY_MS)
    events = run(
        tape, tax_buy_bps=tax, tax_sell_bps=tax, paper_fill=fills, paper_balance="9000000", cooldown_seconds="0"
    )
    told = of(events, DayCostsEvent)[0]
    fills_made = of(events, FillEvent)
    sold_lots = sum(Decimal(f.quantity) for f in fills_made if f.side == "sell")
    gross = sum(
        (Decimal(f.price) * Decimal(f.quantity) * (1 if f.side == "sell" else -1) for f in fills_made), Decimal(0)
    )
    open_lots = sum(Decimal(f.quantity) for f in fills_made if f.side == "buy") - sold_lots
    if open_lots:  # what is still held was bought at the last entry's price
        last = [f for f in fills_made if f.side == "buy"][-1]
        gross += open_lots * Decimal(last.price)
    net = sum((Decimal(t.profit) for t in of(events, TradeEvent) if t.profit is not None), Decimal(0))
    assert told.trips == sum(1 for t in of(events, TradeEvent) if t.profit is not None)
    assert abs(Decimal(told.gross) - gross) <= Decimal("1e-8") * told.trips
    assert Decimal(told.gross) - Decimal(told.costs) == net


def test_the_day_survives_a_restart() -> None:
    live = Live(trips(Tape(start(fee=CHEAP)), 2, 101))
    live.feed()
    terms = terms_of(settings(), HASH)
    again = replay.new_engine(terms, unpack(pack(live.engine.sync())))
    assert again.state.day_costs.trips == 2
    later = Live(live.tape.trade(100, after_ms=DAY_MS), engine=again)
    later.fed = 4
    assert [one.trips for one in of(later.feed(), DayCostsEvent)] == [2]


def test_the_round_trip_is_of_the_fee_in_force_and_the_settings() -> None:
    terms = terms_of(settings(tax_buy_bps="1", tax_sell_bps="2", slippage_bps="3", spread_bps="4"), HASH)
    assert round_of(7, terms) == Round(7, 100, 200, 300, 400)
