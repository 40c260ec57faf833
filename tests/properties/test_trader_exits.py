"""Nothing holds up an exit: over random markets, limits, commands, blocks, flags and restarts the stop always sells."""

from hypothesis import event, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from bus.messages import OrderEvent, SignalEvent
from bus.records import BACKFILL, LATE, STALE, UNTAPED
from tests.trader_world import Live, Tape, market, of, start
from trader import inputs, replay
from trader.state import pack, unpack

MARKETS = [market(pair, tick="0.5", step="0.01", min_quantity="0.02", min_notional="30") for pair in ("B-A_U", "B-B_U")]
CODES = st.sampled_from(["warm", "mr", "mr", "crash", "tp"])
FLAGS = st.sampled_from([0, 0, 0, BACKFILL, LATE, STALE, UNTAPED])
PLACE = st.integers(0, 1)
OURS = st.sampled_from([True, True, True, False])  # its indicators have our settings
LOTS = st.sampled_from([3, 2_000, 2_000])
WAIT_MS = st.sampled_from([0, 5, 900, 4_000, 61_000])
TRADE = st.tuples(st.just("trade"), st.integers(-4, 4), CODES, LOTS, WAIT_MS, PLACE, FLAGS, OURS)
COMMAND = st.tuples(st.just("command"), st.sampled_from(["pause", "resume", "flatten", "halt"]))
BLOCK = st.tuples(st.just("block"), st.sampled_from(["journal_failing", "settings_differ_feeder"]), st.booleans())
RESTART = st.tuples(st.just("restart"))
# A position is taken, if the limits let it through; then something comes in between; then the price falls.
ENTERED = [("command", "resume"), *(("trade", 0, "mr", 2_000, wait_ms, 0, 0, True) for wait_ms in (90_000_000, 900))]
BETWEEN = st.lists(st.one_of(COMMAND, BLOCK, RESTART, TRADE), max_size=3)
FALL = st.tuples(st.just("trade"), st.integers(-12, -1), CODES, LOTS, WAIT_MS, st.just(0), FLAGS, OURS)
TRIP = st.tuples(BETWEEN, st.lists(FALL, min_size=1, max_size=3)).map(lambda two: [*ENTERED, *two[0], *two[1]])
SCRIPTS = st.lists(st.one_of(TRIP, BETWEEN), min_size=1, max_size=6).map(lambda parts: [s for p in parts for s in p])
LIMITS = st.fixed_dictionaries(
    {
        "paper_fill": st.sampled_from(["tape", "instant"]),
        "max_daily_loss": st.sampled_from(["0", "0.01"]),
        "max_drawdown_pct": st.sampled_from(["0", "0.0001"]),
        "max_consecutive_losses": st.sampled_from(["0", "1"]),
        "cooldown_seconds": st.sampled_from(["0", "600"]),
        "max_orders_per_minute": st.sampled_from(["1", "30"]),
        "max_open_positions": st.sampled_from(["0", "1"]),
        "cost_gate": st.sampled_from(["warn", "refuse"]),
        "trailing_stop_pct": st.sampled_from(["0.005", "0.05"]),
    }
)


def restarted(live: Live) -> None:
    live.engine = replay.new_engine(live.engine.terms, unpack(pack(live.engine.sync())))
    live.give(inputs.Began("book", {}, "recovered", "report"))


@profile(max_examples=150, deadline=None)
@given(SCRIPTS, LIMITS, st.sampled_from(["0", "20"]))
def test_no_limit_state_block_or_flag_ever_refuses_an_exit(
    script: list[tuple], limits: dict[str, str], fee: str
) -> None:
    """Where a position is held, no order works and the price is at its stop, that very trade decides the exit."""
    live = Live(Tape(start(*MARKETS, fee=fee)), **limits)
    prices = [100.0, 100.0]
    for count, (kind, *values) in enumerate(script):
        if kind == "command":
            live.give(inputs.Command(values[0], f"c{count}"))
        elif kind == "block":
            live.give(inputs.Block(values[0], values[1]))
        elif kind == "restart":
            restarted(live)
        else:
            steps, codes, lots, after_ms, place, flags, ours = values
            prices[place] = price = max(50.0, prices[place] + steps * 0.5)
            live.tape.trade(price, codes, lots=lots, after_ms=after_ms, pair=place, flags=flags)
            if not ours:
                live.tape.rows[-1]["settings_hash"] = 5
            pair = live.engine.state.pairs[MARKETS[place].pair]
            due = pair.lots and pair.order is None and not flags & (BACKFILL | LATE)
            stop = (max(pair.highest or 0.0, price)) * live.engine.terms.keep
            due = due and (price <= stop or pair.flatten)
            found = live.feed()
            exits = [signal for signal in of(found, SignalEvent) if signal.action == "exit"]
            assert all(signal.outcome == "approved" for signal in exits)
            if due:
                event(f"an exit while trading is {live.engine.state.trading}")
                sold = [order for order in of(found, OrderEvent) if order.side == "sell"]
                assert len(exits) == 1 or pair.dust_lots, "the stop sells, or what is left is dust"
                assert not exits or sold[0].status == "submitting"
