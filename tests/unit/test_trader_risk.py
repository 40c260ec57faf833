"""The risk gate: each rule of `trader.risk` by its name; what survives a restart goes through a real journal."""

import ast
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from bus.messages import FillEvent, SignalEvent, StateEvent
from bus.records import STALE, UNTAPED
from core.paths import ROOT
from tests.trader_world import HASH, Live, Tape, market, of, settings, start
from trader import inputs, replay, risk
from trader.broker import Tick
from trader.journal import Journal
from trader.orders import OrderState
from trader.paper import PaperBroker
from trader.state import ACTIVE, ENTRY, EXIT, HALTED, PAUSED, REDUCING, Order, pack, unpack
from trader.terms import market_terms, terms_of

TWO = start(market(), market("B-ETH_USDT"))


def order(purpose: str, lots: int) -> Order:
    return Order("", "B-BTC_USDT", purpose, "test", lots, 100, 0, 0, 0, OrderState.SUBMITTING)


def outcomes(live: Live) -> list[tuple[str, str]]:
    return [(signal.action, signal.outcome) for signal in of(live.feed(), SignalEvent)]


# --- the gate ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", ["", "halted", "max_daily_loss", "stale", "anything"])
def test_an_exit_of_what_is_held_is_never_refused_one_of_more_always_is(refusal: str) -> None:
    for lots in (1, 5):
        assert risk.judge(order(EXIT, lots), 5, refusal) == risk.Approved(order(EXIT, lots))
    assert risk.judge(order(EXIT, 6), 5, refusal) == risk.Refused(order(EXIT, 6), "more_than_held")
    verdict = risk.judge(order(ENTRY, 5), 0, refusal)
    assert verdict == (risk.Refused(order(ENTRY, 5), refusal) if refusal else risk.Approved(order(ENTRY, 5)))


def test_a_broker_takes_only_what_this_gate_approved() -> None:
    broker = PaperBroker(terms_of(settings(), HASH))
    tick = Tick(0, 0, 0, 100.0, 10_000, 1_000, 1, 50.0, 90.0, 1, 0, HASH)
    refused = risk.judge(order(ENTRY, 1), 0, "halted")
    for unfit in (refused, order(ENTRY, 1)):
        with pytest.raises(TypeError, match="approved"):
            broker.submit(unfit, tick, market_terms(market()), 0)  # type: ignore[arg-type]
    assert broker.take() == []


