"""REST over requests, the only user of that library: one Session per worker thread, every failure one clear error.

Only GETs are ever repeated here, and only where the connection did not come about: a read that timed out was perhaps
served. Answers are bounded in size and time, and the content type is looked at before anything is read as JSON: a
proxy's page in HTML is no answer. Workers are daemon threads, so that a venue that answers nothing holds up no
shutdown.
"""

import asyncio
import contextlib
import logging
import queue
import re
import threading
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry as ConnectRetry

from core.clock import NS_PER_S, Clock
from venues.errors import Misconfigured, RateLimited, Rejected, Retry

TIMEOUT_S = (2.0, 3.0)  # connect, and between two pieces of an answer
TOTAL_S = 12.0  # for the whole answer
MAX_BYTES = 16 * 1024 * 1024
CHUNK = 65_536
WORKERS = 4
RETRY_AFTER_MAX_S = 3600.0
AGENT = "scalp-bot"

# Its warnings of every broken connection repeat what our own errors say.
logging.getLogger("urllib3").setLevel(logging.ERROR)

_JSON = re.compile(r"^(application|text)/([\w.+-]*\+)?(json|javascript)\b", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>\s*(.{1,80}?)\s*</title>", re.IGNORECASE | re.DOTALL)


class Reply(NamedTuple):
    """A JSON answer, not yet parsed. Times are wall nanoseconds by our clock; `date_s` is the venue's Date header."""

    body: bytes
    sent_ns: int
    received_ns: int
    date_s: int | None


class Refusal(NamedTuple):
    """What a venue's error body says."""

    code: str
    message: str


class RestClient:
    """Asks one venue. `parse_error` reads (code, message) from the venue's own error bodies."""

    def __init__(
        self,
        venue: str,
        clock: Clock,
        parse_error: Callable[[bytes], tuple[str, str]],
        *,
        timeout_s: tuple[float, float] = TIMEOUT_S,
        rate_pause_s: float = 60.0,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._venue = venue
        self._clock = clock
        self._parse_error = parse_error
        self._timeout_s = timeout_s
        self._rate_pause_s = rate_pause_s
        self._max_bytes = max_bytes
        self._not_before_ns = 0
        self._work: queue.SimpleQueue[Callable[[requests.Session], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False

    async def get(self, url: str, query: Mapping[str, str] | None = None) -> Reply:
        """GETs JSON. Raises Retry, RateLimited, Rejected or Misconfigured."""
        self._start()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Reply] = loop.create_future()

        def work(session: requests.Session) -> None:
            result: Reply | None = None
            failure: BaseException | None = None
            try:
                result = self.get_blocking(session, url, query)
            except BaseException as error:  # noqa: BLE001 - it is handed to the one who asked
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
                loop.call_soon_threadsafe(_settle, answer, result, failure)

        self._work.put(work)
        return await answer

    def get_blocking(self, session: requests.Session, url: str, query: Mapping[str, str] | None = None) -> Reply:
        """As `get`, on the calling thread."""
        what = f"GET {_shown(url, query)}"
        wait_ns = self._not_before_ns - self._clock.monotonic_ns()
        if wait_ns > 0:
            raise RateLimited(self._venue, f"{what} not sent: asked too often before", wait_ns / NS_PER_S)
        sent_ns = self._clock.wall_ns()
        begun_ns = self._clock.monotonic_ns()
        try:
            with session.get(
                url, params=query, timeout=self._timeout_s, stream=True, allow_redirects=False
            ) as response:
                body = self._read(response, what, begun_ns)
                return self._judge(response, body, what, sent_ns)
        except (
            requests.exceptions.InvalidURL,
            requests.exceptions.InvalidSchema,
            requests.exceptions.MissingSchema,
        ) as error:
            raise Misconfigured(self._venue, f"{url} is no address: {error}", "check VENUE_REST_URL") from error
        except requests.exceptions.SSLError as error:
            raise Retry(
                self._venue, f"{what}: no trusted connection ({_cause(error)})", "check the clock and VENUE_REST_URL"
            ) from error
        except requests.exceptions.Timeout as error:
            raise Retry(self._venue, f"{what}: no answer in time ({_cause(error)})") from error
        except (requests.exceptions.RequestException, OSError) as error:
            raise Retry(self._venue, f"{what}: {_cause(error)}") from error

    def _read(self, response: requests.Response, what: str, begun_ns: int) -> bytes:
        pieces, size = [], 0
        for piece in response.iter_content(CHUNK):
            pieces.append(piece)
            size += len(piece)
            if size > self._max_bytes:
                raise Retry(
                    self._venue, f"{what}: the answer is longer than {self._max_bytes} bytes", "nothing was used of it"
                )
            if self._clock.monotonic_ns() - begun_ns > TOTAL_S * NS_PER_S:
                raise Retry(self._venue, f"{what}: {size} bytes in {TOTAL_S:.0f} s and still not the end")
        return b"".join(pieces)

    def _judge(self, response: requests.Response, body: bytes, what: str, sent_ns: int) -> Reply:
        """The answer, or the error that its status or content type stands for."""
        status = response.status_code
        content_type = response.headers.get("Content-Type", "")
        code, message = self._parse_error(body) if status >= 400 and _JSON.match(content_type) else ("", "")
        shown = f"HTTP {status}" + (f" {message!r}" if message else "")
        if status in (418, 429):
            pause_s = self._pause_s(response)
            self._not_before_ns = self._clock.monotonic_ns() + int(pause_s * NS_PER_S)
            raise RateLimited(self._venue, f"{what}: asked too often ({shown})", pause_s, code or str(status))
        if not _JSON.match(content_type):
            raise Retry(self._venue, f"{what}: {_no_json(status, content_type, body)}", _hint(status), str(status))
        if 300 <= status < 400:
            where = response.headers.get("Location", "nowhere")
            raise Retry(self._venue, f"{what}: moved to {where[:120]} ({shown})", "check VENUE_REST_URL", str(status))
        if status >= 500 or status == 408:
            raise Retry(self._venue, f"{what}: the venue has a problem ({shown})", code=code or str(status))
        if status >= 400:
            raise Rejected(self._venue, f"{what}: refused ({shown})", code=code or str(status))
        if not body.strip():
            raise Retry(self._venue, f"{what}: an empty answer ({shown})", code=str(status))
        return Reply(body, sent_ns, self._clock.wall_ns(), _date_s(response.headers.get("Date", "")))

    def _pause_s(self, response: requests.Response) -> float:
        text = response.headers.get("Retry-After", "").strip()
        pause = self._rate_pause_s
        if re.fullmatch(r"\d{1,7}(\.\d+)?", text):
            pause = float(text)
        elif text:
            until_s = _date_s(text)
            if until_s is not None:
                pause = until_s - self._clock.wall_ns() / NS_PER_S
        return min(max(pause, 1.0), RETRY_AFTER_MAX_S)

    def _start(self) -> None:
        if self._closed:
            raise Retry(self._venue, "no more requests: we are stopping")
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._serve, name=f"rest-{n}", daemon=True) for n in range(WORKERS)
            ]
            for thread in self._threads:
                thread.start()

    def _serve(self) -> None:
        with new_session() as session:
            while True:
                work = self._work.get()
                if work is None:
                    return
                work(session)

    def close(self, wait_s: float = 0.3) -> None:
        """Lets the workers go; one that still waits for the venue is left behind, it ends with the process."""
        self._closed = True
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join(wait_s)


def new_session() -> requests.Session:
    """A Session for one thread: no proxies or netrc from the environment, one pooled connection a host."""
    session = requests.Session()
    session.trust_env = False
    session.headers.update({"User-Agent": AGENT, "Accept": "application/json"})
    retries = ConnectRetry(
        total=2,
        connect=2,
        read=0,
        status=0,
        redirect=0,
        other=0,
        allowed_methods={"GET"},
        backoff_factor=0.1,
        respect_retry_after_header=False,  # waiting is ours to do, and to tell
    )
    adapter = HTTPAdapter(max_retries=retries, pool_connections=4, pool_maxsize=1)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def _settle(future: "asyncio.Future[Any]", result: Any, failure: BaseException | None) -> None:
    if future.done():
        return
    if failure is not None:
        future.set_exception(failure)
    else:
        future.set_result(result)


def _shown(url: str, query: Mapping[str, str] | None) -> str:
    """The address for a message: never the user, password or headers."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    tail = "&".join(f"{name}={value}" for name, value in (query or {}).items())
    return f"{parts.scheme}://{host}{parts.path}" + (f"?{tail}" if tail else "")


def _cause(error: BaseException) -> str:
    """The innermost reason in few words; requests and urllib3 wrap it in reprs of their objects."""
    text = str(error)
    reason = re.search(r"\[Errno -?\d+\] ([^\"')]+)", text)
    if reason:
        return reason.group(1)
    if "Remote end closed" in text or "RemoteDisconnected" in text:
        return "the connection was closed without an answer"
    if "IncompleteRead" in text:
        return "the answer broke off"
    if "connect timeout" in text.lower() or "ConnectTimeout" in type(error).__name__:
        return "the connection did not come about"
    if "Read timed out" in text:
        return "no answer in time"
    return text[-160:] or type(error).__name__


def _no_json(status: int, content_type: str, body: bytes) -> str:
    kind = content_type.partition(";")[0] or "no content type"
    title = _TITLE.search(body[:CHUNK])
    if title or body.lstrip()[:1] == b"<":
        words = title.group(1).decode(errors="replace") if title else ""
        return f"a web page in place of JSON (HTTP {status}, {kind}" + (f", title {words!r})" if words else ")")
    return f"no JSON (HTTP {status}, {kind}, {len(body)} bytes)"


def _hint(status: int) -> str:
    if status in (403, 451):
        return "the venue's edge may refuse this region or host; try from elsewhere or set VENUE_REST_URL"
    return "" if status >= 500 else "check VENUE_REST_URL if this stays"


def _date_s(text: str) -> int | None:
    """Seconds since 1970 of an HTTP date."""
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None
