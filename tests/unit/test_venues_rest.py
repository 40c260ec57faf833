"""REST against a real local server that misbehaves in every way we have seen or feared."""

import asyncio
import gc
import shutil
import subprocess
import threading
import traceback

import msgspec
import pytest

from core.clock import LiveClock, ManualClock
from core.settings_load import from_texts
from tests.unit.http_peer import Cut, Server, drip, http, until
from venues.bans import Bans, bans_of
from venues.call import Call, Failure
from venues.coindcx.wire_public import judge as coindcx_judge
from venues.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Retry, Skewed
from venues.limits import Limit, Limits
from venues.rest import RestClient, public_get, written_ns

PAGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"


@pytest.fixture
def made():
    """What a test makes and has to be closed."""
    things = []
    yield things
    for thing in things:
        thing.close()


@pytest.fixture
def rest(made):
    """Makes clients."""

    def make(judge=coindcx_judge, limits=None, clock=None, **options):
        options = {"timeout_s": (2.0, 5.0)} | options
        client = RestClient("coindcx", clock or LiveClock(), judge, limits, **options)
        made.append(client)
        return client

    return make


@pytest.fixture
def serve(made):
    """Makes servers."""

    def make(*answers, **options):
        server = Server(*answers, **options)
        made.append(server)
        return server

    return make


def read(server):
    return public_get(server.url, {"pair": "B-BTC_USDT"})


def change(server, **options):
    return Call(
        "POST",
        server.base + "/order",
        query="signature=hush-query",
        body=b'{"secret":"hush-body"}',
        headers={"X-KEY": "hush-header", "Content-Type": "application/json"},
        changes=True,
        what="POST /order BTCUSDT",
        **options,
    )


# --- answers ---------------------------------------------------------------------------------------


def test_an_answer_with_its_date(rest, serve):
    reply = rest().send_blocking(read(serve(http(200, b"[]", Date="Sun, 22 Nov 2026 13:38:40 GMT", X_Left="7"))))
    assert reply.body == b"[]" and reply.date_s == 1795354720 and reply.headers["x-left"] == "7"
    assert 0 < reply.sent_ns <= reply.received_ns


def test_when_a_request_left_is_known_to_its_thread(rest, serve):
    client, clock = rest(), LiveClock()
    before_ns = clock.monotonic_ns()
    client.send_blocking(read(serve(http(200, b"[]"))))
    assert before_ns <= written_ns() <= clock.monotonic_ns()
    with pytest.raises(Retry):
        client.send_blocking(public_get("http://127.0.0.1:9"))
    assert written_ns() == 0, "nothing of it left"


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "text/json", "application/problem+json"])
def test_kinds_of_json(rest, serve, kind):
    assert rest().send_blocking(read(serve(http(200, b"{}", kind)))).body == b"{}"


CHUNKED = b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_an_answer_in_chunks(rest, serve):
    assert rest().send_blocking(read(serve(CHUNKED + b"2\r\n[1\r\n1\r\n]\r\n0\r\n\r\n"))).body == b"[1]"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_what_was_signed_goes_out_byte_for_byte(rest, serve, method):
    server = serve(http(200, b"{}"))
    query = "symbol=BTCUSDT&list=%5B%22A%22%5D&note=a+b%20c~d%7E.%2C&signature=ab01"
    rest().send_blocking(
        Call(method, server.base + "/api/v3/order", query, b'{"a": 1.10,"b":"\xc3\xa9"}', {"X-K": "k"})
    )
    assert server.lines() == [f"{method} /api/v3/order?{query} HTTP/1.1"]
    assert server.bodies == [b'{"a": 1.10,"b":"\xc3\xa9"}']
    assert b"X-K: k" in server.requests[0]


