"""From the bytes of an HTTP answer to a reply or one clear error: the door at which refusals are translated. Pure.

* The content type is looked at before anything is read as JSON: a proxy's page in HTML is no answer.
* What a judge says goes before what the HTTP status says.
* A call that changes something, and gets no answer that says what became of it, is OutcomeUnknown: a page in HTML, a
  redirect, 408, 429 and 5xx without a judge's word. Other calls get Retry, or RateLimited for 429 and 418.
* After 429 and 418 nothing is sent for a while, whatever else the judge makes of it.
* A Retry-After of 429, 418 and 503 is obeyed to the letter, up to MAX_PAUSE_S; a date in it is read against the Date of
  the same answer, so that our own clock does not matter.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import msgspec

from core.clock import NS_PER_S
from venues.call import Call, Failure, Judge
from venues.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Retry, Skewed, VenueError

MAX_PAUSE_S = 4 * 86_400.0  # longer than any ban a venue announces
MIN_PAUSE_S = 1.0
LOOK_UP = "look up what became of it"
ADDRESS = "check VENUE_REST_URL"
_PAGE = 65_536  # how much of a web page is searched for its title

_JSON = re.compile(r"^(application|text)/([\w.+-]*\+)?(json|javascript)\b", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>\s*(.{1,80}?)\s*</title>", re.IGNORECASE | re.DOTALL)
_ERRNO = re.compile(r"\[Errno -?\d+\] ([A-Za-z][A-Za-z ,'-]{1,60})")
_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?")

_CAUSES = (  # in texts of requests, urllib3 and http.client
    ("Name or service not known", "the host's name is not known"),
    ("still not the end", "the answer took too long as a whole"),
    ("Remote end closed", "the connection was closed without an answer"),
    ("RemoteDisconnected", "the connection was closed without an answer"),
    ("IncompleteRead", "the answer broke off"),
    ("certificate", "its certificate is not trusted"),
    ("BadStatusLine", "what came was no HTTP"),
    ("connect timeout", "the connection did not come about"),
    ("timed out", "no answer in time"),
)

# What a judge with a mistake in it may raise on a body that nobody thought of.
_MISJUDGED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, msgspec.MsgspecError)


class Answer(NamedTuple):
    """The parts of an HTTP answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Refusal(NamedTuple):
    """The error to raise and what it means for the calls after it.

    `pause_s`: nothing is sent for so long (None: no pause); `limit`: the pause is only for calls that cost of it.
    """

    error: VenueError
    pause_s: float | None = None
    limit: str = ""


class Pauses(NamedTuple):
    """How long nothing is sent where the venue names no time: after 429 and 418, after a web page with 403 (0: not)."""

    rate_s: float
    edge_s: float = 0.0


def read(
    venue: str, call: Call, what: str, answer: Answer, judge: Judge, now_ns: int, pauses: Pauses
) -> Refusal | None:
    """None where it is an answer; `now_ns` is our wall time."""
    status, headers, body = answer
    told_s = retry_after_s(headers, now_ns) if status in (418, 429, 503) else None
    if not _JSON.match(headers.get("content-type", "")):
        return _no_json(venue, call, what, answer, told_s, pauses)
    try:
        failure = judge(status, headers, body, call.changes)
    except _MISJUDGED as error:
        return Refusal(lost(venue, call, f"{what}: an answer that cannot be judged (HTTP {status}, {error!r:.120})"))
    if failure is not None:
        return _judged(venue, call, what, status, failure, told_s, pauses.rate_s)
    if status < 300 and not body.strip():
        return Refusal(lost(venue, call, f"{what}: an empty answer (HTTP {status})", code=str(status)))
    return _by_status(venue, call, what, answer, told_s, pauses.rate_s)


def lost(venue: str, call: Call, text: str, next_step: str = "", code: str = "") -> VenueError:
    """The error for a call that went out and whose answer says nothing."""
    if call.changes:
        return OutcomeUnknown(venue, text, LOOK_UP + (f"; {next_step}" if next_step else ""), code)
    return Retry(venue, text, next_step, code)


