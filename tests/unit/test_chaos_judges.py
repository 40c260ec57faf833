"""The judges of the kill rounds find what is wrong, and nothing where nothing is."""

import sqlite3
import struct
from collections import Counter
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from bus.messages import Entry, EquityEvent, FillEvent, SignalEvent, SpanEvent, StateEvent, TradeEvent, TraderEvent
from sandbox.market import Synthetic
from tests.chaos.findings import differences
from tests.chaos.judge_decisions import judge_trading_on
from tests.chaos.judge_ledger import equities_beside_sums, judge_candles
from tests.chaos.judge_logs import judge_logs
from tests.chaos.judge_market import HELD_MS, Row, Story, compare, compare_candles, needless, rows_of
from tests.chaos.judge_updates import judge_updates, spoken_of
from tests.chaos.listener import HEAD, UPDATE, Heard, Jump, Listener
from tests.chaos.schedule import KINDS, LONGEST_STOP_S, STAGES, schedule
from tests.pipeline.audit import reference
from tests.reference.read_tape import KIND_TRADE, Segment
from tests.reference.slow_strategy import Market, Trade
from tests.unit import storage_samples as samples

BORN_MS = 1_795_000_000_000
PAIR = "B-BTC_USDT"
MARKET = Synthetic(5, BORN_MS)
SENT = rows_of(MARKET, PAIR, BORN_MS, BORN_MS + 30_000)
UNTIL_MS = SENT[-1][0]


def story(rows: list[Row], **fields: object) -> Story:
    return Story(list(enumerate(rows)), **fields)  # type: ignore[arg-type]


# --- the tape


def test_the_market_itself_is_right() -> None:
    assert len(SENT) > 100
    assert compare(PAIR, story(SENT), MARKET, UNTIL_MS) == ([], 0)


def test_a_tape_that_begins_inside_a_moment_is_right() -> None:
    place = next(n for n in range(1, len(SENT)) if SENT[n][0] == SENT[n - 1][0])
    assert compare(PAIR, story(SENT[place:]), MARKET, UNTIL_MS) == ([], 0)


TAMPERED = {
    "a trade is missing": (SENT[:40] + SENT[41:], "1 trades are missing before it"),
    "a trade stands twice": (SENT[:40] + SENT[39:], "told again"),
    "ten trades come again": (SENT[:50] + SENT[40:], "told again, 10 trades late"),
    "a trade was never made": ([*SENT[:40], (SENT[40][0], 1, 1, 1), *SENT[40:]], "the market never traded it"),
    "the end is missing": (SENT[:-5], "5 trades until"),
    "there is nothing": ([], "no trade on the tape"),
}


@pytest.mark.parametrize(("rows", "said"), TAMPERED.values(), ids=TAMPERED)
def test_what_is_wrong_with_a_tape_is_found(rows: list[Row], said: str) -> None:
    wrong, _ = compare(PAIR, story(rows), MARKET, UNTIL_MS)
    assert len(wrong) == 1
    assert said in wrong[0]


def test_what_a_hole_names_may_be_missing() -> None:
    hole = {40: [(SENT[39][0], SENT[60][0])]}
    assert compare(PAIR, story(SENT[:40] + SENT[60:], holes=hole), MARKET, UNTIL_MS) == ([], 20)


def test_what_lies_beside_a_hole_may_not() -> None:
    hole = {40: [(SENT[39][0], SENT[50][0])]}
    wrong, _ = compare(PAIR, story(SENT[:40] + SENT[60:], holes=hole), MARKET, UNTIL_MS)
    assert len(wrong) == sum(1 for row in SENT[40:60] if row[0] > SENT[50][0])