# name: answer, error of a read, words, error of a change
BAD = {
    "html 200": (http(200, PAGE, "text/html"), Retry, "a web page in place of JSON .*Just a moment", OutcomeUnknown),
    "html 403": (http(403, PAGE, "text/html"), Retry, "HTTP 403.*", OutcomeUnknown),
    "html 404": (http(404, PAGE, "text/html"), Retry, "HTTP 404.*check VENUE_REST_URL", OutcomeUnknown),
    "html 502": (http(502, PAGE, "text/html"), Retry, "HTTP 502", OutcomeUnknown),
    "html 429": (http(429, PAGE, "text/html"), RateLimited, "HTTP 429", OutcomeUnknown),
    "no kind": (http(200, b"[]", ""), Retry, "no content type", OutcomeUnknown),
    "empty": (http(200, b""), Retry, "an empty answer", OutcomeUnknown),
    "half": (Cut(http(200, b"[1,", length=900)), Retry, "broke off", OutcomeUnknown),
    "half a chunk": (Cut(CHUNKED + b"ff\r\n[1"), Retry, "broke off", OutcomeUnknown),
    "half a head": (Cut(b"HTTP/1.1 200 X\r\nContent-Ty"), Retry, "no content type", OutcomeUnknown),
    "500": (http(500, b'{"message":"oops"}'), Retry, "oops", OutcomeUnknown),
    "503": (http(503, b"{}"), Retry, "503", OutcomeUnknown),
    "408": (http(408, b"{}"), Retry, "408", OutcomeUnknown),
    "422": (http(422, b'{"code":422,"message":"Invalid pair NOPE"}'), Rejected, "Invalid pair NOPE", Rejected),
    "404": (http(404, b'{"message":"not_found"}'), Rejected, "not_found", Rejected),
    "401": (http(401, b'{"message":"Invalid credentials"}'), Skewed, "Invalid credentials", Skewed),
    "redirect": (
        http(302, b"{}", Location="https://elsewhere/?signature=hush"),
        Retry,
        "moved to https://elsewhere",
        OutcomeUnknown,
    ),
    "closed without an answer": (b"", Retry, "without an answer", OutcomeUnknown),
    "no http": (b"garbage\r\n\r\n", Retry, "no HTTP", OutcomeUnknown),
    "too long": (http(200, b"x" * 5000), Retry, "longer than 4096 bytes", OutcomeUnknown),
    "no gzip": (http(200, b"x" * 40, Content_Encoding="gzip"), Retry, "DecodeError", OutcomeUnknown),
}


@pytest.mark.parametrize(("answer", "error", "words"), [case[:3] for case in BAD.values()], ids=BAD)
def test_a_bad_answer_is_one_clear_error_and_asked_for_once(rest, serve, answer, error, words):
    server = serve(answer, answer, answer)
    with pytest.raises(error, match=words) as caught:
        rest(max_bytes=4096).send_blocking(read(server))
    assert type(caught.value) is error
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert len(server.requests) == 1, "a GET that was read is not repeated"


@pytest.mark.parametrize(("answer", "error"), [(case[0], case[3]) for case in BAD.values()], ids=BAD)
def test_a_change_with_a_bad_answer_is_unknown_unless_it_was_clearly_refused(rest, serve, answer, error):
    server = serve(answer, answer, answer)
    with pytest.raises(Exception) as caught:
        rest(max_bytes=4096).send_blocking(change(server))
    assert type(caught.value) is error
    assert server.lines() == ["POST /order?signature=hush-query HTTP/1.1"], "a POST is never sent twice"
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "hush" not in shown


@pytest.mark.parametrize(("call", "error"), [(read, Retry), (change, OutcomeUnknown)], ids=["read", "change"])
def test_silence_is_asked_once(rest, serve, call, error):
    server = serve(hold=True)
    with pytest.raises(error, match="in time"):
        rest(timeout_s=(2.0, 0.2)).send_blocking(call(server))
    until(lambda: server.requests)
    assert len(server.requests) == 1


