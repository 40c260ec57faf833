"""Kraken's account against a hand-written venue: whose call goes out when, numbers in order, limits, lockouts."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.clock import NS_PER_S
from tests.kraken_data import USD, order
from tests.protocol.kraken_desk import ORDER, Held, asked, played, settings_for
from tests.protocol.kraken_peer import Peer, bad
from tests.unit.http_peer import until
from venues.errors import RateLimited, Skewed
from venues.kraken.account import KrakenAccount
from venues.kraken.wire_private import cancel_cost


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Held:
    """What is waited for by it passes when a test sets it on."""
    made = Held()
    monkeypatch.setattr("venues.kraken.account.sleep", made.sleep)
    return made


def test_calls_of_many_threads_arrive_in_the_order_of_their_nonces() -> None:
    """The peer refuses a nonce that does not rise: none of these calls is refused."""

    def play(peer: Peer, made: KrakenAccount) -> None:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda n: made.create(order(rules=USD, client_order_id=f"o{n}")), range(24)))
        assert len(asked(peer, "AddOrder")) == 24 and peer.nonces == sorted(peer.nonces)

    played(play)


def test_a_refused_nonce_is_followed_by_a_larger_one_once() -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.faults["AddOrder"] = [bad("EAPI:Invalid nonce")]
        assert made.create(ORDER).venue_order_id == "OABC"
        first, second = asked(peer, "AddOrder")
        assert int(second["nonce"]) > int(first["nonce"]) and second["cl_ord_id"] == first["cl_ord_id"]
        peer.faults["AddOrder"] = [bad("EAPI:Invalid nonce"), bad("EAPI: Invalid nonce")]
        with pytest.raises(Skewed, match="a key of its own"):
            made.create(ORDER)

    played(play)


def test_an_exit_does_not_queue_behind_a_query_that_waits_for_room(clock: Held) -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.results["OpenOrders"] = lambda fields: {"open": {}}
        clock.held_ns = clock.monotonic_ns()
        for _ in range(7):
            made.open_orders(USD)
        waiting = threading.Thread(target=lambda: made.open_orders(USD), daemon=True)
        waiting.start()
        made.create(order(rules=USD, urgent=True))
        assert waiting.is_alive() and len(asked(peer, "OpenOrders")) == 7
        clock.held_ns += 4 * NS_PER_S
        waiting.join(20)
        assert len(asked(peer, "OpenOrders")) == 8

    played(play, clock)


def test_orders_whose_answers_were_lost_are_looked_up_from_the_share_that_is_kept_for_exits(clock: Held) -> None:
    """An exit may wait for what became of them; one of which the venue's id is known has been answered."""

    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.results |= {
            "OpenOrders": lambda fields: {"open": {}},
            "ClosedOrders": lambda fields: {"closed": {}},
            "QueryOrders": lambda fields: {},
        }
        clock.held_ns = clock.monotonic_ns()
        for _ in range(7):
            made.open_orders(USD)
        with pytest.raises(RateLimited) as caught:  # at once: the next question about it may be an urgent one
            made.order(USD, "known", "OABC")
        assert caught.value.retry_after_s == pytest.approx(1 / 0.33)
        assert made.order(USD, "lost1") is None is made.order(USD, "lost2")
        assert asked(peer, "QueryOrders") == []
        assert [fields["cl_ord_id"] for fields in asked(peer, "ClosedOrders")] == ["lost1", "lost2"]

    played(play, clock)


def test_what_an_exit_waits_for_is_asked_while_ordinary_questions_wait(clock: Held) -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.results |= {
            "OpenOrders": lambda fields: {"open": {}},
            "QueryOrders": lambda fields: {},
            "TradesHistory": lambda fields: {"trades": {}, "count": 0},
            "BalanceEx": lambda fields: {},
            "ClosedOrders": lambda fields: {"closed": {}},
        }
        clock.held_ns = clock.monotonic_ns()
        for _ in range(7):
            made.open_orders(USD)
        waiting = threading.Thread(target=made.balances, daemon=True)
        waiting.start()
        made.order(USD, "", "OABC", urgent=True)
        made.fills(USD, 0, urgent=True)
        made.balances(urgent=True)
        made.open_orders(USD, urgent=True)
        assert waiting.is_alive() and len(asked(peer, "BalanceEx")) == 1
        clock.held_ns += 60 * NS_PER_S
        waiting.join(20)

    played(play, clock)


