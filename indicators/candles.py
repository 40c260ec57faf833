"""How candles open, move and close in the packed state of `indicators.layout`: plain functions, compiled by kernels.

What a record does to its pair:

* TRADE in the forming bucket moves the candle. In a later bucket it closes the candle first; buckets in between become
  flat candles at the previous close, or start a new segment where more than the limit are missing. Before the forming
  bucket, flagged LATE or not, it is no trade.
* CANDLE is the venue's word for its whole bucket: it takes the place of a forming candle of the same bucket, closes an
  older one, and closes itself; FORMING, it becomes the forming candle. Older than that it is ignored.
* HOLE starts a new segment: the forming candle is given up, the warm-up begins anew, CANDLE records that follow count
  from any time on.
* START changes nothing here.

Times are ns of the venue's clock. The functions that return a bool say False where the array for closed rows is full:
the state is whole, the record is not yet folded; take the rows and come again with the same record.
"""

from bus.layouts import FORMING, PARTIAL
from indicators import rules
from indicators.layout import NEVER, WHY_MISSING, WHY_START, Array, Record

TOO_HIGH = 1e18  # a price from here on, or not above 0, is none
NOT_YET = float("nan")


def begin_segment(head: Record, why: int) -> int:
    """Forget the candles of a pair: the next record starts a new warm-up. Returns how many segments began: 1 or 0."""
    head["why"] = why
    if head["open_ns"] == NEVER:
        return 0
    head["open_ns"] = NEVER
    head["end_ns"] = NEVER
    head["closed"] = 0
    head["changes"] = 0
    head["slot"] = 0
    head["last_close"] = 0.0
    head["carry_gain"] = 0.0
    head["carry_loss"] = 0.0
    head["sum1"] = 0.0
    head["sum2"] = 0.0
    head["flags"] = 0
    head["segment"] += 1
    return 1


def set_forming(head: Record, open_ns: int, timeframe_ns: int, price: float) -> None:
    """Open the candle of the bucket that starts at `open_ns` with its first price and nothing traded yet."""
    head["open_ns"] = open_ns
    head["end_ns"] = open_ns + timeframe_ns
    head["open"] = price
    head["high"] = price
    head["low"] = price
    head["close"] = price
    head["volume"] = 0.0
    head["trades"] = 0
    head["flags"] = 0


def write_row(row: Record, params: Record, head: Record, pair: int, number: int) -> None:
    """Write the forming candle and its indicators into a ROW."""
    price = head["close"]
    change = price - head["last_close"]
    row["pair"] = pair
    row["flags"] = head["flags"]
    row["open_ns"] = head["open_ns"]
    row["open"] = head["open"]
    row["high"] = head["high"]
    row["low"] = head["low"]
    row["close"] = price
    row["volume"] = head["volume"]
    row["trades"] = head["trades"]
    row["closed"] = head["closed"]
    row["segment"] = head["segment"]
    row["number"] = number
    row["time_ns"] = head["time_ns"]
    row["rsi"] = NOT_YET
    row["bb_lower"] = NOT_YET
    row["bb_middle"] = NOT_YET
    row["bb_upper"] = NOT_YET
    row["buy_below"] = NOT_YET
    row["sell_above"] = NOT_YET
    if head["closed"] >= params["rsi_period"]:
        gain = rules.smoothed_total(head["carry_gain"], rules.gain_of(change), params["weight"])
        loss = rules.smoothed_total(head["carry_loss"], rules.loss_of(change), params["weight"])
        row["rsi"] = rules.rsi_value(gain, loss)
    if head["closed"] >= params["bb_period"] - 1:
        mean = rules.band_offset(head["sum1"], change, params["inverse"])
        deviation = rules.band_deviation(head["sum2"], change, mean, params["inverse"])
        middle = head["last_close"] + mean
        row["bb_middle"] = middle
        row["bb_lower"] = rules.band_lower(middle, deviation, params["stddev"])
        row["bb_upper"] = rules.band_upper(middle, deviation, params["stddev"])


def smooth(params: Record, head: Record, close: float) -> None:
    """Take a closed candle's change into the carries of RSI."""
    if head["closed"] == 0:
        if params["ema"] != 0:
            head["carry_gain"] = rules.next_carry(rules.EMA_SEED, params["keep"], params["scale"])
            head["carry_loss"] = rules.next_carry(rules.EMA_SEED, params["keep"], params["scale"])
        return
    change = close - head["last_close"]
    gain = rules.smoothed_total(head["carry_gain"], rules.gain_of(change), params["weight"])
    loss = rules.smoothed_total(head["carry_loss"], rules.loss_of(change), params["weight"])
    head["changes"] += 1
    if params["ema"] == 0 and head["changes"] < params["rsi_period"]:
        head["carry_gain"] = gain
        head["carry_loss"] = loss
    else:
        head["carry_gain"] = rules.next_carry(gain, params["keep"], params["scale"])
        head["carry_loss"] = rules.next_carry(loss, params["keep"], params["scale"])


