"""What Kraken's refusals call for. Pure.

Errors come in a list, with HTTP 200 as a rule: `EOrder:Insufficient funds`. Spaces after the colon vary, and text may
go on behind a further one (`EService: Throttled: 1767225600`, `EGeneral:Invalid arguments:volume`), so the beginning
decides. Entries that begin with W are warnings.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from venues.answers import date_s
from venues.call import Failure, Kind
from venues.engineio import UNREADABLE

COUNTER, ORDERS = "counter", "orders"  # names of the client's limits
CODE_MAX = 120  # characters
PAUSE_S = 5.0
LOCKOUT_S = 900.0  # every call within it prolongs it
DEADLINE_ELAPSED = "EService:Deadline elapsed"
LOCKOUT = "EGeneral:Temporary lockout"
UNKNOWN_METHOD = "EGeneral:Unknown method"


class Rule(NamedTuple):
    """What the errors that begin so call for; `pause_s` and `limit` as in Failure."""

    begins: str
    kind: Kind
    pause_s: float | None = None
    limit: str = ""


# The first that fits counts. `unknown` means: perhaps carried out; of a call that changes nothing it is a retry.
RULES = (
    Rule("EAPI:Invalid key", "misconfigured"),
    Rule("EAPI:Invalid signature", "misconfigured"),
    Rule("EAPI:Invalid nonce", "skewed"),
    Rule("EAPI:Rate limit exceeded", "rate_limited", PAUSE_S, COUNTER),
    Rule("EGeneral:Permission denied", "misconfigured"),
    Rule("EGeneral:Too many requests", "rate_limited", PAUSE_S),
    Rule(LOCKOUT, "rate_limited", LOCKOUT_S),
    Rule("EGeneral:Internal error", "unknown"),
    Rule("EGeneral:Invalid arguments:deadline", "skewed"),  # too far ahead, which ours is by a wrong clock alone
    Rule("EGeneral:Invalid arguments", "rejected"),
    Rule(UNKNOWN_METHOD, "rejected"),
    Rule("EAccount:Invalid permissions", "misconfigured"),
    Rule("EAuth:", "misconfigured"),
    Rule("ETrade:User Locked", "misconfigured"),
    Rule("EOrder:Internal error", "unknown"),
    Rule("EOrder:Rate limit exceeded", "rate_limited", PAUSE_S, ORDERS),
    Rule("EOrder:Domain rate limit exceeded", "rate_limited", PAUSE_S, ORDERS),
    Rule("EOrder:", "rejected"),
    Rule("EQuery:", "rejected"),
    Rule("EService:Throttled", "rate_limited", PAUSE_S),
    Rule("EService:Market in", "rejected"),  # cancel_only, post_only, limit_only mode
    Rule("EService:", "unknown"),  # Unavailable, Busy, Timeout, Deadline elapsed: orders did go through in such moments
    Rule("EDatabase:", "unknown"),
    Rule("", "unknown"),
)


class _Errors(msgspec.Struct):
    error: list[str] = []


_errors = msgspec.json.Decoder(_Errors)


def judge(status: int, headers: Mapping[str, str], body: bytes, changes: bool) -> Failure | None:
    """The reaction to an answer; None where it is none of the venue's refusals. Never raises."""
    del status  # 200 for errors too
    try:
        errors = _errors.decode(body).error
    except UNREADABLE:
        return None
    serious = [text for text in map(normal, errors) if not text.startswith("W")]
    if not serious:
        return None
    # Of several errors, one that leaves the outcome open outweighs those before it.
    first = next((text for text in serious if changes and _rule_of(text).kind == "unknown"), serious[0])
    rule = _rule_of(first)
    kind: Kind = "retry" if rule.kind == "unknown" and not changes else rule.kind
    pause_s = rule.pause_s
    if rule.begins == "EService:Throttled":
        pause_s = _until_s(first, headers, PAUSE_S)
    return Failure(
        kind, first[:CODE_MAX], ", ".join(text for text in serious if text is not first), pause_s, rule.limit
    )


def is_lockout(code: str) -> bool:
    """Whether a refusal shuts the key out: for that long nothing may be sent, after a restart neither."""
    return code.casefold().startswith(LOCKOUT.casefold())


def normal(text: str) -> str:
    """The error without the spaces round its colons."""
    return ":".join(part.strip() for part in text.split(":"))


def _rule_of(text: str) -> Rule:
    folded = text.casefold()
    return next(rule for rule in RULES if folded.startswith(rule.begins.casefold()))


def _until_s(text: str, headers: Mapping[str, str], otherwise_s: float) -> float:
    """Seconds until the stamp in `EService:Throttled:<unix s>`, by the Date of the same answer."""
    stamp = text.rpartition(":")[2]
    now_s = date_s(headers.get("date", ""))
    if now_s is None or not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= 11):
        return otherwise_s
    return max(1.0, float(int(stamp) - now_s))
