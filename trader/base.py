"""What a pair holds of its base coin: whole lots that can be sold, and what fees taken in base leave of a lot.

In simulation fees are in quote, a position is whole lots, and `PairState.live` is None.
"""

from decimal import Decimal

from core.money import plain, steps_down, steps_text
from trader.state import LivePair, PairState


def held(pair: PairState) -> Decimal:
    """Base coin of the position."""
    spare = Decimal(0) if pair.live is None else pair.live.spare
    return pair.lots * pair.step + spare


def dust(pair: PairState) -> Decimal:
    """Base coin that positions of the past left behind, too little to be sold."""
    spare = Decimal(0) if pair.live is None else pair.live.dust_spare
    return pair.dust_lots * pair.step + spare


def add_base(pair: PairState, lots: int, moved: Decimal) -> Decimal:
    """Moves the position by what a fill moved: `lots` where fills are whole lots, else the base coin itself.

    A sell that gave more than the position has takes the rest from the dust; what that lacks too is returned.
    """
    live = pair.live
    if live is None:
        pair.lots += lots
        return Decimal(0)
    total = held(pair) + moved
    lacking = Decimal(0)
    if total < 0:
        lacking = take_dust(pair, live, -total)
        total = Decimal(0)
    pair.lots = steps_down(total, pair.step)
    live.spare = total - pair.lots * pair.step
    return lacking


def lose_base(pair: PairState, live: LivePair, gone: Decimal) -> int:
    """Takes base coin that left the account without an order of ours: dust first; returns the position's lots lost."""
    before = pair.lots
    left = take_dust(pair, live, gone)
    total = max(held(pair) - left, Decimal(0))
    pair.lots = steps_down(total, pair.step)
    live.spare = total - pair.lots * pair.step
    return before - pair.lots


def take_dust(pair: PairState, live: LivePair, amount: Decimal) -> Decimal:
    """Takes up to `amount` of the dust; returns what it lacks."""
    there = dust(pair)
    rest = max(there - amount, Decimal(0))
    pair.dust_lots = steps_down(rest, pair.step)
    live.dust_spare = rest - pair.dust_lots * pair.step
    return max(amount - there, Decimal(0))


def held_text(pair: PairState) -> str:
    """`held` as text."""
    return steps_text(pair.lots, pair.step) if pair.live is None else plain(held(pair))


def dust_text(pair: PairState) -> str:
    """`dust` as text."""
    return steps_text(pair.dust_lots, pair.step) if pair.live is None else plain(dust(pair))


def base_text(pair: PairState) -> str:
    """All of the base coin, position and dust, as text."""
    return steps_text(pair.lots + pair.dust_lots, pair.step) if pair.live is None else plain(held(pair) + dust(pair))
