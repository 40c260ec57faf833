"""The answer of /api/why: what happened in a minute, what blocked, and how near each condition came."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from math import nan
from typing import Any, NamedTuple, Protocol

import msgspec

from core.errors import BotError
from dashboard import limits, why_words
from dashboard.history import HistoryError
from dashboard.minute import NS_PER_MS, Minute, Row
from indicators.told import Thresholds, Told

MINUTE_MS = 60_000
SLACK_MS = 60_000  # journal times of one record and the next may differ by so much
MOST_WAITING = 4
MOST_HAPPENED = 500


class BadMinute(BotError):
    """What was asked for is no minute that can be told of."""


class Busy(BotError):
    """Too many ask at once."""


class Lookback(Protocol):
    """`indicators.lookback.Lookback`."""

    missing: list[str]

    def tell(self, pair: str, from_ns: int, to_ns: int, since_ns: int | None = None) -> Iterator[Told]: ...


class Reader(Protocol):
    """The database's part of it."""

    def standing(self, pair: str, from_ms: int, to_ms: int) -> dict[str, list[Row]]: ...

    def candles_between(self, pair: str, from_ms: int, to_ms: int) -> list[Row]: ...

    def booked(self, since_ms: int, from_ms: int, to_ms: int) -> Row: ...


class Question(NamedTuple):
    """A minute of a pair; timeframe_ms: of the candles now; offset: minutes that the asker's clock is ahead of UTC."""

    pair: str
    from_ms: int
    now_ms: int
    timeframe_ms: int
    offset: int = 0

    @property
    def to_ms(self) -> int:
        return self.from_ms + MINUTE_MS


def minute_of(at: str | None, now_ms: int, offset: int) -> int:
    """The start in ms of the minute that `at` names: ms, ISO-8601, or HH:MM of the asker's today; None: this one.

    Raises BadMinute.
    """
    if not at:
        ms = now_ms
    elif at.isdecimal():
        ms = int(at)
    else:
        zone = timedelta(minutes=offset)
        today = (datetime.fromtimestamp(now_ms / 1000, UTC) + zone).date().isoformat()
        try:
            told = datetime.fromisoformat(f"{today}T{at}" if ":" in at[:3] else at)
            if told.tzinfo is None:
                told = told.replace(tzinfo=UTC) - zone
        except (ValueError, OverflowError) as error:  # the latter: of the calendar's first or last day, in another zone
            raise BadMinute(f"at={at[:40]}: give ms of market time, ISO-8601 or HH:MM, for example 14:03") from error
        ms = int(told.timestamp() * 1000)
    if not 1_000_000_000_000 <= ms < 10_000_000_000_000:
        raise BadMinute(f"at={str(at)[:40]}: that is no time in ms since 1970 of our days")
    if ms > now_ms + MINUTE_MS:
        raise BadMinute(f"at={str(at)[:40]}: that minute has not begun yet")
    return ms - ms % MINUTE_MS