LONG = [row[0] for row in rows_of(MARKET, PAIR, BORN_MS, BORN_MS + 120_000)]  # 500 are the most that a venue tells
HOLES: dict[str, tuple[dict[int, list[tuple[int, int]]], int]] = {
    "none": ({}, 0),
    "of a moment": ({40: [(SENT[39][0], SENT[60][0])]}, 1),
    "of no time at all": ({40: [(SENT[39][0], SENT[39][0])]}, 1),
    "before the first trade": ({0: [(SENT[0][0], SENT[5][0])]}, 1),
    "behind the last one": ({len(SENT): [(SENT[-1][0], SENT[-1][0] + 5_000)]}, 1),
    "the venue tells just all of it": ({40: [(LONG[0] - 1, LONG[499] - HELD_MS)]}, 1),
    "the venue tells it no more": ({40: [(LONG[0] - 1, LONG[499] + 1 - HELD_MS)]}, 0),
    "of an outage of two minutes": ({40: [(LONG[0], LONG[-1])]}, 0),
    "that and one of a moment": ({40: [(LONG[0], LONG[-1])], 50: [(SENT[49][0], SENT[50][0])]}, 1),
}


@pytest.mark.parametrize(("holes", "wrong"), HOLES.values(), ids=HOLES)
def test_a_hole_is_right_only_where_the_venue_tells_no_more(
    holes: dict[int, list[tuple[int, int]]], wrong: int
) -> None:
    assert len(needless(PAIR, story(SENT, holes=holes), MARKET)) == wrong


def test_a_candle_of_history_is_held_against_the_trades() -> None:
    scale = 10.0 ** MARKET.rules[PAIR].price_digits
    open_ms = BORN_MS // 5_000 * 5_000 + 5_000
    prices = [row[1] / scale for row in SENT if open_ms <= row[0] < open_ms + 5_000]
    right = (prices[0], max(prices), min(prices), prices[-1])
    assert compare_candles(PAIR, story([], candles=[(0, open_ms, right)]), MARKET, 5_000) == []
    wrong = (prices[0], max(prices), min(prices), prices[-1] + 0.5)
    assert len(compare_candles(PAIR, story([], candles=[(0, open_ms, wrong)]), MARKET, 5_000)) == 1


# --- update/


def record(number: int, received_ns: int = 0) -> bytes:
    return struct.pack("<BBHIqq40s", KIND_TRADE, 1, 0, 0, 1_000 + number, received_ns, b"")


def update(number: int, rsi: float = 50.0) -> bytes:
    return record(number) + struct.pack("<Qd48s", number, rsi, b"")


def tape(count: int) -> list[Segment]:
    return [Segment(0, [record(number) for number in range(count)], [PAIR], {}, Decimal(5))]


def heard(*frames: tuple[int, int]) -> Heard:
    """Frames (first, last) with an update under each number."""
    found = Heard()
    for first, last in frames:
        found.frame(1, first, last - first + 1, b"".join(update(number) for number in range(first, last + 1)))
    return found


STOPPED_NS = 1 << 40


def test_one_update_a_trade_is_right() -> None:
    assert judge_updates(tape(10), heard((0, 4), (5, 9)), STOPPED_NS).ok


def test_the_same_told_again_by_the_next_process_is_right() -> None:
    found = heard((0, 6), (4, 9))
    found.jumps.append(Jump(6, 4, 100, 101))
    assert judge_updates(tape(10), found, STOPPED_NS).ok
    assert found.again == 3


def test_another_content_under_a_number_is_found() -> None:
    found = heard((0, 9))
    found.frame(1, 4, 1, update(4, rsi=51.0))
    assert "two contents" in judge_updates(tape(10), found, STOPPED_NS).wrong[0]


def test_a_jump_inside_one_process_is_found() -> None:
    found = heard((0, 9))
    found.jumps.append(Jump(9, 4, 100, 100))
    assert "process 100 went on at 4 after 9" in judge_updates(tape(10), found, STOPPED_NS).wrong[0]


def test_a_trade_without_update_is_found_unless_nobody_was_connected() -> None:
    found = heard((0, 4), (7, 9))
    assert len(judge_updates(tape(10), found, STOPPED_NS).wrong) == 2
    found.jumps.append(Jump(4, 7, 100, 101))
    assert judge_updates(tape(10), found, STOPPED_NS).ok


