"""The feeder through cuts: every ten seconds for five minutes its venue breaks every connection off.

What it publishes is compared with what happened: with Binance's and Kraken's protocol at 200 trades/s, and CoinDCX's at
20, it must be the same, as if nothing had been. CoinDCX at 200/s with cuts that REST does not bridge (trades that
happened while the feeder was away are more than the 500 that the venue still has): nothing twice, a hole on record
wherever something is missing, and the close of every candle that of the venue.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bus.records import CANDLE, CANDLE_RECORD, HOLE, TRADE
from tools.bench.feeder_processes import Venue, feeding, venue, wrong
from tools.bench.figure import Figure, Options, figure

SECONDS, CUT_SECONDS = 300.0, 10.0
QUICK_SECONDS, QUICK_CUT_SECONDS = 4.0, 1.3
MINUTE_NS = 60_000_000_000
RATES = (("binance", 200), ("kraken", 200), ("coindcx", 20))
BEYOND_RATE = 200
FAR = 3_000  # trades that happen at once with a cut: six times CoinDCX's reach


class Judged(NamedTuple):
    """What was wrong, and how often connections were cut and holes are on record."""

    trades: int
    wrong: int
    doubled: int
    untold: int  # breaks without a hole
    closes: int  # candles whose close is another
    holes: int


def figures(options: Options) -> list[Figure]:
    """Trades wrong by protocol; then what CoinDCX may and may not lose."""
    seconds = options.seconds_or(SECONDS, QUICK_SECONDS)
    cut_s = QUICK_CUT_SECONDS if options.quick else CUT_SECONDS
    found = []
    for protocol, rate in RATES:
        with venue(protocol, 1) as made, feeding(made) as fed:
            made.say("wait")
            counts = made.say(f"trade {rate} {seconds} {cut_s}")
            records, _ = fed.published(sum(counts.values()))
            bad = wrong(protocol, made.pairs, counts, records)
        note = f"{sum(counts.values()):,} trades, cut every {cut_s:g} s"
        name = f"{protocol}, {rate} trades/s: published otherwise than happened"
        found.append(figure("feeder_cuts", name, "trades", [bad], most=0, note=note))
    return found + told(beyond(seconds, cut_s), f"coindcx, {BEYOND_RATE} trades/s beyond its reach")


def beyond(seconds: float, cut_s: float) -> Judged:
    """Cuts, each with more trades than CoinDCX's REST still has afterwards."""
    with venue("coindcx", 1) as made, feeding(made) as fed:
        made.say("wait")
        counts = made.say(f"trade {BEYOND_RATE} {seconds} {cut_s} {FAR}")
        records, _ = fed.published(sum(counts.values()))
        return judged(made, sum(counts.values()), records)


def judged(made: Venue, trades: int, records: np.ndarray) -> Judged:
    """Holds one pair's published records against what happened."""
    taken = records[records["kind"] == TRADE]
    numbers = taken["lots"].tolist()
    untold, last = 0, None
    for kind, lots in zip(records["kind"].tolist(), records["lots"].tolist(), strict=True):
        if kind == HOLE:
            last = None
        elif kind == TRADE:
            untold += last is not None and lots != last + 1
            last = lots
    happened = made.ask("closes")[made.pairs[0]]
    ours = closes(records)
    # The first candle may have begun before the feeder, the last is not over.
    other = sum(ours.get(at_ms * 1_000_000) != price for at_ms, price in happened[1:-1])
    missing = trades - len(set(numbers))
    doubled = len(numbers) - len(set(numbers))
    return Judged(trades, missing, doubled, untold, other, int((records["kind"] == HOLE).sum()))


def closes(records: np.ndarray) -> dict[int, float]:
    """Close of each minute as whoever folds the records has it: the last word on it counts."""
    found: dict[int, float] = {}
    candles = records.view(CANDLE_RECORD)
    for place, kind in enumerate(records["kind"].tolist()):
        if kind == CANDLE:
            found[int(candles[place]["open_ns"])] = float(candles[place]["close"])
        elif kind == TRADE:
            at_ns = int(records[place]["exchange_ns"])
            found[at_ns - at_ns % MINUTE_NS] = float(records[place]["price"])
    return found


def told(found: Judged, what: str) -> list[Figure]:
    """The figures of the run beyond reach."""
    note = f"{found.trades:,} trades, {found.wrong:,} of them out of reach, {found.holes} holes on record"
    rows: Sequence[tuple[str, str, int, dict[str, Any]]] = (
        ("doubled", "trades", found.doubled, {"most": 0, "note": note}),
        ("missing without a hole on record", "breaks", found.untold, {"most": 0}),
        ("closes of candles that differ", "candles", found.closes, {"most": 0}),
        ("holes on record", "holes", found.holes, {"least": 1}),
    )
    return [figure("feeder_cuts", f"{what}: {name}", unit, [value], **options) for name, unit, value, options in rows]
