"""REST over requests, the only user of that library: one Session per thread, every failure one clear error.

* Nothing is repeated once its first byte may have left; only a connection that does not come about is tried again,
  twice. A call that changes something and was lost after that is OutcomeUnknown; before that it is Retry, certainly
  not sent.
* While a ban lasts nothing is sent, not even an exit: each request would prolong it. A ban that follows on a ban, and
  of which the venue does not say how long it lasts, is taken to be twice as long.
* Calls wait for room in the client's own limits, so that bans do not come about; beyond `max_wait_s` they are
  RateLimited, not sent. Nor is a change sent whose wait was made longer by a process that stood still: somebody else
  may have acted in its place.
* What changes something goes out on a connection that was used lately: the other side may just be closing an idle one.
* An answer has TOTAL_S in all, its size is bounded, redirects are not followed.
* No message holds a query, header or body, nor do the library's errors, which would: they are not chained.

Answers are read and translated in `venues.answers`. Workers are daemon threads, so that a venue that answers nothing
holds up no shutdown. Looking a name up in the DNS is the one wait that has no limit of ours.
"""

import asyncio
import contextlib
import http.client
import io
import logging
import queue
import socket
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util import Retry as ConnectRetry

from core.clock import NS_PER_S, Clock, sleep
from venues import answers
from venues.answers import Answer
from venues.bans import Bans
from venues.call import AGENT, Call, Failure, Judge, Kind, Reply, bare, named, public_get
from venues.errors import Misconfigured, RateLimited, Retry, VenueError
from venues.limits import Left, Limits
from venues.timely import Timely

__all__ = ["Call", "Failure", "Judge", "Kind", "Reply", "RestClient", "public_get"]

TIMEOUT_S = (2.0, 3.0)  # connect, and between two pieces of an answer
TOTAL_S = 12.0  # for the whole answer
MAX_BYTES = 16 * 1024 * 1024
CHUNK = 65_536
WORKERS = 4
RATE_PAUSE_S = 60.0
RATE_PAUSE_MAX_S = 3600.0  # of those that we choose; what the venue says has no such limit
MAX_WAIT_S = 5.0  # for room in our own limits
NAP_S = 0.001
IDLE_S = 45.0  # venues close idle connections after a minute and more
STILL_S = 1.0  # by which a wait for room may last longer; beyond that the process did not run

# Its warnings of every broken connection repeat what our own errors say.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)

_NO_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidHeader,
)


_written = threading.local()


def written_ns() -> int:
    """When the first byte of the calling thread's last request left, in monotonic nanoseconds; 0: none of it did."""
    return getattr(_written, "ns", 0)


