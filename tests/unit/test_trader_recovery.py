"""What a start finds: plan and report; what people are told; what settings and markets are refused."""

from decimal import Decimal

import msgspec
import pytest

from bus.messages import (
    At,
    FillEvent,
    OrderEvent,
    SignalEvent,
    SpanEvent,
    StartedEvent,
    StateEvent,
    TradeEvent,
    TraderEvent,
)
from core.errors import MisconfiguredError
from tests.trader_world import HASH, Live, Tape, market, settings, start
from trader import inputs, replay
from trader.recovery import NEW, RECOVERED, changed_settings, missed, report
from trader.state import State
from trader.status import feed_of, mode_of, status_of, status_without_market
from trader.terms import deciding_settings, market_terms, terms_of
from trader.words import words

AT = At(1, 2, 3)


def known(epoch: int = 1, record: int = 10) -> State:
    return State(journal_id="j", wallet=0, epoch=epoch, record=record, start=start())


@pytest.mark.parametrize(
    ("epoch", "next_number", "tape_first", "first", "last"),
    [
        pytest.param(1, 20, 0, 11, 19, id="records were missed"),
        pytest.param(1, 20, 15, 15, 19, id="the oldest of them are gone"),
        pytest.param(1, 20, 30, 20, 19, id="all of them are gone"),
        pytest.param(2, 5, 0, 0, 4, id="another tape"),
        pytest.param(2, 0, 0, 0, -1, id="another tape without a record"),
    ],
)
def test_what_was_missed(epoch: int, next_number: int, tape_first: int, first: int, last: int) -> None:
    found = missed(known(), epoch, next_number, tape_first)
    assert found is not None
    assert (found.epoch, found.first, found.last) == (epoch, first, last)


@pytest.mark.parametrize("next_number", [11, 5, 0])
def test_nothing_was_missed(next_number: int) -> None:
    assert missed(known(), 1, next_number, 0) is None


def test_a_book_without_a_past_missed_nothing() -> None:
    assert missed(State(journal_id="j", wallet=0), 1, 20, 0) is None


def test_the_report_says_what_is_open_and_what_changed() -> None:
    live = Live(Tape(start(market(step="1", min_quantity="1", min_notional="0"))).trade(100, "mr"), paper_fill="tape")
    live.tape.trade(100, lots=4)
    live.feed()
    live.give(inputs.Command("pause", "p"))
    before = deciding_settings(settings())
    live.give(inputs.Began("book", before, "clean", ""))
    text = report(live.engine.state, RECOVERED, "book", deciding_settings(settings(rsi_buy="25")))
    for part in ("holds 4 B-BTC_USDT bought at 100", "6 left", "paused", "RSI_BUY 30.0 -> 25.0", "wallet 9600"):
        assert part in text, text
    assert "new book" in report(live.engine.state, NEW, "book", before)


def test_changed_settings_are_named() -> None:
    assert changed_settings({"A": "1", "B": "2", "C": "3"}, {"A": "1", "B": "4", "D": "5"}) == ["B", "C", "D"]
    assert "TRADE_CAPITAL" in deciding_settings(settings())
    assert not any("KEY" in name or "PASSWORD" in name for name in deciding_settings(settings()))


def order(status: str, filled: str) -> OrderEvent:
    return OrderEvent(AT, "id", "", "P", "buy", "market", None, "1", filled, status, "mean_reversion", 0, 0)


@pytest.mark.parametrize(
    ("event", "level", "part"),
    [
        (TradeEvent(AT, 1, "P", "buy", "100", "2", "0.1", None, "crash_catch", "", "id"), "entry", "bought 2 at 100"),
        (TradeEvent(AT, 1, "P", "sell", "9", "2", "0.1", "-5", "trailing_stop", "", "id"), "exit", "profit -5.00"),
        (
            TradeEvent(AT, 1, "P", "sell", "78806.197239694175", "2", "0.004321", "65.33394284", "x", "", "i"),
            "exit",
            "sold 2 at 78806.2 (x), profit 65.33, fee 0.0043",
        ),
        (order("cancelled", "0"), "info", "not filled"),
        (order("rejected", "0"), "error", "rejected"),
        (SignalEvent(AT, "P", "enter", "crash_catch", 1.5, None, None, "approved", "id"), "info", "at 1.5"),
        (SignalEvent(AT, "P", "enter", "crash_catch", 1.5, None, None, "refused:stale", ""), "refusal", "stale"),
        (SignalEvent(AT, "P", "enter", "x", 1.5, None, None, "refused:stale ended", "", 7), "info", "7 entries"),
        (StateEvent(AT, "halted", "max_drawdown_pct", "", ""), "halt", "max_drawdown_pct"),
        (StateEvent(AT, "halted", "operator", "halt", "x"), "halt", "halted"),
        (StateEvent(AT, "paused", "operator", "pause", "x"), "info", "paused"),
        (StateEvent(AT, "active", "started again", "", ""), "info", "active"),
        (SpanEvent(AT, "blind", 5, 9, "away"), "warn", "5 records"),
        (SpanEvent(AT, "degraded", 5, -1, "silent"), "warn", "trailing stop"),
        (SpanEvent(AT, "blocked", 5, -1, "x"), "warn", "no entries"),
        (SpanEvent(AT, "degraded", 5, 9, "silent"), "info", "over"),
        (StartedEvent(AT, "j", "book", {}, "new", "the report"), "start", "the report"),
    ],
)
def test_people_are_told_in_words(event: TraderEvent, level: str, part: str) -> None:
    said = words(event, Decimal("0.1"))
    assert said is not None
    assert said[0] == level
    assert part in said[1]


