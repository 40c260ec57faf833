"""The report in a real browser, from the file and without a network: it draws, sorts, zooms, and fits a phone."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backtest.report import write, write_sections
from backtest.stats import statistics_of
from tests.backtest_demo import HOSTILE, made_up, sections, write_demo
from tests.backtest_results import Account

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1440, "height": 900}
TITLES = "[...document.querySelectorAll('main section:not([hidden]) h2')].map(title => title.textContent)"

pytestmark = pytest.mark.browser


class Opened:
    """A report opened from its file, with everything that it said and asked for."""

    def __init__(self, browser: Any, path: Path, size: dict[str, int], scheme: str = "dark") -> None:
        self.context = browser.new_context(viewport=size, color_scheme=scheme, offline=True)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.wait("document.body.dataset.drawn === 'yes'")

    def wait(self, condition: str, seconds: float = 30.0) -> None:
        """Waits for a condition in JavaScript; the page's own policy forbids Playwright's way, which is eval."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, f"not within {seconds:g} s: {condition}; the page said {self.said}"
            time.sleep(0.05)

    def texts(self, selector: str) -> list[str]:
        return [str(text).strip() for text in self.page.locator(selector).all_text_contents()]

    def pixels(self, selector: str) -> int:
        """How many pixels of a chart are not transparent."""
        return int(
            self.page.evaluate(
                """selector => [...document.querySelectorAll(selector + ' canvas')].reduce((sum, canvas) => {
                    const bytes = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
                    let seen = 0;
                    for (let i = 3; i < bytes.length; i += 4) seen += bytes[i] > 0;
                    return sum + seen;
                }, 0)""",
                selector,
            )
        )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty days of two pairs, one with a name that tries to break out."""
    path = tmp_path_factory.mktemp("report") / "out.html"
    write_demo(path, made_up(20, pairs=2, hostile=True))
    return path


@pytest.fixture
def desk(browser: Any, report: Path) -> Iterator[Opened]:
    opened = Opened(browser, report, DESK)
    yield opened
    opened.context.close()


def test_everything_is_drawn_and_nothing_is_asked_for(desk: Opened, report: Path) -> None:
    assert desk.said == []
    assert desk.asked == [report.as_uri()]
    assert set(desk.page.evaluate(TITLES)) >= {
        *("Net profit", "Equity and drawdown", "Price", "Profit by hour of entry", "Profit by weekday of entry"),
        *("Return of a leg", "Holding time", "Costs against profit", "Exposure", "Ghost entries", "Legs"),
        *("Entries by reason", "Exits by reason", "Pairs", "Entries refused", "How sure: 95 % intervals"),
        *("Sensitivity to costs", "Sweep: net profit", "Walk-forward", "Risk and return", "Settings in force"),
    }
    desk.wait("document.querySelectorAll('#equity-chart canvas').length > 2")
    assert desk.pixels("#equity-chart") > 20_000
    assert desk.pixels("#price-chart") > 20_000
    assert len(desk.texts("#hours .col")) == 24 and len(desk.texts("#weekdays .col")) == 7
    assert desk.page.locator("#returns .col i").count() > 5


def test_a_name_that_tries_to_break_out_is_text(desk: Opened) -> None:
    assert HOSTILE in desk.page.title() and HOSTILE in desk.texts("#title")[0]
    assert desk.page.evaluate("document.querySelectorAll('body > script').length") == 3
    assert desk.said == []


def test_the_table_sorts_by_a_click_and_turns_pages(desk: Opened) -> None:
    def column(place: int) -> list[str]:
        return desk.texts(f"#trades-table tbody td:nth-child({place})")

    heads = desk.texts("#trades-table thead th")
    net = heads.index("Net") + 1
    assert column(1) == [str(number) for number in range(1, 26)]
    desk.page.click(f"#trades-table thead th:nth-child({net}) button")
    highest = [float(text.replace("−", "-").replace(",", "")) for text in column(net)]
    assert highest == sorted(highest, reverse=True) and highest[0] > 0
    desk.page.click(f"#trades-table thead th:nth-child({net}) button")
    lowest = [float(text.replace("−", "-").replace(",", "")) for text in column(net)]
    assert lowest == sorted(lowest) and lowest[0] < 0
    sort = "document.querySelector('#trades-table th[aria-sort]').getAttribute('aria-sort')"
    assert desk.page.evaluate(sort) == "ascending"
    desk.page.click("#trades-pager button:has-text('Next')")
    following = [float(text.replace("−", "-").replace(",", "")) for text in column(net)]
    assert following[0] >= lowest[-1]
    assert desk.texts("#trades-pager span")[0].startswith("26 to 50 of ")


def test_a_click_on_a_leg_shows_it_in_the_chart_of_its_pair(desk: Opened) -> None:
    row = desk.texts("#trades-table tbody td:nth-child(3)").index("B-ETH_USDT")
    before = desk.texts("#price-legend")[0]
    desk.page.click(f"#trades-table tbody tr:nth-child({row + 1})")
    assert desk.page.evaluate("document.querySelector('#price-pair').value") == "1"
    desk.wait("Math.abs(document.querySelector('#price').getBoundingClientRect().top) < 80")
    assert desk.texts("#price-legend")[0] != before
    desk.page.click("#price-all")
    assert desk.said == []


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_it_fits_a_phone(browser: Any, report: Path, scheme: str) -> None:
    opened = Opened(browser, report, PHONE, scheme)
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert opened.pixels("#price-chart") > 5_000
    assert opened.said == []
    opened.context.close()


def test_it_follows_the_device_between_dark_and_light(desk: Opened) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = desk.page.evaluate(ground)
    desk.page.emulate_media(color_scheme="light")
    assert desk.page.evaluate(ground) != dark
    assert desk.said == []


def test_the_best_cell_of_a_heat_map_is_framed_and_a_missing_one_is_a_dash(desk: Opened) -> None:
    texts = desk.texts(".heat td")
    assert len(texts) == 80 and texts[9] == "–"
    shown = [float(text.replace("−", "-").replace(",", "")) for text in texts if text != "–"]
    (best,) = desk.texts(".heat td[data-best]")
    assert float(best.replace(",", "")) == max(shown)


def test_a_run_without_a_leg_or_candles_is_a_page_without_those_parts(browser: Any, tmp_path: Path) -> None:
    result = Account().result()
    write(tmp_path / "empty.html", result, statistics_of(result))
    opened = Opened(browser, tmp_path / "empty.html", DESK)
    titles = opened.page.evaluate(TITLES)
    assert "Account" in titles and "Price" not in titles and "Equity and drawdown" not in titles
    assert opened.said == []
    opened.context.close()


def test_sections_alone_are_a_page(browser: Any, tmp_path: Path) -> None:
    write_sections(tmp_path / "sweep.html", "Sweep", sections(made_up(1)), notes=["80 combinations were tried"])
    opened = Opened(browser, tmp_path / "sweep.html", DESK)
    assert opened.texts("#title") == ["Sweep"] and opened.texts("#notices p") == ["80 combinations were tried"]
    assert opened.page.evaluate(TITLES) == ["Sweep: net profit", "Walk-forward", "Best combinations"]
    assert opened.said == []
    opened.context.close()
