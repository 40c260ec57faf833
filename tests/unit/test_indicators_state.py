"""The saved state and the file of closed candles: whole, damaged, of another release, on a disk that refuses."""

from pathlib import Path

import numpy as np
import pytest

from bus.messages import Start
from indicators import layout, state
from indicators.layout import ROW, Parameters
from indicators.ring import SPARE_ROWS, ClosedCandles, candles_kept
from tests.indicator_tools import MINUTE, T0, compiled, fold_all, market, walk

PARAMETERS = Parameters(60_000)
HASHES = {"settings_hash": 5, "sources_hash": 6, "layout_hash": 7}


def saved(words: np.ndarray) -> state.Saved:
    start = Start("sandbox", "sim-sandbox", [market()], "5", "5", False, 1)
    return state.Saved(state.VERSION, 1234, 99, 5, 6, 7, start, words.tobytes())


@pytest.fixture
def words() -> np.ndarray:
    indicators = compiled(PARAMETERS, 1)
    fold_all(indicators, walk(1, 3000))
    return indicators.state


def test_a_state_comes_back_bit_for_bit(tmp_path: Path, words: np.ndarray) -> None:
    state.save(tmp_path / "state", saved(words))
    state.save(tmp_path / "state", saved(words))
    back = state.load(tmp_path / "state", **HASHES, bb_period=20)
    assert back == saved(words)
    assert isinstance(back, state.Saved)
    assert back.words().tobytes() == words.tobytes()
    back.words()[0] = 1  # ours to write
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param({"settings_hash": 0}, "settings", id="settings"),
        pytest.param({"sources_hash": 0}, "another version", id="sources"),
        pytest.param({"layout_hash": 0}, "another version", id="layouts"),
    ],
)
def test_a_state_made_otherwise_is_not_taken_up(
    tmp_path: Path, words: np.ndarray, change: dict[str, int], why: str
) -> None:
    state.save(tmp_path / "state", saved(words))
    found = state.load(tmp_path / "state", **(HASHES | change), bb_period=20)
    assert isinstance(found, str) and why in found


def test_a_damaged_state_is_not_taken_up(tmp_path: Path, words: np.ndarray) -> None:
    path = tmp_path / "state"
    state.save(path, saved(words))
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:10], b"", whole[:50] + b"\xff" + whole[51:], whole + b"\0"):
        path.write_bytes(damaged)
        assert "damaged" in str(state.load(path, **HASHES, bb_period=20))


def test_a_state_of_another_length_is_not_taken_up(tmp_path: Path, words: np.ndarray) -> None:
    state.save(tmp_path / "state", saved(words[:-1]))
    assert "damaged" in str(state.load(tmp_path / "state", **HASHES, bb_period=20))
    state.save(tmp_path / "state", saved(words))
    assert "damaged" in str(state.load(tmp_path / "state", **HASHES, bb_period=21))


def test_without_a_state_it_says_so(tmp_path: Path) -> None:
    assert state.load(tmp_path / "state", **HASHES, bb_period=20) == "there is no saved state"
    (tmp_path / "state").mkdir()
    assert "cannot be read" in str(state.load(tmp_path / "state", **HASHES, bb_period=20))


def test_saving_where_there_is_no_folder_raises_and_leaves_nothing(tmp_path: Path, words: np.ndarray) -> None:
    with pytest.raises(OSError):
        state.save(tmp_path / "no" / "state", saved(words))
    assert list(tmp_path.iterdir()) == []


def test_many_pairs_are_saved_less_often() -> None:
    assert state.seconds_between(500) == 5.0
    assert state.seconds_between(600_000) == 60.0


# --- closed candles -----------------------------------------------------------------------------------


def rows(count: int, pair: int = 0, first: int = 0, number: int = 0) -> np.ndarray:
    """Closed candles `first` to `first + count - 1` of a pair, closed by records `number` on."""
    made = np.zeros(count, ROW)
    made["pair"] = pair
    made["open_ns"] = T0 + (first + np.arange(count)) * MINUTE
    made["close"] = 100.0 + first + np.arange(count)
    made["number"] = number + np.arange(count)
    return made