def test_trades_that_nobody_spoke_of_for_too_long_are_found() -> None:
    found = heard((0, 4), (7, 9))
    found.jumps.append(Jump(4, 7, 100, 101))
    for seconds, ok in ((90, True), (91, False)):
        records = [record(number) for number in range(10)]
        records[6] = records[6][:8] + struct.pack("<q", 1_005 + seconds * 10**9) + records[6][16:]
        said = judge_updates([Segment(0, records, [PAIR], {}, Decimal(5))], found, STOPPED_NS)
        assert said.ok is ok and (ok or "nobody spoke of the trades of 91 s" in said.wrong[-1])


def test_an_update_without_a_trade_or_about_another_one_is_found() -> None:
    assert "update 9 has no trade" in judge_updates(tape(9), heard((0, 9)), STOPPED_NS).wrong[0]
    found = heard((0, 8))
    found.frame(1, 9, 1, record(7) + struct.pack("<Qd48s", 9, 50.0, b""))
    assert "about another trade" in judge_updates(tape(10), found, STOPPED_NS).wrong[0]


def test_a_frame_that_leaves_a_trade_out_is_found() -> None:
    found = heard((0, 8))
    found.frame(1, 9, 1, b"")
    assert "covered 9" in judge_updates(tape(10), found, STOPPED_NS).wrong[0]


def test_the_listener_knows_a_new_process_by_its_heartbeat(tmp_path) -> None:
    listener = Listener(tmp_path)
    frame = [HEAD.pack(UPDATE, 0, 1, 0, 0, 5), b"".join(update(n) for n in range(5))]
    again = [HEAD.pack(UPDATE, 0, 1, 3, 0, 2) + b"".join(update(n) for n in (3, 4))]
    listener.take_beat(100)
    listener.take(frame)
    listener.take(again)  # before it is known who speaks
    listener.take_beat(101)
    listener.take_beat(102)
    listener.take(again)
    assert [(jump.pid, jump.then) for jump in listener.heard.jumps] == [(100, 101), (100, 102)]


# --- the table of candles

SECOND_NS = 10**9


def trade_at(number: int, seconds: float, price: str) -> Trade:
    return Trade(number, PAIR, int(seconds * SECOND_NS), Decimal(price), Decimal(2))


# Two candles of five seconds; the third one begins with the last record.
TRADED = [trade_at(0, 1, "10"), trade_at(1, 4, "12"), trade_at(2, 6, "11"), trade_at(3, 9, "9"), trade_at(4, 11, "10")]
FIRST = (0, 10.0, 12.0, 10.0, 12.0, 4.0, 2)
SECOND_PART = (5_000, 11.0, 11.0, 11.0, 11.0, 2.0, 1)
SECOND = (5_000, 11.0, 11.0, 9.0, 9.0, 4.0, 2)
THIRD_PART = (10_000, 10.0, 10.0, 10.0, 10.0, 2.0, 1)
# The rows of the table, the last record that update/ spoke of, what is wrong with it.
TABLES: dict[str, tuple[list[tuple[float, ...]], int, list[str]]] = {
    "all of the tape": ([FIRST, SECOND, THIRD_PART], 4, []),
    "the feeder went on while the stages ended": ([FIRST, SECOND_PART], 2, []),
    "a closed candle as it was before": ([FIRST, SECOND_PART, THIRD_PART], 4, ["the candle of 5000 is"]),
    "the last closed candle as it was before": ([FIRST, SECOND_PART], 4, ["the candle of 5000 is"]),
    "a candle is missing": ([SECOND, THIRD_PART], 4, ["the candle of 0 is not in the table"]),
    "a candle that was never traded": ([(-5_000, *FIRST[1:]), FIRST, SECOND_PART], 2, ["a candle of -5000"]),
}


