"""The latest state of pairs as rows: forming candle, indicators and trigger prices, for the page and for storage."""

from bus.layouts import EXIT_TAKE_PROFIT, FORMING
from indicators.candles import write_row
from indicators.layout import HEAD, HEAD_WORDS, PARAMS, PARAMS_WORDS, ROW, Array
from indicators.triggers import buy_below_ticks, price_at, trigger_ticks


def describe(state: Array, wanted: Array, count: int, rows_out: Array) -> None:
    """Write a ROW for each of the first `count` pairs in `wanted` (int64) into `rows_out` (int64 words).

    FORMING in the row's flags tells that there is a forming candle; without one the row stands at the last close.
    """
    params = state[:PARAMS_WORDS].view(PARAMS)[0]
    heads = state[PARAMS_WORDS : PARAMS_WORDS + params["pairs"] * HEAD_WORDS].view(HEAD)
    rows = rows_out.view(ROW)
    for i in range(count):
        pair = wanted[i]
        head = heads[pair]
        row = rows[i]
        write_row(row, params, head, pair, head["number"])
        if head["end_ns"] > head["open_ns"]:
            row["flags"] = head["flags"] | FORMING
        ticks = buy_below_ticks(params, head)
        if ticks > 0:
            row["buy_below"] = price_at(head, ticks)
        ticks = trigger_ticks(params, head, EXIT_TAKE_PROFIT)
        if ticks > 0:
            row["sell_above"] = price_at(head, ticks)
