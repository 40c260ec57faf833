"""Whatever a session suffers, in any order: its replay is equal to it, all of it."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from backtest import command_parity, parity
from backtest.parity import EQUAL
from indicators import jit
from tests.indicator_tools import kernels
from tests.recorded_session import Recording

ACTIONS = st.one_of(
    st.tuples(st.just("trades"), st.integers(1, 120), st.integers(1, 70)),
    st.tuples(st.just("trades"), st.integers(1, 120), st.integers(1, 70)),
    st.tuples(st.just("degraded"), st.integers(1, 60)),
    st.tuples(st.just("restart_trader"), st.integers(0, 60)),
    st.tuples(st.just("killed"), st.integers(0, 60)),
    st.tuples(st.just("restart_indicators"), st.booleans()),
    st.tuples(st.just("command"), st.sampled_from(["pause", "resume", "resume", "flatten", "halt"])),
    st.tuples(st.just("block"), st.sampled_from(["journal_failing", "settings_differ_feeder"]), st.booleans()),
    st.tuples(st.sampled_from(["start", "hole", "lose_all", "save"])),
    st.tuples(st.just("rebooted"), st.integers(0, 60)),
    st.tuples(
        st.just("settings"),
        st.fixed_dictionaries(
            {
                "TRAILING_STOP_PCT": st.sampled_from([0.0007, 0.002]),
                "PAPER_FILL": st.sampled_from(["tape", "instant"]),
                "RSI_BUY": st.sampled_from([47.3, 40]),
                "MAX_CONSECUTIVE_LOSSES": st.sampled_from([0, 2]),
                "MAX_DRAWDOWN_PCT": st.sampled_from([0, 0.0005]),
                "COOLDOWN_SECONDS": st.sampled_from([0, 7]),
            }
        ),
    ),
)


def suffer(bot: Recording, action: tuple) -> None:
    match action:
        case ("trades", count, batch):
            bot.trades(count, batch)
        case ("degraded", count):
            bot.degraded(count)
        case ("restart_trader", missed):
            bot.restart_trader(missed)
        case ("killed", missed):
            bot.restart_trader(missed, killed=True)
        case ("settings", changed):
            bot.restart_trader(1, **changed)
            bot.begin_indicators(after=bot.folded)
        case ("rebooted", missed):
            bot.another_tape()
            bot.restart_trader(missed, killed=True)
        case ("restart_indicators", unusable):
            bot.restart_indicators(unusable=unusable)
        case (name, *arguments):
            getattr(bot, name)(*arguments)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    actions=st.lists(ACTIONS, min_size=1, max_size=14),
    seed=st.integers(0, 10_000),
    keep_states=st.sampled_from([True, True, False]),
)
def test_any_session_is_equal_to_its_replay(actions: list[tuple], seed: int, keep_states: bool) -> None:
    if not keep_states:  # of these an earlier release left no trace
        actions = [action for action in actions if action[0] not in ("lose_all", "restart_indicators")]
    with tempfile.TemporaryDirectory() as folder:
        bot = Recording(Path(folder), seed=seed, keep_states=keep_states)
        bot.trades(40)
        for action in actions:
            suffer(bot, action)
            event(action[0])
        verdict = parity.judge(bot.close(), kernels().machine, jit.sources_hash())
    assert (verdict.outcome, verdict.not_judged) == (EQUAL, []), command_parity.text(verdict)
    assert verdict.judged.entries == len(bot.events)
