"""Converting: what goes through every format comes back the same to the bit, and OUT is whole or not there."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from backtest import cli
from backtest.command_convert import aside
from backtest.sources import open_source
from bus.messages import Market, Start
from bus.records import BACKFILL, CANDLE, HOLE, LATE, RECORD, START, TRADE
from bus.segment import SegmentHeader, pack_header, segment_name
from bus.tape_reader import TapeReader
from core.settings_load import from_texts
from tests.shared_data import shared_data

NS = 1_700_000_000_000_000_000
SETTINGS = from_texts({})
ROWS = "".join(
    f"{NS + n // 3},{100 + n % 7}.5,{n % 11 + 1}.00000001,{('buy', 'sell', '')[n % 3]},{n + 1}\n" for n in range(70_000)
)


def convert(*arguments: object) -> int:
    return cli.main(["convert", *map(str, arguments)])


def records_of(path: Path, **options: str) -> np.ndarray:
    chunks = list(open_source([path], SETTINGS, **options).chunks())
    numbers = [number for chunk in chunks for number in range(chunk.first, chunk.first + len(chunk.records))]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) and numbers[0] == 1
    return np.concatenate([chunk.records for chunk in chunks])


def written(folder: Path, text: str, name: str = "in.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_trades_come_back_from_tape_and_csv_to_the_bit(tmp_path: Path):
    path = written(tmp_path, f"ts_ns,price,qty,side,trade_id\n{ROWS}")
    names = ["a.tape", "b.csv", "c.csv.gz", "d.tape", "e.csv.gz"]
    before = path
    for name in names:
        assert convert(before, tmp_path / name) == 0
        before = tmp_path / name
    for name in names:
        assert np.array_equal(records_of(tmp_path / name), records_of(path)), name
    assert (tmp_path / "b.csv").read_bytes() == gzip.decompress((tmp_path / "e.csv.gz").read_bytes())
    assert (tmp_path / "c.csv.gz").read_bytes() == (tmp_path / "e.csv.gz").read_bytes()


@pytest.mark.parametrize("name", ["bybit_inverse_btcusd_20191001", "kraken_xbtusdt_20251110", "mtgox_btcusd_20131211"])
def test_recorded_trades_come_back_to_the_bit_and_make_the_recorded_candles(tmp_path: Path, name: str):
    path = shared_data(f"ticks/{name}.ticks.csv.gz")
    assert convert(path, tmp_path / "a.tape") == 0
    assert convert(tmp_path / "a.tape", tmp_path / "a.csv.gz") == 0
    assert np.array_equal(records_of(tmp_path / "a.tape"), records_of(path))
    assert np.array_equal(records_of(tmp_path / "a.csv.gz"), records_of(path))
    assert convert("--candles", tmp_path / "a.tape", tmp_path / "minutes.csv") == 0
    wanted = gzip.decompress(shared_data(f"candles/{name}.1m-from-ticks.csv.gz").read_bytes()).decode().splitlines()
    found = (tmp_path / "minutes.csv").read_text().splitlines()
    assert len(found) == len(wanted) and found[0] == "open_time_ms,open,high,low,close,volume"
    for ours, theirs in zip(found[1:], wanted[1:], strict=True):
        assert [float(cell) for cell in ours.split(",")] == [float(cell) for cell in theirs.split(",")[:6]]


def test_a_tape_is_read_by_the_reader_of_the_bus(tmp_path: Path):
    path = written(tmp_path, f"ts_ns,price,qty\n{NS},1.5,2\n{NS + 1},1.25,3\n")
    assert convert(path, tmp_path / "a.tape") == 0
    (tmp_path / "tape" / "5").mkdir(parents=True)
    shutil.copy(tmp_path / "a.tape", tmp_path / "tape" / "5" / segment_name(0))
    reader = TapeReader(tmp_path / "tape")
    ((_, start, records),) = reader.segments()
    reader.close()
    assert records["kind"].tolist() == [START, TRADE, TRADE] and records["exchange_ns"].tolist() == [NS, NS, NS + 1]
    assert start.markets[0].pair == "B-BTC_USDT" and start.taker_fee_bps == "5"


def test_a_tape_of_a_file_is_run_like_the_file(tmp_path: Path):
    path = written(tmp_path, f"ts_ns,price,qty\n{NS},1.5,2\n")
    assert convert(path, tmp_path / "a.tape") == 0
    of_file, of_tape = open_source([path], SETTINGS), open_source([tmp_path / "a.tape"], SETTINGS)
    assert of_tape.start == of_file.start and of_tape.connected and of_file.connected


def test_candles_are_made_of_buckets_and_the_empty_ones_are_flat(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    minute = 60_000_000_000
    rows = [(0, "5", "1"), (1, "7", "2"), (2, "4", "0.5"), (minute - 1, "6", "1"), (3 * minute, "8.5", "0.00000001")]
    path = written(tmp_path, "ts_ns,price,qty\n" + "".join(f"{ns},{price},{qty}\n" for ns, price, qty in rows))
    assert convert(path, tmp_path / "out.csv", "--candles") == 0
    assert (tmp_path / "out.csv").read_text().splitlines()[1:] == [
        "0,5,7,4,6,4.5",
        "60000,6,6,6,6,0",
        "120000,6,6,6,6,0",
        "180000,8.5,8.5,8.5,8.5,0.00000001",
    ]
    assert convert(path, tmp_path / "wide.csv", "--candles", "--set", "TIMEFRAME=5m") == 0
    assert (tmp_path / "wide.csv").read_text().splitlines()[1:] == ["0,5,8.5,4,8.5,4.50000001"]
    assert "5 trades as candles of 5m" in capsys.readouterr().out


def test_a_candle_over_several_chunks_is_one(tmp_path: Path):
    path = written(tmp_path, "ts_ns,price,qty\n" + "".join(f"{n},{n % 100 + 1},5000000000\n" for n in range(150_000)))
    assert convert(path, tmp_path / "out.csv", "--candles") == 0
    assert (tmp_path / "out.csv").read_text().splitlines()[1:] == ["0,1,100,1,100,750000000000000"]


def live_tape(folder: Path, pairs: int = 1, flags: int = 0, tick: str = "0.05") -> Path:
    """A tape with a candle, a hole and trades of each pair, one of them with flags."""
    markets = [Market(f"B-C{n}_USDT", f"C{n}", "USDT", tick, "0.001", "0", "0") for n in range(pairs)]
    records = np.zeros(3 + 2 * pairs, RECORD)
    records["kind"] = [START, CANDLE, HOLE, *[TRADE] * 2 * pairs]
    for at in range(3, len(records)):
        records[at] = (TRADE, 1, 0, (at - 3) % pairs, NS + at, NS + at, 20.05, 0.125, 401, 125, at)
    records["flags"][-1] = flags
    path = folder / "live.tape"
    start = Start("coindcx", "sim", markets, "5", "5", False, NS)
    path.write_bytes(pack_header(SegmentHeader.new(1, 0, NS, "", start)) + records.tobytes())
    return path


def test_what_has_no_place_in_a_file_of_trades_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert convert(live_tape(tmp_path, flags=LATE), tmp_path / "out.csv") == 0
    assert (tmp_path / "out.csv").read_text() == f"ts_ns,price,qty,side,trade_id\n{NS + 3},20.05,0.125,buy,3\n"
    assert "left out: 1 candles of the venue, 1 holes, 1 late trades" in capsys.readouterr().out
    assert convert(live_tape(tmp_path, flags=BACKFILL), tmp_path / "again.csv") == 0
    assert "note: some trades were refilled after a hole" in capsys.readouterr().out


def test_of_several_pairs_one_is_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tape = live_tape(tmp_path, pairs=2)
    assert convert(tape, tmp_path / "out.csv") == 2
    assert "the pairs are B-C0_USDT, B-C1_USDT: choose one with --pair" in capsys.readouterr().err
    assert convert(tape, tmp_path / "out.csv", "--pair", "B-C1_USDT") == 0
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 3


def test_tapes_are_joined_with_their_starts(tmp_path: Path):
    one = written(tmp_path, f"ts_ns,price,qty\n{NS},1,1\n", "one.csv")
    two = written(tmp_path, f"ts_ns,price,qty\n{NS + 5},2,1\n", "two.csv")
    assert convert(one, two, tmp_path / "both.tape") == 0
    assert records_of(tmp_path / "both.tape")["price"].tolist() == [1.0, 2.0]
    other = live_tape(tmp_path)
    assert convert(tmp_path / "both.tape", other, tmp_path / "all.tape") == 2 and not (tmp_path / "all.tape").exists()


REFUSED = {
    "an unknown ending": (["in.csv", "out.parquet"], "must end in .tape, .csv, .csv.gz"),
    "onto itself": (["in.csv", "in.csv"], "is read and cannot be written"),
    "over another file": (["in.csv", "there.csv"], "is there already: give another name, or --overwrite"),
    "into no folder": (["in.csv", "none/out.csv"], "there is no folder"),
    "candles onto a tape": (["in.csv", "out.tape", "--candles"], "--candles and --pair are for .csv"),
    "a file that is not there": (["none.csv", "out.csv"], "there is no file"),
    "an unknown pair": (["in.csv", "out.csv", "--pair", "X"], "choose one with --pair, not X"),
}


@pytest.mark.parametrize(("arguments", "wanted"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_written_is_told_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], wanted: str
):
    written(tmp_path, f"ts_ns,price,qty\n{NS},1,1\n")
    written(tmp_path, "precious", "there.csv")
    before = sorted(tmp_path.iterdir())
    assert convert(*[text if text.startswith("-") or text == "X" else tmp_path / text for text in arguments]) == 2
    assert wanted in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "there.csv").read_text() == "precious"


def test_an_error_on_the_way_leaves_nothing_behind_and_what_was_there(tmp_path: Path):
    path = written(tmp_path, f"ts_ns,price,qty\n{NS},1,1\n{NS},x,1\n")
    out = written(tmp_path, "precious", "out.csv")
    assert convert(path, out, "--overwrite") == 2
    assert out.read_text() == "precious" and sorted(tmp_path.iterdir()) == [path, out]
    assert convert(path, out, "--overwrite", "--skip-bad") == 0
    assert out.read_text().count("\n") == 2
    with pytest.raises(KeyboardInterrupt), aside(out) as write:
        write(b"half")
        raise KeyboardInterrupt
    assert out.read_text().count("\n") == 2 and sorted(tmp_path.iterdir()) == [path, out]
