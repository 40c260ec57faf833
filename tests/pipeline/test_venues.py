"""The whole pipeline over each protocol: the venue's adapter against the sandbox, by two addresses and as a guest.

One of them goes on to real orders at that venue, by the way that a user takes.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core import sandbox_keys
from tests.pipeline.lively import LIVELY
from tests.pipeline.pipeline import Pipeline
from tests.reference.read_tape import KIND_TRADE, TRADE, read_segments

BACKFILL = 2
PAIRS = {"coindcx": "B-BTC_USDT,B-ETH_USDT", "binance": "BTCUSDT,ETHUSDT", "kraken": "BTC/USDT,ETH/USDT"}


@contextmanager
def exchange(bot: Pipeline, protocol: str) -> Iterator[int]:
    """The sandbox alone, as another machine would be; its port."""
    port = bot.settings["SANDBOX_PORT"]
    changes = {"VENUE": "sandbox", "SANDBOX_PROTOCOL": protocol, "PAIRS": "B-BTC_USDT", "VAR_DIR": "exchange"}
    with (bot.root / "exchange.log").open("wb") as log:
        child = subprocess.Popen(
            [".venv/bin/python", "-m", "sandbox"],
            cwd=bot.root,
            env=bot.environment | changes,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield int(port)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(timeout=20)
        print("--- exchange.log", *(bot.root / "exchange.log").read_text().splitlines()[-25:], sep="\n")


def ids(book: Path) -> dict[int, list[int]]:
    """The trade ids on the tape by pair number, each once: BACKFILL may tell the running candle's again."""
    (epoch,) = (book / "tape").iterdir()
    found: dict[int, list[int]] = {}
    for segment in read_segments(epoch):
        for raw in segment.records:
            if raw[0] == KIND_TRADE:
                _, _, _, pair, *_, trade_id = TRADE.unpack(raw)
                found.setdefault(pair, []).append(trade_id)
    return found


def warm(stats: dict[str, Any]) -> bool:
    """Whether the trader has spoken, and decides."""
    return stats.get("price") is not None and stats["status"] != "warming_up"


def works(bot: Pipeline, pairs: int) -> None:
    """It gets healthy, warm and stays so over a killed feeder, with nothing lost or doubled."""
    bot.start()
    stats: dict[str, Any] = bot.wait(lambda: (now := bot.stats()) and warm(now) and now, "warm")
    assert stats["price"] > 0 and stats["rsi"] is not None and len(stats["pairs"]) == pairs
    before = bot.rows("SELECT max(trades) FROM candles")
    assert before
    bot.kill("feeder")
    bot.wait(lambda: bot.pid("feeder") is not None, "the feeder is back")
    seen = sum(map(len, ids(bot.book).values()))
    bot.wait(lambda: sum(map(len, ids(bot.book).values())) > seen + 30, "trades go on")
    bot.wait_healthy()
    assert bot.rows("SELECT * FROM gaps") == []


def goes_live(bot: Pipeline) -> None:
    """From its simulation to real orders: refused step by step, cleared, killed, sold out. Only a start is cleared."""
    bot.settings |= {name: str(value) for name, value in LIVELY.items()}
    bot.settings |= {"SIMULATION_MODE": "false", "PAIRS": "BTCUSDT", "TAKER_FEE_BPS": "5"}
    bot.settings |= {"BINANCE_API_KEY": sandbox_keys.API_KEY, "BINANCE_SECRET_KEY": sandbox_keys.SECRET_KEY}
    trader = bot.pid("trader")
    for more, missing in (({}, "needs LIVE_CONFIRM=yes"), ({"LIVE_CONFIRM": "yes"}, "0.0 h of simulation")):
        bot.settings |= more
        refused = bot.up("restart")
        assert refused.returncode == 2 and missing in refused.stderr, refused.stderr
    assert bot.pid("trader") == trader
    bot.wait(lambda: bot.stats().get("mode") == "sim", "it simulates on")
    bot.settings |= {"LIVE_SKIP_SIM_DAY": "yes"}
    cleared = bot.up("restart")
    assert cleared.returncode == 0, cleared.stdout + cleared.stderr
    stats = lambda *names: tuple(map(bot.stats().get, names))  # noqa: E731
    bot.wait(lambda: stats("book", "stake") == ("live-binance", 1000.0), "a tenth may be put in", 30)
    alive = lambda: [stage["name"] for stage in bot.stats().get("stages", ()) if stage["alive"]]  # noqa: E731
    bot.wait(lambda: "guardian" in alive(), "the guardian is there")
    bot.wait(lambda: bot.rows("SELECT * FROM trades WHERE action = 'sell'"), "a round trip", 120)
    killed = bot.kill("trader")
    bot.wait(lambda: bot.pid("trader") not in (None, killed), "the trader is back, without being asked anything")
    bot.wait(lambda: stats("mode") == ("live",), "journal and venue agree")
    assert bot.tool("tools.control", "flatten").returncode == 0
    bot.wait(lambda: stats("mode", "status") == ("reducing", "idle"), "everything is sold", 60)
    assert bot.stop().returncode == 0
    (line,) = bot.log("live").splitlines()
    assert "live-binance may send real orders; LIVE_SKIP_SIM_DAY=yes" in line
    (bot.var / "doctor.json").unlink()
    by_hand = subprocess.run(
        [".venv/bin/python", "-m", "trader"], cwd=bot.root, env=bot.environment, capture_output=True, text=True
    )
    assert by_hand.returncode == 2 and "the doctor has not passed yet" in by_hand.stdout + by_hand.stderr


def assert_gapless(book: Path) -> None:
    for pair, found in ids(book).items():
        assert found == list(range(found[0], found[0] + len(found))), f"pair {pair}"


@pytest.mark.parametrize("protocol", ["coindcx", "binance", "kraken"])
def test_a_venue_by_its_addresses(make_pipeline: Callable[..., Pipeline], protocol: str) -> None:
    bot = make_pipeline(VENUE=protocol, PAIRS=PAIRS[protocol])
    with exchange(bot, protocol) as port:
        bot.settings |= {"VENUE_REST_URL": f"http://127.0.0.1:{port}", "VENUE_STREAM_URL": f"ws://127.0.0.1:{port}"}
        works(bot, 2)
        assert bot.get("/api/stats")[1]["venue"] == protocol
        if protocol != "coindcx":
            assert_gapless(bot.book)
        if protocol == "binance":
            goes_live(bot)
        assert bot.stop().returncode == 0


@pytest.mark.parametrize("protocol", ["binance", "kraken"])
def test_the_sandbox_speaks_a_protocol(make_pipeline: Callable[..., Pipeline], protocol: str) -> None:
    bot = make_pipeline(SANDBOX_PROTOCOL=protocol)
    works(bot, 1)
    assert_gapless(bot.book)
    assert os.readlink(bot.book).endswith(bot.get("/api/stats")[1]["book"])