def test_fills_alone_are_not_told() -> None:
    assert words(FillEvent(AT, 1, "id", "v", "P", "buy", "1", "1", "0", "USDT", 0)) is None
    assert words(order("working", "0")) is None


def test_the_status_of_a_pair_in_each_state() -> None:
    live = Live(Tape(start(market(), market("B-ETH_USDT"), fee="10")), paper_fill="tape")
    engine = live.engine

    def shown(pair: str = "B-BTC_USDT") -> tuple[str, list[str]]:
        status = status_of(engine, engine.sync().pairs[pair], "normal")
        return status.status, status.blocked

    assert shown() == ("warming_up", ["warming_up"])
    live.tape.trade(100)
    live.feed()
    assert shown() == ("idle", [])
    live.tape.trade(100, "mr")
    live.feed()
    assert shown() == ("entering", [])
    live.tape.trade(100)
    live.feed()
    assert shown()[0] == "in_position"
    status = status_of(engine, engine.sync().pairs["B-BTC_USDT"], "normal")
    assert Decimal(status.unrealized or "") == Decimal("-2")
    assert (status.entry_price, status.wallet_base) == (100.0, "10")
    live.tape.trade(99)
    live.feed()
    assert shown()[0] == "exiting"
    live.give(inputs.Command("halt", "h"))
    live.give(inputs.Block("journal_failing", True))
    assert shown("B-ETH_USDT") == ("warming_up", ["warming_up", "journal_failing", "halted"])
    modes = {}
    for word in ("active", "paused", "reducing", "halted"):
        engine.state.trading = word
        modes[word] = mode_of(engine.state)
    assert modes == {"active": "sim", "paused": "reducing", "reducing": "reducing", "halted": "halted"}
    assert [feed_of(mode) for mode in ("joining", "live", "degraded")] == ["blind", "normal", "degraded"]
    assert status_without_market(engine, "B-X_USDT", "blind").blocked == ["no_market"]


@pytest.mark.parametrize(
    ("rules", "part"),
    [
        ({"tick": "abc"}, "tick of B-BTC_USDT"),
        ({"step": "0"}, "step 0"),
        ({"tick": "0.0000000001", "step": "0.0000000001"}, "not tradable"),
        ({"min_quantity": "-1"}, "min_quantity of B-BTC_USDT"),
        ({"min_notional": "x"}, "min_notional of B-BTC_USDT"),
    ],
)
def test_a_market_that_cannot_be_counted_is_named(rules: dict[str, str], part: str) -> None:
    with pytest.raises(MisconfiguredError, match=part):
        market_terms(market(**rules))


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"trade_capital": Decimal("100000000000")}, "TRADE_CAPITAL is 100000000000"),
        ({"slippage_bps": Decimal("0.001")}, "SLIPPAGE_BPS is 0.001"),
        ({"paper_participation": 0.0000001}, "PAPER_PARTICIPATION"),
    ],
)
def test_settings_beyond_64_bit_money_are_refused_with_their_numbers(changed: dict[str, object], part: str) -> None:
    with pytest.raises(MisconfiguredError, match=part):
        terms_of(msgspec.structs.replace(settings(), **changed), HASH)


def test_paper_balance_only_seeds_a_new_book() -> None:
    live = Live(Tape().trade(100))
    live.feed()
    rich = terms_of(settings(paper_balance="99999"), HASH)
    assert replay.new_engine(rich, live.engine.state).state.wallet == 10_000 * 10**8
