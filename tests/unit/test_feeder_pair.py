"""A pair between venue and tape: what is hard to meet by chance."""

from decimal import Decimal

import pytest

from bus.messages import Market, Start
from bus.records import BACKFILL, CANDLE, CANDLE_RECORD, FORMING, HOLE, HOLE_NO_OVERLAP, HOLE_TOO_LONG, RECORD, TRADE
from core.clock import NS_PER_S
from feeder import pair as pairs
from feeder.desk import known_rules, market, pair_table, plain
from feeder.guard import Counts
from feeder.merge import Shown
from feeder.packing import candle, hole, pack
from feeder.pair import PairFeed
from venues.venue import Bar, Rules, Trade, TradesAnswer

MINUTE = 60 * NS_PER_S
START = 1_700_000_040 * NS_PER_S // MINUTE * MINUTE
RULES = Rules("P", "P", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"), Decimal("0.00001"), Decimal(5))


def make(tape_clock=False, timeframe_ns=MINUTE):
    return PairFeed(0, RULES, timeframe_ns, 30 * NS_PER_S, tape_clock, Counts())


def trade(at_ns, price=100.0):
    return Trade("P", at_ns, price, 1.0, 1, 0, at_ns)


def bar(minute, close=100.0):
    return Bar(START + minute * MINUTE, close, close, close, close, 1.0)


def settle(pair, trades, bars=None, complete=False, flags=BACKFILL):
    answer = pair.read(TradesAnswer(list(trades), complete, 0))
    plan = pair.plan(answer)
    wanted = pair.wants_history(answer, plan)
    assert wanted == (bars is not None)
    now_ns = max([START + MINUTE, *(one.time_ns for one in trades), *(item.row[0] for item in pair.buffer)])
    return pair.settle(answer, plan, bars, flags, now_ns, 0)


def kinds(records):
    return [record[0] for record in records]


def begun(tape_clock=False):
    """A pair that is live with one trade on the tape."""
    pair = make(tape_clock)
    pair.join()
    settle(pair, [trade(START + 1)], [bar(-1)], complete=True)
    return pair


def test_after_a_restart_only_what_is_missing_is_taken():
    pair = make()
    records = [candle(0, bar(-1))]
    pair.restore([(TRADE, 1, 0, 0, START + 1, START, 100.0, 1.0, 10000, 100000, 0)], records)
    out = settle(pair, [trade(START + 1), trade(START + 2)])
    assert [(r[0], r[2], r[4]) for r in out] == [(TRADE, BACKFILL, START + 2)]


def test_candles_of_another_timeframe_on_the_tape_ask_for_a_new_history():
    pair = make(timeframe_ns=5 * MINUTE)
    pair.restore([], [candle(0, bar(-2)), candle(0, bar(-1))])
    assert pair.needs_history
    out = settle(
        pair, [trade(START + 1)], [Bar(START - START % (5 * MINUTE) - 5 * MINUTE, 1, 1, 1, 1, 1)], complete=True
    )
    assert kinds(out)[:2] == [HOLE, CANDLE] and not pair.needs_history


def test_candles_on_the_tape_and_no_trade_yet():
    pair = make()
    pair.restore([], [candle(0, bar(-2)), candle(0, bar(-1))])
    assert settle(pair, [trade(START - 1)]) == []
    out = settle(pair, [trade(START - 1), trade(START + 1)])
    assert kinds(out) == [TRADE]


def test_a_forming_row_on_the_tape_and_no_trade_cannot_be_gone_on_with():
    pair = make()
    pair.restore([], [candle(0, bar(-1)), candle(0, bar(0), forming=True)])
    out = settle(pair, [trade(START - 1), trade(START + 1)], [bar(-1), bar(0)])
    assert kinds(out)[0] == HOLE


def test_no_overlap_is_a_hole_with_a_new_history():
    pair = begun()
    pair.part()
    out = settle(pair, [trade(START + 3 * MINUTE), trade(START + 3 * MINUTE + 1)], [bar(n) for n in range(-9, 4)])
    assert kinds(out)[0] == HOLE and out[0][1] == HOLE_NO_OVERLAP
    assert (out[0][4], out[0][5]) == (START + 1, START + 3 * MINUTE)
    assert kinds(out).count(CANDLE) == 13 and out[-3][2] & FORMING


def test_more_than_five_hundred_missing_buckets_begin_anew():
    pair = begun()
    pair.part()
    late = START + 600 * MINUTE
    out = settle(pair, [trade(START + 1), trade(late)], [bar(n) for n in range(100, 600)])
    assert out[0][:2] == (HOLE, HOLE_TOO_LONG) and kinds(out).count(CANDLE) == 500


def test_a_jump_on_the_stream_says_so_and_asks_for_history():
    pair = begun()
    out = pair.stream(trade(START + 600 * MINUTE), 0)
    assert kinds(out) == [HOLE, TRADE] and pair.needs_history
    out = settle(pair, [trade(START + 600 * MINUTE)], [bar(n) for n in range(590, 601)])
    assert kinds(out) == [HOLE, *[CANDLE] * 11] and out[-1][2] & FORMING
    assert kinds(pair.stream(trade(START + 600 * MINUTE + 5), 0)) == [TRADE]


def test_a_player_may_jump():
    pair = begun(tape_clock=True)
    assert kinds(pair.stream(trade(START + 600 * MINUTE), 0)) == [TRADE]


def test_trades_are_held_back_no_further_than_the_buffer():
    pair = begun()
    pair.part()
    pair.join()
    out = []
    for n in range(pairs.BUFFER_MAX):
        out += pair.stream(trade(START + 10 + n), 0)
    assert kinds(out) == [HOLE, *[TRADE] * pairs.BUFFER_MAX]
    assert pair.live and pair.needs_history


def test_two_equal_trades_on_an_undisturbed_stream_are_two():
    pair = begun()
    assert kinds(pair.stream(trade(START + 5), 0)) == [TRADE]
    assert kinds(pair.stream(trade(START + 5), 0)) == [TRADE]


def test_a_stream_that_repeats_what_rest_brought_is_not_taken_twice():
    pair = begun()
    pair.part()
    pair.join()
    settle(pair, [trade(START + 1), trade(START + 2), trade(START + 3)])
    assert pair.stream(trade(START + 2), 0) == []
    assert pair.stream(trade(START + 3), 0) == []
    assert kinds(pair.stream(trade(START + 3), 0)) == [TRADE]


def test_other_steps_count_what_is_known_anew():
    pair = begun()
    pair.change_rules(Rules("P", "P", "BTC", "USDT", Decimal("0.001"), Decimal("0.0001"), Decimal(1), Decimal(5)))
    pair.part()
    assert pair.tail[-1][1:3] == (100_000, 10_000)
    assert kinds(settle(pair, [trade(START + 1), trade(START + 2)])) == [TRADE]


def test_records_have_the_layout_of_the_tape():
    import numpy as np

    data = pack([(TRADE, 1, 2, 3, 4, 5, 6.5, 7.5, 8, 9, 10), candle(7, bar(0, 2.5), True), hole(1, 2, 3, 4)])
    records = np.frombuffer(data, RECORD)
    assert records[0].tolist() == (TRADE, 1, 2, 3, 4, 5, 6.5, 7.5, 8, 9, 10)
    assert records[1:2].view(CANDLE_RECORD)[0]["close"] == 2.5 and records[1]["pair"] == 7
    assert records[2]["kind"] == HOLE and records[2]["exchange_ns"] == 3 and records[2]["received_ns"] == 4


def test_the_pair_table_keeps_every_place():
    other = Rules("Q", "Q", "ETH", "USDT", Decimal("0.1"), Decimal("0.1"), Decimal("0.1"), Decimal(5))
    table = pair_table([], [RULES, other])
    assert [item.pair for item in table] == ["P", "Q"]
    again = pair_table(table, [Rules("R", "R", "X", "USDT", Decimal(1), Decimal(1), Decimal(1), Decimal(1)), other])
    assert [(item.pair, item.active) for item in again] == [("P", False), ("Q", True), ("R", True)]
    assert isinstance(again[0], Market)


@pytest.mark.parametrize(
    ("value", "text"),
    [("1E-8", "0.00000001"), ("1E+2", "100"), ("0.10", "0.1"), ("5", "5"), ("100", "100"), ("0", "0")],
)
def test_decimals_as_text(value, text):
    assert plain(Decimal(value)) == text


def test_rules_as_a_message():
    message = market(RULES)
    assert (message.tick, message.step, message.max_quantity) == ("0.01", "0.00001", None)


def test_the_tape_knows_the_rules_when_the_venue_does_not_answer():
    start = Start("v", "b", [market(RULES)], "5", "5", False, 0)
    assert known_rules(start, ["P"]) == [
        Rules("P", "BTCUSDT", *[getattr(RULES, n) for n in RULES.__struct_fields__[2:]])
    ]
    assert known_rules(start, ["P", "Q"]) == [] and known_rules(None, ["P"]) == []


@pytest.mark.parametrize("buffered", [False, True])
def test_a_hole_where_rest_does_not_answer_goes_from_the_tapes_end_to_what_comes_next(buffered):
    pair = make()
    answer = pair.read(TradesAnswer([trade(START + 90 * NS_PER_S)], True, 0))
    pair.join()
    pair.settle(answer, pair.plan(answer), [], 0, START + 95 * NS_PER_S, 0)
    pair.part()
    pair.join()
    if buffered:
        pair.stream(trade(START + 98 * NS_PER_S), 0)
    (gap, *_) = pair.abandon(0, START + 100 * NS_PER_S)
    until_s = 98 if buffered else 100
    assert gap == hole(0, HOLE_NO_OVERLAP, START + 90 * NS_PER_S, START + until_s * NS_PER_S)


MS = NS_PER_S // 1000


def streamed(pair, *times):
    return [record[4] for at_ns in times for record in pair.stream(trade(at_ns), 0)]


def test_a_trade_on_a_whole_second_is_not_taken_for_one_told_in_seconds():
    """Its like a few milliseconds later is another trade: as the first behind a cut, and in an answer."""
    second = START + NS_PER_S
    pair = make()
    pair.join()
    settle(pair, [trade(START + 3 * MS)], [bar(-1)], complete=True)
    assert streamed(pair, START + 7 * MS, second) == [START + 7 * MS, second]
    pair.part()
    pair.join()
    out = settle(pair, [trade(START + 7 * MS), trade(second), trade(second + 5 * MS)])
    assert [record[4] for record in out] == [second + 5 * MS]
    assert streamed(pair, second + 9 * MS, second + 9 * MS) == [second + 9 * MS] * 2


def test_a_first_trade_on_a_whole_second_says_nothing_of_how_times_are_told():
    second = START + NS_PER_S
    pair = make()
    pair.join()
    settle(pair, [trade(second), trade(second)], [bar(-1)], complete=True)
    assert streamed(pair, second + 353 * MS, second + 353 * MS) == [second + 353 * MS] * 2


@pytest.mark.parametrize("restarted", [False, True])
def test_a_market_that_tells_whole_seconds_over_rest_doubles_nothing(restarted):
    """INR markets were seen so; their stream has milliseconds."""
    second = START + NS_PER_S
    pair = make()
    pair.join()
    taped = settle(pair, [trade(START)], [bar(-1)], complete=True)
    for at_ns in (second + 3 * MS, second + 700 * MS):
        taped += pair.stream(trade(at_ns), 0)
    assert [record[4] for record in taped if record[0] == TRADE] == [START, second + 3 * MS, second + 700 * MS]
    if restarted:
        pair = make()
        pair.restore([record for record in taped if record[0] == TRADE], [candle(0, bar(-1))])
    pair.part()
    pair.join()
    out = settle(pair, [trade(START), trade(second), trade(second), trade(second + 2 * NS_PER_S)])
    assert [record[4] for record in out] == [second + 2 * NS_PER_S]
    assert streamed(pair, second + 2 * NS_PER_S + 123 * MS, second + 4 * NS_PER_S) == [second + 4 * NS_PER_S]


def test_one_finer_time_among_whole_seconds_changes_nothing():
    """As of two servers behind one address, or of a market that was told otherwise before."""
    shown = Shown()
    shown.add([(START + n * NS_PER_S + (3 * MS if n == 5 else 0), 1, 1, 1, 0) for n in range(20)])
    assert shown.unit_ns == NS_PER_S
    shown.add([(START + n * NS_PER_S + 3 * MS, 1, 1, 1, 0) for n in range(20, 40)])
    assert shown.unit_ns == MS


@pytest.mark.parametrize(
    ("times", "unit_ns"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([0, 0, 1000], 0, id="two whole seconds say nothing"),
        pytest.param([0, 1000, 2000], NS_PER_S, id="three do"),
        pytest.param([0, 1000, 2000, 2001], MS, id="a finer one among few"),
        pytest.param([3], MS, id="one that is finer"),
    ],
)
def test_what_a_source_has_shown(times, unit_ns):
    one_by_one, at_once = Shown(), Shown()
    rows = [(START + at_ms * MS, 1, 1, 1, 0) for at_ms in times]
    at_once.add(rows)
    for row in rows:
        one_by_one.add([row])
    assert one_by_one.unit_ns == at_once.unit_ns == unit_ns
