"""The pipeline's own answer to the same market: tape records, kernels and the trader's fold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from bus.messages import FillEvent, Market, Start, TraderEvent
from bus.records import CANDLE, CANDLE_RECORD, HOLE, HOLE_RECORD, RECORD, TRADE, UPDATE
from core.settings import Settings
from core.settings_load import from_texts
from indicators import folding
from indicators.layout import ROW, WORK, WORK_WORDS, Parameters, new_scratch, new_state
from tests.reference import slow_strategy as slow
from trader import inputs, replay
from trader.state import State
from trader.terms import terms_of

SETTINGS_HASH = 99
EPOCH = 1
Fold = Callable[..., int]
Spans = Sequence[tuple[int, int]]


@dataclass
class Answer:
    """What the pipeline made of the records."""

    updates: np.ndarray
    rows: np.ndarray  # closed candles with their indicators
    events: list[TraderEvent]
    decisions: list[tuple[int, str, str, float, float, float, str]]
    fills: list[FillEvent]
    state: State


def records_of(market_data: Sequence[Any], markets: dict[str, slow.Market]) -> np.ndarray:
    """The reference's records as the tape holds them; record 0 of the array is number 0."""
    numbers = {pair: number for number, pair in enumerate(markets)}
    records = np.zeros(len(market_data), RECORD)
    candles, holes = records.view(CANDLE_RECORD), records.view(HOLE_RECORD)
    for place, record in enumerate(market_data):
        assert record.number == place
        pair = numbers[record.pair]
        if isinstance(record, slow.Trade):
            market = markets[record.pair]
            ticks, lots = record.price / market.tick, record.quantity / market.step
            assert ticks == int(ticks)
            row = (TRADE, 0, record.flags, pair, record.ts_ns, record.ts_ns, float(record.price))
            records[place] = (*row, float(record.quantity), int(ticks), int(lots), 0)
        elif isinstance(record, slow.Candle):
            values = (record.open, record.high, record.low, record.close, record.volume, record.trades)
            candles[place] = (CANDLE, 0, record.flags, pair, record.open_ns, *values)
        else:
            holes[place] = (HOLE, 1, 0, pair, 0, 0, b"")
    return records


def fold_all(fold: Fold, records: np.ndarray, parameters: Parameters, pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """UPDATEs and closed ROWs of all records in one frame."""
    state, scratch = new_state(parameters, pairs), new_scratch(pairs)
    out = np.zeros(max(1, len(records)) * UPDATE.itemsize // 8, np.int64)
    frame = records.tobytes()
    work = scratch[:WORK_WORDS].view(WORK)[0]
    closed = []
    start = 0
    while True:
        written = fold(frame, 0, start, state, out, scratch)
        closed.append(scratch[WORK_WORDS + 2 * pairs :].view(ROW)[: int(work["rows"])].copy())
        start = int(work["next"])
        if written >= 0 or start == len(records):
            return out.view(UPDATE)[: int(work["updates"])], np.concatenate(closed)


def parameters_of(settings: Settings, connected_throughout: bool) -> Parameters:
    """The kernel's parameters."""
    return Parameters(
        timeframe_ms=settings.timeframe_ms,
        warmup_candles=settings.warmup_candles,
        rsi_period=settings.rsi_period,
        rsi_smoothing=settings.rsi_smoothing,
        rsi_buy=settings.rsi_buy,
        rsi_sell=settings.rsi_sell,
        rsi_crash=settings.rsi_crash,
        bb_period=settings.bb_period,
        bb_stddev=settings.bb_stddev,
        settings_hash=SETTINGS_HASH,
        connected_throughout=connected_throughout,
    )


def answer(
    market_data: Sequence[Any],
    texts: dict[str, str],
    markets: dict[str, slow.Market],
    fee_bps: str,
    blind: Spans = (),
    degraded: Spans = (),
    fold: Fold = folding.fold,
    connected_throughout: bool = True,
    commands: Sequence[tuple[int, str]] = (),
) -> Answer:
    """Runs kernels and trader over the records; spans are fed as the trader feeds them, raw from the tape.

    commands: (record after which it is given, what), in order.
    """
    settings = from_texts(texts)
    records = records_of(market_data, markets)
    updates, rows = fold_all(fold, records, parameters_of(settings, connected_throughout), len(markets))
    terms = terms_of(settings, SETTINGS_HASH)
    engine = replay.new_engine(terms, replay.new_state(terms, replay.OFFLINE_JOURNAL))
    events = engine.handle(inputs.NewStart(EPOCH, -1, start_of(markets, fee_bps)))
    at = 0
    waiting = [(record, inputs.Command(action, str(n))) for n, (record, action) in enumerate(commands)]

    def give(first: int, last: int, piece: Callable[[int, int], inputs.Input]) -> None:
        """Records first to last in pieces that end where a command was given."""
        nonlocal events
        while waiting and waiting[0][0] <= last:
            if first <= waiting[0][0]:
                events += engine.handle(piece(first, waiting[0][0]))
                first = waiting[0][0] + 1
            events += engine.handle(waiting.pop(0)[1])
        if first <= last:
            events += engine.handle(piece(first, last))

    def some_updates(first: int, last: int) -> inputs.Input:
        part = updates[(updates["number"] >= first) & (updates["number"] <= last)]
        return inputs.Updates(EPOCH, last, part.tobytes())

    def some_raws(first: int, last: int) -> inputs.Input:
        return inputs.Raws(EPOCH, first, records[first : last + 1])

    spans = sorted([(*span, "blind") for span in blind] + [(*span, "degraded") for span in degraded])
    for first, last, kind in [*spans, (len(records), len(records) - 1, "")]:
        give(at, first - 1, some_updates)
        if kind:
            events += engine.handle(inputs.SpanBegin(kind, EPOCH, first, last, "test"))
            give(first, last, some_raws)
            events += engine.handle(inputs.SpanEnd())
        at = last + 1
    fills = [event for event in events if isinstance(event, FillEvent)]
    return Answer(updates, rows, events, decisions_of(events, records), fills, engine.sync())


def decisions_of(
    events: list[TraderEvent], records: np.ndarray
) -> list[tuple[int, str, str, float, float, float, str]]:
    """As `trader.replay.decisions`, for records numbered from 0, whether there is an UPDATE for them or not."""
    numbered = np.zeros(len(records), UPDATE)
    numbered["number"] = np.arange(len(records))
    numbered["exchange_ns"] = records["exchange_ns"]
    return replay.decisions(events, numbered)


def start_of(markets: dict[str, slow.Market], fee_bps: str) -> Start:
    """Body of the START record that the reference's markets stand for."""
    rules = [
        Market(
            pair=pair,
            base=pair.partition("-")[0],
            quote="USDT",
            tick=format(market.tick, "f"),
            step=format(market.step, "f"),
            min_quantity=format(market.min_quantity, "f"),
            min_notional=format(market.min_notional, "f"),
            max_quantity=None if market.max_quantity is None else format(market.max_quantity, "f"),
        )
        for pair, market in markets.items()
    ]
    return Start("test", "sim-test", rules, fee_bps, fee_bps, False, 0)


def cash_of(fill: FillEvent) -> Decimal:
    """What a fill took from the wallet, or brought."""
    gross, fee = Decimal(fill.price) * Decimal(fill.quantity), Decimal(fill.fee)
    return gross + fee if fill.side == "buy" else gross - fee
