"""The tables of `bot_data.db` and the way its connections are set up.

The tables are a contract: dashboards, scripts and people read them while the bot runs. Times are ms of market time,
but wall time in `gaps` and `events`. Amounts are REAL for reading; `fills` keeps the exact text beside them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Column,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    NullPool,
    Table,
    Text,
    create_engine,
    event,
    make_url,
)

BREATHE_STEPS = 100_000  # of SQLite's machine: some milliseconds
BUSY_TIMEOUT_MS = 400  # the stage's heartbeat of 1 s must go on while another program holds the lock
READER_CACHE_KB = 256  # the system keeps the pages as well; SQLite's 2 MB would let the dashboard grow with the file
WAL_KEPT_BYTES = 8 * 1024 * 1024  # the log is cut back to this after a checkpoint

WRITER_PRAGMAS = (
    f"busy_timeout={BUSY_TIMEOUT_MS}",
    "auto_vacuum=INCREMENTAL",  # only heeded before the first page is written, hence before the WAL
    "journal_mode=WAL",
    "synchronous=NORMAL",
    f"journal_size_limit={WAL_KEPT_BYTES}",
    "recursive_triggers=ON",  # INSERT OR REPLACE fires the triggers that refuse a DELETE
)

metadata = MetaData()

candles = Table(
    "candles",
    metadata,
    Column("pair", Text, primary_key=True, nullable=False),
    Column("time", Integer, primary_key=True, nullable=False),
    Column("open", Float, nullable=False),
    Column("high", Float, nullable=False),
    Column("low", Float, nullable=False),
    Column("close", Float, nullable=False),
    Column("volume", Float, nullable=False),
    Column("trades", Integer, nullable=False),
    Column("rsi", Float),
    Column("bb_lower", Float),
    Column("bb_middle", Float),
    Column("bb_upper", Float),
)

trades = Table(
    "trades",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("pair", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("price", Float, nullable=False),
    Column("quantity", Float, nullable=False),
    Column("fee", Float, nullable=False),
    Column("profit", Float),
    Column("reason", Text, nullable=False),
    Column("timestamp", Text, nullable=False),
    Column("client_order_id", Text, nullable=False),
)

orders = Table(
    "orders",
    metadata,
    Column("client_order_id", Text, primary_key=True, nullable=False),
    Column("venue_order_id", Text, nullable=False),
    Column("pair", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("price", Float),
    Column("quantity", Float, nullable=False),
    Column("filled", Float, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created", Integer, nullable=False),
    Column("updated", Integer, nullable=False),
)

fills = Table(
    "fills",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("client_order_id", Text, nullable=False),
    Column("venue_fill_id", Text, nullable=False),
    Column("pair", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("price", Float, nullable=False),
    Column("quantity", Float, nullable=False),
    Column("fee", Float, nullable=False),
    Column("fee_currency", Text, nullable=False),
    Column("time", Integer, nullable=False),
    Column("price_text", Text, nullable=False),
    Column("quantity_text", Text, nullable=False),
    Column("fee_text", Text, nullable=False),
    Index("fills_client_order_id", "client_order_id"),
)

signals = Table(
    "signals",
    metadata,
    Column("id", Integer, primary_key=True),  # the journal number, so that a rebuilt table is the same table
    Column("pair", Text, nullable=False),
    Column("time", Integer, nullable=False),
    Column("number", Integer, nullable=False),  # of the trade on the tape
    Column("action", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("price", Float, nullable=False),
    Column("rsi", Float),
    Column("bb_lower", Float),
    Column("outcome", Text, nullable=False),
    Column("client_order_id", Text, nullable=False),
)

shadow = Table(
    "shadow",
    metadata,
    Column("client_order_id", Text, primary_key=True, nullable=False),
    Column("pair", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("live_price", Float),  # null: did not fill; so below
    Column("paper_price", Float),
    Column("live_quantity", Float, nullable=False),
    Column("paper_quantity", Float, nullable=False),
    Column("difference_bps", Float),  # more than 0 where the account did worse than paper
    Column("time", Integer, nullable=False),
    Column("lost", Float),
    Column("live_profit", Float),
    Column("paper_profit", Float),
)

equity = Table(
    "equity",
    metadata,
    Column("time", Integer, nullable=False),
    Column("balance", Float, nullable=False),
    Column("position_value", Float, nullable=False),
    Column("unrealized", Float, nullable=False),
    Column("realized", Float, nullable=False),
)

gaps = Table(
    "gaps",
    metadata,
    Column("topic", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("first", Integer, nullable=False),
    Column("last", Integer, nullable=False),
    Column("time", Integer, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", Integer, nullable=False),
    Column("stage", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("message", Text, nullable=False),
)

# What answers "why not": where the trader stood after which record of the tape. `id` is the journal number.
positions = Table(
    "positions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("pair", Text, nullable=False),
    Column("time", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),  # of the tape
    Column("number", Integer, nullable=False),  # of the record
    Column("quantity", Float, nullable=False),  # 0 when flat
    Column("entry_price", Float),
    Column("highest", Float),
    Column("stop_price", Float),
    Column("opened", Integer),
)

order_steps = Table(
    "order_steps",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("client_order_id", Text, nullable=False),
    Column("pair", Text, nullable=False),
    Column("time", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("side", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("filled", Float, nullable=False),
)

# The changes of the set of reasons that block entries; kind: span, state, refusal, start.
reasons = Table(
    "reasons",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("pair", Text, nullable=False),  # '' for all of them
    Column("time", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("number", Integer, nullable=False),  # of the record after which it was told
    Column("reason", Text, nullable=False),
    Column("first", Integer, nullable=False),  # the first record that it holds for
    Column("last", Integer, nullable=False),  # the last one; -1 while that is not known
    Column("count", Integer, nullable=False),  # entries refused
    Column("why", Text, nullable=False),  # in words; of a start its settings as JSON
)

# Candles as they closed, with the warm-up and the record that closed them: what tells whether an entry was decided
# inside one. After a hole history may tell the same candle again, of another warm-up.
candle_ends = Table(
    "candle_ends",
    metadata,
    Column("pair", Text, primary_key=True, nullable=False),
    Column("time", Integer, primary_key=True, nullable=False),
    Column("epoch", Integer, primary_key=True, nullable=False),
    Column("segment", Integer, primary_key=True, nullable=False),
    Column("number", Integer, nullable=False),
    Column("close", Float, nullable=False),
    Column("rsi", Float),
    Column("bb_lower", Float),
)

# Entries, and what the candle that they were decided in said when it had closed (see storage.ghosts).
ghosts = Table(
    "ghosts",
    metadata,
    Column("id", Integer, primary_key=True),  # the journal number of the decision
    Column("client_order_id", Text, nullable=False),
    Column("pair", Text, nullable=False),
    Column("time", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("number", Integer, nullable=False),  # of the deciding trade
    Column("reason", Text, nullable=False),
    Column("verdict", Text, nullable=False),  # waiting, confirmed, ghost, unknown
    Column("candle", Integer),  # its start
    Column("close", Float),
    Column("rsi", Float),
    Column("bb_lower", Float),
)

# What comparisons of journal and venue came to; kind: start, later, external (what no order of ours explains).
checks = Table(
    "checks",
    metadata,
    Column("id", Integer, primary_key=True),  # the journal number
    Column("kind", Text, nullable=False),
    Column("time", Integer, nullable=False),  # wall time; of external ones market time
    Column("agreed", Integer),  # 0 or 1; null of external ones
    Column("report", Text, nullable=False),  # JSON: a list of lines
    Column("before", Text, nullable=False),  # JSON: base coin held by pair, before what was found was booked
    Column("after", Text, nullable=False),
    Column("pair", Text, nullable=False),  # of external ones, '' where it is about quote
    Column("base", Float, nullable=False),  # that is gone
    Column("quote", Float, nullable=False),  # by which the wallet differs
)

cursors = Table(
    "cursors",
    metadata,
    Column("topic", Text, primary_key=True, nullable=False),  # 'trader/0/', or 'event/0/ STAGE'
    Column("epoch", Integer, nullable=False),  # of trader/0/: the journal's id
    Column("number", Integer, nullable=False),  # the last one that is in the tables
)

schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("step", Text, nullable=False),
    Column("applied", Integer, nullable=False),  # wall ms
)

LEDGER = (orders, fills, trades)  # kept for ever


def writer_engine(database: Path, breathe: Callable[[], object] = lambda: None) -> Engine:
    """The engine of the one writer; makes the file where there is none. Transactions begin with BEGIN IMMEDIATE.

    `breathe()` is called now and then while a statement runs long; it must not use the database.
    """

    def step() -> int:
        breathe()
        return 0  # go on

    engine = create_engine(URL.create("sqlite", database=str(database)))

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins no transaction by itself, not even late
        connection.set_progress_handler(step, BREATHE_STEPS)
        for pragma in WRITER_PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def reader_engine(database: Path) -> Engine:
    """An engine that can only read, opens the file anew for each use and never makes one."""
    engine = create_engine(make_url(f"sqlite:///file:{quote(str(database))}?mode=ro&uri=true"), poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}").fetchall()
        connection.execute(f"PRAGMA cache_size=-{READER_CACHE_KB}").fetchall()

    return engine
