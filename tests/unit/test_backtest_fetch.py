"""Fetching a venue's past: what answers become on the tape, the tape that grows, what a person is told and refused."""

import os
import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from backtest import cli
from backtest.bad_data import BadFile
from backtest.command_fetch import closing, time_ns
from backtest.fetch import NO_END, Judge, Numbered, Span, Unnumbered, pieces
from backtest.fetch_tape import Contents, GrowingTape, begin, begun_with
from backtest.fetching import Fetched
from backtest.tapes import FILE_BOOK
from bus.messages import Market, Start
from bus.records import HOLE, LATE, RECORD, TRADE
from core.clock import NS_PER_MS, NS_PER_S
from core.errors import MisconfiguredError
from core.paths import ROOT
from feeder.packing import Record, pack
from venues.errors import Retry
from venues.venue import Bar, PastAnswer, Rules, Trade, TradesAnswer

NS = 1_700_000_040 * NS_PER_S  # the start of a minute
MINUTE = 60 * NS_PER_S
RULES = Rules("BTCUSDT", "BTCUSDT", "BTC", "USDT", Decimal("0.1"), Decimal("0.001"), Decimal(0), Decimal(0))


def trade(number: int, seconds: float = 0, price: float = 100.0) -> Trade:
    return Trade("BTCUSDT", NS + int(seconds * NS_PER_S), price, 0.5, 1, number, 5)


def numbered(records: Sequence[Record] = (), to_ns: int = NO_END) -> Numbered:
    return Numbered(Judge(RULES, MINUTE), Span(NS, to_ns), records)


def take(way: Numbered, *trades: Trade, bad_rows: int = 0, venue_ns: int | None = None) -> list[Record]:
    return way.take(PastAnswer(list(trades), bad_rows), "binance", venue_ns)


def ids(records: Sequence[Record]) -> list[int]:
    """Ids of trades; a HOLE is -1, a CANDLE -2."""
    return [int(record[10]) if record[0] == TRADE else -1 if record[0] == HOLE else -2 for record in records]


# --- with ids ----------------------------------------------------------------------------------------


def test_what_was_asked_on_from_is_not_taken_twice_and_nothing_newer_is_the_end() -> None:
    way = numbered()
    assert ids(take(way, trade(7), trade(8, 1))) == [7, 8] and not way.ended
    assert ids(take(way, trade(8, 1), trade(9, 2))) == [9] and not way.ended
    assert take(way, trade(9, 2)) == [] and way.ended


def test_a_trade_is_received_when_it_happened_in_the_steps_of_its_market() -> None:
    (record,) = take(numbered(), trade(7, 1.5, 100.3))
    at_ns = NS + 1_500_000_000
    assert record == (TRADE, 1, 0, 0, at_ns, at_ns, 100.3, 0.5, 1003, 500, 7)


def test_a_market_without_trades_is_at_its_end() -> None:
    way = numbered()
    assert take(way) == [] and way.ended


def test_what_lies_before_the_begin_and_from_the_end_on_is_left_out() -> None:
    way = numbered(to_ns=NS + 10 * NS_PER_S)
    assert ids(take(way, trade(6, -1), trade(7, 0), trade(8, 9.999), trade(9, 10), trade(10, 9))) == [7, 8]
    assert way.ended


def test_an_answer_that_begins_behind_the_last_trade_leaves_a_hole() -> None:
    way = numbered()
    take(way, trade(7, 1))
    records = take(way, trade(20, 90), trade(21, 91))
    assert ids(records) == [-1, 20, 21]
    assert records[0][4:6] == (NS + NS_PER_S, NS + 90 * NS_PER_S) and way.missing == 0


def test_an_answer_that_begins_with_the_next_one_leaves_none() -> None:
    way = numbered()
    take(way, trade(7))
    assert ids(take(way, trade(8))) == [8]


def test_ids_that_are_missing_inside_an_answer_are_counted_and_no_hole() -> None:
    judge = Judge(RULES, MINUTE)
    way = Numbered(judge, Span(NS, NO_END), ())
    take(way, trade(7))
    assert ids(take(way, trade(7), trade(9), trade(12), bad_rows=1)) == [9, 12]
    assert way.missing == 2 and judge.notes() == ["1 rows are no trades: left out"]


