"""The feeder asks for the market list until it gets it, and tells each reason once, not each attempt."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from feeder import app
from feeder.backfill import BACKOFF_MAX_S, TELL_AT_MOST
from venues.errors import Misconfigured, RateLimited, Rejected, Retry

WEB_PAGE = Retry("coindcx", "GET http://x/markets_details: a web page in place of JSON (HTTP 403)")
TOO_OFTEN = RateLimited("coindcx", "GET http://x/markets_details: asked too often (HTTP 429)", 60.0)
REFUSED = Rejected("coindcx", "GET http://x/markets_details: refused (HTTP 404)")


class Scene:
    """A feeder that asks for the markets, of a venue that fails in the given order and then answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failures: list[Exception], venue: str = "coindcx") -> None:
        self.failures = failures
        self.said: list[tuple[str, str]] = []
        self.slept: list[float] = []
        monkeypatch.setattr("feeder.app.asyncio.sleep", self._sleep)
        self.name = venue
        self.settings = SimpleNamespace(venue=venue, pairs=("B-BTC_USDT",))

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def markets(self) -> list[str]:
        if self.failures:
            raise self.failures.pop(0)
        return ["B-BTC_USDT"]

    def resolve(self, wanted: Any, markets: list[str]) -> list[str]:
        return markets

    def run(self) -> Any:
        feeder: Any = SimpleNamespace(
            venue=self,
            settings=self.settings,
            desk=SimpleNamespace(body=None),
            _resolved=lambda markets: self.resolve(self.settings.pairs, markets),
            say=lambda level, text: self.said.append((level, text)) if level != "debug" else None,
        )
        return asyncio.run(app.Feeder._rules(feeder))


def test_a_lasting_failure_is_told_once_with_the_next_step_and_its_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, [WEB_PAGE] * 50)
    assert scene.run() == ["B-BTC_USDT"]
    assert [level for level, _ in scene.said] == ["warn", "info"]
    assert "HTTP 403" in scene.said[0][1] and "asked again" in scene.said[0][1]
    assert len(scene.slept) == 50 and max(scene.slept) <= BACKOFF_MAX_S


def test_each_reason_is_told_but_never_many(monkeypatch: pytest.MonkeyPatch) -> None:
    changing = [Retry("coindcx", f"broken JSON after {n} bytes") for n in range(40)]
    scene = Scene(monkeypatch, [TOO_OFTEN, *changing])
    scene.run()
    told = [text for level, text in scene.said if level == "warn"]
    assert "HTTP 429" in told[0]
    assert len(told) == TELL_AT_MOST
    assert scene.slept[0] == 60.0


def test_a_refusal_of_the_list_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, [REFUSED] * 3)
    assert scene.run() == ["B-BTC_USDT"]
    assert "HTTP 404" in scene.said[0][1]


def test_a_sandbox_that_starts_beside_us_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, [Retry("sandbox", "Connection refused")] * app.TRIES_BEFORE_TAPE, venue="sandbox")
    scene.run()
    assert scene.said == []


def test_what_only_a_person_can_mend_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Misconfigured):
        Scene(monkeypatch, [Misconfigured("coindcx", "PAIRS: B-BTC_USDX is unknown")]).run()


def test_a_market_that_the_tape_knows_is_not_given_up_when_the_list_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = Misconfigured("coindcx", "PAIRS: B-BTC_USDT is unknown")

    def resolve(wanted: Any, markets: Any) -> Any:
        raise unknown

    said: list[str] = []
    feeder: Any = SimpleNamespace(
        venue=SimpleNamespace(resolve=resolve),
        settings=SimpleNamespace(pairs=("B-BTC_USDT",)),
        desk=SimpleNamespace(body=None),
        say=lambda level, text: said.append(text),
    )
    with pytest.raises(Misconfigured):
        app.Feeder._resolved(feeder, [])
    of_the_tape: Any = object()
    monkeypatch.setattr("feeder.app.known_rules", lambda body, pairs: [of_the_tape])
    assert app.Feeder._resolved(feeder, []) == [of_the_tape]
    assert "unknown" in said[0] and "that the tape has" in said[0]