def test_no_order_that_buys_goes_out_while_too_little_could_be_asked_about_it(clock: Held) -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.results["OpenOrders"] = lambda fields: {"open": {}}
        made.server_time_ms()
        clock.held_ns = clock.monotonic_ns()
        for _ in range(5):
            made.open_orders(USD, urgent=True)
        with pytest.raises(RateLimited, match="not sent: too little could be asked") as caught:
            made.create(order(rules=USD))
        assert caught.value.retry_after_s == pytest.approx(1 / 0.33) and asked(peer, "AddOrder") == []
        made.create(order(rules=USD, client_order_id="exit", urgent=True))
        clock.held_ns += 4 * NS_PER_S
        made.create(order(rules=USD, client_order_id="entry"))
        assert [fields["cl_ord_id"] for fields in asked(peer, "AddOrder")] == ["exit", "entry"]

    played(play, clock)


def test_a_look_up_without_room_for_its_second_question_goes_on_with_that_one(clock: Held) -> None:
    """It would else never come to it, where others use up what comes back between two tries."""

    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.results |= {"OpenOrders": lambda fields: {"open": {}}, "ClosedOrders": lambda fields: {"closed": {}}}
        peer.faults["ClosedOrders"] = [bad("EAPI:Rate limit exceeded")]
        clock.held_ns = clock.monotonic_ns()
        with pytest.raises(RateLimited):
            made.order(USD, "lost")
        clock.held_ns += 6 * NS_PER_S
        before = len(asked(peer, "OpenOrders"))
        waiting = threading.Thread(target=made.order, args=(USD, "lost"), daemon=True)
        waiting.start()
        time.sleep(0.05)
        assert len(asked(peer, "ClosedOrders")) == 1, "6 s bring 1.98 of the 2 that it costs"
        clock.held_ns += NS_PER_S
        waiting.join(20)
        assert not waiting.is_alive() and len(asked(peer, "ClosedOrders")) == 2
        assert len(asked(peer, "OpenOrders")) == before == 1
        clock.held_ns += 60 * NS_PER_S
        assert made.order(USD, "lost") is None and len(asked(peer, "OpenOrders")) == 2, "once answered, from the start"

    played(play, clock)


def test_programs_with_one_key_count_together(tmp_path: Path, clock: Held) -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.results["OpenOrders"] = lambda fields: {"open": {}}
        clock.held_ns = clock.monotonic_ns()
        one, other = (KrakenAccount(settings_for(peer), clock, run_dir=tmp_path, keep_numbers=False) for _ in range(2))
        for _ in range(14):
            one.open_orders(USD, urgent=True)
        waiting = threading.Thread(target=lambda: other.open_orders(USD, urgent=True), daemon=True)
        waiting.start()
        time.sleep(0.05)
        assert waiting.is_alive() and len(asked(peer, "OpenOrders")) == 14
        clock.held_ns += 4 * NS_PER_S
        waiting.join(20)
        assert len(asked(peer, "OpenOrders")) == 15
        one.close(), other.close()

    played(play, clock)


@pytest.mark.parametrize("slow", ["OpenOrders", "AddOrder"])
def test_an_exit_waits_for_no_answer_of_another_call(slow: str) -> None:
    """And neither does the next exit wait for the first one's."""

    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.results |= {"OpenOrders": lambda fields: {"open": {}}, "CancelOrder": lambda fields: {"count": 1}}
        made.server_time_ms()
        peer.held.add(slow)
        ask = {"OpenOrders": lambda: made.open_orders(USD), "AddOrder": lambda: made.create(order(rules=USD))}[slow]
        failures: list[Exception] = []

        def wait() -> None:
            try:
                ask()
            except Exception as error:  # noqa: BLE001 - it is judged below
                failures.append(error)

        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        until(lambda: len(peer.nonces) == 1)
        made.cancel(USD, "scalp0")
        if slow != "AddOrder":
            made.create(order(rules=USD, client_order_id="exit", urgent=True))
        made.cancel(USD, "scalp1")
        assert waiting.is_alive() and not failures, "the answer has not come yet"
        peer.held.clear()
        waiting.join(20)
        assert not failures and peer.nonces == sorted(peer.nonces)
        assert len(peer.nonces) == len([name for name, fields in peer.asked if "nonce" in fields])

    played(play)


