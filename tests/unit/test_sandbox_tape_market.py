"""Recorded trades as a market: what the file says is what is told, in its order; its place survives kill and stop."""

import csv
import gzip
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from bus.messages import Market, Start
from bus.records import BACKFILL, LATE, RECORD, TRADE
from bus.tape import TapeWriter
from core.clock import ManualClock
from core.errors import MisconfiguredError
from sandbox.clock import RealClock, TapeClock
from sandbox.tape_market import TapeMarket, read_recording
from sandbox.trades import text_of
from sandbox.world import FILE, LEAD_MS, TapeWorld, born_ms
from tests.shared_data import shared_data

PAIR = "B-BTC_USDT"
SECOND_NS = 1_000_000_000


def written(folder: Path, text: str, name: str = "trades.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "name", ["bybit_inverse_btcusd_20191001", "mtgox_btcusd_20131211", "binance_spot_xrpeth_20191011"]
)
def test_the_player_equals_the_file(name: str) -> None:
    path = shared_data(f"ticks/{name}.ticks.csv.gz")
    recording = read_recording(path, PAIR)
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    trades = recording.trades
    assert recording.unsorted == 0
    assert trades.ts_ms.tolist() == [int(row["ts_ns"]) // 1_000_000 for row in rows]
    assert [Decimal(text_of(ticks, recording.price_digits)) for ticks in trades.ticks.tolist()] == [
        Decimal(row["price"]) for row in rows
    ]
    assert [Decimal(text_of(units, recording.quantity_digits)) for units in trades.units.tolist()] == [
        Decimal(row["qty"]) for row in rows
    ]
    sides = [(row["side"], sell) for row, sell in zip(rows, trades.sell.tolist(), strict=True) if row["side"]]
    assert all((side == "sell") == sell for side, sell in sides)


def test_candles_of_the_player_equal_the_recorded_ones() -> None:
    name = "bybit_inverse_btcusd_20191001"
    market = TapeMarket(read_recording(shared_data(f"ticks/{name}.ticks.csv.gz"), PAIR), PAIR)
    bars = market.bars(PAIR, 60_000, 0, market.last_ms, 2000)
    with gzip.open(shared_data(f"candles/{name}.1m-from-ticks.csv.gz"), "rt") as file:
        rows = [row for row in csv.DictReader(file) if row["trades"] != "0"]
    digits = market.rules[PAIR].price_digits
    want = [(int(row["open_time_ms"]), *(float(row[key]) for key in ("open", "high", "low", "close"))) for row in rows]
    prices = (bars.open, bars.high, bars.low, bars.close)
    got = list(zip(bars.open_ms.tolist(), *((column / 10**digits).tolist() for column in prices), strict=True))
    assert got == want


def test_tick_and_step_are_the_smallest_decimals_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "ts_ms,price,qty\n1000,8299.5,3\n1000,8300,2.25\n1001,8.3e3,1e-3\n")
    recording = read_recording(path, "I-BTC_INR")
    assert (recording.price_digits, recording.quantity_digits) == (1, 3)
    assert recording.trades.ticks.tolist() == [82_995, 83_000, 83_000]
    assert recording.trades.units.tolist() == [3000, 2250, 1]
    rules = TapeMarket(recording, "I-BTC_INR").rules["I-BTC_INR"]
    assert (rules.base, rules.quote, rules.ecode, rules.step_units) == ("BTC", "INR", "I", 1)


def test_without_a_side_a_lower_price_is_a_sale(tmp_path: Path) -> None:
    path = written(tmp_path, "price,qty,ts_ns\n5,1,1000000\n4,1,2000000\n4,1,2000000\n6,1,3000000\n")
    assert read_recording(path, PAIR).trades.sell.tolist() == [False, True, True, False]


def test_trades_out_of_order_are_sorted_and_counted(tmp_path: Path) -> None:
    path = written(tmp_path, "ts_ms,price,qty\n5,1,1\n3,2,1\n5,3,1\n4,4,1\n")
    recording = read_recording(path, PAIR)
    assert recording.unsorted == 2
    assert recording.trades.ticks.tolist() == [2, 4, 1, 3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "ts_ms or ts_ns"),
        ("time,price,qty\n1,2,3\n", "'time,price,qty'"),
        ("ts_ms,price\n1,2\n", "ts_ms or ts_ns"),
        ("ts_ms,price,qty\n", "holds no trades"),
        ("ts_ms,price,qty\n1,2,3\nx,2,3\n", "line 3"),
        ("ts_ms,price,qty\n1,2,3\n1,2\n", "line 3"),
        ("ts_ms,price,qty\n1,0,3\n", "trade 1: price '0'"),
        ("ts_ms,price,qty\n1,2,3\n1,2,nan\n", "trade 2: qty 'nan'"),
        ("ts_ms,price,qty\n1,2,-3\n", "qty '-3'"),
        ("ts_ms,price,qty\n1,2,3\n-5,2,3\n", "line 3: '-5,2,3' is no trade"),
        ("ts_ms,price,qty\n1569888000000000000,2,3\n", "line 2: '1569888000000000000,2,3'"),
        ("ts_ns,price,qty\n99999999999999999999999,2,3\n", "ts_ns must be"),
        ("ts_ms;price;qty\n1;2;3\n", "'ts_ms;price;qty'"),
    ],
)
def test_a_bad_file_is_named_with_place_and_value(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(MisconfiguredError) as caught:
        read_recording(path, PAIR)
    assert said in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["missing.csv", "text.csv.gz", "missing.tape"])
