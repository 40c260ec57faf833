"""What the indicators show between closes: of few pairs views and forming candles at once, of many the candles a moment
later, and never too old."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bus.frames import CANDLE, VIEW
from indicators.app import Stage
from indicators.layout import Parameters
from tests.indicator_tools import SECOND, T0, compiled, market, trade

MINUTE = 60 * SECOND


def stage(sent: list[tuple[str, Any]], aside: list[Any]) -> Stage:
    """The stage's fold and its showing, its messages and what is put aside caught."""
    found = Stage.__new__(Stage)
    found._parameters = Parameters(60_000)
    found.indicators = compiled(found._parameters)
    found.indicators.start([market()], False)
    found._pairs, found._dirty = ["B-BTC_USDT"], {}
    publisher = SimpleNamespace(send_many=lambda topic, messages: sent.extend((topic, one) for one in messages))
    context = SimpleNamespace(loop=SimpleNamespace(aside=aside.append))
    found._publisher, found._context = publisher, context  # type: ignore[assignment]
    return found


def fold(found: Stage, number: int, *records: np.ndarray) -> None:
    found.indicators.fold(np.concatenate(records).tobytes(), number)


def shown() -> tuple[Stage, list[tuple[str, Any]], list[Any]]:
    """A stage that showed its first trade, what it sent and what it put aside."""
    sent: list[tuple[str, Any]] = []
    aside: list[Any] = []
    one = stage(sent, aside)
    fold(one, 0, trade(T0, 100.0))
    one.show()
    return one, sent, aside


def test_of_few_pairs_views_and_candles_are_one_piece_of_work() -> None:
    one, sent, aside = shown()
    assert [topic for topic, _ in sent] == [VIEW, CANDLE] and not aside
    assert [message.close for topic, message in sent if topic == CANDLE] == [100.0]
    one.show()
    assert len(sent) == 2


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pair is many already."""
    monkeypatch.setattr("indicators.app.FEW_PAIRS", 0)


@pytest.mark.usefixtures("many")
def test_a_candle_that_closes_meanwhile_is_not_told_as_it_was_before() -> None:
    one, sent, aside = shown()
    fold(one, 1, trade(T0 + SECOND, 101.0), trade(T0 + MINUTE, 102.0))
    aside.pop(0)()
    candles = [message for topic, message in sent if topic == CANDLE]
    assert [(candle.time, candle.trades, candle.close) for candle in candles] == [
        ((T0 + MINUTE) // 1_000_000, 1, 102.0)
    ]


@pytest.mark.usefixtures("many")
def test_a_pair_that_is_gone_meanwhile_is_not_told() -> None:
    one, sent, aside = shown()
    one.indicators = compiled(one._parameters, pairs=0)
    aside.pop(0)()
    assert [topic for topic, _ in sent if topic == CANDLE] == []
