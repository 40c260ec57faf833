"""`python -m backtest fetch` against the sandbox of each protocol: the tape is the market's own, trade by trade.

Also after kills, faults and full disks. What the venue says is held against the market that its sandbox runs.
"""

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from backtest.fetch_tape import GrowingTape
from backtest.fetching import Fetched, Fetching, Wanted
from backtest.progress import Progress
from backtest.sources import open_source
from bus.records import CANDLE, CANDLE_RECORD, HOLE, HOLE_RECORD, RECORD, START, TRADE
from bus.segment import read_header
from core.clock import NS_PER_MS, LiveClock
from core.errors import BotError, MisconfiguredError
from core.paths import ROOT
from core.settings_load import from_texts
from sandbox import faults as kinds
from sandbox.trade_ids import TradeIds
from tests.protocol.account_house import NOW_MS, PAIR, WAYS, House, house_of
from tests.small_disk import small_disk
from venues.choose import market_data
from venues.kraken.adapter import Kraken
from venues.limits import Limit
from venues.venue import MarketData

MINUTE_MS = 60_000
FROM_MS = NOW_MS - 15 * MINUTE_MS
TO_MS = NOW_MS - MINUTE_MS // 2
NUMBERED = ("binance", "kraken")
BACKOFFS = [0.5 * 2**n for n in range(6)] + [30.0]


@pytest.fixture(params=WAYS)
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    with house_of(request.param) as made:
        yield made


@pytest.fixture(params=NUMBERED)
def numbered(request: pytest.FixtureRequest) -> Iterator[House]:
    with house_of(request.param) as made:
        yield made


def venue_of(house: House) -> MarketData:
    """The adapter with the machine's clock, and Kraken's without its wait of a second for each page."""
    if house.protocol == "kraken":
        return Kraken(house.settings, LiveClock(), a_market=Limit(1e6, 1e6))
    return market_data(house.settings, LiveClock())


def fetch(
    house: House,
    out: Path,
    from_ms: int = FROM_MS,
    to_ms: int = TO_MS,
    say: Callable[[str], None] | None = None,
    pair: str = PAIR,
) -> Fetched:
    """One fetch in this process; it does not wait before it asks again, but for a ban."""

    async def pause(seconds: float) -> None:
        await asyncio.sleep(0.0 if seconds in BACKOFFS else seconds)

    clock = LiveClock()
    venue = venue_of(house)
    settings = msgspec.structs.replace(house.settings, pairs=(pair,))
    try:
        fetching = Fetching(
            venue,
            settings,
            clock,
            lambda total, begun: Progress("fetches", total, clock, io.StringIO(), begun),
            say or (lambda text: None),
            pause,
        )
        return asyncio.run(fetching.run(Wanted(out, from_ms * NS_PER_MS, to_ms * NS_PER_MS)))
    finally:
        venue.close()


def records_of(out: Path) -> np.ndarray:
    return np.frombuffer(out.read_bytes()[read_header(out).size :], RECORD)