@pytest.mark.parametrize("call", [read, change], ids=["read", "change"])
def test_where_no_connection_comes_about_nothing_was_sent(rest, serve, call):
    server = serve()
    server.close()
    with pytest.raises(Retry, match="refused") as caught:
        rest().send_blocking(call(server))
    assert "hush" not in "".join(traceback.format_exception(caught.value))


def test_a_host_without_a_name_was_sent_nothing(rest):
    with pytest.raises(Retry):
        rest().send_blocking(Call("POST", "http://no-such-host.invalid/x", changes=True))


def test_a_server_that_speaks_no_tls_was_sent_nothing(rest, serve):
    server = serve(http(200, b"{}"))
    with pytest.raises(Retry, match=r"POST https://127.0.0.1:\d+/x: "):
        rest(timeout_s=(0.3, 5.0)).send_blocking(Call("POST", server.url.replace("http:", "https:"), changes=True))


SLOW = {
    "the body": drip(http(200, b"[" + b" " * 400 + b"]"), 60),
    "the head": drip(http(200, b"[]", X_Long="y" * 400), 60),
    "a head of many lines": [b"HTTP/1.1 200 X\r\n", *[b"X-N: 1\r\n"] * 60],
}


@pytest.mark.parametrize("pieces", SLOW.values(), ids=SLOW)
@pytest.mark.parametrize(("call", "error"), [(read, Retry), (change, OutcomeUnknown)], ids=["read", "change"])
def test_a_slow_drip_has_an_end(rest, serve, pieces, call, error):
    """Each piece comes well within the read time-out; only the whole takes too long."""
    server = serve(pieces, drip_s=0.05)
    with pytest.raises(error, match=r"took too long as a whole|in time"):
        rest(total_s=0.4).send_blocking(call(server))
    until(lambda: server.requests)
    assert len(server.requests) == 1


def test_the_end_of_one_answer_is_not_the_end_of_the_next(rest, serve):
    server = serve(*[http(200, b"[]")] * 3)
    client = rest(total_s=2.0)
    for _ in range(3):
        client.send_blocking(read(server))
        threading.Event().wait(1.1)
    assert server.connections == 1


@pytest.mark.parametrize("url", ["nonsense", "ftp://x/y", "http://", "http://[::1"])
def test_an_address_that_is_none(rest, url):
    with pytest.raises(Misconfigured, match="VENUE_REST_URL"):
        rest().send_blocking(Call("GET", url))


def test_secrets_of_an_address_are_not_shown(rest, serve):
    server = serve()
    server.close()
    call = Call("GET", server.url.replace("http://", "http://me:hidden@"))
    with pytest.raises(Retry) as caught:
        rest().send_blocking(call)
    assert "hidden" not in "".join(traceback.format_exception(caught.value))


def test_a_call_shows_nothing_but_its_name(serve):
    call = change(serve())
    assert repr(call) == str(call) == "Call(POST /order BTCUSDT)"


# --- asked too often -------------------------------------------------------------------------------

SUN = "Sun, 22 Nov 2026 13:38:40 GMT"
# status, headers, seconds to wait
PAUSES = {
    "seconds": (429, {"Retry_After": "7"}, 7.0),
    "a ban of three days": (418, {"Retry_After": "259200"}, 259200.0),
    "a ban in seconds with a fraction": (418, {"Retry_After": "2.5"}, 2.5),
    "none": (429, {"Retry_After": "0"}, 1.0),
    "no number": (429, {"Retry_After": "soon"}, 60.0),
    "nothing": (429, {}, 60.0),
    "a date, by the venue's own clock": (429, {"Retry_After": SUN, "Date": "Sun, 22 Nov 2026 13:38:10 GMT"}, 30.0),
    "a date that is over": (429, {"Retry_After": SUN, "Date": SUN}, 1.0),
}


