"""Forward-only steps that bring `bot_data.db` to the schema of this release.

Each step runs in one transaction together with its row in `schema_version`. Before steps run on an existing file, a
copy of it is kept beside it. Steps are frozen text: what has run on somebody's machine is never edited; a change of
the schema is a new step at the end.
"""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from core.errors import MisconfiguredError

Step = Callable[[Connection], None]


def first_tables(connection: Connection) -> None:
    """Version 1: market rows, ledger, cursors, and the triggers that keep the ledger."""
    for statement in FIRST_TABLES:
        connection.exec_driver_sql(statement)
    for table in ("orders", "fills", "trades"):
        connection.exec_driver_sql(
            f"CREATE TRIGGER {table}_are_kept BEFORE DELETE ON {table} "
            f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are kept for ever'); END"
        )
    for table in ("fills", "trades"):
        connection.exec_driver_sql(
            f"CREATE TRIGGER {table}_are_final BEFORE UPDATE ON {table} "
            f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are final'); END"
        )
        # REPLACE would delete without asking the trigger above, on connections without recursive triggers.
        connection.exec_driver_sql(
            f"CREATE TRIGGER {table}_are_not_replaced BEFORE INSERT ON {table} "
            f"WHEN EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id) BEGIN SELECT RAISE(IGNORE); END"
        )
    connection.exec_driver_sql(
        "CREATE TRIGGER orders_keep_their_key BEFORE UPDATE OF client_order_id, pair, side ON orders "
        "WHEN NEW.client_order_id IS NOT OLD.client_order_id OR NEW.pair IS NOT OLD.pair OR NEW.side IS NOT OLD.side "
        "BEGIN SELECT RAISE(ABORT, 'an order keeps its id, pair and side'); END"
    )


FIRST_TABLES = (
    """CREATE TABLE candles (
        pair TEXT NOT NULL, time INTEGER NOT NULL, open FLOAT NOT NULL, high FLOAT NOT NULL, low FLOAT NOT NULL,
        close FLOAT NOT NULL, volume FLOAT NOT NULL, trades INTEGER NOT NULL,
        rsi FLOAT, bb_lower FLOAT, bb_middle FLOAT, bb_upper FLOAT, PRIMARY KEY (pair, time)) WITHOUT ROWID""",
    """CREATE TABLE trades (
        id INTEGER NOT NULL PRIMARY KEY, pair TEXT NOT NULL, action TEXT NOT NULL, price FLOAT NOT NULL,
        quantity FLOAT NOT NULL, fee FLOAT NOT NULL, profit FLOAT, reason TEXT NOT NULL, timestamp TEXT NOT NULL,
        client_order_id TEXT NOT NULL)""",
    """CREATE TABLE orders (
        client_order_id TEXT NOT NULL PRIMARY KEY, venue_order_id TEXT NOT NULL, pair TEXT NOT NULL,
        side TEXT NOT NULL, type TEXT NOT NULL, price FLOAT, quantity FLOAT NOT NULL, filled FLOAT NOT NULL,
        status TEXT NOT NULL, reason TEXT NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL)""",
    """CREATE TABLE fills (
        id INTEGER NOT NULL PRIMARY KEY, client_order_id TEXT NOT NULL, venue_fill_id TEXT NOT NULL,
        pair TEXT NOT NULL, side TEXT NOT NULL, price FLOAT NOT NULL, quantity FLOAT NOT NULL, fee FLOAT NOT NULL,
        fee_currency TEXT NOT NULL, time INTEGER NOT NULL, price_text TEXT NOT NULL, quantity_text TEXT NOT NULL,
        fee_text TEXT NOT NULL)""",
    "CREATE INDEX fills_client_order_id ON fills (client_order_id)",
    """CREATE TABLE signals (
        id INTEGER NOT NULL PRIMARY KEY, pair TEXT NOT NULL, time INTEGER NOT NULL, number INTEGER NOT NULL,
        action TEXT NOT NULL, reason TEXT NOT NULL, price FLOAT NOT NULL, rsi FLOAT, bb_lower FLOAT,
        outcome TEXT NOT NULL, client_order_id TEXT NOT NULL)""",
    """CREATE TABLE equity (
        time INTEGER NOT NULL, balance FLOAT NOT NULL, position_value FLOAT NOT NULL, unrealized FLOAT NOT NULL,
        realized FLOAT NOT NULL)""",
    """CREATE TABLE gaps (
        topic TEXT NOT NULL, epoch INTEGER NOT NULL, "first" INTEGER NOT NULL, "last" INTEGER NOT NULL,
        time INTEGER NOT NULL)""",
    """CREATE TABLE events (
        id INTEGER NOT NULL PRIMARY KEY, time INTEGER NOT NULL, stage TEXT NOT NULL, level TEXT NOT NULL,
        message TEXT NOT NULL)""",
    """CREATE TABLE cursors (
        topic TEXT NOT NULL PRIMARY KEY, epoch INTEGER NOT NULL, number INTEGER NOT NULL)""",
)