def test_a_file_that_cannot_be_read_is_said_to_be_so(tmp_path: Path, name: str) -> None:
    written(tmp_path, "this is not gzip", "text.csv.gz")
    with pytest.raises(MisconfiguredError, match="SANDBOX_TAPE="):
        read_recording(tmp_path / name, PAIR)


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_archive_is_said_to_be_so(tmp_path: Path, damage: str) -> None:
    rows = "".join(f"{1_569_888_000_000 + n},{8000 + n % 7}.5,0.{n % 9 + 1}\n" for n in range(3000))
    whole = gzip.compress(("ts_ms,price,qty\n" + rows).encode())
    half = len(whole) // 2
    path = tmp_path / "trades.csv.gz"
    path.write_bytes(whole[:half] if damage == "cut" else whole[:half] + b"\xff" * 64 + whole[half + 64 :])
    with pytest.raises(MisconfiguredError, match="SANDBOX_TAPE="):
        read_recording(path, PAIR)


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    path = tmp_path / "trades.csv"
    path.write_bytes(b"\xef\xbb\xbfts_ms,price,qty\r\n1,2,3\r\n")
    assert len(read_recording(path, PAIR).trades) == 1


def test_before_and_after_the_tape_there_is_nothing(tmp_path: Path) -> None:
    market = TapeMarket(read_recording(written(tmp_path, "ts_ms,price,qty\n5000,1,1\n6000,2,1\n"), PAIR), PAIR)
    assert len(market.last(PAIR, 4999, 500)) == 0 and market.reach(PAIR, 4999) is None
    assert market.bars(PAIR, 60_000, 0, 4999, 500).open_ms.shape[0] == 0
    assert market.last(PAIR, 5000, 500).ts_ms.tolist() == [5000]
    assert market.last(PAIR, 10**12, 1).ts_ms.tolist() == [6000]
    assert len(market.span(PAIR, 6001, 10**12)) == 0 and len(market.span(PAIR, 7000, 5000)) == 0


def test_recorded_time_starts_at_the_join_runs_at_its_speed_and_ends() -> None:
    wall = ManualClock()
    clock = TapeClock(wall, 1_000, 50_000, 20.0)
    wall.advance(5 * SECOND_NS)
    assert clock.now_ms() == 1_000 and not clock.started and not clock.ended
    assert clock.join() and not clock.join()
    wall.advance(SECOND_NS)
    assert clock.now_ms() == 21_000
    clock.hold()
    wall.advance(60 * SECOND_NS)
    assert clock.now_ms() == 21_000 and clock.started and not clock.join()
    clock.release()
    wall.advance(SECOND_NS)
    assert clock.now_ms() == 41_000
    wall.advance(SECOND_NS)
    assert clock.now_ms() == 50_000 and clock.ended


def test_real_time_never_goes_back() -> None:
    wall = ManualClock()
    clock = RealClock(wall)
    before = clock.now_ms()
    wall.set_wall_ns(wall.wall_ns() - 3600 * SECOND_NS)
    assert clock.now_ms() == before
    assert not clock.join()


def world(folder: Path, wall: ManualClock, speed: float = 10.0, trades: int = 100) -> TapeWorld:
    return TapeWorld(folder, "day.csv", trades, (100_000, 500_000), speed, wall)


def test_a_killed_player_was_out_of_order_while_the_market_went_on(tmp_path: Path) -> None:
    wall = ManualClock()
    first = world(tmp_path, wall)
    assert first.clock.now_ms() == 100_000 - 10 * LEAD_MS and not first.resumed
    first.clock.join()
    first.keep()
    wall.advance(2 * SECOND_NS)
    again = world(tmp_path, wall)
    assert again.resumed and again.clock.started
    assert again.clock.now_ms() == first.clock.now_ms()
    wall.advance(3 * SECOND_NS)
    assert world(tmp_path, wall).clock.now_ms() == first.clock.now_ms()  # killed twice


def test_a_stopped_player_waits_where_it_was(tmp_path: Path) -> None:
    wall = ManualClock()
    first = world(tmp_path, wall)
    first.clock.join()
    first.keep()
    wall.advance(2 * SECOND_NS)
    first.pause()
    stood = first.clock.now_ms()
    wall.advance(3600 * SECOND_NS)
    again = world(tmp_path, wall, speed=1.0)
    assert again.clock.now_ms() == stood and not again.clock.started
    again.clock.join()
    wall.advance(SECOND_NS)
    assert again.clock.now_ms() == stood + 1000