class RestClient:
    """Asks one venue. Safe to use from several threads; each gets its own Session.

    `judge` reads what the venue's answers say. `left` reads from an answer's headers what is left of `limits`.
    `rate_pause_s` is how long nothing is sent after "asked too often" where the venue names no time, `edge_pause_s` the
    same after a web page with 403 (0: not at all). `bans` are those shared with other processes. `ca_file` holds the
    certificates to trust in place of the usual ones.
    """

    def __init__(
        self,
        venue: str,
        clock: Clock,
        judge: Judge,
        limits: Limits | None = None,
        *,
        left: Callable[[Mapping[str, str]], Mapping[str, float | Left]] | None = None,
        bans: Bans | None = None,
        ca_file: str = "",
        timeout_s: tuple[float, float] = TIMEOUT_S,
        total_s: float = TOTAL_S,
        rate_pause_s: float = RATE_PAUSE_S,
        edge_pause_s: float = 0.0,
        max_wait_s: float = MAX_WAIT_S,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._venue = venue
        self._clock = clock
        self._judge = judge
        self._limits = limits or Limits({})
        self._left = left
        self._bans = bans
        self._ca_file = ca_file
        self._timeout_s = timeout_s
        self._total_s = total_s
        self._rate_pause_s = rate_pause_s
        self._edge_pause_s = edge_pause_s
        self._max_wait_s = max_wait_s
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._not_before_ns = 0
        self._strikes = 0  # bans one after the other, without an answer between them
        self._own = threading.local()
        self._links: weakref.WeakSet[_Link] = weakref.WeakSet()  # each ends with its thread
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False

    # --- asking ----------------------------------------------------------------------------------

    def send_blocking(self, call: Call, again: Callable[[], Call] | None = None) -> Reply:
        """Sends once, on the calling thread. Raises the errors of `venues.errors`; OutcomeUnknown only for a call that
        changes something, for which every other error means: certainly not carried out.

        `again` makes the call anew where it had to wait for room: its stamp would be as old as the wait.
        """
        what, began_ns = named(call), self._clock.monotonic_ns()
        waited_s, in_line = 0.0, False
        while (wait_s := self._room(call, what, waited_s, in_line)) > 0:
            sleep(wait_s)
            waited_s += wait_s
            in_line = True
        if call.changes and self._clock.monotonic_ns() - began_ns > (self._max_wait_s + STILL_S) * NS_PER_S:
            raise Retry(self._venue, f"{what} not sent: this process stood still while it waited for room")
        return self._exchange(again() if again and in_line else call, what)

    async def send(self, call: Call) -> Reply:
        """As `send_blocking`, on one of this client's own threads; waits for room without taking one."""
        what = named(call)
        waited_s, in_line = 0.0, False
        while (wait_s := self._room(call, what, waited_s, in_line)) > 0:
            await asyncio.sleep(wait_s)
            waited_s += wait_s
            in_line = True
        self._start()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Reply] = loop.create_future()

        def work() -> None:
            result: Reply | None = None
            failure: BaseException | None = None
            try:
                result = self._exchange(call, what)
            except BaseException as error:  # noqa: BLE001 - it is handed to the one who asked
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
                loop.call_soon_threadsafe(_settle, answer, result, failure)

        self._work.put(work)
        return await answer

    async def get(self, url: str, query: Mapping[str, str] | None = None, **costs: float) -> Reply:
        """GETs public JSON: query and address stand in messages."""
        return await self.send(public_get(url, query, **costs))

    # --- before and after ------------------------------------------------------------------------

    def _room(self, call: Call, what: str, waited_s: float, in_line: bool) -> float:
        """Seconds to wait before asking again for room; 0: it may go out now and is booked."""
        self._check(what)
        patience_s = self._max_wait_s - waited_s
        now_ns = self._clock.monotonic_ns()
        wait_s, name = self._limits.take(call.costs, now_ns, urgent=call.urgent, in_line=in_line, patience_s=patience_s)
        if wait_s > patience_s:
            raise RateLimited(self._venue, f"{what} not sent: the limit {name!r} has no room", wait_s)
        return 0.0 if wait_s <= 0 else max(wait_s, NAP_S)

    def _check(self, what: str) -> None:
        """Raises where nothing may be sent."""
        if self._closed:
            raise Retry(self._venue, f"{what} not sent: we are stopping")
        wait_ns = self._not_before_ns - self._clock.monotonic_ns()
        if self._bans is not None:
            wait_ns = max(wait_ns, self._bans.left_ns(self._clock.wall_ns()))
        if wait_ns > 0:
            raise RateLimited(self._venue, f"{what} not sent: asked too often before", wait_ns / NS_PER_S)

    def _exchange(self, call: Call, what: str) -> Reply:
        self._check(what)  # a ban may have come while this waited for its turn
        link = self._link()
        try:
            response = link.send(call, self._timeout_s)
            with response:
                received_ns = self._clock.wall_ns()
                headers = {name.lower(): value for name, value in response.headers.items()}
                body = self._body(response)
        except _NO_ADDRESS as error:
            reason = answers.cause(error)
            raise Misconfigured(
                self._venue, f"{what}: {bare(call.url)} is no address: {reason}", answers.ADDRESS
            ) from None
        except _TooLong as error:
            text = f"{what}: the answer is longer than {error} bytes"
            raise answers.lost(self._venue, call, text, "nothing was used of it") from None
        except (requests.exceptions.RequestException, HTTPError, OSError, http.client.HTTPException) as error:
            raise self._broken(call, what, error, link.sent_ns) from None
        answer = Answer(response.status_code, headers, body)
        self._after(call, what, answer)
        return Reply(body, link.sent_ns, received_ns, answers.date_s(headers.get("date", "")), headers)

    def _body(self, response: requests.Response) -> bytes:
        pieces, size = [], 0
        while piece := response.raw.read1(CHUNK, decode_content=True):
            pieces.append(piece)
            size += len(piece)
            if size > self._max_bytes:
                raise _TooLong(self._max_bytes)
        return b"".join(pieces)

    def _broken(self, call: Call, what: str, error: Exception, sent_ns: int) -> VenueError:
        """No answer: OutcomeUnknown only where something of a changing call may have left."""
        reason = answers.cause(error)
        if isinstance(error, requests.exceptions.SSLError):
            text, step = f"{what}: no trusted connection ({reason})", "check the clock and VENUE_REST_URL"
        elif isinstance(error, requests.exceptions.Timeout):
            text, step = f"{what}: no answer in time" + ("" if "in time" in reason else f" ({reason})"), ""
        else:
            text, step = f"{what}: {reason}", ""
        return answers.lost(self._venue, call, text, step) if sent_ns else Retry(self._venue, text, step)

    def _after(self, call: Call, what: str, answer: Answer) -> None:
        """Raises what the answer stands for, and remembers a ban."""
        now_ns = self._clock.monotonic_ns()
        if self._left is not None:
            self._limits.told(self._left(answer.headers), now_ns)
        pause_s = min(self._rate_pause_s * 2**self._strikes, max(RATE_PAUSE_MAX_S, self._rate_pause_s))
        pauses = answers.Pauses(pause_s, self._edge_pause_s)
        refusal = answers.read(self._venue, call, what, answer, self._judge, self._clock.wall_ns(), pauses)
        if refusal is None:
            self._strikes = 0
            return
        if refusal.pause_s is not None:
            self._ban(now_ns, refusal, answer.status)
        raise refusal.error

    def _ban(self, now_ns: int, refusal: answers.Refusal, status: int) -> None:
        assert refusal.pause_s is not None
        pause_ns = int(refusal.pause_s * NS_PER_S)
        until_ns = now_ns + pause_ns
        self._limits.block(now_ns, until_ns, refusal.limit)
        if refusal.limit:
            return
        if self._bans is not None and status in (418, 429):  # of the address; what stands in the text is of the key
            wall_ns = self._clock.wall_ns()
            self._bans.add(wall_ns + pause_ns, wall_ns)
        with self._lock:
            if now_ns >= self._not_before_ns:  # several answers to calls of the same moment are one ban
                self._strikes = min(self._strikes + 1, 16)
            self._not_before_ns = max(self._not_before_ns, until_ns)

    # --- threads ---------------------------------------------------------------------------------

    def _link(self) -> "_Link":
        link: _Link | None = getattr(self._own, "link", None)
        if link is None:
            link = self._own.link = _Link(self._clock, self._total_s, self._ca_file or True)
            with self._lock:
                self._links.add(link)
        return link

    def _start(self) -> None:
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._serve, name=f"rest-{n}", daemon=True) for n in range(WORKERS)
            ]
            for thread in self._threads:
                thread.start()

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def close(self, wait_s: float = 0.3) -> None:
        """Lets the workers go; one that still waits for the venue is left behind, it ends with the process."""
        self._closed = True
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join(wait_s)
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()


