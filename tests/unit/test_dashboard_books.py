"""Other books with an open position are found; damaged, empty and own ones are passed over."""

from pathlib import Path

from sqlalchemy import insert

from dashboard.books import DATABASE, left_open
from storage.migrations import migrate
from storage.schema import trades, writer_engine
from tests.dashboard_world import trade


def make(folder: Path, *rows: tuple[str, str]) -> None:
    """A book with these (pair, action), oldest first."""
    folder.mkdir(parents=True)
    engine = writer_engine(folder / DATABASE)
    migrate(engine, folder / DATABASE, 0)
    with engine.begin() as connection:
        for number, (pair, action) in enumerate(rows, 1):
            found = trade(number, action)
            connection.execute(
                insert(trades).values(
                    id=number, pair=pair, action=action, price=1.0, quantity=1.0, fee=0.0, profit=None,
                    reason=found.reason, timestamp=found.timestamp, client_order_id=str(number),
                )
            )  # fmt: skip
    engine.dispose()


def test_books_left_open_are_named(tmp_path: Path) -> None:
    make(tmp_path / "sim-binance", ("BTCUSDT", "buy"), ("ETHUSDT", "buy"), ("BTCUSDT", "sell"))
    make(tmp_path / "sim-coindcx", ("B-BTC_USDT", "buy"), ("B-BTC_USDT", "sell"))
    make(tmp_path / "sim-own", ("B-BTC_USDT", "buy"))
    make(tmp_path / "sim-kraken")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / DATABASE).write_bytes(b"no database" * 500)
    (tmp_path / "empty").mkdir()
    assert left_open(tmp_path, "sim-own") == ["sim-binance: ETHUSDT"]


def test_no_books_at_all(tmp_path: Path) -> None:
    assert left_open(tmp_path / "nothing", "sim-own") == []
