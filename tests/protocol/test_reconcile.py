"""Reconciliation against the sandbox's own exchange over real sockets, for the three protocols.

A book stands for the journal: it sends orders as the trader does, and knows only what it was told.
"""

import contextlib
import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_S, ManualClock
from sandbox import faults as kinds
from tests.protocol.account_house import NOW_MS, WAYS, House, house_of
from tests.reconcile_world import booked, nothing
from trader.orders import OrderNews, OrderState
from trader.reconcile import Reconciliation, judge, strays
from trader.venue_look import look
from trader.views import Held, JournalView, Known, VenueView, since_ms
from venues.account import LIMIT, MARKET
from venues.errors import OutcomeUnknown, Rejected, Retry

S, N, D = OrderState, OrderNews, Decimal
AN_HOUR_NS = 3_600 * NS_PER_S


def our_id(number: int) -> str:
    return "scalp" + "abcdefghijklmnopqrstuvwxyz"[number] * 11


class Book:
    """A journal and its looks at one venue. `clock` is the one that looks go by."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.clock = ManualClock()
        self.journal = JournalView("scalp", held=(Held(house.rules.pair, D(0)),), wallet=self.quote(), since_ms=NOW_MS)
        self.before: VenueView | None = None
        self.account: Any = house.account
        self.at_start = True
        self.next = 0

    def quote(self) -> int:
        free, locked = self.house.balances_booked()[self.house.rules.quote]
        return int((free + locked) * 10**8)

    def base(self) -> Decimal:
        free, locked = self.house.balances_booked().get(self.house.rules.base, (D(0), D(0)))
        return free + locked

    @property
    def held(self) -> Decimal:
        return self.journal.held[0].base

    def whole(self) -> str:
        """What of the position can be sold."""
        step = self.house.rules.step
        return str(self.held // step * step)

    def send(
        self, side: str = "buy", kind: str = MARKET, quantity: str = "0.002", *, in_hand: bool = False, **more: Any
    ) -> str:
        """An order as the trader sends one: its intent is in the journal first, its answer is not."""
        name = self.fresh()
        step, begun = self.house.rules.step, self.house.venue_clock.wall_ms()
        one = Known(
            name,
            self.house.rules.pair,
            side,
            S.SUBMITTING,
            D(quantity),
            step,
            fills=frozenset(),
            created_ms=begun,
            in_hand=in_hand,
        )
        self.journal = msgspec.structs.replace(self.journal, orders=(*self.journal.orders, one))
        self.account.create(self.house.order(name, kind, quantity, side=side, **more))
        return name

    def by_hand(self, name: str, side: str = "sell", quantity: str = "0.002", kind: str = MARKET, **more: Any) -> None:
        """An order of somebody's, or of ours from elsewhere: the journal hears nothing."""
        self.house.account.create(self.house.order(name, kind, quantity, side=side, **more))

    def fresh(self) -> str:
        """An id of ours that the journal has not."""
        self.next += 1
        return our_id(self.next - 1)

    def view(self, after_s: float = 4.0) -> VenueView:
        self.clock.advance(int(after_s * NS_PER_S))
        self.journal = msgspec.structs.replace(self.journal, market_ms=self.house.venue_clock.wall_ms())
        self.before = look(
            self.account,
            [self.house.rules],
            self.journal,
            since_ms(self.journal),
            self.clock,
            self.before,
            at_start=self.at_start,
        )
        return self.before

    def check(self, after_s: float = 4.0) -> Reconciliation:
        """Looks, judges, books."""
        view = self.view(after_s)
        result = judge(self.journal, view)
        self.journal = booked(self.journal, result)
        if result.agreed:
            self.at_start = False
            self.journal = msgspec.structs.replace(self.journal, since_ms=view.journal.market_ms)
        return result

    def agrees(self, own: str = "0") -> Reconciliation:
        """Checks until it is agreed; then journal and books are the same to the last digit; `own`: somebody's coin."""
        for _ in range(8):
            result = self.check()
            assert not result.external, result
            if result.agreed and not result.report:
                break
        assert result.agreed, result.report
        assert nothing(result)
        assert self.held == self.base() - D(own)
        assert self.journal.wallet == self.quote()
        working = [one for one in self.journal.orders if not one.over]
        live = [one for one in self.house.all_booked() if one.status.working and one.client_id.startswith("scalp")]
        assert {one.client_order_id for one in working} == {one.client_id for one in live}
        return result