@pytest.mark.parametrize(("rows", "last", "wrong"), TABLES.values(), ids=TABLES)
def test_candles_are_those_of_the_tape_that_was_spoken_of(
    tmp_path: Path, rows: list[tuple[float, ...]], last: int, wrong: list[str]
) -> None:
    with closing(sqlite3.connect(tmp_path / "bot_data.db")) as file, file:
        file.execute("CREATE TABLE candles (time, open, high, low, close, volume, trades, pair)")
        file.executemany(f"INSERT INTO candles VALUES (?, ?, ?, ?, ?, ?, ?, '{PAIR}')", rows)
    folded = spoken_of([*TRADED], heard((0, last)))
    result = reference(folded, {PAIR: Market()}, Decimal(5), [], {"TIMEFRAME": "5s"})
    found = judge_candles(tmp_path, result, folded)
    assert [text in line for line, text in zip(found.wrong, wrong, strict=True)] == [True] * len(wrong)


# --- trading on


def entry(action: str = "enter", outcome: str = "approved") -> SignalEvent:
    return SignalEvent(samples.at(7), PAIR, action, "mean_reversion", 1.0, 2.0, 3.0, outcome, "scalp-1")


def span(kind: str, first: int, last: int = -1, why: str = "updates are 2 s behind the trades") -> SpanEvent:
    return SpanEvent(samples.at(first), kind, first, last, why)


def state(state: str) -> StateEvent:
    return StateEvent(samples.at(9), state, "operator", "", "")


AWAY = span("blind", 3, 4, "not followed while the trader was away")
NO_ENTRY = "no order to enter was approved behind entry 2"
# What the journal has behind an entry and its second entry; what is wrong with it, by beginnings.
ENDS: dict[str, tuple[list[TraderEvent], list[str]]] = {
    "an entry": ([entry()], []),
    "an entry between spans that are over": (
        [span("degraded", 5), AWAY, span("degraded", 5, 6), entry(), span("blocked", 8), span("blocked", 8, 9)],
        [],
    ),
    "nothing": ([], [f"{NO_ENTRY}; the last one: record 7 ("]),
    "an exit alone": ([entry("exit")], [NO_ENTRY]),
    "a refusal alone": ([entry(outcome="refused:blocked")], [NO_ENTRY]),
    "blind for ever": ([AWAY], [NO_ENTRY]),
    "degraded for ever": ([span("degraded", 5)], ["degraded since record 5 (", NO_ENTRY]),
    "blocked since the entry": ([entry(), span("blocked", 8)], ["blocked since record 8 ("]),
    "blocked for two reasons, of which one is over": (
        [span("blocked", 5, why="disk"), span("blocked", 5, why="clock"), span("blocked", 5, 6, "disk"), entry()],
        ["blocked since record 5 (2023-11-14T22:14:05.000Z): clock"],
    ),
    "degraded again at another record": (
        [span("degraded", 5), span("degraded", 5, 6), entry(), span("degraded", 8)],
        ["degraded since record 8 ("],
    ),
    "paused for ever": ([state("active"), state("paused")], ["paused since record 9 (", NO_ENTRY]),
    "paused and lifted": ([state("paused"), state("active"), entry()], []),
}


@pytest.mark.parametrize(("events", "wrong"), ENDS.values(), ids=ENDS)
def test_a_bot_that_trades_on_enters_and_has_no_span_open(events: list[TraderEvent], wrong: list[str]) -> None:
    entries = [Entry(number, event) for number, event in enumerate([entry(), entry(), *events], start=1)]
    found = judge_trading_on(entries, after=2)
    assert [text.startswith(begin) for text, begin in zip(found.wrong, wrong, strict=True)] == [True] * len(wrong)


def test_a_bot_that_never_entered_does_not_trade_on() -> None:
    assert judge_trading_on([Entry(1, AWAY)], after=1).wrong[0].endswith("the last one: never")


# --- lists, and the schedule