def _judged(
    venue: str, call: Call, what: str, status: int, failure: Failure, told_s: float | None, rate_pause_s: float
) -> Refusal:
    kind, code, message, pause_s, limit = failure
    code = code or str(status)
    shown = f"{code} {message!r:.300}" if message else code
    if kind == "rate_limited":
        wait_s = _longer(told_s, pause_s)
        pause = bounded(rate_pause_s if wait_s is None else wait_s)
        error = RateLimited(venue, f"{what}: asked too often ({shown})", pause, code)
        return Refusal(error, pause, limit)
    pause_all = _longer(told_s, pause_s)
    if pause_all is None and status in (418, 429):
        pause_all = rate_pause_s
    pause_all = None if pause_all is None else bounded(pause_all)
    if kind == "unknown":
        return Refusal(lost(venue, call, f"{what}: no clear answer ({shown})", code=code), pause_all, limit)
    error_of = {"retry": Retry, "rejected": Rejected, "skewed": Skewed, "misconfigured": Misconfigured}[kind]
    text = {
        "retry": f"{what}: the venue has a problem ({shown})",
        "rejected": f"{what}: refused ({shown})",
        "skewed": f"{what}: refused for its time or number ({shown})",
        "misconfigured": f"{what}: refused ({shown})",
    }[kind]
    step = "check the venue's keys and what they may do" if kind == "misconfigured" else ""
    return Refusal(error_of(venue, text, step, code), pause_all, limit)


def _by_status(
    venue: str, call: Call, what: str, answer: Answer, told_s: float | None, rate_pause_s: float
) -> Refusal | None:
    """An answer in JSON on which the judge has no opinion."""
    status = answer.status
    if status < 300:
        return None
    if status in (418, 429):
        return _too_often(venue, call, f"{what}: asked too often (HTTP {status})", status, told_s, rate_pause_s)
    if status < 400:
        where = answer.headers.get("location", "nowhere").partition("?")[0]
        return Refusal(lost(venue, call, f"{what}: moved to {where:.120} (HTTP {status})", ADDRESS, str(status)))
    if status >= 500 or status == 408:
        error = lost(venue, call, f"{what}: the venue has a problem (HTTP {status})", code=str(status))
        return Refusal(error, None if told_s is None else bounded(told_s))
    return Refusal(Rejected(venue, f"{what}: refused (HTTP {status})", code=str(status)))


def _no_json(venue: str, call: Call, what: str, answer: Answer, told_s: float | None, pauses: Pauses) -> Refusal:
    status = answer.status
    text = f"{what}: {_described(answer)}"
    if status in (418, 429):
        return _too_often(venue, call, text, status, told_s, pauses.rate_s)
    if status == 403 and pauses.edge_s > 0:
        return _too_often(venue, call, text, status, None, pauses.edge_s)
    if status in (403, 451):
        hint = "the venue's edge may refuse this region or host; try from elsewhere or set VENUE_REST_URL"
    else:
        hint = "" if status >= 500 else f"{ADDRESS} if this stays"
    pause_s = None if told_s is None else bounded(told_s)
    return Refusal(lost(venue, call, text, hint, str(status)), pause_s)


def _too_often(venue: str, call: Call, text: str, status: int, told_s: float | None, rate_pause_s: float) -> Refusal:
    pause = bounded(rate_pause_s if told_s is None else told_s)
    if call.changes:
        return Refusal(lost(venue, call, text, code=str(status)), pause)
    return Refusal(RateLimited(venue, text, pause, str(status)), pause)


def _described(answer: Answer) -> str:
    status, headers, body = answer
    kind = headers.get("content-type", "").partition(";")[0] or "no content type"
    title = _TITLE.search(body[:_PAGE])
    if title or body.lstrip()[:1] == b"<":
        words = title.group(1).decode(errors="replace") if title else ""
        return f"a web page in place of JSON (HTTP {status}, {kind}" + (f", title {words!r})" if words else ")")
    return f"no JSON (HTTP {status}, {kind}, {len(body)} bytes)"


def retry_after_s(headers: Mapping[str, str], now_ns: int | None = None) -> float | None:
    """Seconds, where the venue names a time in one of the two forms; names of headers in lower case.

    `now_ns` is our wall time, for a date without a Date beside it.
    """
    text = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    until_s = date_s(text) if text else None
    if until_s is None:
        return None
    stamp_s = date_s(headers.get("date", ""))
    if stamp_s is not None:
        return until_s - stamp_s
    return None if now_ns is None else until_s - now_ns / NS_PER_S


def date_s(text: str) -> int | None:
    """Seconds since 1970 of an HTTP date."""
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None


def _longer(one: float | None, other: float | None) -> float | None:
    return max((value for value in (one, other) if value is not None), default=None)


def bounded(pause_s: float) -> float:
    return min(max(pause_s, MIN_PAUSE_S), MAX_PAUSE_S)


# --- words -----------------------------------------------------------------------------------------


def cause(error: BaseException) -> str:
    """Why no answer came, in words of ours: the libraries' texts hold whole addresses, signatures included."""
    text = str(error)
    reason = _ERRNO.search(text)
    if reason:
        return reason.group(1).strip()
    return next((words for mark, words in _CAUSES if mark in text), type(error).__name__)