def test_only_the_gate_makes_an_approval() -> None:
    made = []
    for path in sorted((ROOT / "trader").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.func if isinstance(node, ast.Call) else None
            if isinstance(name, ast.Name | ast.Attribute) and ast.unparse(name).split(".")[-1] == "Approved":
                made.append(path.name)
    assert set(made) == {"risk.py"}


def test_an_operators_flatten_passes_the_same_gate() -> None:
    """In every state, with every limit reached: what is held is sold as one approved order, and no more than that."""
    limits = {"max_daily_loss": "0.01", "cooldown_seconds": "99", "max_orders_per_minute": "1", "cost_gate": "refuse"}
    for before in ("pause", "halt", "flatten", "resume"):
        live = Live(Tape(start(fee="20")).trade(100, "mr"), **limits, paper_fill="tape", paper_latency_ms="0")
        live.tape.trade(100)
        live.feed()
        held = live.engine.state.pairs["B-BTC_USDT"].lots
        assert held > 0
        live.give(inputs.Command(before, f"{before}-1"))
        live.give(inputs.Command("flatten", "flatten-2"))
        live.tape.trade(100, flags=STALE).trade(100, lots=held // 2).trade(100).trade(100)
        live.feed()
        exits = [signal for signal in of(live.events, SignalEvent) if signal.action == "exit"]
        assert [(signal.outcome, signal.reason) for signal in exits] == [("approved", "flatten")]
        sold = sum(Decimal(fill.quantity) for fill in of(live.events, FillEvent) if fill.side == "sell")
        assert sold == held * Decimal("0.001")
        assert live.engine.state.pairs["B-BTC_USDT"].lots == 0


# --- trading states ---------------------------------------------------------------------------------

STRICT = {ACTIVE: 0, PAUSED: 1, REDUCING: 2, HALTED: 3}


@pytest.mark.parametrize("state", STRICT)
@pytest.mark.parametrize("command", ["pause", "resume", "flatten", "halt"])
def test_pause_flatten_and_halt_never_loosen_only_resume_does(state: str, command: str) -> None:
    after = risk.COMMANDS[state, command]
    assert (after == ACTIVE) if command == "resume" else (STRICT[after] >= STRICT[state] and after != ACTIVE)


@pytest.mark.parametrize(("command", "state"), [("pause", PAUSED), ("flatten", REDUCING), ("halt", HALTED)])
def test_paused_reducing_and_halted_take_no_entries_and_go_on_with_exits(command: str, state: str) -> None:
    live = Live(Tape(TWO).trade(100, "mr").trade(100, pair=1))
    live.feed()
    live.give(inputs.Command(command, "c1"))
    live.tape.trade(100, "mr", pair=1).trade(99)
    assert outcomes(live) == [("enter", f"refused:{state}"), ("exit", "approved")]


def test_stale_or_untrusted_data_blocks_entries_never_exits() -> None:
    """Stale trades, trades off the tape, other indicator settings, a journal that fails, a peer that differs."""
    cases: list[tuple[dict[str, int], str]] = [
        ({"flags": STALE}, ""),
        ({"flags": UNTAPED}, ""),
        ({"settings_hash": 5}, ""),
        ({}, "journal_failing"),
        ({}, "settings_differ_indicators"),
        ({}, "crash_loop_feeder"),
    ]
    for more, block in cases:
        live = Live(Tape(TWO).trade(100, "mr").trade(100, pair=1))
        live.feed()
        if block:
            live.give(inputs.Block(block, True))
        live.tape.trade(100, "mr", pair=1, **more).trade(99, **more)
        entry, exit_ = outcomes(live)
        assert entry[1].startswith("refused:")
        assert exit_ == ("exit", "approved")


# --- restarts ---------------------------------------------------------------------------------------


def restarted(live: Live, folder: Path) -> Live:
    """The same book in another process: everything goes through the journal's file, as the stage does it."""
    path = folder / "journal.db"
    journal = Journal(path, lambda committed: None, lambda why: None)
    journal.open(0)
    journal.append(live.events, pack(live.engine.sync()))
    assert journal.close()
    again = Journal(path, lambda committed: None, lambda why: None)
    found = again.open(0)
    again.close()
    assert found.state is not None
    engine = replay.new_engine(live.engine.terms, unpack(found.state))
    later = Live(live.tape, engine=engine)
    later.fed = live.fed
    later.give(inputs.Began("book", {}, "recovered", "report"))
    return later


def losing(tape: Tape) -> Tape:
    return tape.trade(100, "mr").trade(99)


def second_loss(live: Live) -> None:
    losing(live.tape)
    live.feed()


SURVIVING: dict[str, tuple[dict[str, str], Callable[[Live], None], str]] = {
    "max_daily_loss": ({"max_daily_loss": "10"}, lambda live: None, "refused:max_daily_loss"),
    "max_drawdown_pct halted": ({"max_drawdown_pct": "0.0005"}, lambda live: None, "refused:halted"),
    "the peak of max_drawdown_pct": ({"max_drawdown_pct": "0.0015"}, second_loss, "refused:halted"),
    "max_consecutive_losses halted": ({"max_consecutive_losses": "1"}, lambda live: None, "refused:halted"),
    "a losing streak": ({"max_consecutive_losses": "2"}, second_loss, "refused:halted"),
    "cooldown": ({"cooldown_seconds": "60"}, lambda live: None, "refused:cooldown"),
    "max_orders_per_minute": ({"max_orders_per_minute": "1"}, lambda live: None, "refused:max_orders_per_minute"),
    "cost_gate": ({"cost_gate": "refuse"}, lambda live: None, "refused:costs_exceed_stop"),
}


@pytest.mark.parametrize(("limit", "then", "outcome"), SURVIVING.values(), ids=SURVIVING)
def test_what_limits_count_and_what_halted_trading_survive_a_restart(
    limit: dict[str, str], then: Callable[[Live], None], outcome: str, tmp_path: Path
) -> None:
    """A loss, a restart, a second loss where one is not enough: the next entry is refused as without the restart."""
    costly = "cost_gate" in limit
    live = Live(Tape() if costly else losing(Tape()), **limit)
    live.feed()
    if costly:
        live.give(inputs.NewStart(1, live.fed, start(fee="50")))
    later = restarted(live, tmp_path)
    then(later)
    later.tape.trade(100, "mr")
    assert outcomes(later) == [("enter", outcome)]


def test_without_the_limit_the_same_restart_lets_the_entry_through(tmp_path: Path) -> None:
    live = Live(losing(Tape()))
    live.feed()
    later = restarted(live, tmp_path)
    later.tape.trade(100, "mr")
    assert outcomes(later) == [("enter", "approved")]


def test_max_open_positions_counts_a_position_from_before_the_restart(tmp_path: Path) -> None:
    live = Live(Tape(TWO).trade(100, "mr").trade(100, pair=1), max_open_positions="1")
    live.feed()
    later = restarted(live, tmp_path)
    later.tape.trade(100, "mr", pair=1)
    assert outcomes(later) == [("enter", "refused:max_open_positions")]


@pytest.mark.parametrize(("command", "state"), [("pause", PAUSED), ("flatten", REDUCING), ("halt", HALTED)])
def test_what_an_operator_set_survives_a_restart_until_resume(command: str, state: str, tmp_path: Path) -> None:
    live = Live(Tape().trade(100))
    live.feed()
    live.give(inputs.Command(command, "c1"))
    later = restarted(live, tmp_path)
    later.tape.trade(100, "mr")
    assert outcomes(later) == [("enter", f"refused:{state}")]
    later.give(inputs.Command("resume", "c2"))
    later.tape.trade(100, "mr")
    assert outcomes(later)[-1] == ("enter", "approved")


def test_a_halt_by_a_limit_is_lifted_by_resume_alone_over_any_number_of_restarts(tmp_path: Path) -> None:
    live = Live(losing(Tape()), max_drawdown_pct="0.0005")
    live.feed()
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        live = restarted(live, folder)
        live.tape.trade(100, "mr", after_ms=86_400_000)
        assert ("enter", "approved") not in outcomes(live)
        assert live.engine.state.trading == HALTED
    live.give(inputs.Command("resume", "r1"))
    live.tape.trade(100, "mr")
    assert outcomes(live)[-1] == ("enter", "approved")
    assert [event.state for event in of(live.events, StateEvent)] == [ACTIVE]