def test_differences_name_the_place_and_the_count() -> None:
    assert differences("row", [1, 2, 3], [1, 2, 3]) == []
    assert differences("row", [1, 5, 3], [1, 2, 3]) == ["row 1: found 5, expected 2"]
    assert differences("row", [1], [1, 2])[0] == "row: 1 found, 2 expected"


def test_the_same_seed_makes_the_same_schedule() -> None:
    assert schedule(4, 50) == schedule(4, 50)
    assert schedule(4, 50) != schedule(5, 50)


def test_a_schedule_has_every_kind_and_every_stage_and_is_lifted() -> None:
    acts = [act for step in schedule(1, 400) for act in step.acts]
    assert len(acts) == 400
    assert {act.kind for act in acts} == set(KINDS)
    assert set(STAGES) <= {act.target for act in acts if act.kind == "kill"}
    assert all(0 < act.seconds <= LONGEST_STOP_S for act in acts if act.kind == "stop")
    said = Counter(act.target for act in acts if act.kind == "command")
    assert said["resume"] > 0.5 * (said["pause"] + said["flatten"])


def bought_and_sold(*realized: str) -> list[Entry]:
    """A coin for 100 and its sale for 101; rows of equity behind the purchase, the fill of the sale and its end."""

    def fill(number: int, side: str, price: str) -> FillEvent:
        return FillEvent(
            samples.at(number), number, "scalp-1", f"v{number}", samples.PAIR, side, price, "1", "0", "", 0
        )

    def row(number: int, balance: str, told: str) -> EquityEvent:
        return EquityEvent(samples.at(number), number, balance, "0", "0", told)

    trade = TradeEvent(samples.at(5), 1, samples.PAIR, "sell", "101", "1", "0", "1", "", "", "scalp-1")
    events = [fill(1, "buy", "100"), row(2, "900", realized[0]), fill(3, "sell", "101"), row(4, "1001", realized[1])]
    return [Entry(n, event) for n, event in enumerate([*events, trade, row(6, "1001", realized[2])], start=1)]


@pytest.mark.parametrize(
    ("realized", "upto", "wrong"),
    [
        pytest.param(("0", "0", "1"), 6, [], id="each row at its place"),
        pytest.param(("0", "0", "1"), 5, [], id="looked at before the row behind the trade"),
        pytest.param(("0", "1", "1"), 6, ["entry 4"], id="a profit before its trade"),
        pytest.param(("0", "0", "0"), 6, ["entry 6"], id="a profit that is missing"),
    ],
)
def test_equity_is_what_fills_and_trades_before_it_make(realized: tuple[str, ...], upto: int, wrong: list[str]) -> None:
    found = equities_beside_sums(bought_and_sold(*realized)[:upto], Decimal(1000))
    assert [text.split(":")[0] for text in found] == wrong


# --- logs

KILLED = "12:00 ERROR feeder (process 7) runs but was not heard for 5.2 s: killed, to be started again"
LOOP = "12:00 ERROR storage died 3 times in a row within 10 s of its start (it was killed each time): it is started"


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        pytest.param(["12:00 INFO all is well"], 0, id="nothing"),
        pytest.param([KILLED], 0, id="a process that was stopped is killed"),
        pytest.param([KILLED.replace("7", "8")], 1, id="a process that nobody stopped is killed"),
        pytest.param([KILLED.replace("feeder", "trader")], 1, id="another stage under that number"),
        pytest.param([LOOP], 0, id="as often as it was killed"),
        pytest.param([LOOP.replace("3 times", "4 times")], 1, id="more often than it was killed"),
        pytest.param([KILLED, LOOP.replace("storage", "feeder").replace("3", "1")], 0, id="killed by the watchdog"),
        pytest.param(["12:00 ERROR the disk", "Traceback (most recent call last):"], 2, id="errors"),
    ],
)
def test_errors_that_nobody_caused_are_found_in_the_logs(lines: list[str], wrong: int) -> None:
    found = judge_logs([("watchdog.log", line) for line in lines], {("feeder", 7)}, Counter({"storage": 3}))
    assert len(found.wrong) == wrong, found.wrong
