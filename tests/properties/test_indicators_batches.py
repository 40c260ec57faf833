"""However the tape is cut into frames, and wherever the state was saved and loaded, the same comes out to the byte."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.records import BACKFILL, FORMING, LATE, PARTIAL, STALE
from indicators import layout
from indicators.layout import Parameters
from tests.indicator_tools import MINUTE, SECOND, T0, candle, closed_rows, compiled, fold_all, hole, plain, trade

PARAMETERS = Parameters(60_000, warmup_candles=4, rsi_period=3, bb_period=4, bb_stddev=1.0, rsi_buy=45.0, rsi_sell=55.0)
PAIRS = 3


@st.composite
def tapes(draw: st.DrawFn) -> np.ndarray:
    """A tape of three pairs: mostly trades going forward, some late, some flagged; holes, candles, long silences."""
    seed = draw(st.integers(0, 2**32 - 1))
    count = draw(st.integers(1, 250))
    oddities = draw(st.floats(0.0, 0.3))
    rng = np.random.default_rng(seed)
    now = T0
    records = []
    for _ in range(count):
        now += int(rng.exponential(25 * SECOND))
        pair = int(rng.integers(0, PAIRS))
        price = float(np.round(100 + rng.normal(0, 2), 1))
        if rng.random() >= oddities:
            records.append(trade(now, price, 0.5, pair=pair))
            continue
        odd = rng.integers(0, 8)
        if odd == 0:
            records.append(trade(now - int(rng.integers(0, 3 * MINUTE)), price, 0.5, int(rng.choice([0, LATE])), pair))
        elif odd == 1:
            records.append(trade(now, price, 0.5, int(rng.choice([BACKFILL, STALE, STALE | BACKFILL])), pair))
        elif odd == 2:
            records.append(hole(now, now, pair, int(rng.integers(1, 4))))
        elif odd == 3:
            begin = now - now % MINUTE - MINUTE * int(rng.integers(0, 6))
            flags = int(rng.choice([0, FORMING, FORMING | PARTIAL]))
            records.append(candle(begin, price, flags, pair, high=price + 1, low=price - 1))
        elif odd == 4:
            now += MINUTE * int(rng.choice([20, 600]))
            records.append(trade(now, price, 0.5, pair=pair))
        elif odd == 5:
            records.append(trade(now, float(rng.choice([0.0, np.nan, -3.0])), 0.5, pair=pair))
        elif odd == 6:
            records.append(trade(now, price, 0.5, pair=PAIRS + 4))
        else:
            records.append(trade(now, price, 0.5, pair=pair))
            records.append(records[-1])
    return np.concatenate(records)


@settings(max_examples=80, deadline=None)
@given(tapes(), st.data())
def test_batch_boundaries_change_nothing(records: np.ndarray, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(records)), max_size=40))
    whole, cut, single = (compiled(PARAMETERS, PAIRS) for _ in range(3))
    updates = fold_all(whole, records).tobytes()
    assert fold_all(cut, records, cuts).tobytes() == updates
    assert fold_all(single, records, list(range(len(records)))).tobytes() == updates
    assert cut.state.tobytes() == whole.state.tobytes() == single.state.tobytes()
    rows = closed_rows(whole).tobytes()
    assert closed_rows(cut).tobytes() == rows == closed_rows(single).tobytes()
    assert sorted(whole.take_dirty()) == sorted(cut.take_dirty())


@settings(max_examples=30, deadline=None)
@given(tapes())
def test_plain_python_and_compiled_code_agree_to_the_bit(records: np.ndarray) -> None:
    machine, slow = compiled(PARAMETERS, PAIRS), plain(PARAMETERS, PAIRS)
    assert fold_all(machine, records).tobytes() == fold_all(slow, records).tobytes()
    assert machine.state.tobytes() == slow.state.tobytes()
    assert closed_rows(machine).tobytes() == closed_rows(slow).tobytes()
    assert machine.segments == slow.segments
    assert machine.describe([0, 1, 2]).tobytes() == slow.describe([0, 1, 2]).tobytes()


@settings(max_examples=40, deadline=None)
@given(tapes(), st.data())
def test_a_saved_state_goes_on_as_if_nothing_had_happened(records: np.ndarray, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(records)))
    straight, before, after = (compiled(PARAMETERS, PAIRS) for _ in range(3))
    updates = fold_all(straight, records)
    first_part = fold_all(before, records[:at])
    after.load(np.frombuffer(before.state.tobytes(), np.int64).copy())
    second_part = fold_all(after, records[at:], first=at)
    assert np.concatenate([first_part, second_part]).tobytes() == updates.tobytes()
    assert after.state.tobytes() == straight.state.tobytes()


@settings(max_examples=40, deadline=None)
@given(tapes(), st.integers(1, 5))
def test_a_small_room_for_rows_changes_nothing(records: np.ndarray, room: int) -> None:
    roomy, tight = compiled(PARAMETERS, PAIRS), compiled(PARAMETERS, PAIRS)
    tight._use(layout.new_arena(tight.state, 1000, room))
    assert fold_all(roomy, records).tobytes() == fold_all(tight, records).tobytes()
    assert closed_rows(roomy).tobytes() == closed_rows(tight).tobytes()


@settings(max_examples=40, deadline=None)
@given(tapes())
def test_there_is_one_update_a_trade_and_codes_obey_the_flags(records: np.ndarray) -> None:
    trades = records[records["kind"] == 3]
    updates = fold_all(compiled(PARAMETERS, PAIRS), records)
    assert updates["number"].tolist() == np.flatnonzero(records["kind"] == 3).tolist()
    assert updates["price"].tobytes() == trades["price"].tobytes()
    quiet = updates["flags"] & (LATE | BACKFILL) != 0
    assert not updates["codes"][quiet].any()
    assert not updates["codes"][updates["closed"] < PARAMETERS.needed].any()


def test_room_for_more_pairs_keeps_the_state_of_those_there_are() -> None:
    from tests.indicator_tools import market

    few, many = compiled(PARAMETERS, 1), compiled(PARAMETERS, 1)
    records = np.concatenate([trade(T0 + i * 9 * SECOND, 100.0 + i % 7) for i in range(80)])
    for indicators in (few, many):
        indicators.start([market()], False)
        fold_all(indicators, records)
    many.start([market(), market("B-ETH_USDT"), market("B-XRP_USDT")], False)
    more = np.concatenate([trade(T0 + (80 + i) * 9 * SECOND, 100.0 + i % 5) for i in range(40)])
    assert fold_all(few, more, first=80).tobytes() == fold_all(many, more, first=80).tobytes()
    assert few.heads[0].tobytes() == many.heads[0].tobytes()
    assert many.pairs == 3 and many.closed_candles() == 0
