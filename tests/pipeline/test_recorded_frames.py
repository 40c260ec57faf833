"""Binance's recorded frames through a websocket into the real feeder: every trade once, in order, as the ticks file."""

import csv
import gzip

from tests.shared_data import shared_data
from tools.bench import feeder_load

FRAMES = "raw/binance_spot_btcusdt_20240808T2354Z.ws.jsonl.gz"
TICKS = "ticks/binance_spot_btcusdt_20240808T2354Z.ticks.csv.gz"


def test_every_recorded_trade_comes_out_of_the_feeder_once_and_in_order():
    assert shared_data(FRAMES) == feeder_load.RECORDED
    with gzip.open(shared_data(TICKS), "rt") as lines:
        ticks = [
            (int(row["trade_id"]), float(row["price"]), float(row["qty"]), int(row["ts_ns"]))
            for row in csv.DictReader(lines)
        ]
    frames = feeder_load.recorded(feeder_load.RECORDED_FRAMES)
    played = [trade for text in frames if (trade := feeder_load.trade_of(text)) is not None]
    moved_ns = played[0][3] - ticks[0][3]
    assert [(*trade[:3], trade[3] - moved_ns) for trade in played] == ticks
    found = feeder_load.replay(feeder_load.RECORDED_FRAMES)
    assert (found.frames, found.wrong) == (99_574, 0)
