"""The desk: each command once, answered, never late; what is not known is called so."""

import asyncio
import json
import threading
from typing import Any

import pytest

from bus.said import MAKE, PAGE, PROGRAM
from core.clock import ManualClock
from core.paths import PROGRAMS
from dashboard.control import ANSWERS_KEPT, EXPIRY_MS, MOST_UNDER_WAY, Answer, BadCommand, Command, command_of
from tests.operator_world import House

ID = "page-0123456789"


def command(action: str = "pause", **more: Any) -> Command:
    return Command(action, more.pop("id", ID), **more)


def given(house: House, *commands: Command, who: str = PAGE) -> list[Answer]:
    """The answers to commands one after the other."""

    async def all_of() -> list[Answer]:
        return [await house.desk.carry_out(one, who) for one in commands]

    return asyncio.run(all_of())


@pytest.fixture
def house() -> House:
    return House(ManualClock())


@pytest.mark.parametrize("action", ["pause", "resume", "flatten", "halt"])
def test_a_command_is_carried_out_and_answered_in_the_traders_words(house: House, action: str) -> None:
    (answer,) = given(house, command(action, reason="the news"), who=PROGRAM)
    text = f"trading is {action}d, 1 done"
    assert answer == Answer(200, {"id": ID, "action": action, "ok": True, "text": text})
    (done,) = house.trader.done
    assert (done.action, done.id, done.arguments) == (action, ID, {"reason": "by a program: the news"})
    assert done.expires_wall_ms == EXPIRY_MS + house.desk._clock.wall_ms()


def test_a_repeated_id_is_carried_out_once_and_answered_alike(house: House) -> None:
    first, second = given(house, command(), command())
    assert first == second and len(house.trader.done) == 1


def test_an_id_asked_twice_at_once_is_carried_out_once(house: House) -> None:
    free = threading.Event()
    house.trader.before = free.wait

    async def both() -> list[Answer]:
        asked = [asyncio.ensure_future(house.desk.carry_out(command(), PAGE)) for _ in range(2)]
        await asyncio.sleep(0)
        free.set()
        return list(await asyncio.gather(*asked))

    one, other = asyncio.run(both())
    assert one == other and len(house.trader.done) == 1


def test_a_dashboard_that_restarted_meanwhile_carries_nothing_out_twice() -> None:
    clock = ManualClock()
    before, after = House(clock), House(clock)
    after.desk._ask = before.trader
    assert given(before, command()) == given(after, command())
    assert len(before.trader.done) == 1


def test_an_id_cannot_stand_for_two_commands(house: House) -> None:
    _, other, restart = given(house, command(), command("flatten"), command("restart", stage="feeder"))
    assert (other.status, restart.status) == (409, 409)
    assert other.body["error"] == "this id was used for pause: make another for another command"
    assert len(house.trader.done) == 1 and house.supervised.renewed == []


def test_no_answer_is_called_unknown_and_asking_again_finds_out(house: House) -> None:
    house.trader.silent = True
    (answer,) = given(house, command())
    assert (answer.status, answer.body["known"], answer.body["ok"]) == (504, False, False)
    assert "It is not known whether pause was carried out" in answer.body["error"]
    house.trader.silent = False
    (again,) = given(house, command())
    assert again.status == 200 and len(house.trader.done) == 1, "it had been"


def test_a_trader_that_does_not_run_was_asked_nothing(house: House) -> None:
    house.trader.away = True
    (answer,) = given(house, command())
    assert answer.status == 503 and answer.body["known"] and "make start" in answer.body["error"]
    house.trader.away = False
    (again,) = given(house, command())
    assert again.status == 200


def test_a_command_that_reaches_the_trader_late_is_not_carried_out_and_that_is_the_answer(house: House) -> None:
    clock = house.desk._clock
    assert isinstance(clock, ManualClock)
    house.trader.before = lambda: clock.advance(2_000_000_000)
    (answer,) = given(house, command(expires_ms=1500))
    assert answer.status == 409 and "0.5 s too late and was not carried out" in answer.body["error"]
    house.trader.before = lambda: None
    assert given(house, command()) == [answer], "the id is spent"
    assert house.trader.done == []


def test_a_command_that_waited_here_past_its_time_is_not_sent(house: House) -> None:
    clock = house.desk._clock
    assert isinstance(clock, ManualClock)
    sent: list[str] = []
    house.trader.before = lambda: sent.append("asked")
    answer = house.desk._ask_trader(command(), PAGE, clock.wall_ms())
    assert answer.status == 409 and "waited past its time" in answer.body["error"]
    late = house.desk._restart(command("restart", stage="feeder"), PAGE, clock.wall_ms())
    assert late.status == 409 and (sent, house.supervised.renewed) == ([], [])


