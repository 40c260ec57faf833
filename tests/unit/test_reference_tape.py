"""The reference's own reading of a tape finds what the writer was given."""

from decimal import Decimal
from pathlib import Path

from bus.messages import Market, Start
from bus.tape import TapeWriter
from core.clock import ManualClock
from tests.reference import slow_strategy as slow
from tests.reference.pipeline_side import records_of
from tests.reference.read_tape import read_tape

RULES = {
    "A-B": slow.Market(Decimal("0.01"), Decimal("0.001"), Decimal("0.002"), Decimal(5), Decimal(900)),
    "C-B": slow.Market(),
}


def text(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")


def start(*pairs: str) -> Start:
    markets = [Market(p, p[0], "B", *(text(getattr(RULES[p], name)) for name in RULES[p].__slots__)) for p in pairs]
    return Start("venue", "book", markets, "5.5", "1", False, 1_700_000_000_000_000_000)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    writer = TapeWriter(tmp_path, ManualClock(), "boot")
    epoch, _ = writer.open()
    data = [
        slow.Candle(0, "A-B", 60_000_000_000, 1.5, 2.5, 0.5, 1.25, 10.0, slow.FORMING, 3),
        slow.Trade(1, "A-B", 61_000_000_000, Decimal("64000.12"), Decimal("0.123"), slow.BACKFILL),
        slow.Trade(2, "C-B", 61_000_000_001, Decimal("0.00000012"), Decimal("5"), 0),
        slow.Hole(3, "C-B"),
    ]
    writer.start(start("A-B"))
    writer.start(start("A-B", "C-B"))  # another pair table: another segment
    writer.append(records_of(data, RULES))
    writer.close()
    segments = sorted((tmp_path / str(epoch)).glob("*.tape"))
    assert len(segments) == 2
    with segments[-1].open("ab") as torn:
        torn.write(b"\3" * 40)
    records, markets, fee = read_tape(tmp_path / str(epoch))
    for record in data:
        record.number += 2  # after the START records
    assert records == data
    assert (markets, fee) == (RULES, Decimal("5.5"))