def test_cancels_of_young_orders_leave_room_for_exits_alone(clock: Held) -> None:
    """Six of them are 6 x (1 + 8) of the engine's 60: a further entry would be the last order of all."""

    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.results["CancelOrder"] = lambda fields: {"count": 1}
        made.server_time_ms()
        clock.held_ns = clock.monotonic_ns()
        for n in range(6):
            made.create(order(rules=USD, client_order_id=f"scalp{n}"))
            made.cancel(USD, f"scalp{n}")
        waiting = threading.Thread(target=lambda: made.create(order(rules=USD, client_order_id="entry")), daemon=True)
        waiting.start()
        made.create(order(rules=USD, client_order_id="exit", urgent=True))
        assert waiting.is_alive()
        clock.held_ns += 60 * NS_PER_S
        waiting.join(20)
        assert [fields["cl_ord_id"] for fields in asked(peer, "AddOrder")][-2:] == ["exit", "entry"]

    played(play, clock)


@pytest.mark.parametrize(("age_s", "cost"), [(0, 8), (4.9, 8), (5, 6), (14, 5), (44, 4), (89, 2), (299, 1), (300, 0)])
def test_what_a_cancel_costs_by_the_age_of_its_order(age_s: float, cost: float) -> None:
    assert cancel_cost(age_s) == cost


def test_a_full_counter_holds_up_queries_and_no_exits() -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.faults["BalanceEx"] = [bad("EAPI:Rate limit exceeded")]
        with pytest.raises(RateLimited, match="no request for 5 s"):
            made.balances()
        assert made.create(order(rules=USD, urgent=True)).venue_order_id == "OABC"

    played(play)


def test_a_lockout_holds_up_everything() -> None:
    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.faults["BalanceEx"] = [bad("EGeneral:Temporary lockout")]
        with pytest.raises(RateLimited, match="no request for 900 s"):
            made.balances()
        with pytest.raises(RateLimited, match="not sent"):
            made.create(order(rules=USD, urgent=True))
        assert asked(peer, "AddOrder") == []

    played(play)


def test_a_lockout_is_waited_out_over_a_restart(tmp_path: Path, clock: Held) -> None:
    """Each further call would prolong it. The address is the venue's own as far as files go, and ends up here."""

    def play(peer: Peer, made: KrakenAccount) -> None:
        def anew() -> KrakenAccount:
            url = peer.rest_url.replace("127.0.0.1", "0.0.0.0")
            return KrakenAccount(settings_for(peer, VENUE_REST_URL=url, VAR_DIR=str(tmp_path)), clock)

        peer.faults["BalanceEx"] = [bad("EGeneral:Temporary lockout")]
        peer.results["BalanceEx"] = lambda fields: {}
        first = anew()
        with pytest.raises(RateLimited, match="no request for 900 s"):
            first.balances()
        first.close()
        told = len(peer.asked)
        after = anew()
        with pytest.raises(RateLimited, match="not sent") as caught:
            after.balances()
        with pytest.raises(RateLimited, match="not sent"):
            after.create(order(rules=USD, urgent=True))
        assert 890 < caught.value.retry_after_s <= 900 and len(peer.asked) == told
        clock.ahead_ns = 901 * NS_PER_S
        assert after.balances() == []
        after.close()

    played(play, clock)


def test_nonces_go_on_rising_after_a_restart_with_a_clock_that_was_set_back(tmp_path: Path, clock: Held) -> None:
    """The venue would refuse every call until the clock had caught up, those that end a position too."""

    def play(peer: Peer, made: KrakenAccount) -> None:
        peer.results["BalanceEx"] = lambda fields: {}
        for ahead_s in (7200, 0, -7200):
            clock.ahead_ns = ahead_s * NS_PER_S
            url = peer.rest_url.replace("127.0.0.1", "0.0.0.0")
            made = KrakenAccount(settings_for(peer, VENUE_REST_URL=url, VAR_DIR=str(tmp_path)), clock)
            made.balances()
            made.close()
        assert len(peer.nonces) == 3 == len(asked(peer, "BalanceEx"))

    played(play, clock)
