"""Bad input to the real bot: what a person reads in the log and on the page, what goes on, and that nothing is lost."""

import asyncio
import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from bus.records import TRADE
from bus.tape import TapeReader
from core import paths
from core.clock import LiveClock, sleep
from tests.pipeline.pipeline import Pipeline
from tests.protocol import coindcx_peer

MINUTE_MS = 60_000
TRADES = "/market_data/trade_history"
MARKETS = "/exchange/v1/markets_details"


class Venue(coindcx_peer.Peer):
    """A CoinDCX in a thread of its own: four trades a second; `lasting[path]` is answered as long as it is there."""

    def __init__(self) -> None:
        super().__init__()
        self.lasting: dict[str, coindcx_peer.Answer] = {}
        self._loop: asyncio.AbstractEventLoop
        self._ready = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), daemon=True)

    def __enter__(self) -> "Venue":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)

    def cut_now(self) -> None:
        asyncio.run_coroutine_threadsafe(self.cut(), self._loop).result(10)

    def _answer(self, target: str) -> coindcx_peer.Answer:
        path = target.partition("?")[0]
        return self.lasting[path] if path in self.lasting else super()._answer(target)

    async def _live(self) -> None:
        clock = LiveClock()
        minute = clock.wall_ms() // MINUTE_MS * MINUTE_MS
        for n in range(520, 0, -1):
            price = 80_000.0 + n % 7
            bar = {"open": price, "high": price + 2, "low": price - 2, "close": price, "volume": 1.0}
            self.older.append({"time": minute - n * MINUTE_MS, **bar})
        self._loop = asyncio.get_running_loop()
        async with self:
            self._ready.set()
            count = 0
            while not self._over.is_set():
                count += 1
                await self.trade(clock.wall_ms(), 80_000.0 + count % 5)
                await asyncio.sleep(0.25)


@pytest.fixture
def venue() -> Iterator[Venue]:
    with Venue() as venue:
        yield venue


def events(bot: Pipeline) -> list[str]:
    """What the page shows."""
    status, stats = bot.get("/api/stats")
    return [f"{event['level']} {event['stage']} {event['text']}" for event in stats["logs"]] if status == 200 else []


def told(bot: Pipeline, *words: str) -> list[str]:
    return [text for text in events(bot) if all(word in text for word in words)]


def taped(bot: Pipeline) -> list[tuple[int, float]]:
    reader = TapeReader(bot.book / "tape")
    try:
        _, records = reader.read_back(100_000)
        trades: np.ndarray[Any, Any] = records[records["kind"] == TRADE]
        return [(int(trade["exchange_ns"]) // 10**6, float(trade["price"])) for trade in trades]
    finally:
        reader.close()


def test_a_venue_that_answers_nonsense_is_told_once_and_nothing_is_lost(
    venue: Venue, make_pipeline: Callable[..., Pipeline]
) -> None:
    bot = make_pipeline(
        VENUE="coindcx",
        VENUE_REST_URL=venue.rest_url,
        VENUE_STREAM_URL=venue.stream_url,
        POLL_SECONDS="0.5",
        STALE_SECONDS="3",
        PAIRS="B-BTC_USDC",
    )
    refused = bot.up("start")
    assert refused.returncode == 1
    assert "PAIRS: B-BTC_USDC is unknown (nearest: B-BTC_USDT" in refused.stderr
    assert bot.processes() == {}

    bot.settings["PAIRS"] = "B-BTC_USDT"
    venue.lasting[MARKETS] = coindcx_peer.HTML
    starting = bot.spawn("start")
    bot.wait(lambda: told(bot, "warn feeder", "markets_details", "HTTP 403"), "the page tells of the market list")
    assert bot.get("/healthz")[0] == 503
    venue.lasting.clear()
    assert starting.wait(60) == 0
    assert len(told(bot, "warn feeder", "markets_details")) == 1

    lines = len(bot.log("feeder").splitlines())
    venue.refuse_stream = True
    venue.lasting[TRADES] = coindcx_peer.HALF_JSON
    venue.cut_now()
    bot.wait(lambda: bot.get("/healthz")[0] == 503, "the market is stale")
    assert "market: " in bot.up("status").stdout
    sleep(3)
    assert len(told(bot, "warn feeder", "trade_history", "broken JSON", "asked again")) == 1
    assert len(bot.log("feeder").splitlines()) - lines <= 4, "a line a state, not an attempt"
    assert bot.pids().keys() == {*paths.STAGES, paths.WATCHDOG}
    venue.lasting.clear()
    venue.refuse_stream = False
    bot.wait_healthy()
    bot.wait(lambda: told(bot, "info feeder", "REST answers again"), "the page tells that REST answers again")

    count = len(venue.trades)
    bot.wait(lambda: len(taped(bot)) > 0 and taped(bot)[-1][0] >= venue.trades[count - 1][0], "the tape is up to now")
    true = [(at, price) for at, price, _, _ in venue.trades]
    mine = taped(bot)
    assert mine == true[true.index(mine[0]) :][: len(mine)]
    assert bot.rows("select count(*) from gaps") == [(0,)]


def schema(database: Any, change: str) -> None:
    with contextlib.closing(sqlite3.connect(database)) as file:
        file.execute(change)
        file.commit()


def test_what_gave_up_is_named_on_the_page_and_the_rest_goes_on(pipeline: Pipeline) -> None:
    bot = pipeline
    bot.start()
    database = bot.book / "bot_data.db"
    bot.wait(database.exists, "the database")
    schema(database, "insert into schema_version values (99, 'later', 1)")
    bot.kill("storage")
    bot.wait(
        lambda: told(bot, "storage has given up", "schema version 99", "make restart STAGE=storage"),
        "the page says why",
    )
    bot.wait(lambda: "schema version 99" in bot.failing().get("stage:storage", ""), "and its health")
    bot.wait(lambda: list(bot.failing()) == ["stage:storage"], "nothing else ails it")
    status = bot.up("status")
    assert status.returncode == 1 and "has given up: " in status.stdout and "schema version 99" in status.stdout
    count = len(taped(bot))
    bot.wait(lambda: len(taped(bot)) > count, "the market goes on")

    schema(database, "delete from schema_version where version = 99")
    assert bot.up("restart", "storage").returncode == 0
    bot.wait_healthy()
    assert bot.rows("select count(*) from gaps") == [(0,)]
    given_up = "select count(*) from events where message like '%storage has given up%'"
    bot.wait(lambda: bot.rows(given_up) == [(1,)], "the table of events has it, once")

    (bot.var / "settings.json").write_text(json.dumps({})[:1])  # half a file
    bot.wait(lambda: bot.up("status").returncode == 0, "it goes by what it began with")
    stopped = bot.stop()
    assert stopped.returncode == 0 and bot.processes() == {}


def test_a_start_names_all_that_is_wrong_at_once_the_folder_too(pipeline: Pipeline) -> None:
    pipeline.settings |= {"VAR_DIR": "/dev/null/bot", "RSI_BUY": "lots"}
    (pipeline.root / ".env").write_text("RSI_SELLL=70\n")
    done = pipeline.up("start")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert all(words in done.stderr for words in ("RSI_BUY=lots", "did you mean RSI_SELL?", "/dev/null/bot"))
    del pipeline.settings["VAR_DIR"]
    (pipeline.root / ".env").unlink()