def test_a_tape_that_ended_stays_ended(tmp_path: Path) -> None:
    wall = ManualClock()
    first = world(tmp_path, wall)
    first.clock.join()
    first.keep()
    wall.advance(3600 * SECOND_NS)
    first.pause()
    again = world(tmp_path, wall)
    again.clock.join()
    assert again.clock.ended


def test_another_recording_of_the_same_name_starts_anew(tmp_path: Path) -> None:
    wall = ManualClock()
    first = world(tmp_path, wall)
    first.clock.join()
    first.keep()
    again = world(tmp_path, wall, trades=99)
    assert not again.resumed and not again.clock.started


def test_a_synthetic_world_is_born_once(tmp_path: Path) -> None:
    wall = ManualClock()
    born = born_ms(tmp_path, 1, wall)
    wall.advance(SECOND_NS)
    assert born_ms(tmp_path, 1, wall) == born
    assert not list(tmp_path.glob("*.new"))


def test_a_damaged_world_file_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{half")
    with pytest.raises(MisconfiguredError, match=FILE):
        born_ms(tmp_path, 1, ManualClock())


def test_arrays_are_whole_numbers(tmp_path: Path) -> None:
    trades = read_recording(written(tmp_path, "ts_ms,price,qty,side\n1,2,3,buy\n"), PAIR).trades
    assert {column.dtype for column in trades[:3]} == {np.dtype(np.int64)}


def our_tape(folder: Path, pairs: list[str]) -> TapeWriter:
    writer = TapeWriter(folder, ManualClock(), "b" * 36)
    writer.open()
    markets = [Market(pair, "BTC", "USDT", "0.01", "0.00001", "0.00001", "5") for pair in pairs]
    writer.start(Start("coindcx", "sim-x", markets, "5", "5", False, 1))
    return writer


def records(rows: list[tuple[int, int, float, float, int, int]]) -> np.ndarray:
    """Rows of (pair, ms, price, quantity, side, flags)."""
    made = np.zeros(len(rows), RECORD)
    for record, (pair, ms, price, quantity, side, flags) in zip(made, rows, strict=True):
        record["kind"], record["pair"], record["exchange_ns"] = TRADE, pair, ms * 1_000_000 + 5
        record["price"], record["quantity"], record["side"], record["flags"] = price, quantity, side, flags
    return made


def test_a_tape_of_ours_is_played(tmp_path: Path) -> None:
    writer = our_tape(tmp_path, ["B-ETH_USDT", PAIR])
    writer.append(records([(1, 10, 81000.25, 0.00002, 1, 0), (0, 11, 3000.0, 1.0, 1, 0), (1, 12, 81000.5, 1.5, 2, 0)]))
    writer.append(records([(1, 11, 80000.0, 1.0, 2, LATE), (1, 12, 81000.5, 1.5, 2, BACKFILL)]))
    writer.close()
    segment = next(tmp_path.glob("*/*.tape"))
    with segment.open("ab") as file:
        file.write(b"half a record")
    for path in (tmp_path, segment.parent, segment):
        recording = read_recording(path, PAIR)
        assert recording.trades.ts_ms.tolist() == [10, 12, 12]
        assert (recording.price_digits, recording.quantity_digits) == (2, 5)
        assert recording.trades.ticks.tolist() == [8_100_025, 8_100_050, 8_100_050]
        assert recording.trades.units.tolist() == [2, 150_000, 150_000]
        assert recording.trades.sell.tolist() == [False, True, True]


def test_the_only_pair_of_a_tape_is_played_under_any_name(tmp_path: Path) -> None:
    writer = our_tape(tmp_path, ["XBTUSD"])
    writer.append(records([(0, 10, 1.0, 1.0, 1, 0)]))
    writer.close()
    assert len(read_recording(tmp_path, PAIR).trades) == 1


def test_a_tape_without_the_pair_names_those_it_has(tmp_path: Path) -> None:
    our_tape(tmp_path, ["B-ETH_USDT", "B-SOL_USDT"]).close()
    with pytest.raises(MisconfiguredError, match="B-ETH_USDT, B-SOL_USDT"):
        read_recording(tmp_path, PAIR)


@pytest.mark.parametrize("content", [b"", b"x" * 200, b"SCLPTAPE" + b"\0" * 100, b"SCLPTAPE\1\0\0\0" + b"\0" * 100])
def test_a_file_that_is_no_tape_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tape"
    path.write_bytes(content)
    with pytest.raises(MisconfiguredError, match="SANDBOX_TAPE"):
        read_recording(path, PAIR)


def test_an_empty_folder_is_no_tape(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match="no tape"):
        read_recording(tmp_path, PAIR)
