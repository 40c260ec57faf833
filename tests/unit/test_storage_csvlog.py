"""`trades.csv` follows the table whatever state the file is found in."""

import csv

import pytest

from storage.csvlog import HEADER, PIECE_BYTES, TAIL_BYTES, TradesCsv, as_line

ROWS = [
    (1, "B-BTC_USDT", "buy", 64000.1, 0.0012, 0.0384, None, "mean_reversion", "2023-11-14T22:14:01.000Z", "scalp-1"),
    (2, "B-BTC_USDT", "sell", 64100.0, 0.0012, 0.0385, 0.1, 'said "sell, now"\nand did', "2023-11-14T22:14:02Z", "s-2"),
    (3, "B-ETH_USDT", "buy", 0.1 + 0.2, 1e-9, 0.0, None, "", "2023-11-14T22:14:03Z", "s-3"),
    (4, "B-ETH_USDT", "sell", 1e22, 1.0, 0.0, -1.5e-7, "Überfall", "2023-11-14T22:14:04Z", "s-4"),
]


class Table:
    """The table `trades`, as far as it has been written."""

    def __init__(self, *rows):
        self.rows = list(rows)

    def rows_from(self, id):
        return [row for row in self.rows if row[0] >= id]


def whole(*rows) -> bytes:
    return (HEADER + "".join(as_line(row) for row in rows)).encode()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trades.csv"


def test_rows_are_appended_once_and_read_back_exactly(path):
    table = Table(*ROWS[:2])
    log = TradesCsv(path, table.rows_from)
    assert (log.sync(), log.sync()) == (2, 0)
    table.rows.extend(ROWS[2:])
    assert (log.sync(), log.sync()) == (2, 0)
    with path.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [(int(row["id"]), float(row["price"])) for row in found] == [(row[0], row[3]) for row in ROWS]
    assert [row["profit"] for row in found] == ["", "0.1", "", "-1.5e-07"]
    assert found[1]["reason"] == 'said "sell, now" and did'
    assert list(path.parent.iterdir()) == [path]


def test_an_empty_table_makes_a_header(path):
    TradesCsv(path, Table().rows_from).sync()
    assert path.read_text() == HEADER
    assert TradesCsv(path, Table(*ROWS).rows_from).sync() == 4


def test_many_rows_are_written_with_breath(path):
    rows = [(id, *ROWS[0][1:]) for id in range(1, 2_000)]
    log = TradesCsv(path, Table(*rows).rows_from)
    breaths = []
    log.breathe = lambda: breaths.append(len(breaths))
    assert log.sync() == len(rows)
    assert len(breaths) == len(whole(*rows)) // PIECE_BYTES >= 2
    assert path.read_bytes() == whole(*rows)


def test_torn_at_every_byte_it_comes_out_the_same(path):
    full = whole(*ROWS)
    for cut in range(len(full) + 1):
        path.write_bytes(full[:cut])
        TradesCsv(path, Table(*ROWS).rows_from).sync()
        assert path.read_bytes() == full, cut
    assert list(path.parent.iterdir()) == [path]


def test_it_waits_for_a_table_that_is_being_rebuilt(path):
    path.write_bytes(whole(*ROWS))
    table = Table(*ROWS[:2])
    log = TradesCsv(path, table.rows_from)
    assert log.sync() == 0
    table.rows.append(ROWS[2])
    assert log.sync() == 0
    table.rows.append(ROWS[3])
    assert log.sync() == 0
    table.rows.append((5, *ROWS[0][1:]))
    assert log.sync() == 1
    assert path.read_bytes() == whole(*table.rows)


OTHER = (2, "B-BTC_USDT", "sell", 1.0, 1.0, 0.0, 5.0, "other", "2023-11-14T22:14:02Z", "other")


@pytest.mark.parametrize(
    "found",
    [
        whole(ROWS[0], OTHER),
        b"id,pair\n1,B-BTC_USDT\n",
        whole(ROWS[0]) + b"edited by hand\n",
        b"\0" * 4096,
        b"x" * 200_000,
        HEADER.encode() + b"\0" * 200_000,
    ],
)
def test_a_file_of_another_ledger_or_a_damaged_one_is_kept_aside(path, found):
    path.write_bytes(found)
    TradesCsv(path, Table(*ROWS).rows_from).sync()
    assert path.read_bytes() == whole(*ROWS)
    assert path.with_name("trades.before-1.csv").read_bytes() == found


def test_a_removed_file_is_written_anew(path):
    log = TradesCsv(path, Table(*ROWS).rows_from)
    log.sync()
    path.unlink()
    assert log.sync() == 4
    assert path.read_bytes() == whole(*ROWS)


def test_kept_files_are_not_overwritten(path):
    log = TradesCsv(path, Table(*ROWS).rows_from)
    for _ in range(3):
        path.write_text("not ours\n")
        log.sync()
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "trades.before-1.csv",
        "trades.before-2.csv",
        "trades.before-3.csv",
        "trades.csv",
    ]


def test_a_block_that_a_power_cut_lost_before_a_whole_last_line_is_noticed_at_the_first_look(path):
    rows = [(number, *ROWS[0][1:]) for number in range(1, 200)]
    content = bytearray(whole(*rows))
    content[2048:2560] = bytes(512)
    path.write_bytes(content)
    TradesCsv(path, Table(*rows).rows_from).sync()
    assert path.read_bytes() == whole(*rows)
    assert path.with_name("trades.before-1.csv").read_bytes() == content


def test_a_file_longer_than_the_tail_is_gone_on_with(path):
    rows = [(number, *ROWS[0][1:]) for number in range(1, 2_000)]
    table = Table(*rows)
    TradesCsv(path, table.rows_from).sync()
    assert path.stat().st_size > TAIL_BYTES
    table.rows.append((2_000, *ROWS[1][1:]))
    assert TradesCsv(path, table.rows_from).sync() == 1
    assert path.read_bytes() == whole(*table.rows)
    assert list(path.parent.iterdir()) == [path]