def test_what_is_no_trade_and_what_lies_in_the_future_is_left_out_and_counted() -> None:
    judge = Judge(RULES, MINUTE)
    way = Numbered(judge, Span(NS, NO_END), ())
    rows = [trade(7), trade(8, 1, -1.0), trade(9, 2, float("nan")), trade(10)._replace(time_ns=0), trade(11, 9e6)]
    assert ids(take(way, *rows, trade(12, 3), venue_ns=NS + MINUTE)) == [7, 12]
    assert judge.notes() == ["3 rows are no trades: left out", "1 trades lie in the future: left out"]


def test_a_future_time_is_no_end_and_nothing_to_be_asked_on_from() -> None:
    way = numbered(to_ns=NS + MINUTE)
    assert ids(take(way, trade(7, 1), trade(8, 9e6), venue_ns=NS + MINUTE)) == [7] and not way.ended
    assert way.last is not None and (way.last.trade_id, way.last.time_ns) == (8, NS + NS_PER_S)
    assert ids(take(way, trade(8, 9e6), trade(9, 2), venue_ns=NS + MINUTE)) == [9]


def test_a_trade_before_the_forming_bucket_is_late() -> None:
    judge = Judge(RULES, MINUTE)
    records = take(Numbered(judge, Span(NS, NO_END), ()), trade(7), trade(8, 61), trade(9, 59))
    assert [record[2] for record in records] == [0, 0, LATE]
    assert judge.notes() == ["1 trades came after their candle was over: they are there, and count for nothing"]


def test_a_price_far_from_the_last_one_is_taken_at_once() -> None:
    judge = Judge(RULES, MINUTE)
    way = Numbered(judge, Span(NS, NO_END), ())
    assert ids(take(way, trade(7), trade(8, 1, 300.0), trade(9, 2), trade(10, 3, 30.0))) == [7, 8, 9, 10]
    assert judge.notes() == []


def test_a_venue_that_does_not_know_the_last_trade_is_asked_again() -> None:
    way = numbered(take(numbered(), trade(7)))
    with pytest.raises(Retry, match="no trade BTCUSDT 7, the last one fetched, is known any more"):
        take(way)
    assert ids(take(way, trade(7), trade(8))) == [8]


def test_a_venue_with_another_trade_of_that_id_is_refused() -> None:
    way = numbered(take(numbered(), trade(7)))
    with pytest.raises(BadFile, match="binance has another trade BTCUSDT 7"):
        take(way, trade(7, 1), trade(8, 2))


# --- without ids -------------------------------------------------------------------------------------


