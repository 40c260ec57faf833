"""The tables are the contract of design §7, and the schema itself keeps the ledger."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DatabaseError, IntegrityError

from core.errors import MisconfiguredError
from storage import schema
from storage.app import open_database
from storage.migrations import STEPS, migrate, version_of
from storage.schema import writer_engine

CONTRACT = {
    "candles": "pair time open high low close volume trades rsi bb_lower bb_middle bb_upper",
    "trades": "id pair action price quantity fee profit reason timestamp client_order_id",
    "orders": "client_order_id venue_order_id pair side type price quantity filled status reason created updated",
    "fills": "id client_order_id venue_fill_id pair side price quantity fee fee_currency time price_text "
    "quantity_text fee_text",
    "signals": "id pair time number action reason price rsi bb_lower outcome client_order_id",
    "equity": "time balance position_value unrealized realized",
    "shadow": "client_order_id pair action live_price paper_price live_quantity paper_quantity difference_bps time "
    "lost live_profit paper_profit",
    "gaps": "topic epoch first last time",
    "events": "id time stage level message",
    "checks": "id kind time agreed report before after pair base quote",
}


@pytest.fixture
def engine(tmp_path: Path):
    engine = writer_engine(tmp_path / "bot_data.db")
    migrate(engine, tmp_path / "bot_data.db", 1)
    yield engine
    engine.dispose()


def test_tables_have_the_columns_of_the_contract(engine):
    found = inspect(engine)
    for table, columns in CONTRACT.items():
        assert [column["name"] for column in found.get_columns(table)] == columns.split(), table
    assert found.get_pk_constraint("candles")["constrained_columns"] == ["pair", "time"]
    assert found.has_table("schema_version")


def test_migrated_tables_equal_the_declared_ones(engine):
    found = inspect(engine)
    assert set(found.get_table_names()) == set(schema.metadata.tables)
    for name, table in schema.metadata.tables.items():
        declared = [(column.name, str(column.type), column.nullable) for column in table.columns]
        real = [(column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(name)]
        assert real == declared, name
        keys = [column.name for column in table.primary_key]
        assert found.get_pk_constraint(name)["constrained_columns"] == keys, name


def test_the_file_is_set_up_for_readers_and_for_shrinking(engine):
    with engine.connect() as connection:
        answers = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "auto_vacuum", "busy_timeout", "journal_size_limit")
        }
    assert answers == {
        "journal_mode": "wal",
        "synchronous": 1,
        "auto_vacuum": 2,
        "busy_timeout": schema.BUSY_TIMEOUT_MS,
        "journal_size_limit": schema.WAL_KEPT_BYTES,
    }


NOW = len(STEPS)
FILL = "(1, 'a', '', 'P', 'buy', 1.0, 2.0, 0.0, 'USDT', 5, '1', '2', '0')"
TRADE = "(1, 'P', 'sell', 1.0, 2.0, 0.0, 3.5, '', 't', 'a')"
ORDER = "('a', '', 'P', 'buy', 'market', NULL, 1.0, 0.0, 'new', '', 1, 1)"


@pytest.fixture
def ledger(engine):
    with engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO fills VALUES {FILL}")
        connection.exec_driver_sql(f"INSERT INTO trades VALUES {TRADE}")
        connection.exec_driver_sql(f"INSERT INTO orders VALUES {ORDER}")
    return engine


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM orders",
        "DELETE FROM fills",
        "DELETE FROM trades WHERE id = 1",
        "UPDATE fills SET price = 2",
        "UPDATE trades SET profit = 1000000",
        "UPDATE orders SET client_order_id = 'b'",
        "UPDATE orders SET side = 'sell'",
        "UPDATE orders SET pair = 'Q'",
        f"INSERT OR REPLACE INTO orders VALUES {ORDER}",
    ],
)
def test_the_schema_refuses(ledger, statement):
    with pytest.raises((IntegrityError, DatabaseError)), ledger.begin() as connection:
        connection.exec_driver_sql(statement)


def test_an_order_may_change_its_state(ledger):
    with ledger.begin() as connection:
        connection.exec_driver_sql("UPDATE orders SET status = 'filled', filled = 1.0, updated = 9")


@pytest.mark.parametrize("table, row", [("fills", FILL.replace("1.0", "9.0")), ("trades", TRADE.replace("3.5", "9.9"))])
@pytest.mark.parametrize("recursive", ["ON", "OFF"])
def test_replace_does_not_get_round_the_refusal(ledger, table, row, recursive):
    before = _all(ledger, table)
    with ledger.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA recursive_triggers={recursive}")
        connection.exec_driver_sql(f"REPLACE INTO {table} VALUES {row}")
        connection.commit()
    assert _all(ledger, table) == before


def test_a_reader_keeps_few_pages_of_its_own(tmp_path):
    made = writer_engine(tmp_path / "bot_data.db")
    migrate(made, tmp_path / "bot_data.db", 1)
    made.dispose()
    with schema.reader_engine(tmp_path / "bot_data.db").connect() as connection:
        assert connection.exec_driver_sql("PRAGMA cache_size").scalar_one() == -schema.READER_CACHE_KB


def test_migration_of_a_new_file_keeps_no_copy_and_runs_once(tmp_path):
    database = tmp_path / "bot_data.db"
    engine = writer_engine(database)
    assert version_of(engine) == 0
    names = [step.__name__ for step in STEPS]
    assert migrate(engine, database, 77) == [f"schema {number}: {name}" for number, name in enumerate(names, 1)]
    assert migrate(engine, database, 78) == []
    assert _all(engine, "schema_version") == [(number, name, 77) for number, name in enumerate(names, 1)]
    engine.dispose()
    assert [path.name for path in tmp_path.iterdir()] == ["bot_data.db"]


def add_a_column(connection: Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE trades ADD COLUMN note TEXT")


def fail_halfway(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE half (a)")
    connection.exec_driver_sql("INSERT INTO nowhere VALUES (1)")


def test_a_copy_is_kept_before_a_migration_of_an_existing_file(ledger, tmp_path):
    database = tmp_path / "bot_data.db"
    done = migrate(ledger, database, 2, (*STEPS, add_a_column))
    copy = tmp_path / f"bot_data.before-schema-{NOW}.db"
    assert done == [f"the database as it was is kept in {copy.name}", f"schema {NOW + 1}: add_a_column"]
    assert version_of(ledger) == NOW + 1
    assert _all(ledger, "trades")[0][-1] is None
    kept = writer_engine(copy)
    assert version_of(kept) == NOW
    assert len(_all(kept, "trades")[0]) == 10
    kept.dispose()


def test_candles_of_the_first_schema_are_the_same_afterwards(tmp_path):
    database = tmp_path / "bot_data.db"
    engine = writer_engine(database)
    migrate(engine, database, 1, STEPS[:1])
    rows = [(pair, time, 1.0, 2.0, 0.5, 1.5, 3.0, 4, None, 0.25, None, 9.0) for pair in "BA" for time in (60, 120, 180)]
    with engine.begin() as connection:
        for row in rows:
            connection.exec_driver_sql(f"INSERT INTO candles VALUES ({', '.join('?' * len(row))})", row)
    assert migrate(engine, database, 2, STEPS[:2])[-1] == "schema 2: candles_by_age"
    assert _all(engine, "candles") == sorted(rows, key=lambda row: (row[1], row[0]))
    assert inspect(engine).get_pk_constraint("candles")["constrained_columns"] == ["pair", "time"]
    engine.dispose()


def test_a_step_that_fails_leaves_the_file_as_it_was(ledger, tmp_path):
    database = tmp_path / "bot_data.db"
    with pytest.raises(DatabaseError) as caught:
        migrate(ledger, database, 2, (*STEPS, fail_halfway))
    assert f"step {NOW + 1} (fail_halfway)" in "".join(caught.value.__notes__)
    assert version_of(ledger) == NOW
    assert not inspect(ledger).has_table("half")
    migrate(ledger, database, 3, (*STEPS, add_a_column))
    names = sorted(path.name for path in tmp_path.glob("*.before-*"))
    assert names == [f"bot_data.before-schema-{NOW}-2.db", f"bot_data.before-schema-{NOW}.db"]


def test_a_database_of_a_newer_release_is_refused_and_not_touched(ledger, tmp_path):
    database = tmp_path / "bot_data.db"
    with ledger.begin() as connection:
        connection.execute(text("INSERT INTO schema_version VALUES (7, 'later', 1)"))
    with pytest.raises(MisconfiguredError) as caught:
        migrate(ledger, database, 2)
    said = str(caught.value)
    assert str(database) in said and "version 7" in said and f"knows {NOW}" in said and "move the file away" in said


def test_a_database_of_something_else_is_refused(tmp_path):
    database = tmp_path / "bot_data.db"
    engine = writer_engine(database)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE trades (price)")
    with pytest.raises(MisconfiguredError, match="belongs to something else"):
        migrate(engine, database, 2)
    engine.dispose()


def _all(engine, table):
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(f"SELECT * FROM {table}")]


def test_a_damaged_file_is_kept_and_told_to_the_page_and_one_made_from_the_journal_begun(tmp_path: Path):
    database = tmp_path / "bot_data.db"
    database.write_bytes(b"no database, but as long as one would be at least. " * 100)
    writer, told = open_database(database, 7)
    writer.close()
    level, text = told[0]
    assert level == "error" and "is damaged" in text and "bot_data.damaged-7.db" in text
    assert (tmp_path / "bot_data.damaged-7.db").exists() and database.exists()
    assert [level for level, _ in told[1:]] == ["info"] * NOW