def candles_by_age(connection: Connection) -> None:
    """Version 2: the newest candles of all pairs stand together, so that a commit of them writes few pages.

    Kept by (pair, time), the forming candles of n pairs lay on n pages, each written with every commit.
    """
    connection.exec_driver_sql("ALTER TABLE candles RENAME TO candles_by_pair")
    connection.exec_driver_sql(
        """CREATE TABLE candles (
        pair TEXT NOT NULL, time INTEGER NOT NULL, open FLOAT NOT NULL, high FLOAT NOT NULL, low FLOAT NOT NULL,
        close FLOAT NOT NULL, volume FLOAT NOT NULL, trades INTEGER NOT NULL,
        rsi FLOAT, bb_lower FLOAT, bb_middle FLOAT, bb_upper FLOAT, PRIMARY KEY (pair, time))"""
    )
    connection.exec_driver_sql("INSERT INTO candles SELECT * FROM candles_by_pair ORDER BY time, pair")
    connection.exec_driver_sql("DROP TABLE candles_by_pair")


def shadow_of_real_orders(connection: Connection) -> None:
    """Version 3: what real orders came to, beside the same orders on paper."""
    connection.exec_driver_sql(
        """CREATE TABLE shadow (
        client_order_id TEXT NOT NULL PRIMARY KEY, pair TEXT NOT NULL, action TEXT NOT NULL,
        live_price FLOAT, paper_price FLOAT, live_quantity FLOAT NOT NULL, paper_quantity FLOAT NOT NULL,
        difference_bps FLOAT, time INTEGER NOT NULL, lost FLOAT, live_profit FLOAT, paper_profit FLOAT)"""
    )


def where_the_trader_stood(connection: Connection) -> None:
    """Version 4: positions, order steps and blocking reasons by record of the tape; ghost entries."""
    for statement in (
        """CREATE TABLE positions (
        id INTEGER NOT NULL PRIMARY KEY, pair TEXT NOT NULL, time INTEGER NOT NULL, epoch INTEGER NOT NULL,
        number INTEGER NOT NULL, quantity FLOAT NOT NULL, entry_price FLOAT, highest FLOAT, stop_price FLOAT,
        opened INTEGER)""",
        """CREATE TABLE order_steps (
        id INTEGER NOT NULL PRIMARY KEY, client_order_id TEXT NOT NULL, pair TEXT NOT NULL, time INTEGER NOT NULL,
        epoch INTEGER NOT NULL, number INTEGER NOT NULL, side TEXT NOT NULL, status TEXT NOT NULL,
        filled FLOAT NOT NULL)""",
        """CREATE TABLE reasons (
        id INTEGER NOT NULL PRIMARY KEY, kind TEXT NOT NULL, pair TEXT NOT NULL, time INTEGER NOT NULL,
        epoch INTEGER NOT NULL, number INTEGER NOT NULL, reason TEXT NOT NULL, "first" INTEGER NOT NULL,
        "last" INTEGER NOT NULL, count INTEGER NOT NULL, why TEXT NOT NULL)""",
        """CREATE TABLE candle_ends (
        pair TEXT NOT NULL, time INTEGER NOT NULL, epoch INTEGER NOT NULL, segment INTEGER NOT NULL,
        number INTEGER NOT NULL, close FLOAT NOT NULL, rsi FLOAT, bb_lower FLOAT,
        PRIMARY KEY (pair, time, epoch, segment))""",
        """CREATE TABLE ghosts (
        id INTEGER NOT NULL PRIMARY KEY, client_order_id TEXT NOT NULL, pair TEXT NOT NULL, time INTEGER NOT NULL,
        epoch INTEGER NOT NULL, number INTEGER NOT NULL, reason TEXT NOT NULL, verdict TEXT NOT NULL, candle INTEGER,
        close FLOAT, rsi FLOAT, bb_lower FLOAT)""",
        "CREATE INDEX ghosts_verdict ON ghosts (verdict)",
    ):
        connection.exec_driver_sql(statement)


