"""Folding a frame of tape records into candles, indicators and UPDATEs: `fold` is the kernel of this package.

Plain functions: `indicators.kernels` compiles `fold` together with everything it calls, and it runs uncompiled with the
same result, to the bit. How the records were cut into frames changes nothing.
"""

import numpy as np

from bus.layouts import BACKFILL, CANDLE, HOLE, LATE, TRADE, WARM
from bus.records import CANDLE_RECORD, RECORD, UPDATE
from indicators import rules
from indicators.candles import NOT_YET, TOO_HIGH, begin_segment, open_bucket, take_candle
from indicators.layout import (
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


def take_runs(
    params: Record,
    heads: Array,
    trades: Array,
    updates: Array,
    dirty: Array,
    work: Record,
    at: int,
    first: int,
    written: int,
) -> int:
    """Fold trades from record `at` on while they need nothing but their forming candle moved.

    The fast path of `take_trade`, with the same result: warm, in the forming bucket, neither LATE nor BACKFILL. What a
    run of one pair needs stays in registers. trades, updates: TRADE_WORDS and UPDATE_WORDS, of the latter `written` are
    there. Returns the first record not taken.
    """
    weight, inverse, stddev = params["weight"], params["inverse"], params["stddev"]
    rsi_buy, rsi_sell, rsi_crash = params["rsi_buy"], params["rsi_sell"], params["rsi_crash"]
    pairs, needed, settings_hash = params["pairs"], params["needed"], params["settings_hash"]
    count = trades.size
    after = at
    while 0 <= after < count:
        begin = after
        pair = trades[begin]["head"] >> 32
        if not 0 <= pair < pairs:
            break
        head = heads[pair]
        if head["closed"] < needed:
            break
        expected = pair << 32 | TRADE
        open_ns, end_ns, last_close = head["open_ns"], head["end_ns"], head["last_close"]
        carry_gain, carry_loss, sum1, sum2 = head["carry_gain"], head["carry_loss"], head["sum1"], head["sum2"]
        high, low, close, volume = head["high"], head["low"], head["close"], head["volume"]
        closed, segment = head["closed"] | WARM << 32, head["segment"]
        for i in range(begin, count):
            trade = trades[i]
            time_ns, price = trade["exchange_ns"], trade["price"]
            if trade["head"] & RUN_MASK != expected or time_ns < open_ns or time_ns >= end_ns:
                break
            if not 0.0 < price < TOO_HIGH:
                break
            change = price - last_close
            gain = rules.smoothed_total(carry_gain, rules.gain_of(change), weight)
            loss = rules.smoothed_total(carry_loss, rules.loss_of(change), weight)
            rsi = rules.rsi_value(gain, loss)
            mean = rules.band_offset(sum1, change, inverse)
            deviation = rules.band_deviation(sum2, change, mean, inverse)
            middle = last_close + mean
            lower = rules.band_lower(middle, deviation, stddev)
            codes = rules.entry_reason(rsi, price, lower, rsi_buy, rsi_crash) | rules.exit_code(rsi, rsi_sell)
            if price > high:
                high = price
            if price < low:
                low = price
            close = price
            volume += trade["quantity"]
            copy_words(updates[written], trade)
            update = updates[written]
            update["number"] = first + i
            update["rsi"] = rsi
            update["bb_lower"] = lower
            update["bb_middle"] = middle
            update["bb_upper"] = rules.band_upper(middle, deviation, stddev)
            update["closed_codes"] = closed | codes << 32
            update["segment"] = segment
            update["settings_hash"] = settings_hash
            written += 1
            after = i + 1
        if after == begin:
            break
        head["high"], head["low"], head["close"], head["volume"] = high, low, close, volume
        head["trades"] += after - begin
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
    trades, updates = words.view(TRADE_WORDS), out.view(UPDATE_WORDS)
    params = state[:PARAMS_WORDS].view(PARAMS)[0]
    pairs = params["pairs"]
    heads = state[PARAMS_WORDS : PARAMS_WORDS + pairs * HEAD_WORDS].view(HEAD)
    work = scratch[:WORK_WORDS].view(WORK)[0]
    dirty = scratch[WORK_WORDS : WORK_WORDS + 2 * pairs]
    work["rows"] = 0
    work["segments"] = 0
    if start == 0:
        work["updates"] = 0
        # Mostly this is all, and a frame of one trade is spared the other views.
        after = take_runs(params, heads, trades, updates, dirty, work, 0, first, 0)
        work["updates"] = after
        work["next"] = after
        if after == trades.size:
            return int(after)
    closes = state[PARAMS_WORDS + pairs * HEAD_WORDS :].view(np.float64)
    rows = scratch[WORK_WORDS + 2 * pairs :].view(ROW)
    return fold_rest(params, heads, closes, words, out, rows, dirty, work, first)


def fold_rest(
    params: Record,
    heads: Array,
    closes: Array,
    words: Array,
    out: Array,
    rows: Array,
    dirty: Array,
    work: Record,
    first: int,
) -> int:
    """Fold what the fast path has left, from WORK.next on, records of every kind; returns what `fold` returns."""
    records, others, trades = words.view(RECORD), words.view(CANDLE_RECORD), words.view(TRADE_WORDS)
    updates, update_words = out.view(UPDATE), out.view(UPDATE_WORDS)
    count = records.size
    written, i = work["updates"], work["next"]
    while i < count:
        record = records[i]
        if record["kind"] != TRADE:
            if not take_other(params, heads, closes, others[i], record["pair"], rows, work, dirty, first + i):
                break
        else:
            if record["pair"] >= params["pairs"]:
                work["unknown"] += 1
                write_unknown(updates[written], record, params, first + i)
            elif not take_trade(params, heads, closes, record, updates[written], rows, work, dirty, first + i):
                break
            written += 1
        i += 1
        after = take_runs(params, heads, trades, update_words, dirty, work, i, first, written)
        written += after - i
        i = after
    work["updates"] = written
    work["next"] = i
    if i < count or work["rows"] > 0 or work["segments"] > 0:
        return -1
    return int(written)