@pytest.fixture(params=WAYS)
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    with house_of(request.param) as made:
        free, locked = made.balances_booked().get(made.rules.base, (D(0), D(0)))
        made.deposit(made.rules.base, str(-free - locked))
        made.account.balances()  # the clock is measured before anything goes wrong
        made.account.open_orders(made.rules)
        yield made


@pytest.fixture(autouse=True)
def waits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits for room in limits pass at once."""
    for place in ("venues.rest.sleep", "venues.kraken.account.sleep"):
        monkeypatch.setattr(place, lambda seconds: house.breathe(int(seconds * NS_PER_S) + 1))


def ends(result: Reconciliation) -> list[tuple[str, OrderNews]]:
    return [(event.order_id, event.news) for event in result.told]


# --- what is found ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields", [{"kind": kinds.DROPPED_REPLY}, {"kind": kinds.STATUS, "status": 504, "acted": True}]
)
def test_f1_f3_an_intent_whose_reply_was_lost_is_found_and_adopted_with_its_fills(
    house: House, fields: dict[str, Any]
) -> None:
    book = Book(house)
    house.served.fault(path=house.ways.create, method="POST", times=1, **fields)
    with pytest.raises(OutcomeUnknown):
        book.send()
    house.breathe(AN_HOUR_NS)
    result = book.check()
    assert result.agreed and ends(result)[-1] == (our_id(0), N.ALL_FILLED)
    assert sum(event.quantity or 0 for event in result.told) == D("0.002")
    assert len(house.all_booked()) == 1
    book.agrees()


def test_f2_an_intent_that_never_arrived_is_absent_after_three_questions_over_as_long_as_a_request_may_live(
    house: House,
) -> None:
    book = Book(house)
    house.served.fault(kinds.LOST_REQUEST, path=house.ways.create, method="POST", times=1)
    with pytest.raises(OutcomeUnknown):
        book.send()
    house.breathe(AN_HOUR_NS)
    results = [book.check() for _ in range(4)]
    over_s = house.account.capabilities.request_lives_s
    assert [bool(result.told) for result in results].index(True) == max(2, int(-(-over_s // 4)))
    assert [result.agreed for result in results] == [bool(result.told) or result is results[3] for result in results]
    assert book.journal.orders[0].state is S.REJECTED
    book.agrees()


def test_f5_an_order_still_working_is_accepted_and_what_it_fills_while_nobody_looks_is_told(house: House) -> None:
    book = Book(house)
    name = book.send(kind=LIMIT, quantity="0.05", price=house.price("0.9995"))
    result = book.check()
    assert ends(result)[0] == (name, N.ACCEPTED) and result.agreed and result.told[0].venue_order_id
    booked_order = house.booked(name)
    assert booked_order is not None
    house.until(lambda: not house.booked(name).status.working)  # type: ignore[union-attr]
    result = book.check()
    assert ends(result)[-1] == (name, N.ALL_FILLED)
    book.agrees()


def test_a_position_sold_by_hand_is_external_once_two_looks_lack_it(house: House) -> None:
    book = Book(house)
    book.send(quantity="0.004")
    book.agrees()
    book.by_hand("by-hand", quantity="0.003")
    first = book.check()
    assert not first.agreed and nothing(first) and "asked again" in first.report[-1]
    second = book.check()
    assert second.agreed and second.external == ((house.rules.pair, D("0.003")),)
    assert [one.client_order_id for one in book.journal.orders] == [our_id(0)]
    book.agrees()


def test_coin_that_was_moved_away_is_external_as_far_as_it_was_ours(house: House) -> None:
    book = Book(house)
    house.deposit(house.rules.base, "0.5")
    book.send(quantity="0.004")
    book.agrees("0.5")
    house.deposit(house.rules.base, "-0.5")
    assert book.check().agreed and not book.check().external, "it was somebody's own"
    before = book.held
    house.deposit(house.rules.base, "-0.001")
    assert [book.check().external for _ in range(2)] == [(), ((house.rules.pair, D("0.001")),)]
    assert book.held == before - D("0.001")
    book.agrees()


def test_somebodys_own_trades_of_the_same_market_are_never_adopted(house: House) -> None:
    book = Book(house)
    house.deposit(house.rules.base, "1")
    book.send(quantity="0.004")
    book.agrees("1")
    before = book.held
    book.by_hand("by-hand", "buy", "0.05")
    book.by_hand("other" + "a" * 11, "sell", "0.3")
    book.by_hand("rests", "sell", "0.1", LIMIT, price=house.price("1.1"))
    result = book.check()
    assert result.agreed and nothing(result) and book.held == before
    assert [one.client_id for one in house.all_booked() if one.status.working] == ["rests"]


def test_an_exit_of_ours_that_the_journal_does_not_know_is_adopted_whole(house: House) -> None:
    book = Book(house)
    book.send(quantity="0.004")
    book.agrees()
    sold = book.whole()
    book.by_hand(our_id(9), quantity=sold)
    result = book.check()
    (orphan,) = result.orphans
    assert (orphan.client_order_id, orphan.side, orphan.quantity) == (our_id(9), "sell", D(sold))
    assert result.agreed and not result.external
    assert book.held < house.rules.step
    book.agrees()


def test_an_order_of_ours_that_the_journal_does_not_know_and_that_works_is_cancelled_first(house: House) -> None:
    book = Book(house)
    book.send(quantity="0.004")
    book.agrees()
    book.by_hand(our_id(9), "buy", "0.05", LIMIT, price=house.price("0.9995"))
    house.until(lambda: house.booked(our_id(9)).filled > 0)  # type: ignore[union-attr]
    result = book.check()
    if house.booked(our_id(9)).status.working:  # type: ignore[union-attr]
        assert not result.agreed and nothing(result)
        (stray,) = strays(book.journal, book.before)  # type: ignore[arg-type]
        house.account.cancel(house.rules, stray.client_order_id, stray.venue_order_id)
        result = book.check()
    assert [one.client_order_id for one in result.orphans] == [our_id(9)]
    book.agrees()


# CoinDCX's list of fills has no word for a fee's coin: there it is always that of the price.
@pytest.mark.parametrize("house", ["binance", "kraken"], indirect=True)
def test_with_fees_in_base_journal_and_balance_agree_to_the_last_digit(house: House) -> None:
    book = Book(house)
    if house.protocol != "kraken":  # it is always asked for fees in quote
        house.served.fault(kinds.FEE_IN_BASE)
    book.send(quantity="0.004")
    book.send("sell", quantity="0.001")
    book.agrees()
    assert (book.held == D("0.003")) is (house.protocol == "kraken")


# --- what is not sure ----------------------------------------------------------------------------------


def test_a_venue_that_is_away_at_the_start_is_not_agreed_and_agrees_once_it_is_back(house: House) -> None:
    book = Book(house)
    book.send(quantity="0.004")
    house.served.fault(kinds.MAINTENANCE)
    for _ in range(2):
        result = book.check()
        assert not result.agreed and nothing(result) and book.before is not None and book.before.nothing
        assert any("could not be asked" in line and "the rest was not asked" in line for line in result.report)
    house.served.no_faults()
    house.breathe(AN_HOUR_NS)
    assert ends(book.check())[-1] == (our_id(0), N.ALL_FILLED)
    book.agrees()


def test_queries_that_lag_are_asked_again_and_nothing_is_called_absent(house: House) -> None:
    book = Book(house)
    house.served.fault(kinds.QUERY_LAG, ms=6_000)
    book.send(kind=LIMIT, price=house.price("0.9"))
    for _ in range(2):
        result = book.check()
        assert not result.agreed and nothing(result) and "not found yet" in result.report[-1]
    house.step(7_000)
    assert ends(book.check()) == [(our_id(0), N.ACCEPTED)]
    book.agrees()


def test_an_exit_whose_queries_lag_is_not_taken_for_a_sale_by_hand(house: House) -> None:
    book = Book(house)
    book.send(quantity="0.004")
    book.agrees()
    house.served.fault(kinds.QUERY_LAG, ms=6_000)
    book.by_hand(our_id(9), quantity=book.whole())
    for _ in range(3):  # the fill is there, whose it is can not be told
        result = book.check(after_s=1.0)
        assert not result.agreed and nothing(result)
    house.step(7_000)
    result = book.check()
    assert [one.client_order_id for one in result.orphans] == [our_id(9)]
    book.agrees()


class Hooked:
    """The account; `hooks` run before a method, once each."""

    def __init__(self, inner: Any, **hooks: Callable[[], object]) -> None:
        self._inner = inner
        self._hooks = hooks

    def __getattr__(self, name: str) -> Any:
        hook = self._hooks.pop(name, None)
        if hook is not None:
            hook()
        return getattr(self._inner, name)


@pytest.mark.parametrize("question", ["open_orders", "balances", "fills"])
def test_a_question_that_failed_is_not_agreed_and_takes_nothing_for_gone(house: House, question: str) -> None:
    book = Book(house)
    book.send(quantity="0.004")
    book.agrees()
    book.by_hand("by-hand", quantity=book.whole())
    book.check()

    def fails() -> None:
        house.account.server_time_ms()  # else a question may come first that the old answer serves for
        house.served.fault(kinds.LOST_REQUEST, times=1)

    book.account = Hooked(house.account, **{question: fails})
    result = book.check()
    assert not result.agreed and nothing(result)
    house.served.no_faults()
    house.breathe(AN_HOUR_NS)
    book.account = house.account
    assert any(book.check().external for _ in range(3))
    book.agrees()


@pytest.mark.parametrize("moment", ["balances", "fills"])
def test_a_fill_that_comes_while_balances_are_asked_tears_nothing(house: House, moment: str) -> None:
    book = Book(house)
    book.send(quantity="0.004")
    book.agrees()
    book.check()

    def sells() -> None:
        book.by_hand(our_id(8), quantity=book.whole())

    book.account = Hooked(house.account, **{moment: sells})
    result = book.check()
    assert not result.external and result.quote in (None, book.quote())
    book.agrees()
    assert book.held < house.rules.step


# --- anything, in any order -------------------------------------------------------------------------------

LOST = [
    {"kind": kinds.DROPPED_REPLY},
    {"kind": kinds.CUT_REPLY},
    {"kind": kinds.LOST_REQUEST},
    {"kind": kinds.STATUS, "status": 502, "acted": True},
]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_while_nobody_looks_the_book_ends_equal_to_the_exchanges(house: House, seed: int) -> None:
    chance = random.Random(f"{seed}/{house.protocol}")
    book = Book(house)
    house.deposit(house.rules.base, "0.02")
    if seed % 2 and house.protocol == "binance":
        house.served.fault(kinds.FEE_IN_BASE)
    for _ in range(14):
        match chance.choice(["send", "send", "lost", "rest", "orphan", "hand", "time", "check", "check"]):
            case "send":
                _tried(lambda: book.send(chance.choice(["buy", "sell"]), quantity=f"0.00{chance.randint(1, 4)}"))
            case "lost":
                lost = house.served.fault(path=house.ways.create, method="POST", times=1, **chance.choice(LOST))
                _tried(lambda: book.send(chance.choice(["buy", "sell"]), quantity="0.002"))
                assert house.served.call("DELETE", f"/sandbox/faults/{lost}")[0] in (200, 404)
                house.breathe(AN_HOUR_NS)
            case "rest":
                price = house.price(chance.choice(["0.9990", "0.9999"]))
                _tried(lambda price=price: book.send("buy", LIMIT, "0.05", price=price))
            case "orphan":
                _tried(lambda: book.by_hand(book.fresh(), chance.choice(["buy", "sell"]), "0.001"))
            case "hand":
                _tried(lambda: book.by_hand(f"hand-{book.fresh()[-3:]}", chance.choice(["buy", "sell"]), "0.001"))
            case "time":
                house.step(chance.choice([1_000, 20_000]))
            case "check":
                assert not book.check().external
    house.step(1_000)
    for one in house.all_booked():
        if one.status.working:
            house.account.cancel(house.rules, one.client_id)
    for _ in range(8):
        result = book.check()
        if result.agreed and nothing(result) and result.quote is not None:
            break
    assert result.agreed and nothing(result), result.report
    assert book.journal.wallet == book.quote()
    # each fill of ours once, and its money to the last digit
    ours = {one.number: one for one in house.all_booked() if one.client_id.startswith("scalp")}
    filled = {number: one for number, one in ours.items() if one.filled_units}
    recorded = [one for one in book.journal.orders if one.lots]
    adopted = book.journal.adopted
    assert {one.client_id for one in filled.values()} == {one.client_order_id for one in recorded} | adopted
    for known in recorded:
        order = next(one for one in filled.values() if one.client_id == known.client_order_id)
        in_quote = order.fee if order.fee_asset == order.quote else 0
        assert known.cash == order.cost + (in_quote if known.side == "buy" else -in_quote)
        assert known.quantity == order.quantity and known.lots * known.step == order.filled
    assert all(one.over for one in book.journal.orders)
    moved = D(0)
    for fill in house.fills_booked():
        if fill.client_id.startswith("scalp"):
            sign = 1 if fill.side.value == "buy" else -1
            moved += sign * fill.quantity - (fill.fee_amount if fill.fee_asset == house.rules.base else 0)
    assert book.held == moved and not result.external


def _tried(deed: Callable[[], object]) -> None:
    """Does it; the venue may lose the answer, or refuse for lack of coin."""
    with contextlib.suppress(OutcomeUnknown, Rejected, Retry):
        deed()


# --- how much is asked -----------------------------------------------------------------------------------


def test_a_quiet_check_asks_three_questions_however_long_the_bot_has_run(house: House) -> None:
    book = Book(house)
    house.deposit(house.rules.base, "1")
    for number in range(4):
        book.send("sell" if number % 2 else "buy")
    book.by_hand("by-hand", "sell", "0.1")
    for _ in range(3):
        book.check()
    house.step(300_000)
    book.check()
    went = house.calls("*", "*")
    book.account = house.hasty
    for _ in range(5):
        house.step(30_000)
        assert nothing(book.check(30.0))
    assert went() == 5 * 3


@pytest.mark.parametrize("house", ["kraken"], indirect=True)
def test_krakens_budget_holds_a_check_every_thirty_seconds_and_leaves_the_most_of_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("venues.kraken.account.sleep", waited.append)
    book = Book(house)
    book.agrees()
    book.account = house.hasty
    for _ in range(20):  # a check costs 4; thirty seconds bring 9.9, thirteen 4.3
        house.step(13_000)
        book.check(13.0)
    assert not waited


def test_an_order_that_was_found_over_is_not_asked_for_again(house: House) -> None:
    book = Book(house)
    book.by_hand("by-hand", "buy")
    book.check()
    asked: list[str] = []

    class Counted(Hooked):
        def order(self, rules: Any, client_order_id: str, venue_order_id: str = "", *, urgent: bool = False) -> Any:
            asked.append(client_order_id or venue_order_id)
            return house.account.order(rules, client_order_id, venue_order_id)

    book.account = Counted(house.account)
    book.check()
    assert asked == []
    book.by_hand("again", "buy")
    book.check()
    assert len(asked) == 1


def test_balances_hold_what_orders_lock(house: House) -> None:
    book = Book(house)
    book.send(quantity="0.004")
    book.agrees()
    sold = book.whole()
    book.send("sell", LIMIT, sold, price=house.price("1.1"))
    assert {one.currency: one.locked for one in house.account.balances()}[house.rules.base] == D(sold)
    assert book.check().agreed and not book.check().external
