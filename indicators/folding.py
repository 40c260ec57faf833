"""Folding a frame of tape records into candles, indicators and UPDATEs: `fold` is the kernel of this package.

Plain functions: `indicators.kernels` compiles `fold` together with everything it calls, and it runs uncompiled with the
same result, to the bit. How the records were cut into frames changes nothing.
"""

from typing import NamedTuple

import numpy as np

from bus.layouts import BACKFILL, CANDLE, HOLE, LATE, TRADE, WARM
from bus.records import CANDLE_RECORD, RECORD, UPDATE
from indicators import rules
from indicators.candles import NOT_YET, TOO_HIGH, begin_segment, open_bucket, take_candle
from indicators.layout import (
    BLOCK,
    COLUMNS_AT,
    HEAD,
    HEAD_WORDS,
    PARAMS,
    PARAMS_WORDS,
    ROW,
    TRADE_WORDS,
    UPDATE_WORDS,
    WORK,
    WORK_WORDS,
    Array,
    Record,
)

RUN_MASK = -1 << 32 | (LATE | BACKFILL) << 16 | 0xFF  # of a record's first word: pair, two flags, kind


def take_other(
    params: Record,
    heads: Array,
    closes: Array,
    candle: Record,
    pair: int,
    rows: Array,
    work: Record,
    dirty: Array,
    number: int,
) -> bool:
    """Fold a record that is no TRADE."""
    kind = candle["kind"]
    if kind != CANDLE and kind != HOLE:
        return True
    if pair >= params["pairs"]:
        work["unknown"] += 1
        return True
    head = heads[pair]
    mark(dirty, pair, work)
    if kind == HOLE:
        work["segments"] += begin_segment(head, candle["side"])  # the same byte as HOLE's reason
        return True
    return take_candle(params, head, closes, candle, pair, rows, work, number)


