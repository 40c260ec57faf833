"""The whole bot, commanded from its page: restarts by supervisord, the dashboard's own among them, and a flatten."""

import http.client
import json
from collections.abc import Callable
from typing import Any

from tests.pipeline.pipeline import Pipeline
from tests.pipeline.test_endings import EAGER, in_position, sells

PASSWORD = "correct horse"
TOKEN = "0123456789abcdef"


class Operator:
    """Whoever has the token."""

    def __init__(self, bot: Pipeline) -> None:
        self.bot = bot
        self.given = 0

    def ask(self, method: str, path: str, content: Any = None) -> tuple[int, Any]:
        """Status and body; (0, None) where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", int(self.bot.settings["PORT"]), timeout=30)
        try:
            headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
            connection.request(method, path, None if content is None else json.dumps(content), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()

    def say(self, action: str, stage: str = "") -> tuple[int, Any]:
        self.given += 1
        order = {"action": action, "id": f"test-{self.given:08}"}
        return self.ask("POST", "/api/control", order | ({"stage": stage} if stage else {}))


class Seen:
    """The bot's own questions of the page, with the token."""

    def __init__(self, operator: Operator) -> None:
        self.get = lambda path: operator.ask("GET", path)


def test_the_bot_is_commanded_from_its_page(make_pipeline: Callable[..., Pipeline]) -> None:
    bot = make_pipeline(DASHBOARD_PASSWORD=PASSWORD, DASHBOARD_TOKEN=TOKEN, HOST="0.0.0.0", **EAGER)
    bot.start()
    assert bot.get("/api/stats")[0] == 401
    operator = Operator(bot)
    bot.wait(lambda: in_position(Seen(operator)), "a position")  # type: ignore[arg-type]

    before = bot.pids()
    for stage in ("indicators", "trader"):
        status, answer = operator.say("restart", stage)
        assert status == 200 and f"{stage} was restarted" in answer["text"], answer
    assert operator.say("restart", "guardian")[0] == 400
    status, answer = operator.say("restart", "dashboard")
    assert status == 200 and "restarts now" in answer["text"]
    bot.wait(lambda: bot.pid("dashboard") not in (None, before["dashboard"]), "another dashboard")
    bot.wait_healthy()
    after = bot.pids()
    assert {stage for stage in before if after[stage] != before[stage]} == {"indicators", "trader", "dashboard"}

    status, answer = operator.say("flatten")
    assert status == 200 and "trading is reducing" in answer["text"]
    bot.wait(lambda: sells(bot) == ["flatten"], "it is sold")
    told = bot.wait(
        lambda: (
            (rows := bot.rows("SELECT message FROM events WHERE message LIKE '%(by a program)' ORDER BY time"))
            and len(rows) == 4
            and rows
        ),
        "every command is on record",
    )
    assert [text.split(" (by")[0] for (text,) in told[:3]] == [
        f"restart of {stage}" for stage in ("indicators", "trader", "dashboard")
    ]
    for secret in (PASSWORD, TOKEN):
        assert secret not in (bot.var / "settings.json").read_text()
        assert not [stage for stage in before if secret in bot.log(stage)]
