"""What is told once more of a stretch is to the bit what the indicators said then, whatever a session went through."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bus.messages import Start
from bus.records import BACKFILL, LATE, RECORD, WARM
from bus.segment import segments_of
from bus.tape import TapeWriter
from core.clock import ManualClock
from indicators import jit, state
from indicators.engine import Indicators
from indicators.kept import KeptStates
from indicators.layout import Parameters
from indicators.lookback import Lookback
from indicators.told import Told
from tests.indicator_tools import MINUTE, SECOND, T0, candle, hole, kernels, market, walk
from tests.recorded_session import Recording

PAIR = "B-BTC_USDT"
Updates = dict[tuple[int, int], np.void]


class Heard(Recording):
    """A session whose UPDATEs are kept as they were published."""

    def __init__(self, folder: Path, **changed: object) -> None:
        self.updates: Updates = {}
        super().__init__(folder, seed=3, **changed)

    def _fold(self, records: np.ndarray, first: int) -> np.ndarray:
        updates = super()._fold(records, first)
        for update in updates:
            key = self.tape.epoch, int(update["number"])
            self.updates.setdefault(key, update.copy())  # a life that begins anew folds again, and publishes no more
        return updates


def same(told: Iterator[Told], updates: Updates, from_ns: int, to_ns: int) -> int:
    """Asserts that these are the updates of that time, and returns how many."""
    heard = list(told)
    got = {(one.epoch, one.number): one for one in heard}
    assert len(heard) == len(got), "each once"
    wanted = {
        key: update
        for key, update in updates.items()
        if from_ns <= int(update["exchange_ns"]) < to_ns and not int(update["flags"]) & LATE
    }
    assert got.keys() == wanted.keys()
    assert list(got) == sorted(got)
    for key, one in got.items():
        update = wanted[key]
        told_bits = np.array([one.price, one.rsi, one.bb_lower]).view(np.int64)
        bits = np.array([update["price"], update["rsi"], update["bb_lower"]]).view(np.int64)
        nan = np.isnan([one.price, one.rsi, one.bb_lower])
        assert (told_bits == bits)[~nan].all() and (np.isnan(bits.view(np.float64)) == nan).all(), (one, update)
        if not one.flags & BACKFILL:
            assert one.warm == bool(int(update["codes"]) & WARM), one
    return len(got)


def quiet(rec: Heard) -> None:
    rec.trades(1_500)


def holes(rec: Heard) -> None:
    rec.hole()
    rec.trades(300)
    rec.hole()
    rec.history(15)
    rec.trades(300)


def restarts(rec: Heard) -> None:
    rec.restart_indicators()
    rec.start()
    rec.trades(300)


def lost(rec: Heard) -> None:
    rec.lose_all()
    rec.trades(500)


def anew(rec: Heard) -> None:
    rec.restart_indicators(unusable=True)
    rec.trades(500)


def another_tape(rec: Heard) -> None:
    rec.another_tape()
    rec.bridge()
    rec.history(12)
    rec.trades(800)


def hours(rec: Heard) -> None:
    rec.trades(25_000, batch=500)


SESSIONS = {name.__name__: name for name in (quiet, holes, restarts, lost, anew, another_tape, hours)}


@pytest.mark.parametrize("what", SESSIONS.values(), ids=SESSIONS)
def test_every_minute_is_told_as_it_was(tmp_path: Path, what: Callable[[Heard], None]) -> None:
    rec = Heard(tmp_path)
    rec.trades(400)
    what(rec)
    rec.trades(200)
    back = Lookback(rec.book)
    rng, seen = random.Random(1), 0
    minutes = list(range(T0, rec.ns, MINUTE))
    for start in rng.sample(minutes, min(40, len(minutes))):
        seen += same(back.tell(PAIR, start, start + MINUTE), rec.updates, start, start + MINUTE)
        assert back.missing == (["the tape begins later"] if start == T0 else [])
    assert seen > 500
    rec.close()


def test_trades_before_the_stretch_are_told_without_indicators(tmp_path: Path) -> None:
    rec = Heard(tmp_path)
    rec.trades(1_200)
    start = T0 + 2 * MINUTE
    told = list(Lookback(rec.book).tell(PAIR, start, start + MINUTE, start - MINUTE))
    before = [one for one in told if one.ns < start]
    assert before and all(np.isnan(one.rsi) for one in before) and before[0].ns < start - MINUTE // 2
    assert same((one for one in told if one.ns >= start), rec.updates, start, start + MINUTE)
    rec.close()


def test_what_is_gone_is_named(tmp_path: Path) -> None:
    rec = Heard(tmp_path)
    rec.trades(2_000)
    back = Lookback(rec.book)
    folder = rec.tape.folder / str(rec.tape.epoch)
    assert list(back.tell("B-ETH_USDT", T0, T0 + MINUTE)) == []
    for path in segments_of(folder):
        path.unlink()
    assert list(back.tell(PAIR, T0 + MINUTE, T0 + 2 * MINUTE)) == [] and back.missing
    for path in (rec.book / "indicators").iterdir():
        path.unlink()
    assert list(back.tell(PAIR, T0 + MINUTE, T0 + 2 * MINUTE)) == []
    assert back.missing == ["no state of the indicators is kept"]


def test_one_of_many_pairs_with_late_and_odd_trades_ema_and_long_candles(tmp_path: Path) -> None:
    pairs = ["B-ETH_USDT", PAIR, "B-SOL_USDT"]
    body = Start("sandbox", "book", [market(pair) for pair in pairs], "5", "5", False, T0)
    tape = TapeWriter(tmp_path / "tape", ManualClock(), "boot", segment_bytes=64 * 3_000)
    tape.open()
    parameters = Parameters(300_000, 10, 5, "ema", 40.0, 60.0, 25.0, 8, 1.0, 7)
    indicators = Indicators(parameters, kernels().machine)
    kept, updates = KeptStates(tmp_path), Updates()

    def keep(number: int, ns: int, began: bool) -> None:
        saved = state.Saved(
            state.VERSION, tape.epoch, number, 7, jit.sources_hash(), 0, body, indicators.state.tobytes()
        )
        kept.keep(saved, ns, began=began)

    number = tape.start(body)
    indicators.start(body.markets, False)
    keep(number, T0, True)
    rng = np.random.default_rng(2)
    records = walk(9, 20_000)
    records["pair"] = rng.integers(0, 3, len(records))
    records["exchange_ns"] -= (rng.random(len(records)) < 0.2) * rng.integers(0, 90, len(records)) * SECOND
    records["flags"][rng.random(len(records)) < 0.05] = BACKFILL
    records["flags"][rng.random(len(records)) < 0.02] = LATE
    records["price"][rng.random(len(records)) < 0.01] = 0.0
    for at in range(0, len(records), 500):
        part = [records[at : at + 500]]
        newest = int(part[0]["exchange_ns"].max())
        if at % 4_000 == 2_000:
            part += [hole(newest, newest, pair=1), *(candle(newest - n * 300 * SECOND, 59_000.0 + n, pair=1)
                                                     for n in range(14, 0, -1))]  # fmt: skip
        whole = np.concatenate(part).astype(RECORD)
        first = tape.append(whole)
        for update in indicators.fold(whole.tobytes(), first).copy():
            impossible = not 0 < update["price"] < 1e18
            if int(update["pair"]) == 1 and not impossible:
                updates[tape.epoch, int(update["number"])] = update
        indicators.take_segments()
        if indicators.take_closed() and kept.due(tape.epoch, newest):
            keep(first + len(whole) - 1, newest, False)
    back, seen = Lookback(tmp_path), 0
    early = early_trades(updates)
    for start in range(T0 + MINUTE, int(records["exchange_ns"].max()), 11 * MINUTE):
        told = back.tell(PAIR, start, start + MINUTE)
        seen += same(told, {k: u for k, u in updates.items() if k not in early}, start, start + MINUTE)
        assert not back.missing
    assert seen > 300 and early
    tape.close()


def early_trades(updates: Updates) -> set[tuple[int, int]]:
    """Trades from before the bucket that formed then, which are none though no flag says so."""
    newest, found = 0, set()
    for key, update in updates.items():
        bucket = int(update["exchange_ns"]) // (5 * MINUTE)
        if int(update["flags"]) & LATE:
            continue
        if bucket < newest:
            found.add(key)
        newest = max(newest, bucket)
    return found