@pytest.mark.parametrize(("status", "headers", "pause"), PAUSES.values(), ids=PAUSES)
def test_asked_too_often_means_no_request_until_it_is_over(rest, serve, status, headers, pause):
    server = serve(http(status, b'{"message":"Too Many Requests"}', **headers), http(200, b"[]"), http(200, b"[]"))
    clock = ManualClock()
    client = rest(plain_judge, clock=clock)
    with pytest.raises(RateLimited, match="Too Many Requests") as caught:
        client.send_blocking(read(server))
    assert caught.value.retry_after_s == pause
    clock.advance(int(pause * 1e9) - 1)
    for call in (read(server), change(server, urgent=True)):
        with pytest.raises(RateLimited, match="not sent"):
            client.send_blocking(call)
    assert len(server.requests) == 1
    clock.advance(1)
    assert client.send_blocking(read(server)).body == b"[]"


def plain_judge(status, headers, body, changes):
    if status in (418, 429):
        return Failure("rate_limited", str(status), body.decode())
    return None


def test_a_date_without_the_venues_own_is_read_by_our_clock(rest, serve):
    clock = ManualClock(wall_ns=1795354720 * 10**9 - 45 * 10**9)
    with pytest.raises(RateLimited) as caught:
        rest(clock=clock).send_blocking(read(serve(http(429, b"{}", Retry_After=SUN))))
    assert caught.value.retry_after_s == pytest.approx(45.0)


def test_a_ban_after_a_ban_of_unknown_length_lasts_longer_until_an_answer_comes(rest, serve):
    limited, fine = http(429, b"{}"), http(200, b"[]")
    server = serve(limited, limited, limited, fine, limited)
    clock = ManualClock()
    client = rest(clock=clock)
    pauses = []
    for _ in range(5):
        try:
            client.send_blocking(read(server))
        except RateLimited as error:
            pauses.append(error.retry_after_s)
            clock.advance(int(error.retry_after_s * 1e9))
    assert pauses == [60.0, 120.0, 240.0, 60.0]


def test_a_longer_ban_is_not_shortened_by_a_later_answer(rest, serve):
    """Two calls were under way when the ban came: the second answer names a shorter time."""
    server = serve(http(418, b"{}", Retry_After="600"))
    other = serve([http(429, b"{}", Retry_After="2")[:40], http(429, b"{}", Retry_After="2")[40:]], drip_s=1.5)
    client = rest(plain_judge)
    caught = []

    def slow():
        try:
            client.send_blocking(read(other))
        except RateLimited as error:
            caught.append(error)

    thread = threading.Thread(target=slow)
    thread.start()
    until(lambda: other.requests)
    with pytest.raises(RateLimited):
        client.send_blocking(read(server))
    thread.join(10)
    assert caught[0].retry_after_s == 2.0
    with pytest.raises(RateLimited) as later:
        client.send_blocking(read(server))
    assert later.value.retry_after_s > 590


@pytest.mark.parametrize(("call", "error"), [(read, RateLimited), (change, OutcomeUnknown)], ids=["read", "change"])
def test_a_firewalls_page_calls_for_rest_where_the_venue_is_known_for_it(rest, serve, call, error):
    server, clock = serve(http(403, PAGE, "text/html"), http(200, b"[]")), ManualClock()
    client = rest(clock=clock, edge_pause_s=180.0)
    with pytest.raises(error, match="HTTP 403"):
        client.send_blocking(call(server))
    clock.advance(179 * 10**9)
    with pytest.raises(RateLimited, match="not sent"):
        client.send_blocking(read(server))
    clock.advance(10**9)
    client.send_blocking(read(server))
    assert len(server.requests) == 2


