"""The course of the synthetic price, minute by minute: a slow bounded drift with a sharp move every minute or two.

A move begins and ends inside one clock minute, so the closes of the one-minute candles stay calm and a fall of less
than one per cent is enough to bring RSI(14) below 30 and the price below its band. (Were the falls to stay in the
closes, a market that does not sink for ever could offer such an entry every 17 minutes at most: Wilder's RSI forgets
1/14 a minute, and the fall would have to be 17 times the usual rise of a minute.) The kinds of minute:

* sell-off: a hard fall and back; the entry that it brings is held into the next moves;
* whipsaw: a hard fall, then above where it came from, and back: entry and take-profit in one minute;
* knife: a fall in two steps, deeper than the trailing stop is wide: entry, stop, entry again;
* slump: a hard fall of which a third remains and is made good over several minutes;
* squeeze: a sharp rise and back, which takes the profit of what is held;
* calm: nothing but drift.

Minutes are counted from the minute of birth, which is 0; history has negative ones. Moves are in parts of the price.
"""

import numpy as np

from sandbox.noise import Dice, Floats, wave
from sandbox.trades import Ints

CALM, SELL_OFF, WHIPSAW, KNIFE, SLUMP, SQUEEZE = range(6)

BLOCK = 8  # minutes; each block has the same number of falls, so that waits stay short
# As often as they stand here. In this mixture the strategy, fees paid, neither wins nor loses much: a market that only
# rewarded it would mislead, and whipsaws and slumps do reward it.
FALLS = 5 * (SELL_OFF,) + (WHIPSAW,) + 4 * (KNIFE,) + (SLUMP,)
# Born before the first of these seconds of a minute: a fall still fits into it; after the second: the next is near.
EARLY, LATE = 8.0, 35.0
FIRST = (WHIPSAW, SELL_OFF, WHIPSAW, KNIFE, CALM, SELL_OFF, CALM)  # minutes 1 to 7
FIRST_LATE = (SELL_OFF, WHIPSAW, SELL_OFF, WHIPSAW, KNIFE, CALM, SELL_OFF)
LULL = 14  # minutes before birth without remains of a move: the first entry must not depend on luck
LONGEST_SLUMP = 10  # minutes until nothing of a slump is left

# Drift: (period in minutes, height); bounded, about +-11 % in all.
DRIFT = ((4, 0.0004), (13, 0.0012), (41, 0.0020), (180, 0.004), (780, 0.012), (4320, 0.03), (15840, 0.06))

Knots = list[tuple[float, float]]
Piece = tuple[float, float, float, float]  # least and most seconds, lowest and highest level at the end


def kind_of(key: int, minute: int, birth_second: float) -> int:
    """What kind of minute this is; the minutes after birth are laid out for the newcomer."""
    if minute == 0:
        return SELL_OFF if birth_second <= EARLY else CALM
    if 0 < minute < BLOCK:
        return (FIRST_LATE if birth_second > LATE else FIRST)[minute - 1]
    if -LULL <= minute < 0:
        return CALM if minute > -4 else (CALM, SELL_OFF, CALM, SQUEEZE)[minute % 4]
    block, place = divmod(minute, BLOCK)
    return _layout(key, block)[place]


def _layout(key: int, block: int) -> tuple[int, ...]:
    """The kinds of a block's minutes: three falls, never more than three minutes without one inside it."""
    dice = Dice(key, block)
    first, second, third = (FALLS[dice.below(len(FALLS))] for _ in range(3))
    extra = CALM if dice.below(3) else SQUEEZE
    frames = (
        (first, CALM, CALM, second, extra, CALM, third, CALM),
        (CALM, first, CALM, second, CALM, extra, CALM, third),
        (first, CALM, extra, CALM, second, third, CALM, CALM),
        (CALM, first, CALM, CALM, second, CALM, third, extra),
    )
    return frames[dice.below(len(frames))]


def _slump(key: int, minute: int) -> tuple[float, int]:
    """(what remains of the slump at the minute's end, minutes until it is made good)."""
    dice = Dice(key ^ 0x5A5A, minute)
    return dice.between(0.0020, 0.0032), 5 + dice.below(LONGEST_SLUMP - 4)


