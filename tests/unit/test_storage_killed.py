"""A writer that is killed in the middle of anything leaves a file whose rows and cursor agree."""

import subprocess
import sys
import time
from pathlib import Path

from storage.batch import Batch
from storage.csvlog import TradesCsv
from storage.migrations import migrate
from storage.queries import History
from storage.writer import Writer
from tests.unit import storage_samples as samples

ROOT = Path(__file__).resolve().parents[2]
JOURNAL = 5

PROGRAM = """
import sys
from pathlib import Path
from tests.unit import test_storage_killed
test_storage_killed.write_for_ever(Path(sys.argv[1]))
"""


def write_for_ever(folder: Path) -> None:
    """Goes on from the cursor with batches of 50 trades, candles and events, as fast as it can."""
    writer = Writer(folder / "bot_data.db")
    migrate(writer.engine, writer.database, 1)
    log = TradesCsv(folder / "trades.csv", writer.trades_from)
    number = writer.cursors().get("trader/0/", (JOURNAL, 0))[1]
    log.sync()
    first = number
    while True:
        batch = Batch()
        for _ in range(50):
            number += 1
            batch.add_entry(JOURNAL, number, samples.trade(number, number, "0.5"))
            batch.add_event("feeder", 1, number, samples.event(str(number)))
        batch.add_candle(samples.candle(number))
        writer.write(batch)
        if number == first + 50:
            print("began", flush=True)
        log.sync()


def test_rows_and_cursor_agree_after_each_kill(tmp_path):
    seen = 0
    for round_number in range(6):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.05 + 0.031 * round_number)  # somewhere in the middle of a batch
            process.kill()
        history = History(tmp_path / "bot_data.db")
        cursor = history.cursor()
        assert cursor is not None and cursor[1] > seen and cursor[1] % 50 == 0
        seen = cursor[1]
        totals = history.totals()
        assert (totals["last_id"], totals["trades"], totals["realized"]) == (seen, seen, seen / 2)
        assert len(history.events(10**6)) == seen
    writer = Writer(tmp_path / "bot_data.db")
    TradesCsv(tmp_path / "trades.csv", writer.trades_from).sync()
    assert writer._read("PRAGMA integrity_check") == [("ok",)]
    writer.close()
    ids = [int(line.partition(",")[0]) for line in (tmp_path / "trades.csv").read_text().splitlines()[1:]]
    assert ids == list(range(1, seen + 1))
    assert len(list(tmp_path.glob("*.before-*"))) == 0
