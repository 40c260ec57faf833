"""Sessions, guesses and the key: the time and the randomness come in as arguments."""

import os
import stat
from pathlib import Path

import pytest

from bus.said import PAGE, PROGRAM, said_by, who_said
from core.clock import ManualClock
from dashboard.door import Refused
from dashboard.keyfile import NAME, new_key, read_key
from dashboard.sessions import LIFE_S, Sessions, same_secret
from dashboard.throttle import (
    ADDRESSES,
    ALL_FREE_TRIES,
    ALL_LONGEST_S,
    FORGET_S,
    FREE_TRIES,
    LONGEST_S,
    Throttle,
    network,
)
from tests.operator_world import KEY, PASSWORD, TOKEN, House
from trader.words import words

NOW_S = 1_700_000_000
NONCE = bytes(16)
S = 1_000_000_000


# --- sessions ---


def test_a_session_lasts_its_life_and_not_a_second_longer() -> None:
    sessions = Sessions(KEY, PASSWORD)
    cookie = sessions.issue(NOW_S, NONCE)
    assert sessions.valid(cookie, NOW_S) and sessions.valid(cookie, NOW_S + LIFE_S - 1)
    assert not sessions.valid(cookie, NOW_S + LIFE_S)


def test_a_restart_keeps_sessions_and_another_password_or_key_ends_them() -> None:
    cookie = Sessions(KEY, PASSWORD).issue(NOW_S, NONCE)
    assert Sessions(KEY, PASSWORD).valid(cookie, NOW_S)
    assert not Sessions(KEY, PASSWORD + "!").valid(cookie, NOW_S)
    assert not Sessions(bytes(32), PASSWORD).valid(cookie, NOW_S)


def test_nothing_of_a_cookie_can_be_changed() -> None:
    sessions = Sessions(KEY, PASSWORD)
    cookie = sessions.issue(NOW_S, NONCE)
    for place, letter in enumerate(cookie):
        for other in {"0", "1", "f", ".", " "} - {letter}:
            assert not sessions.valid(cookie[:place] + other + cookie[place + 1 :], NOW_S), (place, other)
    expires, nonce, signature = cookie.split(".")
    for forged in ("", "..", cookie + "\n", f"0{cookie}", f"{expires}.{nonce}", f"{expires}.{nonce}.", signature):
        assert not sessions.valid(forged, NOW_S), forged


def test_the_cookie_tells_nothing_of_password_or_key() -> None:
    cookie = Sessions(KEY, PASSWORD).issue(NOW_S, NONCE)
    assert PASSWORD not in cookie and KEY.hex()[:16] not in cookie
    assert PASSWORD not in repr(House(ManualClock(), password=PASSWORD).door.__dict__)


@pytest.mark.parametrize(
    ("given", "same"),
    [(PASSWORD, True), (PASSWORD[:-1], False), (PASSWORD + "x", False), ("", False), (PASSWORD.upper(), False)],
)
def test_a_secret_is_compared_whole(given: str, same: bool) -> None:
    assert same_secret(KEY, given.encode(), PASSWORD) is same


# --- the key ---


def test_the_key_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    assert read_key(tmp_path) is None
    key, problem = new_key(tmp_path)
    assert (read_key(tmp_path), problem, len(key)) == (key, "", 32)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    assert new_key(tmp_path)[0] != key, "each is another"
    assert os.listdir(tmp_path) == [NAME]


def test_a_key_that_others_could_read_or_of_another_size_is_none(tmp_path: Path) -> None:
    new_key(tmp_path)
    (tmp_path / NAME).chmod(0o640)
    assert read_key(tmp_path) is None
    for body in (b"", bytes(31), bytes(33)):
        (tmp_path / NAME).write_bytes(body)
        (tmp_path / NAME).chmod(0o600)
        assert read_key(tmp_path) is None


def test_a_key_that_cannot_be_kept_is_said_and_serves_all_the_same(tmp_path: Path) -> None:
    key, problem = new_key(tmp_path / "nowhere")
    assert len(key) == 32 and "cannot be written" in problem


# --- guesses ---


def test_a_few_tries_are_free_then_each_waits_twice_as_long_to_the_longest() -> None:
    throttle, now = Throttle(), 10**15
    waits = []
    for _ in range(FREE_TRIES + 12):
        waits.append(throttle.wait_s("10.0.0.1", now))
        now += round(waits[-1] * S)
        throttle.failed("10.0.0.1", now)
    assert waits[:FREE_TRIES] == [0.0] * FREE_TRIES
    assert waits[FREE_TRIES:] == [1, 2, 4, 8, 16, 32, 64, 128, 256, LONGEST_S, LONGEST_S, LONGEST_S]


def test_asking_in_a_pause_does_not_lengthen_it_and_another_address_is_free() -> None:
    throttle = Throttle()
    for _ in range(FREE_TRIES + 3):
        throttle.failed("10.0.0.1", 0)
    assert [throttle.wait_s("10.0.0.1", at * S) for at in (0, 3, 5, 8, 9)] == [8, 5, 3, 0, 0]
    assert throttle.wait_s("10.0.0.2", 0) == 0.0


def test_a_success_clears_its_own_address_alone() -> None:
    throttle = Throttle()
    for address in ("10.0.0.1", "10.0.0.2"):
        for _ in range(FREE_TRIES + 1):
            throttle.failed(address, 0)
    throttle.succeeded("10.0.0.1")
    assert throttle.wait_s("10.0.0.1", 0) == 0.0 and throttle.wait_s("10.0.0.2", 0) == 2.0