@pytest.mark.parametrize(("headers", "pause"), [({}, 60.0), ({"Retry_After": "3"}, 3.0)], ids=["unsaid", "said"])
def test_a_venue_that_wants_rest_gets_it_even_where_the_outcome_is_unknown(rest, serve, headers, pause):
    """CoinDCX: 429 on create is indeterminate, and its window is a minute."""
    server, clock = serve(http(429, b'{"message":"Too Many Requests"}', **headers)), ManualClock()
    client = rest(clock=clock)
    with pytest.raises(OutcomeUnknown, match="Too Many Requests"):
        client.send_blocking(change(server))
    with pytest.raises(RateLimited) as caught:
        client.send_blocking(read(server))
    assert caught.value.retry_after_s == pause


def test_a_refusal_with_http_200_is_the_judges(rest, serve):
    """Kraken: EService: Throttled names when to come back, the lockout lasts a quarter of an hour."""

    def judge(status, headers, body, changes):
        errors = msgspec.json.decode(body)["error"]
        if not errors:
            return None
        return Failure("rate_limited", errors[0], "slow down", 900.0)

    locked = http(200, b'{"error":["EGeneral:Temporary lockout"]}')
    server = serve(http(200, b'{"error":[]}'), locked, http(200, b'{"error":[]}'))
    clock = ManualClock()
    client = rest(judge, clock=clock)
    client.send_blocking(read(server))
    with pytest.raises(RateLimited, match="slow down") as caught:
        client.send_blocking(change(server))
    assert caught.value.retry_after_s == 900.0 and caught.value.code == "EGeneral:Temporary lockout"
    clock.advance(899 * 10**9)
    with pytest.raises(RateLimited, match="not sent"):
        client.send_blocking(read(server))
    clock.advance(10**9)
    client.send_blocking(read(server))
    assert len(server.requests) == 3


def test_a_pause_of_one_limit_leaves_other_calls_alone(rest, serve):
    """Binance -1015: too many unfilled orders; cancelling them must go on."""

    def judge(status, headers, body, changes):
        return Failure("rate_limited", "-1015", "Too many new orders", limit="orders") if status == 429 else None

    server = serve(http(429, b"{}", Retry_After="10"), http(200, b"{}"))
    client = rest(judge, Limits({"orders": Limit(10, 10), "weight": Limit(10, 10)}))
    with pytest.raises(RateLimited):
        client.send_blocking(change(server, costs={"orders": 1, "weight": 1}))
    client.send_blocking(change(server, costs={"weight": 1}))
    with pytest.raises(RateLimited, match="'orders' has no room"):
        client.send_blocking(change(server, costs={"orders": 1}))
    assert len(server.requests) == 2


KINDS = {
    "retry": Retry,
    "rejected": Rejected,
    "skewed": Skewed,
    "unknown": OutcomeUnknown,
    "rate_limited": RateLimited,
    "misconfigured": Misconfigured,
}


@pytest.mark.parametrize(("kind", "error"), KINDS.items(), ids=KINDS)
def test_the_judge_names_the_reaction_and_the_venues_words_are_kept(rest, serve, kind, error):
    client = rest(lambda *_: Failure(kind, "-2010", "Account has insufficient balance"))
    with pytest.raises(error, match=r"-2010.*insufficient balance") as caught:
        client.send_blocking(change(serve(http(400, b"{}"))))
    assert type(caught.value) is error and caught.value.code == "-2010"


def test_a_question_has_no_unknown_outcome(rest, serve):
    with pytest.raises(Retry) as caught:
        rest(lambda *_: Failure("unknown", "-1007", "Timeout")).send_blocking(read(serve(http(400, b"{}"))))
    assert type(caught.value) is Retry


@pytest.mark.parametrize(("call", "error"), [(read, Retry), (change, OutcomeUnknown)], ids=["read", "change"])
def test_a_judge_that_fails_is_no_answer(rest, serve, call, error):
    def judge(status, headers, body, changes):
        return Failure("retry", msgspec.json.decode(body)["code"], "")

    with pytest.raises(error, match="cannot be judged"):
        rest(judge).send_blocking(call(serve(http(200, b"[1,"))))


# --- our own limits --------------------------------------------------------------------------------