def mark(dirty: Array, pair: int, work: Record) -> None:
    """Put a pair into the dirty list, once: dirty[pair] tells whether it is in, the list follows the flags."""
    if dirty[pair] == 0:
        dirty[pair] = 1
        dirty[dirty.size // 2 + work["dirty"]] = pair
        work["dirty"] += 1


def write_unknown(update: Record, record: Record, params: Record, number: int) -> None:
    """Write the UPDATE of a trade of which nothing is known: its pair is in no START."""
    copy_trade(update, record)
    update["number"] = number
    update["rsi"] = NOT_YET
    update["bb_lower"] = NOT_YET
    update["bb_middle"] = NOT_YET
    update["bb_upper"] = NOT_YET
    update["closed"] = 0
    update["codes"] = 0
    update["unused"] = 0
    update["segment"] = 0
    update["unused2"] = 0
    update["settings_hash"] = params["settings_hash"]


def copy_trade(update: Record, record: Record) -> None:
    """Copy the trade into the first half of its UPDATE."""
    update["kind"] = record["kind"]
    update["side"] = record["side"]
    update["flags"] = record["flags"]
    update["pair"] = record["pair"]
    update["exchange_ns"] = record["exchange_ns"]
    update["received_ns"] = record["received_ns"]
    update["price"] = record["price"]
    update["quantity"] = record["quantity"]
    update["ticks"] = record["ticks"]
    update["lots"] = record["lots"]
    update["trade_id"] = record["trade_id"]


def write_update(
    update: Record, record: Record, params: Record, head: Record, number: int, price: float, decides: bool
) -> None:
    """Write the UPDATE of a trade: the trade itself, the indicators at `price`, and codes only where it decides."""
    copy_trade(update, record)
    update["number"] = number
    update["closed"] = head["closed"]
    update["segment"] = head["segment"]
    update["settings_hash"] = params["settings_hash"]
    update["unused"] = 0
    update["unused2"] = 0
    change = price - head["last_close"]
    codes = 0
    rsi = NOT_YET
    middle = lower = upper = NOT_YET
    if head["closed"] >= params["rsi_period"]:
        gain = rules.smoothed_total(head["carry_gain"], rules.gain_of(change), params["weight"])
        loss = rules.smoothed_total(head["carry_loss"], rules.loss_of(change), params["weight"])
        rsi = rules.rsi_value(gain, loss)
    if head["closed"] >= params["bb_period"] - 1:
        mean = rules.band_offset(head["sum1"], change, params["inverse"])
        deviation = rules.band_deviation(head["sum2"], change, mean, params["inverse"])
        middle = head["last_close"] + mean
        lower = rules.band_lower(middle, deviation, params["stddev"])
        upper = rules.band_upper(middle, deviation, params["stddev"])
    if decides and head["closed"] >= params["needed"]:
        codes = WARM | rules.entry_reason(rsi, price, lower, params["rsi_buy"], params["rsi_crash"])
        codes |= rules.exit_code(rsi, params["rsi_sell"])
    update["rsi"] = rsi
    update["bb_lower"] = lower
    update["bb_middle"] = middle
    update["bb_upper"] = upper
    update["codes"] = codes


def take_trade(
    params: Record,
    heads: Array,
    closes: Array,
    record: Record,
    update: Record,
    rows: Array,
    work: Record,
    dirty: Array,
    number: int,
) -> bool:
    """Fold any TRADE record and write its UPDATE."""
    pair = record["pair"]
    if pair >= params["pairs"]:
        work["unknown"] += 1
        write_unknown(update, record, params, number)
        return True
    price = record["price"]
    head = heads[pair]
    time_ns = record["exchange_ns"]
    decides = record["flags"] & (LATE | BACKFILL) == 0
    possible = 0.0 < price < TOO_HIGH
    if record["flags"] & LATE or time_ns < head["open_ns"] or not possible:
        if possible:
            head["late"] += 1
        else:
            work["unknown"] += 1
        price = head["close"] if head["end_ns"] > head["open_ns"] else head["last_close"]
        write_update(update, record, params, head, number, price, False)
        return True
    if time_ns >= head["end_ns"] and not open_bucket(params, head, closes, pair, time_ns, price, rows, work, number):
        return False
    if price > head["high"]:
        head["high"] = price
    if price < head["low"]:
        head["low"] = price
    head["close"] = price
    head["volume"] += record["quantity"]
    head["trades"] += 1
    head["number"] = number
    head["time_ns"] = time_ns
    mark(dirty, pair, work)
    write_update(update, record, params, head, number, price, decides)
    return True


def run_length(trades: Array, prices: Array, expected: int, open_ns: int, end_ns: int) -> int:
    """How many trades at the beginning are of one pair and need nothing but their forming candle moved.

    Their prices are put together in `prices`.
    """
    for k in range(trades.size):
        trade = trades[k]
        time_ns, price = trade["exchange_ns"], trade["price"]
        if trade["head"] & RUN_MASK != expected or time_ns < open_ns or time_ns >= end_ns:
            return k
        if not 0.0 < price < TOO_HIGH:
            return k
        prices[k] = price
    return int(trades.size)


def indicate(params: Record, head: Record, count: int, block: Array, codes: Array) -> None:
    """The indicators of a run at its prices: rows of BLOCK in `block`, codes with `closed` in `codes`.

    A loop over plain columns: the compiler does several trades with one instruction, to the same bits.
    """
    weight, inverse, stddev = params["weight"], params["inverse"], params["stddev"]
    rsi_buy, rsi_sell, rsi_crash = params["rsi_buy"], params["rsi_sell"], params["rsi_crash"]
    last_close, carry_gain, carry_loss = head["last_close"], head["carry_gain"], head["carry_loss"]
    sum1, sum2, closed = head["sum1"], head["sum2"], head["closed"] | WARM << 32
    for k in range(count):
        price = block[k]
        change = price - last_close
        gain = rules.smoothed_total(carry_gain, rules.gain_of(change), weight)
        loss = rules.smoothed_total(carry_loss, rules.loss_of(change), weight)
        rsi = rules.rsi_value(gain, loss)
        mean = rules.band_offset(sum1, change, inverse)
        deviation = rules.band_deviation(sum2, change, mean, inverse)
        middle = last_close + mean
        lower = rules.band_lower(middle, deviation, stddev)
        block[BLOCK + k] = rsi
        block[2 * BLOCK + k] = lower
        block[3 * BLOCK + k] = middle
        block[4 * BLOCK + k] = rules.band_upper(middle, deviation, stddev)
        code = rules.entry_reason(rsi, price, lower, rsi_buy, rsi_crash) | rules.exit_code(rsi, rsi_sell)
        codes[5 * BLOCK + k] = closed | code << 32


def write_run(
    params: Record, head: Record, words: Array, trades: Array, out: Array, columns: Array, first: int, count: int
) -> None:
    """Write the UPDATEs of a run, and move its candle. words, out: int64, of its trades and of their UPDATEs."""
    segment, settings_hash = head["segment"], params["settings_hash"]
    volume, high, low = head["volume"], head["high"], head["low"]
    for k in range(count):
        at, to = 8 * k, 16 * k
        w0, w1, w2, w3 = words[at], words[at + 1], words[at + 2], words[at + 3]
        w4, w5, w6, w7 = words[at + 4], words[at + 5], words[at + 6], words[at + 7]
        rsi, lower, middle = columns[BLOCK + k], columns[2 * BLOCK + k], columns[3 * BLOCK + k]
        upper, codes = columns[4 * BLOCK + k], columns[5 * BLOCK + k]
        price = trades[k]["price"]
        volume += trades[k]["quantity"]
        if price > high:
            high = price
        if price < low:
            low = price
        out[to], out[to + 1], out[to + 2], out[to + 3] = w0, w1, w2, w3
        out[to + 4], out[to + 5], out[to + 6], out[to + 7] = w4, w5, w6, w7
        out[to + 8], out[to + 9], out[to + 10], out[to + 11] = first + k, rsi, lower, middle
        out[to + 12], out[to + 13], out[to + 14], out[to + 15] = upper, codes, segment, settings_hash
    head["volume"], head["high"], head["low"] = volume, high, low


def take_one(params: Record, head: Record, trade: Record, update: Record, number: int) -> None:
    """Move the forming candle by one trade that needs nothing else, and write its UPDATE (UPDATE_WORDS)."""
    price, last_close = trade["price"], head["last_close"]
    change = price - last_close
    gain = rules.smoothed_total(head["carry_gain"], rules.gain_of(change), params["weight"])
    loss = rules.smoothed_total(head["carry_loss"], rules.loss_of(change), params["weight"])
    rsi = rules.rsi_value(gain, loss)
    mean = rules.band_offset(head["sum1"], change, params["inverse"])
    deviation = rules.band_deviation(head["sum2"], change, mean, params["inverse"])
    middle = last_close + mean
    lower = rules.band_lower(middle, deviation, params["stddev"])
    codes = rules.entry_reason(rsi, price, lower, params["rsi_buy"], params["rsi_crash"])
    codes |= WARM | rules.exit_code(rsi, params["rsi_sell"])
    if price > head["high"]:
        head["high"] = price
    if price < head["low"]:
        head["low"] = price
    head["close"] = price
    head["volume"] += trade["quantity"]
    head["trades"] += 1
    head["number"] = number
    head["time_ns"] = trade["exchange_ns"]
    copy_words(update, trade)
    update["number"] = number
    update["rsi"] = rsi
    update["bb_lower"] = lower
    update["bb_middle"] = middle
    update["bb_upper"] = rules.band_upper(middle, deviation, params["stddev"])
    update["closed_codes"] = head["closed"] | codes << 32
    update["segment"] = head["segment"]
    update["settings_hash"] = params["settings_hash"]


def copy_words(update: Record, trade: Record) -> None:
    """Copy the trade into the first half of its UPDATE, word by word: all is read before anything is written."""
    head, exchange_ns, received_ns, price = trade["head"], trade["exchange_ns"], trade["received_ns"], trade["price"]
    quantity, ticks, lots, trade_id = trade["quantity"], trade["ticks"], trade["lots"], trade["trade_id"]
    update["head"] = head
    update["exchange_ns"] = exchange_ns
    update["received_ns"] = received_ns
    update["price"] = price
    update["quantity"] = quantity
    update["ticks"] = ticks
    update["lots"] = lots
    update["trade_id"] = trade_id


class Views(NamedTuple):
    """Everything that `fold` reads and writes, as views of three buffers: the frame, the state, room to work in."""

    words: Array  # of the frame, int64
    trades: Array
    records: Array
    others: Array
    params: Record
    heads: Array
    closes: Array
    work: Record
    columns: Array  # int64; see `layout.BLOCK`
    values: Array  # the same as float64
    dirty: Array
    rows: Array
    out: Array  # of the UPDATEs, int64
    updates: Array
    update_words: Array  # the same, small fields taken together


def take_runs(
    params: Record,
    heads: Array,
    words: Array,
    trades: Array,
    out: Array,
    updates: Array,
    work: Record,
    columns: Array,
    values: Array,
    dirty: Array,
    at: int,
    first: int,
    written: int,
) -> int:
    """Fold trades from record `at` on while they need nothing but their forming candle moved.

    The fast path of `take_trade`, with the same result: warm, in the forming bucket, neither LATE nor BACKFILL. The
    arrays are those of Views; of the UPDATEs `written` are there. Returns the first record not taken.
    """
    count = trades.size
    after = at
    while 0 <= after < count:
        trade = trades[after]
        pair = trade["head"] >> 32
        expected = pair << 32 | TRADE
        if not 0 <= pair < params["pairs"] or trade["head"] & RUN_MASK != expected:
            break
        head = heads[pair]
        if head["closed"] < params["needed"]:
            break
        if after + 1 == count or trades[after + 1]["head"] & RUN_MASK != expected:
            if not head["open_ns"] <= trade["exchange_ns"] < head["end_ns"] or not 0.0 < trade["price"] < TOO_HIGH:
                break
            take_one(params, head, trade, updates[written], first + after)
            after += 1
            written += 1
        else:
            some = trades[after : after + BLOCK]
            run = run_length(some, values, expected, head["open_ns"], head["end_ns"])
            if run == 0:
                break
            indicate(params, head, run, values, columns)
            part = out[16 * written : 16 * (written + run)]
            write_run(params, head, words[8 * after : 8 * (after + run)], some, part, columns, first + after, run)
            after += run
            written += run
            head["close"] = values[run - 1]
            head["trades"] += run
            head["number"] = first + after - 1
            head["time_ns"] = trades[after - 1]["exchange_ns"]
        if dirty[pair] == 0:
            mark(dirty, pair, work)
    return after


def fold(frame: bytes, first: int, start: int, state: Array, out: Array, scratch: Array) -> int:
    """Fold the records of a frame from record `start` on.

    frame: bytes of RECORDs, the first of which is number `first` of the tape. start: 0, or where the last call stopped.
    state: see `indicators.layout`. out: int64 words for an UPDATE a record. scratch: int64 words of
    `layout.new_scratch`: WORK, a dirty flag a pair, the list of dirty pairs, room for closed ROWs.

    Returns how many UPDATEs there are, or -1 where WORK has more to tell: rows or segments to take, or that the rows
    are full; then, having taken them, call again with start = WORK.next.
    """
    words = np.frombuffer(frame, dtype=np.int64)
    params = state[:PARAMS_WORDS].view(PARAMS)[0]
    pairs = params["pairs"]
    closes_at = PARAMS_WORDS + pairs * HEAD_WORDS
    rows_at = WORK_WORDS + 2 * pairs
    columns = scratch[COLUMNS_AT:WORK_WORDS]
    views = Views(
        words,
        words.view(TRADE_WORDS),
        words.view(RECORD),
        words.view(CANDLE_RECORD),
        params,
        state[PARAMS_WORDS:closes_at].view(HEAD),
        state[closes_at:].view(np.float64),
        scratch[:WORK_WORDS].view(WORK)[0],
        columns,
        columns.view(np.float64),
        scratch[WORK_WORDS:rows_at],
        scratch[rows_at:].view(ROW),
        out,
        out.view(UPDATE),
        out.view(UPDATE_WORDS),
    )
    return fold_views(views, first, start)


def fold_views(v: Views, first: int, start: int) -> int:
    """As `fold`, which see, over views that are made already."""
    params, heads, closes, work, dirty, rows = v.params, v.heads, v.closes, v.work, v.dirty, v.rows
    words, trades, records, others = v.words, v.trades, v.records, v.others
    out, updates, update_words, columns, values = v.out, v.updates, v.update_words, v.columns, v.values
    work["rows"] = 0
    work["segments"] = 0
    if start == 0:
        work["updates"] = 0
        work["next"] = 0
    written, i = work["updates"], work["next"]
    count = records.size
    while True:
        after = take_runs(
            params, heads, words, trades, out, update_words, work, columns, values, dirty, i, first, written
        )
        written += after - i
        i = after
        if i >= count:
            break
        record = records[i]
        if record["kind"] != TRADE:
            if not take_other(params, heads, closes, others[i], record["pair"], rows, work, dirty, first + i):
                break
        else:
            if not take_trade(params, heads, closes, record, updates[written], rows, work, dirty, first + i):
                break
            written += 1
        i += 1
    work["updates"] = written
    work["next"] = i
    if i < count or work["rows"] > 0 or work["segments"] > 0:
        return -1
    return int(written)
