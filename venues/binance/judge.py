"""What Binance's refusals call for: by code, for orders also by text (its errors.md). Pure.

* -1003, 418 and 429: nothing more until Retry-After (or the time named in the text) is over; -1015 holds orders alone,
  where no Retry-After tells until the window that its text names has ended.
* -1000, -1001, -1006, -1007, -1008, any 5xx and a refusal without a code of theirs (a proxy's, perhaps on the way back)
  leave open whether an order was taken: it is looked up. What only asks
  is asked again.
* "Duplicate order sent." is proof that an order of that id rests at the venue: looked up as well, never sent anew.
* "Market is closed." and an empty book (-1112) may pass by themselves. A symbol or account that may not trade, and keys
  that do not do, are for a person to mend. Texts count by the words that they begin with, whatever their case.
* -1021: our clock; measured anew.
* Everything else was understood and refused: filters, malformed requests, too little balance, no such order.
"""

import re
from collections.abc import Mapping

import msgspec

from venues.answers import date_s
from venues.binance.rate_limits import ORDERS, UNITS_S, rest_s
from venues.call import Failure, Kind
from venues.engineio import UNREADABLE

DUPLICATE = "Duplicate order sent."
OVERLOADED_PAUSE_S = 10.0  # -1008 asks for "a few minutes", which an exit cannot wait

NO_ORDER, ARCHIVED = "-2013", "-2026"

_MISCONFIGURED = {-1002, -1022, -2014, -2015}
_OPEN = {-1000, -1001, -1006, -1007, -1008, -2021, -2022}  # an order may have been taken
_RETRY = {-1016, -1034, -1112}
_OF_THE_ENGINE = {-1010, -1013, -2010, -2011}  # codes whose text says what is meant

_BY_TEXT: dict[str, Kind] = {
    DUPLICATE: "unknown",
    "Market is closed.": "retry",
    "This symbol is not permitted for this account.": "misconfigured",
    "This symbol is restricted for this account.": "misconfigured",
    "This action is disabled on this account.": "misconfigured",
    "This account may not place or cancel orders.": "misconfigured",
    "Rest API trading is not enabled.": "misconfigured",
    "WebSocket API trading is not enabled.": "misconfigured",
}
_BANNED_UNTIL = re.compile(r"banned until (\d{13})\b", re.IGNORECASE)
_ORDERS_IN = re.compile(r"orders per (\d{1,4}) ?([SMHD])", re.IGNORECASE)
_WORD = re.compile(r"[a-z0-9]+")


class ErrorBody(msgspec.Struct):
    """The venue's own error."""

    code: int = 0
    msg: str = ""


_error = msgspec.json.Decoder(ErrorBody)


def parse_error(body: bytes) -> tuple[int, str]:
    """(code, text) of a refusal; 0 and nothing where the body is none of theirs."""
    try:
        error = _error.decode(body)
    except UNREADABLE:
        return 0, ""
    return error.code, error.msg


def judge(status: int, headers: Mapping[str, str], body: bytes, changes: bool) -> Failure | None:
    """What an answer says; None where it is one, or where only the HTTP status says something."""
    if status < 400:
        return None
    code, text = parse_error(body)
    return refusal(status, code, text, changes, headers)


def refusal(status: int, code: int, text: str, changes: bool, headers: Mapping[str, str] | None = None) -> Failure:
    """The reaction to a refusal, over REST or as an answer on the WebSocket API."""
    shown = str(code) if code else str(status)
    if code == -1015:
        return Failure("rate_limited", shown, text, _window_s(text, headers or {}), ORDERS)
    if code == -1003 or status in (418, 429):
        return Failure("rate_limited", shown, text, pause_s=_ban_s(text, headers or {}))
    if code == -1021:
        return Failure("skewed", shown, text)
    if code in _MISCONFIGURED or status in (401, 451):
        return Failure("misconfigured", shown, text)
    by_text = _by_text(text) if code in _OF_THE_ENGINE else None
    if by_text is not None and (by_text != "unknown" or changes):
        return Failure(by_text, shown, text)
    if code in _OPEN or status >= 500 or status in (408, 409) or (changes and not code):
        if not changes:
            return Failure("retry", shown, text)
        pause_s = OVERLOADED_PAUSE_S if code == -1008 else None
        return Failure("unknown", shown, text, pause_s, ORDERS if pause_s else "")
    if code in _RETRY or (status == 403 and not code):
        return Failure("retry", shown, text)
    return Failure("rejected", shown, text)


def _by_text(text: str) -> Kind | None:
    words = _words(text)
    return next((kind for known, kind in _KNOWN if words[: len(known)] == known), None)


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.casefold()))


_KNOWN = [(_words(text), kind) for text, kind in _BY_TEXT.items()]


def _window_s(text: str, headers: Mapping[str, str]) -> float | None:
    """Seconds until the window of a limit that is named in the text only has ended, by the Date of the same answer."""
    named = _ORDERS_IN.search(text)
    if named is None or headers.get("retry-after") or not int(named.group(1)):
        return None
    unit_s = next(seconds for unit, seconds in UNITS_S.items() if unit[0] == named.group(2).upper())
    return rest_s(int(named.group(1)) * unit_s, date_s(headers.get("date", "")))


def _ban_s(text: str, headers: Mapping[str, str]) -> float | None:
    """Seconds of a ban whose end stands in the text only, against the Date of the same answer."""
    until = _BANNED_UNTIL.search(text)
    if until is None or headers.get("retry-after"):
        return None
    now_s = date_s(headers.get("date", ""))
    return None if now_s is None else int(until.group(1)) / 1000 - now_s