@pytest.mark.parametrize(
    ("minutes", "timeframe_ms", "warmup", "kept"),
    [(60, 60_000, 50, 60), (60, 300_000, 50, 50), (60, 1000, 50, 3600), (7, 180_000, 1, 3), (1500, 60_000, 50, 1500)],
)
def test_how_many_candles_are_kept(minutes: int, timeframe_ms: int, warmup: int, kept: int) -> None:
    assert candles_kept(minutes, timeframe_ms, warmup) == kept


def test_the_newest_candles_of_each_pair_are_kept(tmp_path: Path) -> None:
    ring = ClosedCandles(tmp_path / "rows", 3, 1)
    ring.begin(7)
    fresh = ring.add(np.concatenate([rows(5), rows(2, pair=1, number=5)]))
    assert fresh["open_ns"].tolist() == [T0 + i * MINUTE for i in (2, 3, 4, 0, 1)]
    ring.add(rows(1, first=5, number=7))
    assert ring.rows()["close"].tolist() == [103.0, 104.0, 105.0, 100.0, 101.0]
    assert len(ring) == 5


def test_a_restart_finds_what_was_closed_before_the_saved_state(tmp_path: Path) -> None:
    ring = ClosedCandles(tmp_path / "rows", 10, 1)
    ring.begin(7)
    ring.add(rows(6))
    again = ClosedCandles(tmp_path / "rows", 10, 1)
    again.load(7, 3)
    assert again.rows()["number"].tolist() == [0, 1, 2, 3]
    again.add(rows(2, first=4, number=4))
    last = ClosedCandles(tmp_path / "rows", 10, 1)
    last.load(7, 99)
    assert last.rows().tobytes() == ring.rows().tobytes()


@pytest.mark.parametrize(("epoch", "sources"), [(8, 1), (7, 2)], ids=["another tape", "another release"])
def test_rows_of_others_are_not_taken_up(tmp_path: Path, epoch: int, sources: int) -> None:
    ring = ClosedCandles(tmp_path / "rows", 10, 1)
    ring.begin(7)
    ring.add(rows(6))
    other = ClosedCandles(tmp_path / "rows", 10, sources)
    other.load(epoch, 99)
    assert len(other) == 0


def test_a_torn_row_at_the_end_is_left_out(tmp_path: Path) -> None:
    ring = ClosedCandles(tmp_path / "rows", 10, 1)
    ring.begin(7)
    ring.add(rows(6))
    whole = (tmp_path / "rows").read_bytes()
    (tmp_path / "rows").write_bytes(whole[:-5])
    again = ClosedCandles(tmp_path / "rows", 10, 1)
    again.load(7, 99)
    assert len(again) == 5


def test_history_after_a_hole_replaces_what_was_seen(tmp_path: Path) -> None:
    ring = ClosedCandles(tmp_path / "rows", 10, 1)
    ring.begin(7)
    ring.add(rows(6))
    history = rows(4, first=3, number=6)
    history["close"] += 0.5
    ring.add(history)
    assert ring.rows()["close"].tolist() == [100.0, 101.0, 102.0, 103.5, 104.5, 105.5, 106.5]


def test_the_file_stays_bounded(tmp_path: Path) -> None:
    ring = ClosedCandles(tmp_path / "rows", 5, 1)
    ring.begin(7)
    for i in range(0, 30_000, 1000):
        ring.add(rows(1000, first=i, number=i))
        assert (tmp_path / "rows").stat().st_size < (SPARE_ROWS + 2000) * layout.ROW.itemsize
    assert ring.rows()["number"].tolist() == list(range(29_995, 30_000))


def test_a_disk_that_refuses_costs_only_the_file(tmp_path: Path) -> None:
    ring = ClosedCandles(tmp_path / "no" / "rows", 5, 1)
    ring.begin(7)
    assert "no/rows" in ring.complaint
    ring.add(rows(3))
    assert len(ring) == 3 and ring.complaint
    (tmp_path / "no").mkdir()
    ring.add(rows(1, first=3, number=3))
    assert ring.complaint == ""
    again = ClosedCandles(tmp_path / "no" / "rows", 5, 1)
    again.load(7, 99)
    assert len(again) == 4