def test_calls_wait_for_room(rest, serve):
    server = serve(*[http(200, b"[]")] * 4)
    client = rest(limits=Limits({"requests": Limit(50.0, 2.0)}))
    began_ns = LiveClock().wall_ns()  # room comes back while the first call connects
    sent = [client.send_blocking(public_get(server.url, requests=1)).sent_ns for _ in range(4)]
    assert sent[3] - began_ns >= 2 * 0.02 * 1e9 * 0.9


class RoomForOne(Limits):
    """Whoever comes after the first waits a moment."""

    def __init__(self):
        super().__init__({})
        self.came = 0

    def take(self, *_, in_line=False, **__):
        self.came += not in_line
        return (0.001 if self.came > 1 and not in_line else 0.0), "requests"


def test_what_had_to_wait_for_room_is_made_anew_as_it_goes_out(rest, serve):
    """A stamp that is as old as the wait is outside of the venue's window."""
    server = serve(*[http(200, b"[]")] * 2)
    client = rest(limits=RoomForOne())
    for _ in range(2):
        made = public_get(server.url, {"made": "before"}, requests=1)
        client.send_blocking(made, lambda: public_get(server.url, {"made": "after"}, requests=1))
    assert [request.split()[1].partition(b"?")[2] for request in server.requests] == [b"made=before", b"made=after"]


class Stops(LiveClock):
    """The process is stopped for a minute while a call waits for room."""

    still_ns = 0

    def monotonic_ns(self):
        return super().monotonic_ns() + self.still_ns


class RoomAfterAStop(Limits):
    def __init__(self, clock):
        super().__init__({})
        self.clock = clock

    def take(self, *_, in_line=False, **__):
        self.clock.still_ns = 60 * 10**9
        return (0.0 if in_line else 0.001), "requests"


def test_a_change_that_waited_while_the_process_stood_still_is_not_sent(rest, serve):
    server = serve(http(200, b"[]"))
    clock = Stops()
    client = rest(limits=RoomAfterAStop(clock), clock=clock)
    with pytest.raises(Retry, match="stood still while it waited for room"):
        client.send_blocking(change(server), lambda: change(server))
    assert server.requests == []
    clock.still_ns = 0
    client.send_blocking(read(server))
    assert len(server.requests) == 1, "a question is asked all the same"


def test_a_wait_that_is_too_long_is_told_and_nothing_is_sent(rest, serve):
    server = serve(http(200, b"[]"), http(200, b"[]"))
    client = rest(limits=Limits({"requests": Limit(0.1, 1.0, kept_for_exits=0.0)}))
    client.send_blocking(public_get(server.url, requests=1))
    with pytest.raises(RateLimited, match="not sent: the limit 'requests' has no room") as caught:
        client.send_blocking(public_get(server.url, requests=1))
    assert caught.value.retry_after_s == pytest.approx(10.0, abs=1.0)
    assert len(server.requests) == 1


def test_an_exit_may_use_the_share_that_is_kept(rest, serve):
    server = serve(http(200, b"{}"), http(200, b"{}"))
    client = rest(limits=Limits({"orders": Limit(0.01, 2.0, kept_for_exits=0.5)}))
    client.send_blocking(change(server, costs={"orders": 1}))
    with pytest.raises(RateLimited):
        client.send_blocking(change(server, costs={"orders": 1}))
    client.send_blocking(change(server, costs={"orders": 1}, urgent=True))
    assert len(server.requests) == 2


def test_what_the_venue_says_is_left_counts(rest, serve):
    server = serve(http(200, b"{}", X_Used="5999"))
    limits = Limits({"weight": Limit(0.1, 6000.0)})
    client = rest(limits=limits, left=lambda headers: {"weight": 6000 - float(headers["x-used"])})
    client.send_blocking(change(server, costs={"weight": 1}))
    with pytest.raises(RateLimited):
        client.send_blocking(change(server, costs={"weight": 20}))


