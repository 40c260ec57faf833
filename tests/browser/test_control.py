"""Login and control in a real browser: what is asked back, what is answered, and what a page without a login shows."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.test_page import DESK, PHONE, Site
from tests.operator_world import PASSWORD

pytestmark = pytest.mark.browser

QUIET = ("401 (Unauthorized)", "504 (Gateway Timeout)")  # what a browser itself says of such an answer


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site("position", PASSWORD)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def open_site() -> Iterator[Site]:
    made = Site("position")
    made.start()
    yield made
    made.stop()


class Visitor:
    """A browser of its own, with everything that its pages said."""

    def __init__(self, browser: Any, site: Site, size: dict[str, int]) -> None:
        self.context = browser.new_context(viewport=size)
        self.site = site
        self.said: list[str] = []
        self.page = self.another()

    def another(self) -> Any:
        page = self.context.new_page()
        page.on("console", lambda m: None if any(word in m.text for word in QUIET) else self.said.append(m.text))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.goto(self.site.url, wait_until="domcontentloaded")
        return page

    def until(self, condition: str, page: Any = None) -> None:
        """Waits for a condition in JavaScript; the limit only ends a test that fails."""
        end = time.monotonic() + 30
        while True:
            try:
                if (page or self.page).evaluate(condition):
                    return
            except Exception as error:
                if "context was destroyed" not in str(error):  # it goes to another page just now
                    raise
            assert time.monotonic() < end, f"waited in vain: {condition}; the page said {self.said}"
            time.sleep(0.05)

    def log_in(self, password: str = PASSWORD) -> None:
        self.until("location.pathname === '/login'")
        self.page.fill("#password", password)
        self.page.keyboard.press("Enter")

    def shown(self) -> None:
        """The page is there and has heard the bot."""
        self.until("document.querySelector('#stages .again') !== null")

    def text(self, selector: str) -> str:
        return str(self.page.text_content(selector)).strip()


@pytest.fixture
def come(browser: Any) -> Iterator[Callable[..., Visitor]]:
    made: list[Visitor] = []

    def one(site: Site, size: dict[str, int] = DESK) -> Visitor:
        made.append(Visitor(browser, site, size))
        return made[-1]

    yield one
    for visitor in made:
        visitor.context.close()
        assert visitor.said == [], "nothing on the console, the content policy included"


def done(site: Site) -> list[str]:
    """The commands that reached the trader."""
    return list(site.demo.house.trader.control._answers)


def test_without_a_password_control_is_off_and_says_how_it_is_had(
    open_site: Site, come: Callable[..., Visitor]
) -> None:
    visitor = come(open_site)
    visitor.shown()
    buttons = visitor.page.eval_on_selector_all(".order, .again", "all => all.map(one => [one.disabled, one.title])")
    assert len(buttons) == 4 + 5
    for disabled, title in buttons:
        assert disabled and "DASHBOARD_PASSWORD" in title and "make pause" in title
    assert "DASHBOARD_PASSWORD" in visitor.text("#control-result")
    assert visitor.page.is_hidden("#log-out")


def test_login_pause_and_the_traders_state_on_the_page(site: Site, come: Callable[..., Visitor]) -> None:
    visitor = come(site)
    visitor.log_in("not the password")
    visitor.until("document.querySelector('#said').textContent === 'this is not the password'")
    visitor.log_in()
    visitor.until("location.pathname === '/'")
    visitor.shown()
    assert visitor.text("#trading-state") == "active"
    visitor.page.click("[data-action=pause]")
    assert visitor.page.is_visible("#ask") and visitor.text("#ask-title") == "Pause?"
    assert done(site) == [], "nothing is sent before the Yes"
    visitor.page.fill("#ask-why", "news at two")
    visitor.page.click("#ask-yes")
    visitor.until("document.querySelector('#trading-state').textContent === 'paused'")
    visitor.until("document.querySelector('#control-result').dataset.tone === 'good'")
    assert visitor.text("#control-result") == "pause: trading is paused"
    assert "by the page: news at two" in visitor.text("#trading-why")
    visitor.until("document.querySelector('#notices').textContent.includes('Trading is paused: by the page')")
    visitor.page.click("#said summary")
    visitor.until("document.querySelectorAll('#said-list li').length === 1")
    row = visitor.text("#said-list li")
    assert "the page" in row and "paused: no new entries" in row and "(news at two)" in row
    visitor.page.reload(wait_until="domcontentloaded")
    visitor.shown()
    assert visitor.text("#trading-state") == "paused", "still logged in, still paused"


def test_sell_all_now_sells(site: Site, come: Callable[..., Visitor]) -> None:
    visitor = come(site)
    visitor.log_in()
    visitor.shown()
    visitor.until("document.querySelector('#status').textContent === 'In position'")
    visitor.page.click("[data-action=flatten]")
    assert "sold at the market" in visitor.text("#ask-text")
    visitor.page.click("#ask-yes")
    visitor.until("document.querySelector('#status').textContent === 'Flat'")
    visitor.until("document.querySelector('#trades').textContent.includes('flatten')")


def test_nothing_is_sent_without_the_yes_and_the_keyboard_is_enough(site: Site, come: Callable[..., Visitor]) -> None:
    visitor = come(site)
    visitor.log_in()
    visitor.shown()
    page = visitor.page
    page.focus("[data-action=halt]")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.value") == "no", "a second Enter cancels"
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    page.fill("#ask-why", "x")
    page.keyboard.press("Enter")
    assert page.is_visible("#ask"), "Enter in the line of words presses no button"
    page.focus("#ask-yes")
    assert done(site) == []
    page.keyboard.press("Enter")
    visitor.until("document.querySelector('#trading-state').textContent === 'halted'")
    assert len(done(site)) == 1 and done(site)[0].startswith("page-")


def test_what_is_not_known_is_said_so(site: Site, come: Callable[..., Visitor]) -> None:
    site.demo.house.trader.silent = True
    visitor = come(site)
    visitor.log_in()
    visitor.shown()
    visitor.page.click("[data-action=pause]")
    visitor.page.click("#ask-yes")
    visitor.until("document.querySelector('#control-result').dataset.tone === 'warn'")
    assert "not known whether pause was carried out" in visitor.text("#control-result")
    visitor.until("document.querySelector('#trading-state').textContent === 'paused'")  # here it had been


def test_a_stage_is_restarted_beside_its_light(site: Site, come: Callable[..., Visitor]) -> None:
    visitor = come(site)
    visitor.log_in()
    visitor.shown()
    visitor.page.get_by_role("button", name="Restart indicators").click()
    assert visitor.text("#ask-title") == "Restart indicators?"
    visitor.page.click("#ask-yes")
    visitor.until("document.querySelector('#control-result').textContent.includes('indicators was restarted')")
    assert site.demo.house.supervised.renewed == ["indicators"]


def test_logging_out_leads_every_open_page_to_the_login(site: Site, come: Callable[..., Visitor]) -> None:
    visitor, other = come(site), come(site, PHONE)
    for one in (visitor, other):
        one.log_in()
        one.shown()
    visitor.page.click("#log-out")
    visitor.until("location.pathname === '/login'")
    other.until("location.pathname === '/login'")
    other.log_in()
    other.shown()
    back = visitor.another()
    visitor.until("location.pathname === '/login'", back)


def test_on_a_phone_everything_fits_and_can_be_hit(site: Site, come: Callable[..., Visitor]) -> None:
    visitor = come(site, PHONE)
    fits = "document.documentElement.scrollWidth <= innerWidth"
    visitor.until("location.pathname === '/login'")
    assert visitor.page.evaluate(fits)
    visitor.log_in()
    visitor.shown()
    assert visitor.page.evaluate(fits)
    heights = visitor.page.eval_on_selector_all(".order", "all => all.map(one => one.getBoundingClientRect().height)")
    assert min(heights) >= 44
    visitor.page.click("[data-action=pause]")
    box = visitor.page.eval_on_selector("#ask", "one => [one.getBoundingClientRect().left, one.scrollWidth]")
    assert box[0] >= 0 and box[1] <= PHONE["width"]
    visitor.page.click("#ask-yes")
    visitor.until("document.querySelector('#trading-state').textContent === 'paused'")
    visitor.page.click("#said summary")
    assert visitor.page.evaluate(fits)


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_a_long_reason_pushes_no_command_aside(site: Site, come: Callable[..., Visitor], width: int) -> None:
    visitor = come(site, {"width": width, "height": 844})
    visitor.log_in()
    visitor.shown()
    orders = "JSON.stringify([...document.querySelectorAll('.order')].map(one => [one.offsetWidth, one.offsetHeight]))"
    before = visitor.page.evaluate(orders)
    visitor.page.click("[data-action=pause]")
    visitor.page.fill("#ask-why", "the news at two, and " + "x" * 179)
    visitor.page.click("#ask-yes")
    visitor.until("document.querySelector('#trading-why').textContent.includes('xxx')")
    assert visitor.page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [width, width]
    assert visitor.page.evaluate(orders) == before
    at = "document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2) === one"
    hit = f"one => {{ one.scrollIntoView({{block: 'center'}}); const box = one.getBoundingClientRect(); return {at} }}"
    assert visitor.page.eval_on_selector("[data-action=flatten]", hit)