def test_commands_under_way_are_bounded_and_none_waits_for_a_restart(house: House) -> None:
    free = threading.Event()
    house.trader.before = free.wait
    house.supervised.before = free.wait

    def ask(one: Command) -> "asyncio.Future[Answer]":
        return asyncio.ensure_future(house.desk.carry_out(one, PAGE))

    async def many() -> tuple[list[Answer], list[Answer]]:
        asked = [ask(command("restart", stage="feeder", id=f"restart-{n:08}")) for n in range(MOST_UNDER_WAY[True])]
        await asyncio.sleep(0)
        refused = [await house.desk.carry_out(command("restart", stage="feeder", id="restart-too-many"), PAGE)]
        asked += [ask(command(id=f"page-{n:08}")) for n in range(MOST_UNDER_WAY[False])]
        await asyncio.sleep(0)
        refused.append(await house.desk.carry_out(command(id="page-one-too-many"), PAGE))
        free.set()
        return refused, list(await asyncio.gather(*asked))

    refused, answered = asyncio.run(many())
    assert [answer.status for answer in refused] == [503, 503]
    assert [answer.status for answer in answered] == [200] * sum(MOST_UNDER_WAY.values())


def test_kept_answers_are_bounded(house: House) -> None:
    given(house, *(command(id=f"page-{number:08}") for number in range(ANSWERS_KEPT + 5)))
    assert len(house.desk._known) == ANSWERS_KEPT


def test_a_stage_is_restarted_once_and_people_are_told_by_whom(house: House) -> None:
    restart = command("restart", stage="indicators", reason="it is slow")
    first, second = given(house, restart, restart)
    assert first == second and house.supervised.renewed == ["indicators"]
    assert first.body["text"] == "indicators was restarted, it is process 4001 now"
    assert house.told == [("info", "restart of indicators (by the page: it is slow)")]


def test_a_restart_of_which_nobody_knows_is_not_repeated(house: House) -> None:
    house.supervised.down = True
    (answer,) = given(house, command("restart", stage="trader"))
    assert (answer.status, answer.body["known"]) == (504, False)
    house.supervised.down = False
    assert given(house, command("restart", stage="trader")) == [answer] and house.supervised.renewed == []


def test_the_dashboard_answers_before_it_ends_and_leaves_its_start_to_supervisord(house: House) -> None:
    (answer,) = given(house, command("restart", stage="dashboard"))
    assert (answer.status, answer.ends_us) == (200, True)
    assert house.supervised.renewed == [] and house.told == [("info", "restart of dashboard (by the page)")]


def test_a_dashboard_that_nobody_would_start_again_stays(house: House) -> None:
    house.supervised.ours = False
    (answer,) = given(house, command("restart", stage="dashboard"))
    assert (answer.status, answer.ends_us) == (503, False)


BAD = {
    "no JSON": "pause",
    "no object": ["pause"],
    "no id": {"action": "pause"},
    "an id too short": {"action": "pause", "id": "1"},
    "an id with anything in it": {"action": "pause", "id": "page 123456789"},
    "an id too long": {"action": "pause", "id": "x" * 65},
    "an unknown action": {"action": "dance", "id": ID},
    "an unknown field": {"action": "pause", "id": ID, "expire_ms": 5},
    "an expiry beyond ten seconds": {"action": "pause", "id": ID, "expires_ms": 10_001},
    "an expiry of nothing": {"action": "pause", "id": ID, "expires_ms": 0},
    "an expiry as a word": {"action": "pause", "id": ID, "expires_ms": "soon"},
    "a reason of two lines": {"action": "pause", "id": ID, "reason": "a\nb"},
    "a reason too long": {"action": "pause", "id": ID, "reason": "x" * 201},
    "a restart of nothing": {"action": "restart", "id": ID},
    "a restart of another program": {"action": "restart", "id": ID, "stage": "sshd"},
    "a pause of one stage": {"action": "pause", "id": ID, "stage": "trader"},
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_what_is_no_command_is_told_so(content: Any) -> None:
    body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
    with pytest.raises(BadCommand):
        command_of(body, PROGRAMS)


def test_bytes_that_are_no_text_are_no_command() -> None:
    with pytest.raises(BadCommand):
        command_of(b'{"action":"pause","id":"\xff\xfe12345678"}', PROGRAMS)


def test_a_command_is_read_with_its_defaults() -> None:
    found = command_of(json.dumps({"action": "restart", "id": ID, "stage": "trader"}).encode(), PROGRAMS)
    assert found == Command("restart", ID, EXPIRY_MS, "trader", "")
    with pytest.raises(BadCommand, match=r"there is no stage 'sandbox' to restart: trader are there"):
        command_of(json.dumps({"action": "restart", "id": ID, "stage": "sandbox"}).encode(), ("trader",))


def test_nobody_else_is_called_by_those_names() -> None:
    assert len({PAGE, PROGRAM, MAKE}) == 3