def recent(
    trades: Sequence[Trade],
    records: Sequence[Record] = (),
    *,
    complete: bool = False,
    to_ns: int = NS + 600 * NS_PER_S,
    open_hole: Record | None = None,
    timeframe_ns: int = MINUTE,
):
    judge = Judge(RULES, timeframe_ns)
    way = Unnumbered(judge, Span(NS + 5 * NS_PER_S, to_ns), (records, records), open_hole)
    answer = TradesAnswer([one._replace(trade_id=0) for one in trades], complete, 0)
    plan = way.plan(answer, judge.prints(answer.trades, None))
    return plan.hole, plan.candles, [(item.row[0] - NS) // NS_PER_S for item in plan.trades]


def span_ms(first: int, end: int) -> tuple[int, int]:
    return (NS + first * MINUTE) // NS_PER_MS, (NS + end * MINUTE) // NS_PER_MS


LATEST = [trade(0, 190 + n) for n in range(5)]
FROM = NS + 5 * NS_PER_S


def test_before_the_latest_trades_there_is_a_hole_with_candles_of_whole_buckets() -> None:
    assert recent(LATEST) == ((FROM, NS + 190 * NS_PER_S), span_ms(1, 3), [190, 191, 192, 193, 194])


def test_all_a_market_has_or_trades_that_reach_back_leave_no_hole() -> None:
    assert recent(LATEST, complete=True) == (None, None, [190, 191, 192, 193, 194])
    assert recent([trade(0, 4), trade(0, 5), trade(0, 6)]) == (None, None, [5, 6])


def test_an_end_before_the_latest_trades_is_candles_alone() -> None:
    assert recent(LATEST, to_ns=NS + 130 * NS_PER_S) == ((FROM, NS + 130 * NS_PER_S), span_ms(1, 2), [])


def test_a_first_trade_in_the_first_bucket_has_no_candles_before_it() -> None:
    assert recent([trade(0, 20)]) == ((FROM, NS + 20 * NS_PER_S), None, [20])


def bar(minute: int, close: float = 100.5) -> Bar:
    return Bar(NS + minute * MINUTE, 100.0, 101.0, 99.0, close, 1.0)


def test_buckets_without_a_candle_behind_the_first_one_are_flat() -> None:
    judge = Judge(RULES, MINUTE)
    records = judge.candles([bar(2), bar(5, 99.5)], NS + 7 * MINUTE)
    starts, closes, volumes = zip(*((record[4], record[8], record[9]) for record in records), strict=True)
    assert starts == tuple(NS + n * MINUTE for n in range(2, 7))
    assert closes == (100.5, 100.5, 100.5, 99.5, 99.5) and volumes == (1.0, 0.0, 0.0, 1.0, 0.0)
    assert judge.candles([], NS + 8 * MINUTE)[0][4:9] == (NS + 7 * MINUTE, 99.5, 99.5, 99.5, 99.5)
    assert Judge(RULES, MINUTE).candles([], NS + 9 * MINUTE) == []


def taped(*trades: Trade) -> list[Record]:
    judge = Judge(RULES, MINUTE)
    return judge.records(judge.prints([one._replace(trade_id=0) for one in trades], None))


def test_trades_go_on_from_the_tape_by_the_order_of_contents() -> None:
    known = [trade(0, 189, 99.0), *LATEST[:3]]
    assert recent(LATEST, taped(*known)) == (None, None, [193, 194])
    assert recent(LATEST, taped(*LATEST)) == (None, None, [])


def test_trades_that_do_not_reach_the_tape_leave_a_hole_from_its_end_on() -> None:
    found = recent(LATEST, taped(trade(0, 20), trade(0, 21)))
    assert found == ((NS + 21 * NS_PER_S, NS + 190 * NS_PER_S), span_ms(1, 3), [190, 191, 192, 193, 194])


def test_candles_behind_an_open_hole_go_on_where_they_end() -> None:
    judge = Judge(RULES, MINUTE)
    hole = judge.hole(FROM, NS + 170 * NS_PER_S)
    candles = judge.candles([bar(1), bar(2)], NS + 3 * MINUTE)
    found = recent([trade(0, 300)], [hole, *candles], open_hole=hole)
    assert found == ((FROM, NS + 300 * NS_PER_S), span_ms(3, 5), [300])


def test_candles_before_an_open_hole_are_of_no_interest_to_it() -> None:
    judge = Judge(RULES, MINUTE)
    records = judge.candles([bar(1)], NS + 2 * MINUTE) + taped(trade(0, 150))
    hole = judge.hole(NS + 150 * NS_PER_S, NS + 290 * NS_PER_S)
    found = recent([trade(0, 400)], [*records, hole], open_hole=hole)
    assert found == ((NS + 150 * NS_PER_S, NS + 400 * NS_PER_S), span_ms(3, 6), [400])


def test_candles_of_another_size_are_refused() -> None:
    judge = Judge(RULES, MINUTE)
    hole = judge.hole(FROM, NS + 170 * NS_PER_S)
    candles = judge.candles([bar(1), bar(2)], NS + 3 * MINUTE)
    with pytest.raises(BadFile, match="the tape has candles of 60 s, TIMEFRAME asks for 300 s"):
        recent(LATEST, [hole, *candles], open_hole=hole, timeframe_ns=5 * MINUTE)


PIECES = {
    "less than an answer holds": ((0, 120_000), 60_000, 60_000, 1000, [(0, 120_000)]),
    "more": ((0, 300_000), 60_000, 60_000, 3, [(0, 120_000), (120_000, 240_000), (240_000, 300_000)]),
    "only whole buckets": ((0, 600_000), 60_000, 180_000, 5, [(0, 180_000), (180_000, 360_000), (360_000, 540_000)]),
    "a bucket larger than an answer": ((0, 600_000), 60_000, 300_000, 2, [(0, 300_000), (300_000, 600_000)]),
}


@pytest.mark.parametrize(("span", "interval", "timeframe", "most", "wanted"), PIECES.values(), ids=PIECES)
def test_candles_are_asked_for_in_whole_buckets(span, interval, timeframe, most, wanted) -> None:
    found = pieces(span, interval, timeframe, most)
    assert found[: len(wanted)] == wanted
    assert found[0][0] == span[0] and found[-1][1] == span[1]
    assert all(one[1] == other[0] for one, other in pairwise(found))


# --- the tape ----------------------------------------------------------------------------------------

START = Start("binance", FILE_BOOK, [Market("BTCUSDT", "BTC", "USDT", "0.1", "0.001", "0", "0")], "10", "10", True, NS)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    begin(tmp_path / "a.tape", START, NS)
    return tmp_path / "a.tape"


def some_records() -> list[Record]:
    judge = Judge(RULES, MINUTE)
    records = judge.records(judge.prints([trade(1), trade(2, 1)], None))
    records += [judge.hole(NS + NS_PER_S, NS + 9 * NS_PER_S)]
    records += judge.candles([bar(1)], NS + 2 * MINUTE)
    return records


def test_a_tape_begins_whole_and_knows_what_it_is_about(out: Path) -> None:
    assert begun_with(out) == START and begun_with(out.with_name("b.tape")) is None
    assert sorted(out.parent.iterdir()) == [out]
    with GrowingTape(out) as tape:
        assert len(tape) == 1 and tape.tuples(0, 9) == [] and tape.open_hole() is None
        assert tape.contents().trades == 0
    with pytest.raises(BadFile, match="another fetch has just begun"):
        begin(out, START, NS)


def test_records_come_back_as_they_were(out: Path) -> None:
    records = some_records()
    with GrowingTape(out) as tape:
        tape.append(pack(records))
    with GrowingTape(out) as tape:
        assert pack(tape.tuples(-5, 99)) == pack(records) and not tape.cut_bytes
        assert pack(tape.tuples(3, 4)) == pack(records[2:3])
        found = tape.contents()
    assert (found.trades, found.candles, found.holes) == (2, 1, 1)
    assert (found.first_ns, found.last_ns, found.shown) == (NS, NS + NS_PER_S, [(NS + NS_PER_S, NS + 9 * NS_PER_S)])


ENDS = {"half a record": b"\2" + bytes(30), "zeros": bytes(64 * 70_000), "zeros and a half": bytes(64 * 3 + 7)}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_what_is_no_record_at_the_end_is_cut_off(out: Path, end: bytes) -> None:
    with GrowingTape(out) as tape:
        tape.append(pack(some_records()))
    whole = out.read_bytes()
    with out.open("ab") as file:
        file.write(end)
    with GrowingTape(out) as tape:
        assert (len(tape), tape.cut_bytes) == (5, len(end))
    assert out.read_bytes() == whole


def test_a_hole_is_open_until_a_trade_stands_behind_it_and_its_end_may_move(out: Path) -> None:
    records = some_records()
    with GrowingTape(out) as tape:
        tape.append(pack(records))
        assert tape.open_hole() == 3
        tape.end_hole(3, NS + 11 * NS_PER_S)
        assert tape.contents().shown == [(NS + NS_PER_S, NS + 11 * NS_PER_S)]
        tape.append(pack([records[3]] * 70_000))
        assert tape.open_hole() == 3
        tape.append(pack(records[:1]))
        assert tape.open_hole() is None


def test_holes_at_the_end_are_taken_off(out: Path) -> None:
    records = some_records()
    with GrowingTape(out) as tape:
        tape.append(pack(records[:3] + records[2:3]))
        tape.drop_last_holes()
        assert len(tape) == 3 and tape.tuples(0, 9) == records[:2]
        tape.append(pack(records[1:2]))
    assert np.fromfile(out, RECORD, offset=out.stat().st_size - 64)["kind"].tolist() == [TRADE]


def test_a_tape_is_written_by_one_at_a_time(out: Path) -> None:
    with GrowingTape(out), pytest.raises(BadFile, match="another fetch is writing"):
        GrowingTape(out)
    GrowingTape(out).__exit__()


# --- what is told and refused ------------------------------------------------------------------------


def test_the_closing_lines_say_what_is_there() -> None:
    found = Contents()
    assert closing(Path("a.tape"), Fetched(found, 0, [])) == ["a.tape: 0 trades (0 new); no holes"]
    found.trades, found.first_ns, found.last_ns = 5, NS, NS + NS_PER_S
    found.candles, found.holes, found.shown = 3, 2, [(NS, NS + NS_PER_S)]
    assert closing(Path("a.tape"), Fetched(found, 2, ["so it is"])) == [
        "a.tape: 5 trades (2 new), 2023-11-14T22:14:00.000Z to 2023-11-14T22:14:01.000Z, 3 candles; 2 holes",
        "hole: 2023-11-14T22:14:00.000Z to 2023-11-14T22:14:01.000Z, the venue has no trades of that time any more",
        "hole: and 1 more",
        "note: so it is",
    ]


TIMES = {
    "2023-11-14": 1_699_920_000_000,
    "2023-11-14T22:14": 1_700_000_040_000,
    "2023-11-14 22:14:00.5": 1_700_000_040_500,
    "2023-11-14T22:14:00Z": 1_700_000_040_000,
    "2023-11-15T03:44+05:30": 1_700_000_040_000,
}


@pytest.mark.parametrize(("text", "ms"), TIMES.items())
def test_a_time_is_utc_unless_it_says_otherwise(text: str, ms: int) -> None:
    assert time_ns("--from", text) == ms * NS_PER_MS


@pytest.mark.parametrize("text", ["", "yesterday", "2023-13-01", "1699920000000", "1969-12-31", "9999-01-01"])
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(MisconfiguredError, match=f"--to {text} is no"):
        time_ns("--to", text)


OTHER = {
    "another venue": (["--venue", "kraken"], "was begun with --venue binance, not kraken"),
    "another begin": (["--venue", "binance", "--from", "2023-11-15"], "was begun with --from 2023-11-14T22:14:00.000Z"),
    "an unknown venue": (["--venue", "binanec"], "VENUE=binanec is not allowed: sandbox, coindcx, binance or kraken"),
    "a pair that is none": (["--pair", "?"], "PAIRS=? is not allowed"),
    "an end before the begin": (["--to", "2023-11-14"], "--to 2023-11-14 is not after --from 2023-11-14T22:14"),
    "no time": (["--from", "soon"], "--from soon is no time: write 2026-11-01"),
}


@pytest.mark.parametrize(("more", "wanted"), OTHER.values(), ids=OTHER)
def test_what_does_not_fit_is_told_before_anybody_is_asked(
    out: Path, more: list[str], wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = out.read_bytes()
    assert cli.main(["fetch", str(out), "--from", "2023-11-14T22:14", *more]) == 2
    assert wanted in capsys.readouterr().err and out.read_bytes() == before


def test_an_out_that_is_no_tape_to_fetch_onto_is_told(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, half, bot, locked = (out.with_name(f"{name}.tape") for name in ("text", "half", "bot", "locked"))
    text.write_text("precious")
    half.write_bytes(out.read_bytes()[:100])
    begin(bot, Start("binance", "sim-binance", START.markets, "10", "10", False, NS), NS)
    locked.mkdir()
    wanted = {
        text: "is there already and is no tape",
        half: "the header of",
        bot: "is a tape that the bot recorded",
        locked: "is there already and is no tape",
        out.with_name("a.csv"): "must end in .tape",
        out.parent / "none" / "a.tape": "there is no folder",
    }
    for path, words in wanted.items():
        assert cli.main(["fetch", str(path), "--from", "2023-11-14T22:14", "--venue", "binance"]) == 2
        told = capsys.readouterr().err
        assert words in told and path.name in told
    assert text.read_text() == "precious" and not os.listdir(locked)


def test_a_venue_that_cannot_be_reached_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VENUE_REST_URL", "http://127.0.0.1:1")
    assert cli.main(["fetch", str(tmp_path / "a.tape"), "--from", "2023-11-14", "--venue", "binance"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert "Connection refused; asked again in 0.5 s (1 of 4)" in told[0] and len(told) == 4
    assert told[-1].endswith("Connection refused") and not os.listdir(tmp_path)


def test_a_run_loads_nothing_of_venues_adapters() -> None:
    program = (
        "import sys, backtest.cli, backtest.command_run; print('requests' in sys.modules, 'asyncio' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