# --- bans that are shared --------------------------------------------------------------------------


def test_a_ban_of_the_address_holds_for_every_process_and_after_a_restart(rest, serve, tmp_path):
    server = serve(http(418, b"{}", Retry_After="300"), http(200, b"[]"))
    clock, path = ManualClock(), tmp_path / "ban-v"
    with pytest.raises(RateLimited):
        rest(plain_judge, clock=clock, bans=Bans(path)).send_blocking(read(server))
    later = ManualClock(wall_ns=clock.wall_ns() + 299 * 10**9)
    other = rest(plain_judge, clock=later, bans=Bans(path))
    with pytest.raises(RateLimited, match="not sent") as caught:
        other.send_blocking(change(server, urgent=True))
    assert caught.value.retry_after_s == pytest.approx(1.0)
    later.advance(10**9)
    other.send_blocking(read(server))
    assert len(server.requests) == 2


def test_a_ban_of_the_key_is_not_one_of_the_address(rest, serve, tmp_path):
    path = tmp_path / "ban-v"
    client = rest(lambda *_: Failure("rate_limited", "EAPI", "Rate limit exceeded", 900.0), bans=Bans(path))
    with pytest.raises(RateLimited):
        client.send_blocking(read(serve(http(200, b"{}"))))
    assert not path.exists()


def test_a_ban_is_not_shortened_and_a_file_of_nonsense_bans_nobody(tmp_path):
    path, now = tmp_path / "ban-v", 10**18
    bans = Bans(path)
    assert bans.left_ns(now) == 0
    bans.add(now + 600, now)
    bans.add(now + 5, now)
    assert bans.left_ns(now) == 600 and [file.name for file in tmp_path.iterdir()] == ["ban-v"]
    for content in (b"", b"soon", b"\xff\xfe", str(now + 10**18).encode(), b"9" * 5000):
        path.write_bytes(content)
        assert bans.left_ns(now) == 0
    Bans(tmp_path / "no" / "folder").add(now + 5, now)


def test_bans_are_shared_by_venue_but_not_on_loopback(tmp_path):
    settings = from_texts({"VENUE": "coindcx", "VAR_DIR": str(tmp_path)})
    assert bans_of(settings, "http://127.0.0.1:3080") is None and bans_of(settings, "http://[::1]:1") is None
    bans = bans_of(settings, "https://api.coindcx.com")
    assert bans is not None
    bans.add(2 * 10**18, 2 * 10**18 - 5)
    assert (tmp_path / "run" / "ban-coindcx").exists()


# --- TLS -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of our own for 127.0.0.1, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    command += " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


def test_over_tls_it_is_all_the_same(rest, serve, certificate):
    server = serve(http(200, b"{}"), http(200, b"[1]"), tls=certificate)
    client = rest(ca_file=str(certificate[0]))
    reply = client.send_blocking(change(server))
    assert reply.body == b"{}" and 0 < reply.sent_ns <= reply.received_ns
    assert client.send_blocking(read(server)).body == b"[1]"
    with pytest.raises(OutcomeUnknown, match="without an answer"):
        client.send_blocking(change(server))
    assert server.connections == 1 and server.bodies[0] == b'{"secret":"hush-body"}'


def test_a_certificate_that_is_not_trusted_was_sent_nothing(rest, serve, certificate):
    server = serve(http(200, b"{}"), tls=certificate)
    with pytest.raises(Retry, match=r"no trusted connection .*certificate is not trusted.*VENUE_REST_URL"):
        rest().send_blocking(change(server))
    assert server.requests == []


def test_a_slow_drip_over_tls_has_an_end(rest, serve, certificate):
    server = serve(SLOW["the body"], tls=certificate, drip_s=0.05)
    with pytest.raises(OutcomeUnknown):
        rest(total_s=0.4, ca_file=str(certificate[0])).send_blocking(change(server))


