"""The life of an order as one table: (state, event) -> state. A pair that is not in it raises.

SUBMITTING   the intent is journalled; the venue may or may not have it
WORKING      the venue has it; it may be partly filled
CANCELLING   we asked to cancel; it may still fill
UNKNOWN      the venue did not answer the submit: it is looked up by its id, never sent again blindly
FILLED, CANCELLED, REJECTED   terminal; what was filled before a cancel counts
"""

from enum import StrEnum


class OrderState(StrEnum):
    """What we know of an order."""

    SUBMITTING = "submitting"
    WORKING = "working"
    CANCELLING = "cancelling"
    UNKNOWN = "unknown"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class OrderNews(StrEnum):
    """What happens to an order."""

    ACCEPTED = "accepted"  # the venue has it
    PART_FILLED = "part_filled"
    ALL_FILLED = "all_filled"
    CANCEL_SENT = "cancel_sent"  # we asked
    CANCEL_DONE = "cancel_done"  # the venue ended it: our cancel, its time-out, a remainder that is dust
    CANCEL_REFUSED = "cancel_refused"  # the venue says there is nothing to cancel, or not now
    REFUSED = "refused"  # the venue will not have it
    NO_ANSWER = "no_answer"  # time-out, 5xx, unreadable: the outcome is not known
    ABSENT = "absent"  # looked up by id after the grace period: the venue never had it


TERMINAL = frozenset({OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED})

_S = OrderState
_N = OrderNews

TABLE: dict[tuple[OrderState, OrderNews], OrderState] = {
    (_S.SUBMITTING, _N.ACCEPTED): _S.WORKING,
    (_S.SUBMITTING, _N.PART_FILLED): _S.WORKING,  # the fill can overtake the answer to the submit
    (_S.SUBMITTING, _N.ALL_FILLED): _S.FILLED,  # the same, complete
    (_S.SUBMITTING, _N.CANCEL_SENT): _S.CANCELLING,  # the stop may fire before the answer is here
    (_S.SUBMITTING, _N.CANCEL_DONE): _S.CANCELLED,  # immediate-or-cancel without a taker, before the answer
    (_S.SUBMITTING, _N.REFUSED): _S.REJECTED,
    (_S.SUBMITTING, _N.NO_ANSWER): _S.UNKNOWN,
    (_S.WORKING, _N.ACCEPTED): _S.WORKING,  # a late or repeated answer after a fill said the same
    (_S.WORKING, _N.PART_FILLED): _S.WORKING,
    (_S.WORKING, _N.ALL_FILLED): _S.FILLED,
    (_S.WORKING, _N.CANCEL_SENT): _S.CANCELLING,
    (_S.WORKING, _N.CANCEL_DONE): _S.CANCELLED,  # without our asking: the venue's time-out or operator
    (_S.WORKING, _N.CANCEL_REFUSED): _S.WORKING,  # a repeated answer to a cancel that was settled already
    (_S.WORKING, _N.NO_ANSWER): _S.UNKNOWN,  # a comparison told of its fill before the submit was answered
    (_S.WORKING, _N.REFUSED): _S.REJECTED,  # CoinDCX accepts a market order and can reject it later
    (_S.CANCELLING, _N.ACCEPTED): _S.CANCELLING,  # the answer to the submit was slower than our cancel
    (_S.CANCELLING, _N.PART_FILLED): _S.CANCELLING,  # a fill on its way while the cancel is
    (_S.CANCELLING, _N.ALL_FILLED): _S.FILLED,  # the cancel came too late
    (_S.CANCELLING, _N.CANCEL_SENT): _S.CANCELLING,  # asked again
    (_S.CANCELLING, _N.CANCEL_DONE): _S.CANCELLED,
    (_S.CANCELLING, _N.CANCEL_REFUSED): _S.WORKING,  # still there as far as we know: the next look-up settles it
    (_S.CANCELLING, _N.REFUSED): _S.REJECTED,  # the submit was refused after we had asked to cancel
    (_S.CANCELLING, _N.NO_ANSWER): _S.UNKNOWN,  # neither submit nor cancel were answered
    (_S.CANCELLING, _N.ABSENT): _S.REJECTED,  # looked up: it never arrived, so there was nothing to cancel
    (_S.UNKNOWN, _N.ACCEPTED): _S.WORKING,  # found by its id
    (_S.UNKNOWN, _N.PART_FILLED): _S.WORKING,
    (_S.UNKNOWN, _N.ALL_FILLED): _S.FILLED,
    (_S.UNKNOWN, _N.CANCEL_SENT): _S.CANCELLING,  # cancelling what may be there is always allowed
    (_S.UNKNOWN, _N.CANCEL_DONE): _S.CANCELLED,
    (_S.UNKNOWN, _N.REFUSED): _S.REJECTED,
    (_S.UNKNOWN, _N.NO_ANSWER): _S.UNKNOWN,  # the look-up failed too: ask again later
    (_S.UNKNOWN, _N.ABSENT): _S.REJECTED,
    # A fill after the end is real on every venue (the cancel's answer overtook it). The money moved, so the
    # position must follow; the order stays ended, or turns out to be complete.
    (_S.CANCELLED, _N.PART_FILLED): _S.CANCELLED,
    (_S.CANCELLED, _N.ALL_FILLED): _S.FILLED,
    (_S.CANCELLED, _N.CANCEL_DONE): _S.CANCELLED,  # said twice, by stream and by REST
    (_S.CANCELLED, _N.CANCEL_REFUSED): _S.CANCELLED,  # our cancel crossed the venue's own
    (_S.CANCELLED, _N.ACCEPTED): _S.CANCELLED,  # the submit's answer came last
    (_S.FILLED, _N.ALL_FILLED): _S.FILLED,  # said twice; the ledger drops the fill by its id
    (_S.FILLED, _N.ACCEPTED): _S.FILLED,  # the submit's answer came last
    (_S.FILLED, _N.CANCEL_DONE): _S.FILLED,  # the venue reports the cancel of nothing
    (_S.FILLED, _N.CANCEL_REFUSED): _S.FILLED,  # the usual answer to a cancel that came too late
    # An order that was called absent, and came all the same: where it filled, the money moved.
    (_S.REJECTED, _N.PART_FILLED): _S.CANCELLED,
    (_S.REJECTED, _N.ALL_FILLED): _S.FILLED,
    (_S.REJECTED, _N.REFUSED): _S.REJECTED,  # said twice
    (_S.REJECTED, _N.ABSENT): _S.REJECTED,  # the look-up confirms it
}


class IllegalTransitionError(Exception):
    """The event makes no sense for an order in this state: our picture of it is wrong."""


def advance(state: OrderState, news: OrderNews) -> OrderState:
    """The state after `news`. Raises IllegalTransitionError for a pair that cannot be."""
    try:
        return TABLE[state, news]
    except KeyError:
        raise IllegalTransitionError(f"an order that is {state} cannot be {news}") from None