def rows_of(records: np.ndarray) -> list[tuple[Any, ...]]:
    """ms, ticks, lots, side and id of each trade."""
    trades = records[records["kind"] == TRADE]
    columns = (trades["exchange_ns"] // NS_PER_MS, trades["ticks"], trades["lots"], trades["side"], trades["trade_id"])
    return list(zip(*(column.tolist() for column in columns), strict=True))


def true_rows(house: House, from_ms: int, to_ms: int) -> list[tuple[Any, ...]]:
    """The same of the market itself."""
    found = house.served.market.span(PAIR, from_ms, to_ms)
    step = house.served.listing.step_units
    first = TradeIds(house.served.market).at(PAIR, from_ms)
    numbered = house.protocol in NUMBERED
    unit = round(10**house.served.listing.quantity_digits * float(house.rules.step))
    assert unit >= 1 and step >= 1
    return [
        (ms, ticks, units // unit, 2 if sell else 1, first + place if numbered else 0)
        for place, (ms, ticks, units, sell) in enumerate(
            zip(found.ts_ms.tolist(), found.ticks.tolist(), found.units.tolist(), found.sell.tolist(), strict=True)
        )
    ]


# --- what is fetched ---------------------------------------------------------------------------------


def test_the_tape_is_the_market_trade_by_trade(numbered: House, tmp_path: Path) -> None:
    done = fetch(numbered, tmp_path / "a.tape")
    true = true_rows(numbered, FROM_MS, TO_MS)
    records = records_of(tmp_path / "a.tape")
    assert len(true) > 3_000 and rows_of(records) == true
    assert records["kind"].tolist() == [START] + [TRADE] * len(true)
    assert (records["received_ns"] == records["exchange_ns"]).all() and not records["flags"].any()
    assert (done.contents.trades, done.new, done.contents.holes, done.notes) == (len(true), len(true), 0, [])
    source = open_source([tmp_path / "a.tape"], from_texts({}))
    assert source.connected and source.start.markets[0].pair == numbered.rules.pair
    assert sum(len(chunk.records) for chunk in source.chunks()) == len(true)


def test_a_venue_without_ids_gives_its_latest_trades_and_candles_before_them(tmp_path: Path) -> None:
    with house_of("coindcx") as house:
        done = fetch(house, tmp_path / "a.tape", to_ms=NOW_MS + 1)
        records = records_of(tmp_path / "a.tape")
        true = true_rows(house, FROM_MS, NOW_MS + 1)[-500:]
        first_ms = true[0][0]
        assert rows_of(records) == true
        kinds_found = records["kind"].tolist()
        candles = records.view(CANDLE_RECORD)[records["kind"] == CANDLE]
        assert kinds_found == [START, HOLE] + [CANDLE] * len(candles) + [TRADE] * 500
        hole = records.view(HOLE_RECORD)[1]
        assert (hole["from_ns"], hole["to_ns"]) == (FROM_MS * NS_PER_MS, first_ms * NS_PER_MS)
        starts = range(-(-FROM_MS // MINUTE_MS) * MINUTE_MS, first_ms // MINUTE_MS * MINUTE_MS, MINUTE_MS)
        assert (candles["open_ns"] // NS_PER_MS).tolist() == list(starts) and len(starts) > 5
        for candle, start in zip(candles, starts, strict=True):
            ticks = [row[1] for row in true_rows(house, start, start + MINUTE_MS)]
            prices = [ticks[0], max(ticks), min(ticks), ticks[-1]]
            assert [round(float(candle[name]) * 100) for name in ("open", "high", "low", "close")] == prices
        assert (done.contents.holes, done.contents.candles, done.new) == (1, len(starts), 500)
        assert "serves its latest 500 trades only" in done.notes[0] and "decide nothing" in done.notes[1]


def test_the_latest_trades_that_reach_back_far_enough_leave_no_hole(tmp_path: Path) -> None:
    with house_of("coindcx") as house:
        done = fetch(house, tmp_path / "a.tape", NOW_MS - 20_000, NOW_MS + 1)
        assert rows_of(records_of(tmp_path / "a.tape")) == true_rows(house, NOW_MS - 20_000, NOW_MS + 1)
        assert (done.contents.holes, done.contents.candles, done.notes) == (0, 0, [])


def test_a_later_fetch_adds_what_has_come_since(house: House, tmp_path: Path) -> None:
    out, from_ms = tmp_path / "a.tape", NOW_MS - 20_000
    fetch(house, out, from_ms, NOW_MS + 1)
    house.step(15_000)
    done = fetch(house, out, from_ms, NOW_MS + 15_001)
    assert rows_of(records_of(out)) == true_rows(house, from_ms, NOW_MS + 15_001)
    assert done.new == len(true_rows(house, NOW_MS + 1, NOW_MS + 15_001)) > 0 and not done.contents.holes
    before = out.read_bytes()
    assert fetch(house, out, from_ms, NOW_MS + 15_001).new == 0 and out.read_bytes() == before
    assert fetch(house, out, from_ms, NOW_MS).new == 0 and out.read_bytes() == before


def test_latest_trades_that_no_longer_reach_the_tape_leave_a_hole_with_candles(tmp_path: Path) -> None:
    out, from_ms = tmp_path / "a.tape", NOW_MS - 20_000
    with house_of("coindcx") as house:
        fetch(house, out, from_ms, NOW_MS + 1)
        house.step(600_000)
        now_ms = NOW_MS + 600_001
        done = fetch(house, out, from_ms, now_ms)
        records = records_of(out)
        early, late = true_rows(house, from_ms, NOW_MS + 1), true_rows(house, NOW_MS, now_ms)[-500:]
        assert rows_of(records) == early + late
        hole = records.view(HOLE_RECORD)[records["kind"] == HOLE]
        assert [(int(row["from_ns"]), int(row["to_ns"])) for row in hole] == [
            (early[-1][0] * NS_PER_MS, late[0][0] * NS_PER_MS)
        ]
        opens = records.view(CANDLE_RECORD)["open_ns"][records["kind"] == CANDLE] // NS_PER_MS
        starts = range(-(-early[-1][0] // MINUTE_MS) * MINUTE_MS, late[0][0] // MINUTE_MS * MINUTE_MS, MINUTE_MS)
        assert opens.tolist() == list(starts) and len(starts) > 5
        assert done.contents.shown == [(int(hole[0]["from_ns"]), int(hole[0]["to_ns"]))]
        assert fetch(house, out, from_ms, now_ms).new == 0


# --- what goes wrong ---------------------------------------------------------------------------------

FAULTS: dict[str, dict[str, Any]] = {
    "the reply is lost": {"kind": kinds.DROPPED_REPLY},
    "the reply is cut": {"kind": kinds.CUT_REPLY},
    "the request is lost": {"kind": kinds.LOST_REQUEST},
    "a bad gateway": {"kind": kinds.HTML, "status": 502},
    "half JSON": {"kind": kinds.STATUS, "status": 200, "body": '[{"a":'},
    "asked too often": {"kind": kinds.STATUS, "status": 429, "retry_after_s": 3},
}


@pytest.mark.parametrize("fields", FAULTS.values(), ids=FAULTS)
def test_faults_on_the_way_change_nothing_and_are_told(house: House, fields: dict[str, Any], tmp_path: Path) -> None:
    fetch(house, tmp_path / "whole.tape")
    times = 1 if fields.get("status") == 429 else 2  # a ban is waited for: Kraken's are 5 s
    number = house.served.fault(path=trades_path(house), every=2, times=times, **fields)
    said: list[str] = []
    fetch(house, tmp_path / "a.tape", say=said.append)
    struck = house.served.struck(number)
    assert struck and len(said) == struck
    assert all("waits until" in text if fields.get("status") == 429 else "asked again in" in text for text in said)
    assert records_of(tmp_path / "a.tape").tobytes() == records_of(tmp_path / "whole.tape").tobytes()


def test_an_empty_list_after_there_were_trades_is_no_hole(tmp_path: Path) -> None:
    out, said = tmp_path / "a.tape", list[str]()
    with house_of("coindcx") as house:
        fetch(house, out, NOW_MS - 20_000, NOW_MS + 1)
        before = out.read_bytes()
        house.served.fault(kinds.STATUS, path="/market_data/*", status=200, body="[]", times=2)
        assert fetch(house, out, NOW_MS - 20_000, NOW_MS + 1, say=said.append).new == 0
    assert len(said) == 2 and "an empty list of trades, though there were some before" in said[0]
    assert out.read_bytes() == before


def test_a_venue_that_stays_away_ends_the_fetch_and_what_came_is_kept(house: House, tmp_path: Path) -> None:
    out = tmp_path / "a.tape"
    fetch(house, tmp_path / "whole.tape")
    number = house.served.fault(kinds.LOST_REQUEST, path=trades_path(house), after=1)
    said: list[str] = []
    with pytest.raises(BotError):
        fetch(house, out, say=said.append)
    assert len(said) == 13 and "asked again in 30 s" in said[-1] and house.served.struck(number) >= 14
    kept = records_of(out).tobytes()
    whole = records_of(tmp_path / "whole.tape").tobytes()
    assert 64 < len(kept) < len(whole) and whole.startswith(kept)
    house.served.no_faults()
    fetch(house, out)
    assert records_of(out).tobytes() == whole


def trades_path(house: House) -> str:
    """Where most of a fetch's requests go."""
    return {"binance": "/api/v3/historicalTrades", "coindcx": "/market_data/*"}.get(house.protocol, house.ways.trades)


def test_another_market_or_other_steps_are_refused_and_the_tape_stays(house: House, tmp_path: Path) -> None:
    out = tmp_path / "a.tape"
    fetch(house, out, NOW_MS - 20_000)
    before = out.read_bytes()
    with pytest.raises(MisconfiguredError, match=f"was begun with --pair {house.rules.pair}, not .*ETH"):
        fetch(house, out, NOW_MS - 20_000, pair="B-ETH_USDT")
    with pytest.raises(MisconfiguredError, match="USDC is unknown"):
        fetch(house, out, NOW_MS - 20_000, pair="BTC/USDC")
    house.served.fault(kinds.LOT_RULES, pair=PAIR, step="0.01", min_quantity="0.01")
    with pytest.raises(MisconfiguredError, match=r"and does by .* and 0\.01 now\. Fetch the rest into another file"):
        fetch(house, out, NOW_MS - 20_000)
    with pytest.raises(MisconfiguredError, match="has not come yet"):
        fetch(house, tmp_path / "b.tape", NOW_MS + 3_600_000, NOW_MS + 7_200_000)
    assert out.read_bytes() == before and not (tmp_path / "b.tape").exists()


def test_a_full_disk_ends_the_fetch_and_what_fitted_is_read(numbered: House, tmp_path: Path) -> None:
    fetch(numbered, tmp_path / "whole.tape")
    whole = records_of(tmp_path / "whole.tape").tobytes()
    with small_disk(tmp_path / "disk", 2) as disk:
        out = disk.path / "a.tape"
        disk.fill(leave=150_000)
        with pytest.raises(BotError, match=r"a\.tape cannot be written: No space left on device"):
            fetch(numbered, out)
        kept = records_of(out).tobytes()
        assert len(kept) > 64_000 and whole.startswith(kept)
        source = open_source([out], from_texts({}))
        assert sum(len(chunk.records) for chunk in source.chunks()) == len(kept) // 64 - 1 and not source.notes
        disk.empty()
        fetch(numbered, out)
        assert records_of(out).tobytes() == whole


# --- a process of its own ----------------------------------------------------------------------------


class Process:
    """`python -m backtest fetch` as a person runs it."""

    def __init__(self, house: House, out: Path, from_ms: int, *more: str) -> None:
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environment |= {"VENUE": "sandbox", "SANDBOX_PROTOCOL": house.protocol}
        environment |= {"SANDBOX_PORT": str(house.served.port), "VAR_DIR": str(out.parent / "var")}
        self.out = out
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backtest", "fetch", str(out), "--pair", "BTC/USDT", *span_options(from_ms), *more],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, size: int) -> None:
        """Until so many bytes are there."""
        deadline = time.monotonic() + 60
        while not self.out.exists() or self.out.stat().st_size < size:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def span_options(from_ms: int) -> list[str]:
    return ["--from", text(from_ms), "--to", text(TO_MS if from_ms == FROM_MS else NOW_MS - 1_000)]


def text(ms: int) -> str:
    seconds, rest = divmod(ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:03d}"


def a_day_back(house: House) -> int:
    """A span of several answers: of trades, or of candles."""
    return FROM_MS if house.protocol in NUMBERED else NOW_MS - 3 * 86_400_000 + MINUTE_MS


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_was_ended_goes_on_and_the_records_are_the_same(
    house: House, number: signal.Signals, tmp_path: Path
) -> None:
    from_ms = a_day_back(house)
    fetch(house, tmp_path / "whole.tape", from_ms, TO_MS if from_ms == FROM_MS else NOW_MS - 1_000)
    whole = records_of(tmp_path / "whole.tape").tobytes()
    out = tmp_path / "a.tape"
    for kept in (60_000, 2 * 60_000):  # behind an answer, and while the next is waited for
        answers = 1 if house.protocol in NUMBERED else 2  # of these one that is no candles
        house.served.no_faults()
        house.served.fault(kinds.SLOW_REPLY, path=trades_path(house), after=answers, ms=4_000)
        process = Process(house, out, from_ms)
        process.wait_for(kept)
        process.process.send_signal(number)
        code, _, err = process.end()
        assert code == (130 if number == signal.SIGINT else -signal.SIGKILL)
        assert number == signal.SIGKILL or f"stopped; what was fetched is kept in {out}" in err
        found = records_of(out).tobytes()
        assert kept // 2 < len(found) < len(whole) and whole.startswith(found)
        with out.open("ab") as file:
            file.write(b"\2half a record")
    house.served.no_faults()
    code, told, err = Process(house, out, from_ms).end()
    assert code == 0, err
    assert "14 bytes at the end of a.tape were no record: cut off" in told and f"{out}: " in told
    assert records_of(out).tobytes() == whole


def test_one_fetch_at_a_time_writes_a_tape(house: House, tmp_path: Path) -> None:
    out = tmp_path / "a.tape"
    fetch(house, out)
    with GrowingTape(out):
        code, _, err = Process(house, out, FROM_MS).end()
    assert code == 2 and f"another fetch is writing {out}" in err


def test_what_was_fetched_is_run_at_once(house: House, tmp_path: Path) -> None:
    from backtest import cli

    out = tmp_path / "a.tape"
    fetch(house, out)
    assert cli.main(["run", "--trades", str(out), "--json"]) == 0
    assert cli.main(["convert", str(out), str(tmp_path / "b.tape")]) == 0
    assert records_of(tmp_path / "b.tape").tobytes() == records_of(out).tobytes()