# --- threads ---------------------------------------------------------------------------------------


def test_each_thread_has_one_session_and_keeps_its_connection(rest, serve):
    server = serve(*[http(200, b"[]")] * 10)
    client = rest()
    failed = []

    def ask():
        try:
            for _ in range(5):
                client.send_blocking(read(server))
        except Exception as error:  # noqa: BLE001 - told by the test
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not failed
    assert len(server.requests) == 10 and server.connections == 2


@pytest.mark.parametrize(
    ("changes", "idle_s", "dropped"), [(True, 44, False), (True, 46, True), (False, 46, False), (False, 4_600, False)]
)
def test_a_change_does_not_go_out_on_a_connection_that_was_idle_for_long(rest, serve, changes, idle_s, dropped):
    """The other side may just be closing it, and then nobody knows whether the order was taken."""
    server, clock = serve(*[http(200, b"[]")] * 2), ManualClock()
    client = rest(clock=clock)
    client.send_blocking(read(server))
    clock.advance(idle_s * 1_000_000_000)
    client.send_blocking(change(server) if changes else read(server))
    assert server.connections == 1 + dropped


def test_a_session_ends_with_its_thread(rest, serve):
    server = serve(*[http(200, b"[]")] * 3)
    client = rest()
    for _ in range(3):
        thread = threading.Thread(target=client.send_blocking, args=(read(server),))
        thread.start()
        thread.join(10)
    del thread
    gc.collect()
    until(lambda: server.ended == 3)


def test_a_connection_that_the_server_closed_between_two_calls_is_opened_anew(rest, serve):
    server = serve(http(200, b"{}"), b"", http(200, b"{}"))
    client = rest()
    client.send_blocking(change(server))
    with pytest.raises(OutcomeUnknown):
        client.send_blocking(change(server))
    client.send_blocking(change(server))
    assert len(server.requests) == 3 and server.connections == 2


def test_a_connection_that_was_closed_while_idle_costs_a_change_nothing(rest, serve):
    server = serve(Cut(http(200, b"{}")), http(200, b"{}"))
    client = rest()
    client.send_blocking(change(server))
    until(lambda: server.cut == 1)
    client.send_blocking(change(server))
    assert len(server.requests) == 2 and server.connections == 2


def test_the_loop_asks_over_threads_of_the_client(rest, serve):
    server = serve(*[http(200, b"[]")] * 3, http(422, b'{"message":"no"}'))

    async def main() -> None:
        client = rest()
        answers = await asyncio.gather(*[client.get(server.url, {"n": str(n)}) for n in range(3)])
        assert [answer.body for answer in answers] == [b"[]"] * 3
        with pytest.raises(Rejected, match=r"GET http://127.0.0.1:\d+/x\?n=4: refused"):
            await client.get(server.url, {"n": "4"})

    asyncio.run(main())
    assert sorted(server.lines())[0] == "GET /x?n=0 HTTP/1.1"


def test_the_loop_waits_for_room_without_holding_a_thread(rest, serve):
    server = serve(*[http(200, b"[]")] * 12)

    async def main() -> None:
        client = rest(limits=Limits({"requests": Limit(100.0, 1.0)}))
        await asyncio.gather(*[client.get(server.url, requests=1) for _ in range(12)])

    asyncio.run(main())
    assert len(server.requests) == 12


def test_nothing_of_the_environment_is_used(rest, serve, monkeypatch):
    server = serve(http(200, b"[]"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert rest().send_blocking(read(server)).body == b"[]"


def test_a_closed_client_asks_nothing(rest):
    async def main() -> None:
        client = rest()
        client.close()
        with pytest.raises(Retry, match="stopping"):
            await client.get("http://127.0.0.1:9/")
        with pytest.raises(Retry, match="stopping"):
            client.send_blocking(public_get("http://127.0.0.1:9/"))

    asyncio.run(main())
