"""The fold driven offline: UPDATE records in, events out, no sockets and no journal. For the backtest and the tests."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from bus.messages import SignalEvent, Start, TraderEvent
from trader import inputs
from trader.engine import Engine
from trader.paper import PaperBroker
from trader.state import LiveState, State
from trader.terms import Terms, terms_of

OFFLINE_JOURNAL = "00000000000000000000000000000000"


def new_state(terms: Terms, journal_id: str) -> State:
    """The state of an empty book."""
    state = State(journal_id=journal_id, wallet=terms.paper_balance)
    state.risk.peak = terms.paper_balance
    return state


def new_live_state(journal_id: str) -> State:
    """The state of an empty book whose orders are real: what the wallet holds, the venue says first."""
    return State(journal_id=journal_id, wallet=0, live=LiveState())


def new_engine(terms: Terms, state: State) -> Engine:
    """The fold over `state` with the paper broker, its working orders taken up."""
    broker = PaperBroker(terms)
    broker.restore([pair.order for pair in state.pairs.values() if pair.order is not None])
    return Engine(terms, state, broker)


def run(
    records: np.ndarray | Iterable[np.ndarray],
    start: Start,
    settings: Any,
    *,
    settings_hash: int | None = None,
    epoch: int = 1,
    journal_id: str = OFFLINE_JOURNAL,
) -> list[TraderEvent]:
    """All events of a new book over UPDATE records in tape order, in one array or in batches of any size.

    settings: core.settings.Settings, or anything with its attributes. settings_hash: of the indicator settings that
    made the records; default: whatever the first record carries.
    """
    return list(events(records, start, settings, settings_hash=settings_hash, epoch=epoch, journal_id=journal_id))


def events(
    records: np.ndarray | Iterable[np.ndarray],
    start: Start,
    settings: Any,
    *,
    settings_hash: int | None = None,
    epoch: int = 1,
    journal_id: str = OFFLINE_JOURNAL,
) -> Iterator[TraderEvent]:
    """As `run`, event by event."""
    batches = [records] if isinstance(records, np.ndarray) else records
    engine: Engine | None = None
    for batch in batches:
        if not len(batch):
            continue
        if engine is None:
            expected = int(batch["settings_hash"][0]) if settings_hash is None else settings_hash
            terms = terms_of(settings, expected)
            engine = new_engine(terms, new_state(terms, journal_id))
            yield from engine.handle(inputs.NewStart(epoch, int(batch["number"][0]) - 1, start))
        yield from engine.handle(inputs.Updates(epoch, int(batch["number"][-1]), batch.tobytes()))


def decisions(
    found: Iterable[TraderEvent], records: np.ndarray
) -> list[tuple[int, str, str, float, float, float, str]]:
    """Rows of decisions.csv, one per approved order: ts_ns, action, reason, price, rsi, bb_lower, pair.

    records: the UPDATE records the events came from; what an event does not know is nan.
    """
    nan = float("nan")
    rows = []
    for event in found:
        if not isinstance(event, SignalEvent) or event.outcome != "approved":
            continue
        place = int(np.searchsorted(records["number"], event.at.record))
        rows.append(
            (
                int(records["exchange_ns"][place]),
                event.action,
                event.reason,
                event.price,
                nan if event.rsi is None else event.rsi,
                nan if event.bb_lower is None else event.bb_lower,
                event.pair,
            )
        )
    return rows
