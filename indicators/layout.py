"""The packed state of all pairs in one contiguous buffer of 64-bit words, and the rows that come out of it.

    words = PARAMS (one) | HEAD (one a pair) | closes (BB_PERIOD - 1 float64 a pair)

The buffer is everything that the indicators know: saved and loaded bit for bit, it goes on as if nothing had happened.
Nothing in it depends on how records were cut into batches.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bus.records import RECORD, UPDATE
from indicators import rules

Array = np.ndarray[Any, np.dtype[Any]]
Record = Any  # one record of a structured array, read and written by field name

MISSING_LIMIT = 500  # more missing buckets than this start a new segment
NO_LIMIT = 2**62  # a file of trades counts as connected throughout
NEVER = -(2**62)  # open_ns of a segment without candles: any bucket may come first

# Why a segment began (HEAD.why); 1 to 3 are the reasons of a HOLE record in bus.records.
WHY_START = 0
WHY_MISSING = 4  # more than MISSING_LIMIT buckets without a trade
WHY_BUS = 5  # records were lost on the bus

PARAMS = np.dtype(
    [
        ("pairs", "<i8"),
        ("timeframe_ns", "<i8"),
        ("rsi_period", "<i8"),
        ("bb_period", "<i8"),
        ("needed", "<i8"),  # closed candles before the first decision
        ("missing_limit", "<i8"),
        ("settings_hash", "<i8"),
        ("ema", "<i8"),  # 1: RSI_SMOOTHING=ema
        ("keep", "<f8"),
        ("weight", "<f8"),
        ("scale", "<f8"),
        ("inverse", "<f8"),  # 1 / BB_PERIOD
        ("stddev", "<f8"),
        ("rsi_buy", "<f8"),
        ("rsi_sell", "<f8"),
        ("rsi_crash", "<f8"),
    ]
)

# The forming candle covers open_ns <= t < end_ns. Without one, end_ns = open_ns = the first bucket that may still open.
HEAD = np.dtype(
    [
        ("open_ns", "<i8"),
        ("end_ns", "<i8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("close", "<f8"),
        ("volume", "<f8"),
        ("trades", "<i8"),
        ("last_close", "<f8"),  # of the last closed candle
        ("carry_gain", "<f8"),
        ("carry_loss", "<f8"),
        ("sum1", "<f8"),  # over the closed closes of the band, measured from last_close
        ("sum2", "<f8"),
        ("closed", "<i8"),  # closed candles of this segment
        ("segment", "<i8"),  # counted from 1
        ("number", "<i8"),  # of the last record that was not late
        ("time_ns", "<i8"),  # exchange time of it
        ("open", "<f8"),
        ("changes", "<i8"),  # close-to-close changes of this segment
        ("slot", "<i8"),  # where the next close goes in this pair's ring of closes
        ("flags", "<i8"),  # PARTIAL of the forming candle
        ("why", "<i8"),  # why this segment began
        ("late", "<i8"),  # trades before the forming bucket, flagged or not
        ("tick_units", "<f8"),  # the price grid: price = ticks * tick_units / tick_scale, rounded once
        ("tick_scale", "<f8"),  # 0 until a START named the market
    ]
)

# One candle with its indicators: closed rows as they close, and the forming one when asked for.
ROW = np.dtype(
    [
        ("pair", "<u4"),
        ("flags", "<u4"),  # PARTIAL, FORMING
        ("open_ns", "<i8"),
        ("open", "<f8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("close", "<f8"),
        ("volume", "<f8"),
        ("trades", "<i8"),
        ("rsi", "<f8"),
        ("bb_lower", "<f8"),
        ("bb_middle", "<f8"),
        ("bb_upper", "<f8"),
        ("closed", "<u4"),  # closed candles before this one
        ("segment", "<u4"),
        ("number", "<i8"),  # of the record that closed it, or the last one in it
        ("time_ns", "<i8"),
        ("buy_below", "<f8"),  # triggers: only in a row that was asked for; nan where there is none
        ("sell_above", "<f8"),
    ]
)

# Counters of one call, written by the kernel.
WORK = np.dtype(
    [
        ("next", "<i8"),  # first record not yet folded
        ("updates", "<i8"),  # UPDATEs written so far for this frame
        ("rows", "<i8"),  # closed candles written by this call
        ("segments", "<i8"),  # segments begun by this call
        ("dirty", "<i8"),  # pairs in the dirty list, until the caller clears it
        ("unknown", "<i8"),  # records, ever, of pairs that no START named, or with an impossible price
        ("unused", "<i8", (2,)),
    ]
)

# RECORD and UPDATE as the kernel's fast path reads and writes them: the same bytes, small fields taken together.
TRADE_WORDS = np.dtype([("head", "<i8"), *RECORD.descr[4:]])
UPDATE_WORDS = np.dtype(
    [
        *TRADE_WORDS.descr,
        ("number", "<i8"),
        ("rsi", "<f8"),
        ("bb_lower", "<f8"),
        ("bb_middle", "<f8"),
        ("bb_upper", "<f8"),
        ("closed_codes", "<i8"),  # closed in the lower half, codes over it
        ("segment", "<i8"),
        ("settings_hash", "<i8"),
    ]
)

# Columns of a run of trades, BLOCK each: price, rsi, lower, middle, upper band, closed with codes.
BLOCK = 64  # a small one: what it works on stays in the nearest cache
COLUMNS_WORDS = 6 * BLOCK

ARENA_WORDS = 8  # head of an arena: where its parts begin, in words
END_AT, STATE_AT, SCRATCH_AT = 0, 1, 2

PARAMS_WORDS = PARAMS.itemsize // 8
HEAD_WORDS = HEAD.itemsize // 8
ROW_WORDS = ROW.itemsize // 8
COLUMNS_AT = WORK.itemsize // 8
WORK_WORDS = COLUMNS_AT + COLUMNS_WORDS  # WORK and the columns behind it

assert PARAMS.itemsize == 128 and HEAD.itemsize == 192 and WORK.itemsize == 64 and ROW.itemsize == 136
assert TRADE_WORDS.itemsize == RECORD.itemsize and UPDATE_WORDS.itemsize == UPDATE.itemsize
assert UPDATE.fields is not None and UPDATE_WORDS.fields is not None
assert all(UPDATE_WORDS.fields[n][1] == at for n, (_, at, *_) in UPDATE.fields.items() if n in UPDATE_WORDS.fields)


@dataclass(frozen=True)
class Parameters:
    """The settings that decide what the indicators are; times in ms, percentages as in the settings."""

    timeframe_ms: int
    warmup_candles: int = 50
    rsi_period: int = 14
    rsi_smoothing: str = "wilder"
    rsi_buy: float = 30.0
    rsi_sell: float = 70.0
    rsi_crash: float = 20.0
    bb_period: int = 20
    bb_stddev: float = 2.0
    settings_hash: int = 0
    connected_throughout: bool = False

    @property
    def needed(self) -> int:
        """Closed candles before the first decision."""
        return rules.candles_needed(self.warmup_candles, self.bb_period, self.rsi_period)


def state_words(pairs: int, bb_period: int) -> int:
    """Length of the state buffer in 64-bit words."""
    return PARAMS_WORDS + pairs * HEAD_WORDS + pairs * (bb_period - 1)


def new_state(parameters: Parameters, pairs: int) -> Array:
    """A state buffer (int64 words) in which every pair waits for its first record, in segment 1."""
    if parameters.bb_period < 2 or parameters.rsi_period < 1 or parameters.timeframe_ms < 1:
        raise ValueError("BB_PERIOD must be at least 2, RSI_PERIOD and the timeframe at least 1")
    state = np.zeros(state_words(pairs, parameters.bb_period), np.int64)
    write_parameters(state, parameters, pairs)
    for head in heads_of(state):
        head["open_ns"] = head["end_ns"] = NEVER
        head["segment"] = 1
        head["number"] = -1
        head["carry_gain"] = head["carry_loss"] = 0.0
    return state


def write_parameters(state: Array, parameters: Parameters, pairs: int) -> None:
    """Put the settings into the head of the buffer, which was made with the same ones but the limit."""
    ema = parameters.rsi_smoothing == "ema"
    params = params_of(state)
    params["pairs"] = pairs
    params["timeframe_ns"] = parameters.timeframe_ms * 1_000_000
    params["rsi_period"] = parameters.rsi_period
    params["bb_period"] = parameters.bb_period
    params["needed"] = parameters.needed
    params["missing_limit"] = NO_LIMIT if parameters.connected_throughout else MISSING_LIMIT
    params["settings_hash"] = parameters.settings_hash
    params["ema"] = ema
    params["keep"] = rules.smoothing_keep(parameters.rsi_period, ema)
    params["weight"] = rules.smoothing_weight(parameters.rsi_period, ema)
    params["scale"] = rules.smoothing_scale(parameters.rsi_period, ema)
    params["inverse"] = 1.0 / parameters.bb_period
    params["stddev"] = parameters.bb_stddev
    params["rsi_buy"] = parameters.rsi_buy
    params["rsi_sell"] = parameters.rsi_sell
    params["rsi_crash"] = parameters.rsi_crash


def grown(state: Array, parameters: Parameters, pairs: int) -> Array:
    """The same state with room for more pairs; the new ones wait for their first record."""
    had = int(params_of(state)["pairs"])
    if pairs == had:
        return state
    larger = new_state(parameters, pairs)
    heads_of(larger)[:had] = heads_of(state)
    closes_of(larger)[:had] = closes_of(state)
    return larger


def new_scratch(pairs: int, rows: int = 1024) -> Array:
    """What `fold` writes beside the state (int64 words): WORK, dirty flags, dirty list, room for `rows` closed ROWs."""
    return np.zeros(WORK_WORDS + 2 * pairs + rows * ROW_WORDS, np.int64)


def new_arena(state: Array, batch: int, rows: int = 1024) -> Array:
    """One buffer (int64 words) with everything a kernel needs: head, UPDATEs, a copy of the state, scratch."""
    scratch = new_scratch(int(params_of(state)["pairs"]), rows)
    state_at = ARENA_WORDS + batch * UPDATE.itemsize // 8
    scratch_at = state_at + len(state)
    size = scratch_at + len(scratch)
    room = np.zeros(size + 8, np.int64)
    begin = -room.ctypes.data % 64 // 8  # an UPDATE is two cache lines where it begins with one, else three
    arena = room[begin : begin + size]
    arena[END_AT], arena[STATE_AT], arena[SCRATCH_AT] = size, state_at, scratch_at
    arena[state_at:scratch_at] = state
    return arena


def parts_of(arena: Array) -> tuple[Array, Array, Array]:
    """State, UPDATE words and scratch of an arena, as views."""
    state_at, scratch_at = int(arena[STATE_AT]), int(arena[SCRATCH_AT])
    return arena[state_at:scratch_at], arena[ARENA_WORDS:state_at], arena[scratch_at:]


def params_of(state: Array) -> Record:
    """The PARAMS record of a state buffer, as a view."""
    params: Record = state[:PARAMS_WORDS].view(PARAMS)[0]
    return params


def heads_of(state: Array) -> Array:
    """The HEAD records of a state buffer, one a pair, as a view."""
    pairs = int(state[:PARAMS_WORDS].view(PARAMS)[0]["pairs"])
    return state[PARAMS_WORDS : PARAMS_WORDS + pairs * HEAD_WORDS].view(HEAD)


def closes_of(state: Array) -> Array:
    """The rings of closes, shape (pairs, BB_PERIOD - 1), as a view."""
    params = params_of(state)
    first = PARAMS_WORDS + int(params["pairs"]) * HEAD_WORDS
    return state[first:].view(np.float64).reshape(int(params["pairs"]), int(params["bb_period"]) - 1)