def too_idle(call: Call, idle_ns: int) -> bool:
    """Whether a call is not to go out on a connection that was not used for so long."""
    return call.changes and idle_ns > IDLE_S * NS_PER_S


# --- one thread's connections ----------------------------------------------------------------------


class _Link:
    """A Session, and when the first byte of its last request left (0: none did)."""

    def __init__(self, clock: Clock, total_s: float, verify: str | bool) -> None:
        self.sent_ns = 0
        self._clock = clock
        self._used_ns = clock.monotonic_ns()
        self._verify = verify
        self.session = requests.Session()
        self.session.trust_env = False  # no proxies or netrc from the environment
        self.session.headers.update({"User-Agent": AGENT, "Accept": "application/json"})
        retries = ConnectRetry(
            total=2,
            connect=2,  # of any method: nothing was sent
            read=0,
            status=0,
            redirect=0,
            other=0,
            backoff_factor=0.1,
            respect_retry_after_header=False,  # waiting is ours to do, and to tell
        )
        adapter = HTTPAdapter(max_retries=retries, pool_connections=4, pool_maxsize=1)
        adapter.poolmanager.pool_classes_by_scheme = _pools(weakref.proxy(self), clock, total_s)
        self.session.mount("http://", adapter)
        self.session.mount("https://", adapter)

    def send(self, call: Call, timeout_s: tuple[float, float]) -> requests.Response:
        self.sent_ns = _written.ns = 0
        if too_idle(call, self._clock.monotonic_ns() - self._used_ns):
            self.session.close()  # its connections; it makes new ones
        request = requests.Request(call.method, call.url, headers=dict(call.headers), data=call.body or None)
        prepared = self.session.prepare_request(request)
        if call.query:
            prepared.url = f"{prepared.url}?{call.query}"  # after preparing, which would encode it anew
        response = self.session.send(
            prepared, timeout=timeout_s, stream=True, allow_redirects=False, verify=self._verify, proxies={}, cert=None
        )
        self._used_ns = self._clock.monotonic_ns()
        return response

    def begins(self, clock: Clock) -> None:
        """Bytes are about to leave."""
        if not self.sent_ns:
            self.sent_ns, _written.ns = clock.wall_ns(), clock.monotonic_ns()

    def close(self) -> None:
        self.session.close()


def _pools(link: _Link, clock: Clock, total_s: float) -> dict[str, type[HTTPConnectionPool]]:
    """Pools whose connections tell the link when they begin to send, and whose answers have an end."""

    class Response(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
            super().__init__(sock, *args, **options)
            raw = self.fp.detach()
            self.fp = io.BufferedReader(Timely(raw, sock, clock, total_s))

    class Plain(HTTPConnection):
        response_class = Response

        def send(self, data: Any) -> None:
            if self.sock is None:
                self.connect()
            link.begins(clock)
            super().send(data)

    class Secure(HTTPSConnection):
        response_class = Response

        def send(self, data: Any) -> None:
            if self.sock is None:
                self.connect()
            link.begins(clock)
            super().send(data)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


class _TooLong(Exception):
    """More bytes than are allowed."""


def _settle(future: "asyncio.Future[Any]", result: Any, failure: BaseException | None) -> None:
    if future.done():
        return
    if failure is not None:
        future.set_exception(failure)
    else:
        future.set_result(result)
