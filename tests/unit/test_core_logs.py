"""Log lines: form, masking, repeats, a reader that went away."""

import io
import logging
from collections.abc import Iterator

import pytest

from core import logs
from core.clock import ManualClock


class Capture:
    """A log of ours written to memory."""

    def __init__(self, secrets: tuple[str, ...] = ()) -> None:
        self.clock = ManualClock()
        self.stream = io.StringIO()
        self.log = logs.setup("trader", "info", secrets, stream=self.stream, clock=self.clock)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    @property
    def texts(self) -> list[str]:
        return [line.split("trader  ", 1)[1] for line in self.lines]


@pytest.fixture(autouse=True)
def root_logger_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    yield
    root.setLevel(before[0])
    for handler in list(root.handlers):
        if handler not in before[1]:
            root.removeHandler(handler)
    logging.captureWarnings(False)


def test_the_form_of_a_line() -> None:
    capture = Capture()
    capture.log.info("bought %s", "0.1")
    capture.log.warning("slow")
    time, level, stage, text = capture.lines[0].split(maxsplit=3)
    assert len(time) == len("2026-11-22T13:38:40.123Z") and time.endswith("Z")
    assert (level, stage, text) == ("INFO", "trader", "bought 0.1")
    assert " WARN  trader  slow" in capture.lines[1]


def test_secrets_are_masked_also_in_tracebacks_and_other_libraries_lines() -> None:
    capture = Capture(("correct horse", "correct horse battery", "abc"))
    capture.log.error("key=correct horse battery abc")
    logging.getLogger("urllib3").warning("GET /?key=correct horse")
    try:
        raise ValueError("correct horse")
    except ValueError:
        capture.log.exception("bad")
    text = capture.stream.getvalue()
    assert "correct" not in text and "battery" not in text
    assert "key=*** abc" in text  # three letters are no secret that could be masked
    assert "Traceback" in text


def test_a_venues_text_can_neither_forge_a_line_nor_move_the_cursor() -> None:
    capture = Capture()
    capture.log.info("answer: %s", "<html>\n2026-11-22T13:38:40.123Z ERROR trader  sold everything\x1b[2J\r")
    assert capture.lines[1].startswith("    2026")
    assert "\x1b" not in capture.stream.getvalue() and "\\x1b[2J\\x0d" in capture.lines[1]


def test_levels() -> None:
    capture = Capture()
    capture.log.debug("not shown")
    logging.getLogger("asyncio").info("not shown")
    capture.log.info("shown")
    assert capture.texts == ["shown"]


def test_a_line_that_comes_again_is_counted() -> None:
    capture = Capture()
    for _ in range(5):
        capture.log.warning("no answer from %s", "venue")
        capture.log.info("other")
    assert capture.texts == ["no answer from venue", "other"]
    capture.clock.advance(11 * 10**9)
    logs.flush_repeats()
    assert capture.texts[2:] == [
        "no answer from venue (4 times more within 10 s)",
        "other (4 times more within 10 s)",
    ]
    capture.log.info("other")
    assert capture.texts[-1] == "other"


def test_what_came_once_is_not_counted_and_memory_is_bounded() -> None:
    capture = Capture()
    for number in range(500):
        capture.log.info("line %d", number)
    capture.log.info("line 499")
    logging.getLogger().handlers[-1].close()
    assert len(capture.texts) == 501
    assert capture.texts[-1] == "line 499 (once more within 10 s)"


def test_a_closed_pipe_does_not_stop_the_stage() -> None:
    capture = Capture()
    capture.stream.close()
    capture.log.error("nobody reads this")


def test_setting_up_again_replaces_the_handler() -> None:
    first, second = Capture(), Capture()
    second.log.info("once")
    assert first.lines == [] and len(second.lines) == 1