def test_many_addresses_together_guess_no_faster() -> None:
    throttle, now, tries = Throttle(), 0, 0
    while now < 3600 * S:
        address = f"10.{tries >> 16 & 255}.{tries >> 8 & 255}.{tries & 255}"
        wait = throttle.wait_s(address, now)
        if wait:
            now += round(wait * S)
            continue
        throttle.failed(address, now)
        tries += 1
    assert tries <= ALL_FREE_TRIES + 5 + 3600 / ALL_LONGEST_S


def test_an_hour_without_a_failure_forgets() -> None:
    throttle = Throttle()
    for _ in range(ALL_FREE_TRIES + 10):
        throttle.failed("10.0.0.1", 0)
    assert throttle.wait_s("10.0.0.1", 0) == LONGEST_S and throttle.wait_s("10.0.0.9", 0) == ALL_LONGEST_S
    later = (FORGET_S + 1) * S
    assert throttle.wait_s("10.0.0.1", later) == throttle.wait_s("10.0.0.9", later) == 0.0
    throttle.failed("10.0.0.1", later)
    assert throttle.wait_s("10.0.0.1", later) == 0.0, "counted anew"


def test_the_table_of_addresses_is_bounded_and_the_longest_quiet_one_goes() -> None:
    throttle = Throttle()
    for number in range(ADDRESSES + 50):
        throttle.failed(f"10.1.{number // 256}.{number % 256}", number)
        throttle.failed("10.0.0.1", number)
    assert len(throttle._addresses) == ADDRESSES
    assert "10.0.0.1" in throttle._addresses and "10.1.0.0" not in throttle._addresses


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("192.168.1.20", "192.168.1.20"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_what_counts_as_one_address(address: str, counts_as: str) -> None:
    assert network(address) == counts_as


# --- the door ---


def test_in_a_pause_the_right_password_is_not_looked_at_either() -> None:
    clock = ManualClock()
    door = House(clock, password=PASSWORD).door
    for _ in range(FREE_TRIES):
        assert door.log_in("wrong", "10.0.0.1") == Refused(401, "this is not the password", guessed=True)
    found = door.log_in(PASSWORD, "10.0.0.1")
    assert isinstance(found, Refused) and (found.status, found.wait_s) == (429, 1.0)
    clock.advance(S)
    assert isinstance(door.log_in(PASSWORD, "10.0.0.1"), str)


def test_wrong_tokens_wait_apart_from_passwords() -> None:
    clock = ManualClock()
    door = House(clock, password=PASSWORD, token=TOKEN).door
    for _ in range(FREE_TRIES):
        assert door.who([], b"Bearer wrong", "10.0.0.1") == Refused(401, "this is not DASHBOARD_TOKEN", guessed=True)
    found = door.who([], f"Bearer {TOKEN}".encode(), "10.0.0.1")
    assert isinstance(found, Refused) and found.status == 429
    assert isinstance(door.log_in(PASSWORD, "10.0.0.1"), str), "a program with an old token locks out nobody"


def test_who_comes_in_and_what_ends_a_session() -> None:
    clock = ManualClock()
    house = House(clock, password=PASSWORD, token=TOKEN)
    cookie = house.door.log_in(PASSWORD, "10.0.0.1")
    assert isinstance(cookie, str)
    assert house.door.who(["old", cookie], b"", "10.0.0.1") == PAGE
    assert house.door.who([], b"bearer " + TOKEN.encode(), "10.0.0.1") == PROGRAM
    for header in (b"", TOKEN.encode(), b"Basic " + TOKEN.encode(), b"Bearer ", b"Bearer"):
        assert isinstance(house.door.who([], header, "10.0.0.1"), Refused), header
    house.door.log_out_all()
    assert house.keys == 1 and not house.door.holds([cookie])
    again = house.door.log_in(PASSWORD, "10.0.0.1")
    assert isinstance(again, str) and house.door.holds([again])
    clock.advance(LIFE_S * S)
    assert not house.door.holds([again])


def test_without_a_token_in_the_settings_no_token_is_right() -> None:
    door = House(ManualClock(), password=PASSWORD).door
    for given in (b"Bearer ", b"Bearer x", b"Bearer " + PASSWORD.encode()):
        found = door.who([], given, "10.0.0.1")
        assert isinstance(found, Refused) and "DASHBOARD_TOKEN is not set" in found.text


# --- who said it ---


@pytest.mark.parametrize("action", ["pause", "resume", "flatten", "halt"])
@pytest.mark.parametrize("who", ["the page", "a program", "make"])
@pytest.mark.parametrize("why", ["", "the news (at two)", "by make: a joke", "x) (by make"])
def test_what_the_trader_tells_of_a_command_says_who_gave_it_and_why(action: str, who: str, why: str) -> None:
    from bus.messages import At, StateEvent

    told = words(StateEvent(At(1, 2, 3), "paused", said_by(who, why), action, "id"))
    assert told is not None
    found = who_said(told[1])
    assert found is not None and found[1:] == (who, why)
    assert found[0] == words(StateEvent(At(1, 2, 3), "paused", "x", action, "id"))[1].removesuffix(" (x)")  # type: ignore[index]


@pytest.mark.parametrize("text", ["", "bought 1 at 2 (mean_reversion)", "paused (operator)", "by make", "(by make)x"])
def test_what_no_operator_said_is_none_of_it(text: str) -> None:
    assert who_said(text) is None
