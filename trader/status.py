"""What people see of a pair now: pure, out of the fold's state."""

from bus.messages import Status
from core.money import steps_text, units_text
from trader.base import base_text, held_text
from trader.costs import break_even_move, round_of
from trader.engine import Engine
from trader.follow import JOINING, LAGGING
from trader.shadow import median_bps
from trader.state import ACTIVE, ENTRY, HALTED, NO_SPAN, PairState, State
from trader.venue_news import RECONCILING, RECOVERING

SIM, LIVE = "sim", "live"
SEEN_AT_A_RECORD = ("stale", "untaped", "indicator_settings_differ", "below_minimum")  # and known only from there
FEEDS = {JOINING: "blind", LAGGING: "degraded"}


def mode_of(state: State) -> str:
    """The mode on the page: sim or live while trading goes on, else what keeps it from entering."""
    if RECOVERING in state.blocks or RECONCILING in state.blocks:
        return RECONCILING
    if state.trading == ACTIVE:
        return SIM if state.live is None else LIVE
    return HALTED if state.trading == HALTED else "reducing"


def feed_of(follow_mode: str) -> str:
    """normal, degraded or blind."""
    return FEEDS.get(follow_mode, "normal")


Common = tuple[str, str, tuple[str, ...], str, int, int, str]


def common_of(engine: Engine, feed: str) -> Common:
    """What every pair's status depends on beside the pair itself."""
    state = engine.state
    return feed, state.span, tuple(state.blocks), state.trading, state.wallet, state.realized, engine.limit()


def own_of(pair: PairState) -> tuple[object, ...] | None:
    """What the status of a pair depends on while nothing of it is at stake; None where something is."""
    if pair.lots or pair.order is not None:
        return None
    return pair.warm, pair.refusal, pair.dust_lots


def status_of(engine: Engine, pair: PairState, feed: str) -> Status:
    """The status of one pair; call `engine.sync()` before."""
    state, ledger = engine.state, engine.ledger
    market = engine.market(pair.pair)
    unrealized: str | None = None
    if pair.lots and market is not None:
        pending = 0 if pair.order is None or pair.order.purpose == ENTRY else pair.order.cash - pair.order.share
        unrealized = units_text(ledger.proceeds(pair, market) - pair.cost + pending)
    highest, shadow = pair.highest, state.shadow
    return Status(
        pair=pair.pair,
        record=state.record,
        time_ms=pair.ns // 1_000_000,
        status=_word(pair),
        mode=mode_of(state),
        entry_price=pair.entry_price,
        quantity=held_text(pair),
        highest=highest,
        stop_price=None if highest is None else highest * engine.terms.keep,
        unrealized=unrealized,
        realized=units_text(state.realized),
        wallet_quote=units_text(state.wallet),
        wallet_base=base_text(pair),
        blocked=_blocked(engine, pair, feed),
        feed=feed,
        break_even_pct=_break_even_pct(engine),
        stop_pct=float(engine.terms.stop * 100),
        shadow_trades=None if shadow is None else shadow.trades,
        shadow_median_bps=None if shadow is None else median_bps(shadow),
        shadow_lost=None if shadow is None else units_text(shadow.lost),
        stake=_stake(engine),
    )


def at_stake(state: State) -> bool:
    """Whether a pair has a position or an order."""
    return any(pair.lots or pair.order is not None for pair in state.pairs.values())


def unwatched(engine: Engine) -> dict[str, str]:
    """Pairs with something at stake that nobody follows any more, and what that is."""
    found = {}
    for pair in engine.state.pairs.values():
        market = engine.market(pair.pair)
        if (pair.lots or pair.order is not None) and (market is None or not market.active):
            found[pair.pair] = f"{steps_text(pair.lots, pair.step)} held" if pair.lots else "an order is working"
    return found


def status_without_market(engine: Engine, pair: str, feed: str) -> Status:
    """The status of a pair that no START has named yet."""
    state = engine.state
    return Status(
        pair=pair,
        record=state.record,
        time_ms=0,
        status="warming_up",
        mode=mode_of(state),
        entry_price=None,
        quantity="0",
        highest=None,
        stop_price=None,
        unrealized=None,
        realized=units_text(state.realized),
        wallet_quote=units_text(state.wallet),
        wallet_base="0",
        blocked=["no_market"],
        feed=feed,
        stop_pct=float(engine.terms.stop * 100),
        stake=_stake(engine),
    )


def _stake(engine: Engine) -> str | None:
    return None if engine.state.live is None else units_text(engine.ledger.stake())


def _break_even_pct(engine: Engine) -> float | None:
    move = break_even_move(round_of(engine.ledger.fee, engine.terms))
    return None if move is None else float(move * 100)


def _word(pair: PairState) -> str:
    if pair.order is not None and not pair.order.resting:
        return "entering" if pair.order.purpose == ENTRY else "exiting"
    if pair.lots:
        return "in_position"
    return "idle" if pair.warm else "warming_up"


def _blocked(engine: Engine, pair: PairState, feed: str) -> list[str]:
    """Why no entry would be taken now: short machine words."""
    state = engine.state
    market = engine.market(pair.pair)
    found: list[str] = []
    if market is None:
        found.append("no_market")
    elif not market.active:
        found.append("market_inactive")
    if feed != "normal" or state.span != NO_SPAN:
        found.append(feed if feed != "normal" else state.span)
    if not pair.warm:
        found.append("warming_up")
    found += state.blocks
    if state.trading != ACTIVE:
        found.append(state.trading)
    limit = engine.limit()
    if limit:
        found.append(limit)
    if pair.refusal in SEEN_AT_A_RECORD:
        found.append(pair.refusal)
    return found
