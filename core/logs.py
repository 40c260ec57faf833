"""Log lines on stdout, which supervisord writes to a file and rotates.

One line: `2026-11-22T13:38:40.123Z INFO  trader  text`. Secrets are masked, control characters shown as escapes,
further lines of one text indented. A line that comes again within 10 s is counted instead of written, and the count is
written when the time is over.
"""

import logging
import sys
from collections import OrderedDict
from collections.abc import Iterable
from typing import TextIO

from core.clock import NS_PER_S, Clock, LiveClock, iso_utc

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
REPEAT_WINDOW_NS = 10 * NS_PER_S
REPEATS_KEPT = 64  # different lines whose repeats are counted at one time
SHORTEST_SECRET = 4  # masking shorter ones would only garble the text
MASK = "***"

_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)}


class LineFormatter(logging.Formatter):
    """Formats a record as one line of ours, traceback below it."""

    def __init__(self, stage: str, secrets: Iterable[str]) -> None:
        super().__init__()
        self._stage = stage
        # The longest first: one secret may be part of another.
        self._secrets = sorted((s for s in secrets if len(s) >= SHORTEST_SECRET), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        text = self.mask(text).translate(_ESCAPES).replace("\n", "\n    ")
        level = "WARN" if record.levelno == logging.WARNING else record.levelname
        return f"{iso_utc(int(record.created * 1000))} {level:<5} {self._stage}  {text}"

    def mask(self, text: str) -> str:
        """The text without our secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text


class _Repeat:
    """A line written within the last 10 s, and how often it came again since."""

    __slots__ = ("again", "record", "written_ns")

    def __init__(self, record: logging.LogRecord, written_ns: int) -> None:
        self.record = record
        self.written_ns = written_ns
        self.again = 0


class LineHandler(logging.Handler):
    """Writes lines to a stream and counts repeats; a reader that went away is no reason to fail."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        super().__init__()
        self._stream = stream
        self._clock = clock
        self._recent: OrderedDict[tuple[int, str], _Repeat] = OrderedDict()

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock.monotonic_ns()
        self._write_counts(now)
        key = (record.levelno, record.getMessage())
        repeat = self._recent.get(key)
        if repeat is not None:
            repeat.again += 1
            return
        self._write(self.format(record))
        self._recent[key] = _Repeat(record, now)
        if len(self._recent) > REPEATS_KEPT:
            _, oldest = self._recent.popitem(last=False)
            self._write_count(oldest)

    def flush_repeats(self) -> None:
        """Writes every count that is due; the stage calls it once in a while, a quiet log would never."""
        self._write_counts(self._clock.monotonic_ns())

    def close(self) -> None:
        while self._recent:
            self._write_count(self._recent.popitem(last=False)[1])
        super().close()

    def _write_counts(self, now: int) -> None:
        while self._recent:
            key, oldest = next(iter(self._recent.items()))
            if now - oldest.written_ns < REPEAT_WINDOW_NS:
                return
            del self._recent[key]
            self._write_count(oldest)

    def _write_count(self, repeat: _Repeat) -> None:
        if repeat.again:
            again = logging.makeLogRecord(repeat.record.__dict__)
            times = "once more" if repeat.again == 1 else f"{repeat.again} times more"
            again.msg, again.args, again.exc_info = f"{repeat.record.getMessage()} ({times} within 10 s)", None, None
            again.created += (self._clock.monotonic_ns() - repeat.written_ns) / NS_PER_S
            self._write(self.format(again))

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # The terminal or pipe is closed: the stage goes on, and there is nowhere left to say so.
            return


def setup(
    stage: str,
    level: str,
    secrets: Iterable[str] = (),
    *,
    stream: TextIO | None = None,
    clock: Clock | None = None,
) -> logging.Logger:
    """Sends all logging of this process to stdout in our form and returns the stage's logger.

    Libraries' own messages are written from WARNING up.
    """
    handler = LineHandler(stream or sys.stdout, clock or LiveClock())
    handler.setFormatter(LineFormatter(stage, secrets))
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old, LineHandler):
            root.removeHandler(old)
            old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    logger = logging.getLogger(stage)
    logger.setLevel(LEVELS[level])
    return logger


def masked(text: str) -> str:
    """The text as the log would show it, without our secrets."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, LineFormatter):
            text = handler.formatter.mask(text)
    return text


def flush_repeats() -> None:
    """Writes the counts of repeated lines that are due."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LineHandler):
            handler.flush_repeats()
