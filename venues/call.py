"""What goes to a venue over REST and what comes back, as plain data. Pure.

A judge reads what an answer says and names the reaction; each venue has one, next to its parsers. It is called for
every answer whose body is JSON (Kraken refuses with HTTP 200), never raises, and says None where it sees an answer
or has no opinion: then the HTTP status decides.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple
from urllib.parse import urlencode, urlsplit

import msgspec

AGENT = "scalp-bot"  # what we call ourselves in requests and handshakes

# What a refusal calls for. All but `unknown` mean that the request was certainly not carried out.
Kind = Literal["retry", "rejected", "skewed", "unknown", "rate_limited", "misconfigured"]


class Call(msgspec.Struct, frozen=True):
    """One request, ready to go out. Its repr and all messages show neither query, headers nor body."""

    method: str  # GET POST PUT DELETE
    url: str  # absolute, without query
    query: str = ""  # encoded as signed (percent signs with capitals, as urlencode writes them)
    body: bytes = b""
    headers: Mapping[str, str] = {}
    changes: bool = False  # may change something at the venue: a lost answer is OutcomeUnknown
    costs: Mapping[str, float] = {}  # by name of a limit in the client's `limits`
    urgent: bool = False  # an exit: may use the share of the limits that is kept for exits
    what: str = ""  # how messages name it, e.g. "POST /api/v3/order BTCUSDT"

    def __repr__(self) -> str:
        return f"Call({self.what or self.method})"


class Reply(NamedTuple):
    """A JSON answer, not yet parsed. Times are wall nanoseconds by our clock: the first byte out, the head of the
    answer in. `date_s` is the venue's Date header."""

    body: bytes
    sent_ns: int
    received_ns: int
    date_s: int | None
    headers: Mapping[str, str] = {}  # names in lower case


class Failure(NamedTuple):
    """What a judge reads in a refusal: the reaction, and the venue's own code and text.

    `pause_s`: nothing more is sent for so long. With `limit`, the pause holds only for calls that cost of that limit.
    Without `pause_s`, a `rate_limited` and any answer with 429 or 418 go by its Retry-After, else by the client's own
    pause.
    """

    kind: Kind
    code: str
    message: str
    pause_s: float | None = None
    limit: str = ""


Judge = Callable[[int, Mapping[str, str], bytes, bool], Failure | None]  # status, headers, body, changes


def public_get(url: str, query: Mapping[str, str] | None = None, **costs: float) -> Call:
    """A GET without secrets: its whole address stands in messages."""
    tail = "&".join(f"{name}={value}" for name, value in (query or {}).items())
    what = f"GET {bare(url)}" + (f"?{tail}" if tail else "")
    return Call("GET", url, urlencode(query or {}), costs=costs, what=what)


def named(call: Call) -> str:
    """How messages name a call."""
    return call.what or f"{call.method} {bare(call.url)}"


def bare(url: str) -> str:
    """The address for a message: never the user, password, query or fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the address"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else parts.path