def sum_window(params: Record, head: Record, closes: Array, first: int) -> None:
    """Sum the closed closes of the band anew, oldest first, measured from the last close."""
    length = params["bb_period"] - 1
    last_close = head["last_close"]
    known = head["closed"]
    slot = head["slot"]  # the oldest one, once the ring is full
    if known < length:
        slot = 0
    else:
        known = length
    sum1 = 0.0
    sum2 = 0.0
    for _ in range(known):
        offset = closes[first + slot] - last_close
        sum1 += offset
        sum2 += offset * offset
        slot += 1
        if slot == length:
            slot = 0
    head["sum1"] = sum1
    head["sum2"] = sum2


def close_candle(
    params: Record, head: Record, closes: Array, pair: int, rows: Array, work: Record, number: int
) -> None:
    """Close the forming candle: write its row, take its close into RSI and bands; the next bucket may open."""
    write_row(rows[work["rows"]], params, head, pair, number)
    work["rows"] += 1
    close = head["close"]
    smooth(params, head, close)
    length = params["bb_period"] - 1
    first = pair * length
    closes[first + head["slot"]] = close
    head["slot"] += 1
    if head["slot"] == length:
        head["slot"] = 0
    head["closed"] += 1
    head["last_close"] = close
    head["flags"] = 0
    head["open_ns"] = head["end_ns"]
    sum_window(params, head, closes, first)


def reach(
    params: Record, head: Record, closes: Array, pair: int, bucket_ns: int, rows: Array, work: Record, number: int
) -> bool:
    """Close everything before the bucket, flat candles included, so that it may open.

    The bucket is not before `open_ns`.
    """
    timeframe_ns = params["timeframe_ns"]
    if head["end_ns"] > head["open_ns"] and bucket_ns > head["open_ns"]:
        if work["rows"] == rows.size:
            return False
        close_candle(params, head, closes, pair, rows, work, number)
    if head["open_ns"] == NEVER or head["open_ns"] == bucket_ns:
        return True
    if (bucket_ns - head["open_ns"]) // timeframe_ns > params["missing_limit"]:
        work["segments"] += begin_segment(head, WHY_MISSING)
        return True
    while head["open_ns"] < bucket_ns:
        if work["rows"] == rows.size:
            return False
        set_forming(head, head["open_ns"], timeframe_ns, head["last_close"])
        close_candle(params, head, closes, pair, rows, work, number)
    return True


def take_candle(
    params: Record, head: Record, closes: Array, candle: Record, pair: int, rows: Array, work: Record, number: int
) -> bool:
    """Fold a CANDLE record."""
    timeframe_ns = params["timeframe_ns"]
    open_ns = candle["open_ns"] - candle["open_ns"] % timeframe_ns
    if open_ns < head["open_ns"]:
        return True
    if not 0.0 < candle["close"] < TOO_HIGH:
        work["unknown"] += 1
        return True
    if not reach(params, head, closes, pair, open_ns, rows, work, number):
        return False
    if work["rows"] == rows.size:
        return False
    set_forming(head, open_ns, timeframe_ns, candle["open"])
    head["high"] = candle["high"]
    head["low"] = candle["low"]
    head["close"] = candle["close"]
    head["volume"] = candle["volume"]
    head["trades"] = candle["trades"]
    head["flags"] = candle["flags"] & PARTIAL
    head["number"] = number
    if candle["flags"] & FORMING:
        head["time_ns"] = open_ns
    else:
        head["time_ns"] = head["end_ns"] - 1
        close_candle(params, head, closes, pair, rows, work, number)
    return True


def open_bucket(
    params: Record,
    head: Record,
    closes: Array,
    pair: int,
    time_ns: int,
    price: float,
    rows: Array,
    work: Record,
    number: int,
) -> bool:
    """Open the bucket of a trade that lies after the forming one."""
    bucket_ns = time_ns - time_ns % params["timeframe_ns"]
    if not reach(params, head, closes, pair, bucket_ns, rows, work, number):
        return False
    unseen = head["open_ns"] == NEVER and head["why"] != WHY_START and head["why"] != WHY_MISSING
    set_forming(head, bucket_ns, params["timeframe_ns"], price)
    if unseen:  # the bucket began in a hole
        head["flags"] = PARTIAL
    return True
