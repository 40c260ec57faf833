"""Whatever trades a file holds, they come back from a tape and from another file to the bit."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.convert import write_candles, write_tape, write_trades
from backtest.sources import Source, open_source
from core.settings_load import from_texts

NS = 1_700_000_000_000_000_000
SETTINGS = from_texts({})
PRICES = st.decimals("0.00000001", "99999999", places=8) | st.decimals("0.1", "99999", places=1)
# Up to 15 digits a float64 says them all, also those finer than the step.
QUANTITIES = st.one_of(
    st.decimals("0.00000001", 9_999_999, places=8),
    st.decimals("0.00000000001", 9_999, places=11),
    st.integers(1, 10**15).map(str),
)
TRADES = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 1_000_000, 70_000_000_000]),
        PRICES,
        QUANTITIES,
        st.sampled_from(["buy", "sell", ""]),
        st.sampled_from(["", "abc"]) | st.integers(1, 10**18 - 1),
    ),
    min_size=1,
    max_size=20,
)


def records_of(source: Source) -> np.ndarray:
    return np.concatenate([chunk.records for chunk in source.chunks()])


@given(TRADES)
@settings(max_examples=150, deadline=None)
def test_trades_come_back_to_the_bit(tmp_path_factory, trades: Sequence[tuple[int, ...]]):
    folder: Path = tmp_path_factory.getbasetemp()
    ns, text = NS, "ts_ns,price,qty,side,trade_id\n"
    for step, *cells in trades:
        ns += step
        text += f"{ns},{','.join(format(cell, 'f') if hasattr(cell, 'adjusted') else str(cell) for cell in cells)}\n"
    (folder / "in.csv").write_text(text)
    source = open_source([folder / "in.csv"], SETTINGS, skip_bad=True)  # the same trade twice is one
    wanted = records_of(source)
    with (folder / "a.tape").open("wb") as file:
        written = write_tape(source, file.write, NS)
    assert written.rows == len(wanted) and not written.left_out
    tape = open_source([folder / "a.tape"], SETTINGS)
    assert np.array_equal(records_of(tape), wanted)
    with (folder / "out.csv").open("wb") as file:
        write_trades(tape, file.write)
    assert np.array_equal(records_of(open_source([folder / "out.csv"], SETTINGS)), wanted)
    with (folder / "candles.csv").open("wb") as file:
        write_candles(tape, file.write, 60_000)
    candles = np.genfromtxt(folder / "candles.csv", delimiter=",", names=True, dtype=None, ndmin=1)
    assert candles["close"][-1] == wanted["price"][-1] and candles["open"][0] == wanted["price"][0]
    assert candles["high"].max() == wanted["price"].max() and candles["low"].min() == wanted["price"].min()
    assert np.diff(candles["open_time_ms"]).tolist() == [60_000] * (len(candles) - 1)