def what_starts_found(connection: Connection) -> None:
    """Version 5: comparisons of journal and venue."""
    connection.exec_driver_sql(
        """CREATE TABLE checks (
        id INTEGER NOT NULL PRIMARY KEY, kind TEXT NOT NULL, time INTEGER NOT NULL, agreed INTEGER,
        report TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL, pair TEXT NOT NULL,
        base FLOAT NOT NULL, quote FLOAT NOT NULL)"""
    )


STEPS: tuple[Step, ...] = (
    first_tables,
    candles_by_age,
    shadow_of_real_orders,
    where_the_trader_stood,
    what_starts_found,
)


def version_of(engine: Engine) -> int:
    """The schema version of the file; 0 where there is none yet. Writes nothing."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("schema_version"):
            return 0
        return int(connection.execute(text("SELECT coalesce(max(version), 0) FROM schema_version")).scalar_one())


def migrate(engine: Engine, database: Path, wall_ms: int, steps: tuple[Step, ...] = STEPS) -> list[str]:
    """Runs the steps that the file lacks; returns their names, with the copy that was kept where there was one.

    Raises MisconfiguredError where the file is of a newer release, or is no database of this bot.
    """
    version = version_of(engine)
    if version > len(steps):
        raise MisconfiguredError(
            f"{database} has schema version {version}, this release knows {len(steps)}: it was written by a newer "
            f"release. Run that release, or move the file away (the trader's journal rebuilds it)."
        )
    if version == len(steps):
        return []
    done = []
    if _has_tables(engine):
        if version == 0:
            raise MisconfiguredError(
                f"{database} is a database without this bot's schema_version table: it belongs to something else. "
                "Move it away; the bot makes its own."
            )
        kept = keep_copy(engine, database, f"schema-{version}")
        done.append(f"the database as it was is kept in {kept.name}")
    for number, step in enumerate(steps[version:], start=version + 1):
        _run(engine, number, step, wall_ms)
        done.append(f"schema {number}: {step.__name__}")
    return done


def keep_copy(engine: Engine, database: Path, what: str) -> Path:
    """Writes a whole copy of the database beside it, under a name that nothing has yet; returns its path."""
    copy = database.with_name(f"{database.stem}.before-{what}{database.suffix}")
    tries = 1
    while copy.exists():
        tries += 1
        copy = database.with_name(f"{database.stem}.before-{what}-{tries}{database.suffix}")
    unfinished = copy.with_name(copy.name + ".part")
    unfinished.unlink(missing_ok=True)
    connection = engine.raw_connection()
    try:
        connection.cursor().execute("VACUUM INTO ?", (str(unfinished),))
    except Exception:
        unfinished.unlink(missing_ok=True)
        raise
    finally:
        connection.close()
    unfinished.replace(copy)
    return copy


def _has_tables(engine: Engine) -> bool:
    with engine.connect() as connection:
        return bool(inspect(connection).get_table_names())


def _run(engine: Engine, number: int, step: Step, wall_ms: int) -> None:
    try:
        with engine.begin() as connection:
            if number == 1:
                connection.exec_driver_sql(
                    "CREATE TABLE schema_version "
                    "(version INTEGER NOT NULL PRIMARY KEY, step TEXT NOT NULL, applied INTEGER NOT NULL)"
                )
            step(connection)
            connection.execute(
                text("INSERT INTO schema_version (version, step, applied) VALUES (:version, :step, :applied)"),
                {"version": number, "step": step.__name__, "applied": wall_ms},
            )
    except DBAPIError as error:
        error.add_note(f"in step {number} ({step.__name__}) of the schema; the file is as it was before that step")
        raise