class Desk:
    """Answers one question after the other in a thread of its own, so that the page goes on meanwhile."""

    def __init__(self, reader: Reader, lookback: Callable[[], Lookback]) -> None:
        self._reader = reader
        self._lookback = lookback
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="why")
        self._waiting = 0

    async def ask(self, question: Question) -> dict[str, Any]:
        """The answer. Raises Busy; any other error is of the database or the tape."""
        if self._waiting >= MOST_WAITING:
            raise Busy("too many minutes are asked for at once: try again in a moment")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._answer, question)
        finally:
            self._waiting -= 1

    def _answer(self, question: Question) -> dict[str, Any]:
        try:
            return answer(question, self._reader, self._lookback())
        except BotError:
            raise
        except Exception as error:
            lines = str(error).strip().splitlines()
            raise HistoryError(f"that minute cannot be read: {lines[0] if lines else type(error).__name__}") from error

    def close(self) -> None:
        """End the thread; a question under way is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def answer(question: Question, reader: Reader, lookback: Lookback) -> dict[str, Any]:
    """Of tape, candles and journal; where the tape no longer has the minute, of its candles' closes alone."""
    pair, from_ms, to_ms = question.pair, question.from_ms, question.to_ms
    rows = reader.standing(pair, from_ms - SLACK_MS, to_ms + SLACK_MS)
    minute = Minute(rows, from_ms, lambda row: (row["epoch"], row["number"]))
    for trade in lookback.tell(pair, from_ms * NS_PER_MS, to_ms * NS_PER_MS, _since_ns(rows, from_ms)):
        minute.take(trade, (trade.epoch, trade.number))
    source, missing = "tape", list(lookback.missing)
    candles = _candles(question, reader)
    if missing and not minute.trades:
        minute = Minute(rows, from_ms, lambda row: (row["time"],))
        for trade in _closes(candles, question, rows):
            minute.take(trade, (trade.ns // NS_PER_MS,))
        source = "candles" if minute.trades else "none"
    minute.finish()
    known = any(row["kind"] == "start" and row["time"] < to_ms for row in rows["reasons"])
    found: dict[str, Any] = {
        "pair": pair,
        "from_ms": from_ms,
        "to_ms": to_ms,
        "so_far": question.now_ms < to_ms,
        "source": source,
        "missing": missing,
        "journal": known,
        "trades": minute.trades if source == "tape" else sum(row["trades"] for row in candles),
        "refilled": minute.refilled,
        "low": minute.low,
        "high": minute.high,
        "states": minute.states,
        "candles": candles,
        "happened": happened(rows, from_ms, to_ms),
        "blocking": blocking(minute, rows["reasons"], from_ms, to_ms) + _limits(question, reader, rows["reasons"]),
        "rules": [_rule(rule) for rule in msgspec.to_builtins(list(minute.rules.values()))],
    }
    found["sentence"] = why_words.sentence(found, minute, question.offset)
    return found


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    first = rule.pop("first")
    return rule | {"first_number": first[-1] if first and len(first) > 1 else None}


def _since_ns(rows: dict[str, list[Row]], from_ms: int) -> int | None:
    """From where on trades are needed: `highest` of what was held counts from its last word in the journal."""
    before = [row for row in rows["positions"] if row["time"] < from_ms]
    if not before or not before[-1]["quantity"]:
        return None
    return int(min(before[-1]["time"], from_ms) - SLACK_MS) * NS_PER_MS


def _candles(question: Question, reader: Reader) -> list[dict[str, Any]]:
    """The candles that begin in the minute, or the one that it is part of."""
    first_ms = question.from_ms - question.from_ms % question.timeframe_ms
    return reader.candles_between(question.pair, first_ms, question.to_ms)


def _settings(reasons: list[Row], to_ms: int) -> dict[str, str] | None:
    """Those of the trader's latest start by then."""
    starts = [row for row in reasons if row["kind"] == "start" and row["time"] < to_ms]
    return msgspec.json.decode(starts[-1]["why"], type=dict[str, str]) if starts else None


def _limits(question: Question, reader: Reader, reasons: list[Row]) -> list[dict[str, Any]]:
    settings = _settings(reasons, question.to_ms)
    if settings is None:
        return []
    cooldown_ms = int(float(settings.get("COOLDOWN_SECONDS") or 0) * 1000)
    since_ms = min(limits.day_begins(question.from_ms, settings), question.from_ms - cooldown_ms)
    booked = reader.booked(since_ms, question.from_ms, question.to_ms)
    exits = [(_ms(row["timestamp"]), float(row["profit"])) for row in booked["exits"]]
    found = limits.in_force(settings, exits, booked["entries"], booked["held"], question.from_ms)
    return [{"reason": one.reason, "from_ms": one.from_ms, "to_ms": one.to_ms, "why": ""} for one in found]


def _ms(timestamp: str) -> int:
    return round(datetime.fromisoformat(timestamp).timestamp() * 1000)


def _closes(candles: list[Row], question: Question, rows: dict[str, list[Row]]) -> Iterator[Told]:
    """Each candle as one trade at its close, judged by the settings of that time."""
    settings = _settings(rows["reasons"], question.to_ms)
    if settings is None:
        return
    by = Thresholds(*(float(settings[name]) for name in ("RSI_BUY", "RSI_SELL", "RSI_CRASH")))
    for row in candles:
        end_ns = (row["time"] + question.timeframe_ms) * NS_PER_MS - 1
        if end_ns < question.now_ms * NS_PER_MS:
            rsi, lower = (nan if row[name] is None else row[name] for name in ("rsi", "bb_lower"))
            yield Told(0, -1, end_ns, row["close"], 0, rsi, lower, row["rsi"] is not None, by)


def happened(rows: dict[str, list[Row]], from_ms: int, to_ms: int) -> list[dict[str, Any]]:
    """Decisions, refusals, fills and changes of the trading state in the minute, in their order."""
    found: list[tuple[int, dict[str, Any]]] = []

    def add(row: Row, what: str, reason: str, **more: Any) -> None:
        if from_ms <= row["time"] < to_ms:
            found.append((row["id"], {"time_ms": row["time"], "what": what, "reason": reason, **more}))

    for row in rows["signals"]:
        more = {name: row[name] for name in ("price", "rsi", "bb_lower", "client_order_id", "number")}
        add(row, "entry" if row["action"] == "enter" else "exit", row["reason"], **more)
    for row in rows["reasons"]:
        if row["kind"] == "refusal" and row["last"] < 0:
            add(row, "refusal", row["reason"], rule=row["why"], number=row["first"])
        elif row["kind"] == "refusal":
            add(row, "refusal over", row["reason"], rule=row["why"], count=row["count"])
        elif row["kind"] == "state":
            add(row, "state", row["reason"], why=row["why"])
        elif row["kind"] == "start":
            add(row, "trader started", row["reason"])
    for row in rows["order_steps"]:
        add(row, "order", row["status"], side=row["side"], filled=row["filled"], client_order_id=row["client_order_id"])
    return [one for _, one in sorted(found, key=lambda pair: pair[0])][:MOST_HAPPENED]


def blocking(minute: Minute, reasons: list[Row], from_ms: int, to_ms: int) -> list[dict[str, Any]]:
    """What stood in the way of an entry, with from when to when; null: since longer ago, or until further notice."""
    found: list[dict[str, Any]] = []

    def add(reason: str, since: int | None, until: int | None, why: str = "", **more: Any) -> None:
        if (since is None or since < to_ms) and (until is None or until >= from_ms):
            found.append({"reason": reason, "from_ms": since, "to_ms": until, "why": why, **more})

    if minute.cold:
        add("warming_up", minute.cold_from_ms, minute.cold_to_ms, trades=minute.cold)
    for span in minute.spans:
        if span.trades:
            add(span.kind, span.from_ms, span.to_ms, span.why, trades=span.trades)
    open_: dict[tuple[str, str], Row] = {}
    state: Row | None = None
    for row in reasons:
        if row["kind"] == "span" and row["reason"] not in ("blind", "degraded"):
            key = "span", str(row["reason"])
            if row["last"] < 0:
                open_[key] = row
            else:
                begun = open_.pop(key, None)
                add(row["reason"], None if begun is None else begun["time"], row["time"])
        elif row["kind"] == "refusal":
            key = "refusal", str(row["reason"])
            if row["last"] < 0:
                open_[key] = row
            else:
                begun = open_.pop(key, None)
                since = None if begun is None else begun["time"]
                add(row["reason"], since, row["time"], f"entry ({row['why']}) refused", refused=row["count"])
        elif row["kind"] == "state":
            if state is not None and state["reason"] != "active":
                add(state["reason"], state["time"], row["time"], state["why"])
            state = row
    if state is not None and state["reason"] != "active":
        add(state["reason"], state["time"], None, state["why"])
    for (kind, _), row in open_.items():
        add(row["reason"], row["time"], None, f"entry ({row['why']}) refused" if kind == "refusal" else "")
    return found