def _pieces(dice: Dice, start: float, pieces: tuple[Piece, ...]) -> Knots:
    """Knots (second, move) of a path through pieces, from 0 at second `start`."""
    knots: Knots = [(start, 0.0)]
    second = start
    for least, most, low, high in pieces:
        second += dice.between(least, most)
        knots.append((second, dice.between(low, high)))
    return knots


def knots_of(key: int, minute: int, kind: int, start: float | None = None) -> Knots:
    """The path inside the minute, 0 at its beginning and end, as (second, move) with rising seconds within 1 to 59."""
    dice = Dice(key ^ 0x3C3C, minute)
    calm = 0.0003
    if kind in (SELL_OFF, SLUMP):
        deep = dice.between(0.0075, 0.0100)
        begin = dice.between(4, 18) if start is None else start
        fall = ((6, 10, -deep, -deep), (1, 3, -deep * 0.94, -deep * 0.9))
        return _pieces(dice, begin, (*fall, (12, 20, -calm, calm), (3, 6, 0.0, 0.0)))
    if kind == WHIPSAW:
        deep, high = dice.between(0.0078, 0.0094), dice.between(0.0056, 0.0070)
        begin = dice.between(3, 7) if start is None else start
        fall = ((6, 9, -deep, -deep), (1, 2, -deep, -deep))
        return _pieces(dice, begin, (*fall, (12, 17, high, high), (1, 2, high, high), (9, 14, 0, 0)))
    if kind == KNIFE:
        deep = dice.between(0.0125, 0.0145)
        begin = dice.between(4, 12) if start is None else start
        first_fall = ((5, 7, -0.0075, -0.007), (2, 4, -0.0068, -0.006))
        return _pieces(dice, begin, (*first_fall, (4, 6, -deep, -deep), (1, 2, -deep, -deep * 0.95), (14, 20, 0, 0)))
    if kind == SQUEEZE:
        high = dice.between(0.0050, 0.0075)
        begin = dice.between(4, 20) if start is None else start
        return _pieces(dice, begin, ((6, 11, high, high), (2, 4, high * 0.9, high), (12, 20, 0, 0)))
    return []


class Course:
    """The price of one market, as the logarithm of its ratio to the listed price, as a function of time.

    `birth_ms` is the ms of birth inside its minute (0 to 59,999); seconds and minutes count from that minute's start.
    """

    def __init__(self, key: int, birth_ms: int) -> None:
        self._key = key
        self._birth_second = birth_ms / 1000.0

    def kind(self, minute: int) -> int:
        return kind_of(self._key, minute, self._birth_second)

    def path(self, first_minute: int, last_minute: int) -> tuple[Floats, Floats]:
        """(seconds, moves) of all corner points from the start of the first minute to the end of the last one."""
        minutes = np.arange(first_minute, last_minute + 2)
        base = self._drift(minutes) + self._remains(first_minute, last_minute + 1)
        seconds: list[float] = []
        moves: list[float] = []
        for index, minute in enumerate(range(first_minute, last_minute + 1)):
            low, high = float(base[index]), float(base[index + 1])
            seconds.append(minute * 60.0)
            moves.append(low)
            first = None
            if minute == 0:
                first = self._birth_second + 12.0
            elif minute == 1 and self._birth_second > LATE:
                first = 17.0
            for second, move in knots_of(self._key, minute, self.kind(minute), first):
                seconds.append(minute * 60.0 + second)
                moves.append(low + (high - low) * second / 60.0 + move)
        seconds.append((last_minute + 1) * 60.0)
        moves.append(float(base[-1]))
        return np.array(seconds), np.array(moves)

    def _drift(self, minutes: Ints) -> Floats:
        total = np.zeros(minutes.shape[0])
        for octave, (period, height) in enumerate(DRIFT):
            total += height * wave(self._key, octave, period, minutes)
        return total

    def _remains(self, first_minute: int, last_minute: int) -> Floats:
        """What is left of slumps at the starts of the minutes first to last."""
        total = np.zeros(last_minute - first_minute + 1)
        for minute in range(first_minute - LONGEST_SLUMP - 1, last_minute):
            if self.kind(minute) != SLUMP:
                continue
            depth, length = _slump(self._key, minute)
            for age in range(length):
                at = minute + 1 + age
                if first_minute <= at <= last_minute:
                    total[at - first_minute] -= depth * (1.0 - age / length)
        return total
