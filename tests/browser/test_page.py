"""The page in a real browser: it moves, draws, asks nobody else, fits a phone, and comes back after an outage."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest
import uvicorn

from dashboard.listen import open_socket
from tests.browser.demo import PAIR, RECOVERED, Demo

# The value of a datetime-local input that means this time in ms.
LOCAL = "ms => new Date(ms - new Date(ms).getTimezoneOffset() * 60000).toISOString().slice(0, 16)"
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1440, "height": 900}

pytestmark = pytest.mark.browser


class Site:
    """The demonstration page in a thread of its own, on a port that it keeps over `stop` and `start`."""

    def __init__(self, state: str, password: str = "") -> None:
        self.demo = Demo(state=state, password=password)
        self.port = 0
        self.server: uvicorn.Server | None = None
        self.thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        sock = open_socket("127.0.0.1", self.port)
        self.port = sock.getsockname()[1]
        self.demo.page.broadcaster.closed = False
        self.server = uvicorn.Server(uvicorn.Config(self.demo.app(), log_config=None, timeout_graceful_shutdown=1))

        async def both() -> None:
            feeding = asyncio.create_task(self.demo.run())
            assert self.server is not None
            try:
                await self.server.serve(sockets=[sock])
            finally:
                feeding.cancel()

        self.thread = threading.Thread(target=lambda: asyncio.run(both()), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        assert self.server is not None and self.thread is not None
        self.server.should_exit = True
        self.demo.page.broadcaster.closed = True
        self.thread.join(timeout=20)
        assert not self.thread.is_alive()


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    made = Site(getattr(request, "param", "position"))
    made.start()
    yield made
    if made.thread is not None and made.thread.is_alive():
        made.stop()


class Visit:
    """One opened page with everything that it said and asked for."""

    def __init__(self, browser, site: Site, size: dict[str, int], scheme: str = "dark") -> None:  # type: ignore[no-untyped-def]
        self.context = browser.new_context(viewport=size, color_scheme=scheme)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(site.url)
        self.wait("document.querySelector('#price').textContent !== '–'")

    def wait(self, condition: str, seconds: float = 30.0) -> None:
        """Waits for a condition in JavaScript; the page's own policy forbids Playwright's way, which is eval."""
        end = time.monotonic() + seconds
        while not self._holds(condition):
            assert time.monotonic() < end, f"not within {seconds:g} s: {condition}; the page said {self.said}"
            time.sleep(0.05)

    def _holds(self, condition: str) -> bool:
        try:
            return bool(self.page.evaluate(condition))
        except Exception as error:
            if "context was destroyed" not in str(error):  # it is being loaded anew
                raise
            return False

    def moves(self) -> None:
        """Waits until the price is another."""
        self.wait(f"document.querySelector('#price').textContent !== {json.dumps(self.text('#price'))}")

    def text(self, selector: str) -> str:
        return str(self.page.text_content(selector)).strip()


@pytest.fixture
def visit(browser, site: Site) -> Iterator[Visit]:  # type: ignore[no-untyped-def]
    made = Visit(browser, site, DESK)
    yield made
    made.context.close()


def test_the_page_lives(visit: Visit, site: Site) -> None:
    page = visit.page
    visit.moves()
    page.wait_for_selector("#chart canvas")
    visit.wait("document.querySelector('#chart-veil').hidden")
    page.wait_for_selector("#stages tr[data-alive=yes]")
    page.wait_for_selector("#trades tr")
    page.wait_for_selector("#events li")
    assert visit.text("#mode-word") == "SIM"
    assert visit.text("#status") == "In position"
    assert visit.text("#unrealised")[0] in "+−0", "gain and loss carry a sign, not colour alone"
    assert visit.text("#link-text") == "live"
    assert visit.text("#costs") == "round trip costs 0.10 %, stop 0.5 %"
    assert "BTC/USDT SIM" in page.title() and visit.text("#key-stop") != "–"
    assert page.locator("#stages tr").count() == 5
    assert not page.is_visible("#recovery"), "nothing of it in simulation"
    steps = page.eval_on_selector_all("#path tr", "rows => rows.map(r => [...r.children].map(c => c.textContent))")
    assert [step for step, *_ in steps] == ["publish", "update", "decision", "order", "fill"]
    assert steps[1] == ["update", "212 µs", "870 µs", "233 µs", "1.1 ms"]
    assert steps[4] == ["fill", "–", "–", "3.1 ms", "18 ms"], "nothing in the last minute is a dash"
    assert visit.text("#slowest") == "Slowest: trader, decision to order, p99 12 ms"
    assert visit.said == [], "nothing on the console, the content policy included"
    assert visit.asked and all(url.startswith(site.url) for url in visit.asked)
    assert "TradingView" in visit.text("footer")
    assert page.locator("#tv-attr-logo").count() == 1


@pytest.mark.parametrize("site", ["live"], indirect=True)
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_where_orders_are_real_the_last_starts_report_opens_and_a_disagreement_is_told(  # type: ignore[no-untyped-def]
    browser, site: Site, size: dict[str, int]
) -> None:
    visit = Visit(browser, site, size)
    page = visit.page
    visit.wait("document.querySelector('#recovery-lines').children.length === 4")
    assert visit.text("#recovery-tag").startswith("agree since ") and "agreed" in visit.text("#recovery-head")
    page.click("#recovery-head")
    lines = page.eval_on_selector_all("#recovery-lines li", "rows => rows.map(r => r.textContent)")
    assert lines == ["held before: 0.012 of BTC/USDT", *RECOVERED, "held after: 0.0119 of BTC/USDT"]
    steps = page.eval_on_selector_all("#path tr", "rows => rows.map(r => [r.dataset.step, r.children[1].textContent])")
    assert steps[-4:] == [
        ["wire", "3.3 ms"],
        ["decision to disk", "2.2 ms"],
        ["disk to wire", "640 µs"],
        ["wire to answer", "84 ms"],
    ]
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    site.demo.compared(False, ["not agreed: balances: the venue did not answer"], {PAIR: "0.0119"}, {PAIR: "0.0119"})
    visit.wait("document.querySelector('#recovery-tag').textContent.startsWith('do not agree since ')")
    visit.wait("document.querySelector('#notices').textContent.includes('nothing is sent until they do')")
    assert "the venue did not answer" in visit.text("#notices")
    assert visit.said == []
    visit.context.close()


@pytest.mark.parametrize("site", ["trading"], indirect=True)
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_click_on_a_candle_tells_why_nothing_was_done(browser, site: Site, size: dict[str, int]) -> None:  # type: ignore[no-untyped-def]
    visit = Visit(browser, site, size)
    page = visit.page
    visit.wait("document.querySelector('#chart-veil').hidden")
    for _ in range(20):  # what comes above the chart meanwhile moves it away from under the mouse
        page.locator("#chart").scroll_into_view_if_needed()
        box = page.locator("#chart").bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + 0.4 * box["width"], box["y"] + 0.3 * box["height"])
        page.wait_for_timeout(500)
        if not page.evaluate("document.querySelector('#asked-more').hidden"):
            break
    visit.wait("!document.querySelector('#asked-more').hidden")
    rows = page.eval_on_selector_all("#asked-rules .cond", "rows => rows.map(r => [r.dataset.met, r.textContent])")
    assert len(rows) == 3
    for met, said in rows:
        assert said.startswith("✓met: " if met == "yes" else "✗not met: ")
        assert ("met by " if met == "yes" else "missed by ") in said
    assert visit.text("#asked-sentence") and "by every trade on the tape" in visit.text("#asked-note")
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    begin_ms = site.demo.market.candles[0]["time"]
    page.fill("#asked-at", page.evaluate(LOCAL, begin_ms + 3_900_000))
    page.click("#asked-go")
    visit.wait("document.querySelector('#asked-blocking').textContent.includes('paused')")
    page.fill("#asked-at", "2031-01-01T00:00")
    page.click("#asked-go")
    visit.wait("document.querySelector('#asked-sentence').textContent.includes('has not begun yet')")
    assert [line for line in visit.said if "400" not in line] == [], "nothing but the browser's note of the refusal"
    visit.context.close()


@pytest.mark.parametrize("site", ["position", "halted", "many", "warming"], indirect=True)
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_a_phone_needs_no_sideways_scrolling(browser, site: Site, scheme: str) -> None:  # type: ignore[no-untyped-def]
    visit = Visit(browser, site, PHONE, scheme)
    visit.page.wait_for_selector("#stages tr[data-alive=yes]")
    widths = visit.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    wider = visit.page.evaluate(
        "[...document.querySelectorAll('main *')].filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1"
        " && getComputedStyle(e).overflowX === 'auto').map(e => e.className)"
    )
    assert widths[0] <= widths[1], widths
    assert wider == [], "no panel scrolls sideways either"
    assert visit.said == []
    visit.context.close()


@pytest.mark.parametrize("site", ["trading", "many"], indirect=True)
@pytest.mark.parametrize("width", [390, 768, 1110, 1280, 1440, 1920])
def test_no_column_is_cut_off(browser, site: Site, width: int) -> None:  # type: ignore[no-untyped-def]
    visit = Visit(browser, site, {"width": width, "height": 900})
    visit.page.wait_for_selector("#stages tr[data-alive=yes]")
    visit.page.wait_for_selector("#trades tr")
    sticking_out = visit.page.evaluate(
        "[...document.querySelectorAll('main .card table[class]')].filter(table => {"
        " const card = table.closest('.card');"
        " const edge = card.getBoundingClientRect().right - parseFloat(getComputedStyle(card).paddingRight);"
        " return table.clientWidth && table.getBoundingClientRect().right > edge + 1 }).map(table => table.className)"
    )
    assert sticking_out == []
    visit.context.close()


@pytest.mark.parametrize("site", ["halted"], indirect=True)
def test_what_is_wrong_is_said_in_words(visit: Visit) -> None:
    visit.page.wait_for_selector("#notices p")
    said = visit.text("#notices")
    assert "indicators runs with other settings" in said and "make restart STAGE=indicators" in said
    assert "Trading is halted" in said
    assert visit.text("#mode-word") == "HALTED"
    visit.page.wait_for_selector("#blocked li")
    assert "MAX_DAILY_LOSS is reached" in visit.text("#blocked")
    visit.wait("document.querySelector('#data-quality').textContent.includes('1 gap')")
    visit.page.click("[data-filter=warnings]")
    levels = set(visit.page.eval_on_selector_all("#events li", "rows => rows.map(row => row.dataset.level)"))
    assert levels == {"halt", "warn"}


def test_a_program_that_keeps_dying_is_told_in_red(visit: Visit, site: Site) -> None:
    state = site.demo.page.state
    state.crash_loops["storage"], state.down["storage"] = "crash loop", "ValueError: it broke"
    visit.wait("document.querySelector('#notices [data-level=bad]') !== null")
    said = visit.text("#notices [data-level=bad]")
    assert said.startswith("Storage keeps dying (ValueError: it broke). No entries until it stays up")
    assert "make logs STAGE=storage" in said
    words = "import('/static/js/why.js').then((why) => why.reasonWords('crash_loop_storage'))"
    assert "storage keeps dying or has given up" in visit.page.evaluate(words)


def test_text_of_an_event_never_becomes_markup(visit: Visit, site: Site) -> None:
    from bus.messages import Event

    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    now = site.demo.clock.wall_ms()
    site.demo.page.state.fold_event(Event("trader", "warn", evil, now))
    visit.wait("document.querySelector('#events').textContent.includes('onerror')")
    assert visit.page.locator("#events img, #events script").count() == 0


def test_a_lost_link_is_told_and_comes_back_by_itself(visit: Visit, site: Site) -> None:
    site.stop()
    visit.wait("document.body.dataset.link === 'lost'")
    assert "Connection to the bot lost" in visit.text("#notices")
    site.start()
    visit.wait("document.body.dataset.link === 'open'")
    visit.wait("document.querySelector('#notices').textContent === ''")
    visit.moves()


def test_a_page_that_stayed_open_over_a_restart_with_other_settings_takes_them(visit: Visit, site: Site) -> None:
    site.stop()
    visit.wait("document.body.dataset.link === 'lost'")
    state = site.demo.page.state
    state.config = msgspec.structs.replace(state.config, rsi_buy=27.0, settings_hash=3)
    site.start()
    visit.wait("document.querySelector('#tick-buy')?.textContent === '27'")
    visit.moves()


@pytest.mark.parametrize("site", ["many"], indirect=True)
def test_another_pair_can_be_chosen(visit: Visit) -> None:
    visit.page.wait_for_selector("#pair-select:not([hidden])")
    visit.page.select_option("#pair-select", "B-ETH_USDT")
    visit.wait("document.title.includes('ETH/USDT')")
    assert visit.page.url.endswith("?pair=B-ETH_USDT")
    assert visit.text("#price") == "–"


WORDS = [
    ("fixed(67123.456, 2)", "67,123.46"),
    ("fixed(null, 2)", "–"),
    ("fixed(-0.5, 1)", "−0.5"),
    ("signed(12.345, 2)", "+12.35"),
    ("signed(-12.3, 2)", "−12.30"),
    ("signed(-0.001, 2)", "0.00"),
    ("signed(undefined, 2)", "–"),
    ("side(0)", "flat"),
    ("side(-3)", "down"),
    ("percent(0.5)", "+0.50 %"),
    ("quantity(0.14625)", "0.14625"),
    ("quantity(1e-8)", "0.00000001"),
    ("latency(0)", "–"),
    ("latency(80.4)", "80 µs"),
    ("latency(1500)", "1.5 ms"),
    ("latency(317000)", "317 ms"),
    ("latency(2.5e6)", "2.5 s"),
    ("span(400)", "0.4 s"),
    ("span(48000)", "48 s"),
    ("span(192000)", "3 m 12 s"),
    ("span(7500000)", "2 h 5 m"),
    ("span(300000000)", "3 d 11 h"),
    ("words('mean_reversion')", "mean reversion"),
    ("split('B-BTC_USDT')", ["BTC", "USDT"]),
    ("split('ETH/INR')", ["ETH", "INR"]),
    ("split('SOLUSDT')", ["SOL", "USDT"]),
    ("split('WEIRD')", ["WEIRD", ""]),
    ("decimalsOf([{open: 1.5, high: 2.25, low: 1, close: 1.125}])", 3),
    ("decimalsOf([{open: 1e-7, high: 1, low: 1, close: 1}])", 7),
]


def test_numbers_and_times_in_words(visit: Visit) -> None:
    for expression, expected in WORDS:
        found = visit.page.evaluate(f"import('/static/js/format.js').then(f => f.{expression})")
        assert found == expected, expression


def test_rows_of_the_ledger_become_round_trips(visit: Visit) -> None:
    rows = [
        {"id": 1, "pair": "A", "action": "sell"},  # its entry is older than what was asked for
        {"id": 2, "pair": "A", "action": "buy"},
        {"id": 3, "pair": "B", "action": "buy"},
        {"id": 4, "pair": "A", "action": "sell"},
    ]
    found = visit.page.evaluate(
        "rows => import('/static/js/trades.js').then(t => t.rounds(rows).map(r => [r.buy?.id ?? 0, r.sell?.id ?? 0]))",
        rows,
    )
    assert found == [[3, 0], [2, 4], [0, 1]], "newest first, each pair by itself"
    told = visit.page.evaluate(
        "rows => import('/static/js/trades.js').then(t => { t.showEquity(rows);"
        " const spark = document.getElementById('spark');"
        " return [spark.getAttribute('aria-label'), spark.dataset.side] })",
        [{"balance": balance, "position_value": 0} for balance in (0, 10_500, 10_450, 10_378)],
    )
    assert told == ["Equity from 10,500.00 to 10,378.00", "down"], "an account's money is not known at first"


@pytest.mark.parametrize(
    ("trades", "median", "lost", "said"),
    [
        (0, None, "0", "no real fill compared with paper yet"),
        (9, 3.25, "12.5", "median fill 3.3 bps worse than paper; in all −12.50 USDT"),
        (9, -1.0, "-4", "median fill 1.0 bps better than paper; in all +4.00 USDT"),
        (9, -0.01, "7.35", "median fill as on paper; in all −7.35 USDT"),
    ],
)
def test_real_fills_are_shown_beside_paper(
    visit: Visit, site: Site, trades: int, median: float | None, lost: str, said: str
) -> None:
    visit.moves()
    assert visit.page.eval_on_selector("#shadow", "line => line.hidden"), "in simulation there is no shadow"
    assert visit.page.eval_on_selector("#stake", "line => line.hidden")
    site.demo.shadow, site.demo.stake = (trades, median, lost), "1000.5"
    visit.wait(f"document.querySelector('#shadow').textContent === {said!r}")
    visit.wait("document.querySelector('#stake').textContent === 'an entry costs at most 1,000.50 USDT'")
