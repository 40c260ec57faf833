"""The judge of the feeder's bench: it is content with what the market says, and with nothing else."""

from collections.abc import Callable

import numpy as np
import pytest

from bus.records import HOLE, RECORD, SIDE_BUY, SIDE_SELL, TRADE
from sandbox.market import Synthetic
from sandbox.trade_ids import TradeIds
from tools.bench.feeder_sandbox import dense
from tools.bench.feeder_truth import wrong

NOW_MS = 1_795_356_912_345
UNTIL_MS = NOW_MS + 3_000
PAIRS, RATE = 3, 300.0


def faithful(protocol: str, market: Synthetic) -> np.ndarray:
    """The records of a feeder that took everything from a second before now on, the pairs in turns of 200 ms."""
    ids = TradeIds(market)
    parts = []
    for from_ms in range(NOW_MS - 1_000, UNTIL_MS + 401, 200):
        for place, (pair, rules) in enumerate(market.rules.items()):
            trades = market.span(pair, from_ms, from_ms + 200)
            part = np.zeros(len(trades), RECORD)
            part["kind"], part["pair"] = TRADE, place
            part["exchange_ns"] = trades.ts_ms * 1_000_000
            part["ticks"], part["lots"] = trades.ticks, trades.units // rules.step_units
            part["side"] = np.where(trades.sell, SIDE_SELL, SIDE_BUY)
            if protocol != "coindcx":
                part["trade_id"] = ids.at(pair, from_ms) + np.arange(len(trades))
            parts.append(part)
    return np.concatenate(parts)


def places(records: np.ndarray, pair: int) -> np.ndarray:
    """Where the pair's records are."""
    return np.flatnonzero(records["pair"] == pair)


def lost(records: np.ndarray) -> np.ndarray:
    return np.delete(records, places(records, 1)[50])


def doubled(records: np.ndarray) -> np.ndarray:
    place = places(records, 2)[60]
    return np.insert(records, place, records[place])


def swapped(records: np.ndarray) -> np.ndarray:
    first, second = places(records, 0)[70:72]
    records[[first, second]] = records[[second, first]]
    return records


def another_price(records: np.ndarray) -> np.ndarray:
    records["ticks"][places(records, 0)[80]] += 1
    return records


def another_side(records: np.ndarray) -> np.ndarray:
    place = places(records, 0)[90]
    records["side"][place] = SIDE_BUY + SIDE_SELL - records["side"][place]
    return records


def hole(records: np.ndarray) -> np.ndarray:
    made = np.zeros(1, RECORD)
    made["kind"] = HOLE
    return np.concatenate((records, made))


CHANGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "one is missing": (lost, 1),
    "one is there twice": (doubled, 1),
    "two changed places": (swapped, 2),
    "one at another price: one missing, one too many": (another_price, 2),
    "one of the other side": (another_side, 2),
    "a hole": (hole, 1),
}


@pytest.mark.parametrize("protocol", ["binance", "kraken", "coindcx"])
def test_what_the_market_says_is_right_and_all_of_it_is_compared(protocol: str) -> None:
    market = dense(protocol, PAIRS, RATE, NOW_MS)
    records = faithful(protocol, market)
    happened, bad = wrong(protocol, market, records, NOW_MS, UNTIL_MS)
    assert bad == 0
    assert 3.5 * RATE / 2 < happened <= (records["exchange_ns"] <= UNTIL_MS * 1_000_000).sum()


@pytest.mark.parametrize(("change", "times"), CHANGES.values(), ids=CHANGES)
def test_what_is_otherwise_is_wrong(change: Callable[[np.ndarray], np.ndarray], times: int) -> None:
    market = dense("coindcx", PAIRS, RATE, NOW_MS)
    _, bad = wrong("coindcx", market, change(faithful("coindcx", market)), NOW_MS, UNTIL_MS)
    assert bad == times


def test_a_wrong_id_is_wrong_where_the_venue_has_ids() -> None:
    market = dense("kraken", PAIRS, RATE, NOW_MS)
    records = faithful("kraken", market)
    records["trade_id"][places(records, 1)[20]] += 1
    assert wrong("kraken", market, records, NOW_MS, UNTIL_MS)[1] == 2


def test_a_pair_of_which_nothing_was_published_has_lost_everything() -> None:
    market = dense("binance", PAIRS, RATE, NOW_MS)
    records = faithful("binance", market)
    there = len(market.span(list(market.rules)[1], NOW_MS, UNTIL_MS + 1))
    assert wrong("binance", market, records[records["pair"] != 1], NOW_MS, UNTIL_MS)[1] == there > 100


def test_the_first_millisecond_may_be_cut_by_the_reach_of_rest() -> None:
    market = dense("coindcx", PAIRS, RATE, NOW_MS)
    records = faithful("coindcx", market)
    mine = places(records, 0)
    second = int(np.flatnonzero(np.diff(records["exchange_ns"][mine]) == 0)[0]) + 1  # of two in one millisecond
    assert wrong("coindcx", market, np.delete(records, mine[:second]), NOW_MS, UNTIL_MS)[1] == 0
    assert wrong("coindcx", market, np.delete(records, mine[second]), NOW_MS, UNTIL_MS)[1] == 1


def test_a_dense_market_has_so_many_trades_a_second_and_a_short_past() -> None:
    market = dense("kraken", 30, 2_000.0, NOW_MS)
    there = sum(len(market.span(pair, NOW_MS, NOW_MS + 60_000)) for pair in market.rules)
    assert there / 60 == pytest.approx(2_000, rel=0.03)
    past = [market.span(pair, 0, NOW_MS).ts_ms for pair in market.rules]
    assert all(NOW_MS - 6_000 <= times[0] < NOW_MS - 4_000 for times in past)
