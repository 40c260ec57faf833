"""The look's own thread at the sandbox, for the three protocols: how soon things are noticed, how little is asked."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import pytest

from core.clock import NS_PER_S
from sandbox import faults as kinds
from sandbox.exchange.orders import Status
from tests.protocol.account_house import House
from tests.protocol.test_reconcile import AN_HOUR_NS, Book, house, our_id, waits  # noqa: F401 (fixtures)
from tests.reconcile_world import booked
from trader.look_thread import VenueLook
from trader.reconcile import Reconciliation
from trader.views import VenueView
from venues.account import LIMIT
from venues.errors import Retry
from venues.venue import Rules

RECONCILE_S = 30.0
CONFIRM_S = 4.0  # balances that lack something are asked for once more


class Watch:
    """A book that is compared as the stage does it, by a clock in the test's hands."""

    def __init__(self, where: House, markets: Callable[[], list[Rules]] | None = None) -> None:
        self.book = Book(where)
        self.house = where
        self.views: list[VenueView] = []
        self.results: list[Reconciliation] = []
        self.passed_s = 0.0
        self._came = threading.Semaphore(0)
        self.look = VenueLook(
            where.account, markets or (lambda: [where.rules]), RECONCILE_S, self.book.clock, self._deliver
        )

    def _deliver(self, view: VenueView) -> None:
        self.views.append(view)
        self._came.release()

    def until(self, over: Callable[[], bool], most_s: float = 300.0) -> float:
        """Lets time pass until something came about; how many seconds that took."""
        self.passed_s = 0.0
        while not over():
            assert self.passed_s < most_s, self.results[-1:]
            if self.look.wants():
                self._check()
            else:
                self.passed_s += 0.5
                self.book.clock.advance(NS_PER_S // 2)
        return self.passed_s

    def _check(self) -> None:
        book = self.book
        book.journal = msgspec.structs.replace(book.journal, market_ms=self.house.venue_clock.wall_ms())
        self.look.begin(book.journal)
        assert self._came.acquire(timeout=30)
        view = self.views[-1]
        result = self.look.judge(book.journal, view)
        self.results.append(result)
        book.journal = booked(book.journal, result)
        if result.agreed:
            book.journal = msgspec.structs.replace(book.journal, since_ms=view.journal.market_ms)

    @property
    def agreed(self) -> bool:
        return bool(self.results) and self.results[-1].agreed


@contextmanager
def watched(where: House, markets: Callable[[], list[Rules]] | None = None) -> Iterator[Watch]:
    watch = Watch(where, markets)
    try:
        yield watch
    finally:
        assert watch.look.close(20)


def test_f8_a_position_sold_by_hand_is_noticed_within_one_check_period(house: House) -> None:  # noqa: F811
    with watched(house) as watch:
        watch.book.send(quantity="0.004")
        watch.until(lambda: watch.agreed)
        watch.book.by_hand("by-hand", quantity=watch.book.whole())
        took_s = watch.until(lambda: bool(watch.results[-1].external))
        assert took_s <= RECONCILE_S + CONFIRM_S
        assert watch.book.held < house.rules.step
        assert watch.until(lambda: watch.agreed and not watch.results[-1].external) <= RECONCILE_S
        assert watch.book.journal.wallet == watch.book.quote()


def test_f9_a_venue_that_cannot_be_reached_is_asked_with_a_back_off_and_trading_waits(house: House) -> None:  # noqa: F811
    with watched(house) as watch:
        watch.book.send(quantity="0.004")
        house.served.fault(kinds.MAINTENANCE)
        went = house.calls("*", "*")
        with pytest.raises(AssertionError):
            watch.until(lambda: watch.agreed, most_s=95.0)
        # after 0, 1, 3, 7, 15, 31, 61, 91 s; two questions each, and where the clock is measured first that one
        assert len(watch.results) == 8 and not any(result.told for result in watch.results)
        assert went() <= 8 * 3
        assert all(view.at_start for view in watch.views)
        house.served.no_faults()
        house.breathe(AN_HOUR_NS)
        assert watch.until(lambda: watch.agreed) <= RECONCILE_S
        assert "submitting before, filled now, 0.004 of 0.004 filled" in watch.results[-1].report[1]


def test_an_order_of_ours_that_nobody_knows_is_cancelled_and_adopted_without_anybody_else(house: House) -> None:  # noqa: F811
    with watched(house) as watch:
        watch.until(lambda: watch.agreed)
        house.served.fault(kinds.PARTIAL_FILLS, share=0.01)
        watch.book.by_hand(our_id(9), "buy", "0.1", LIMIT, price=house.price("0.9999"))
        house.until(lambda: house.booked(our_id(9)).filled > 0)  # type: ignore[union-attr]
        watch.until(lambda: bool(watch.results[-1].orphans))
        order = house.booked(our_id(9))
        assert order is not None and order.status is Status.CANCELED and 0 < order.filled < order.quantity
        assert watch.book.journal.adopted == {our_id(9)}
        assert watch.book.held > 0 and watch.book.held == watch.book.base()


def test_f9_markets_that_cannot_be_asked_for_are_no_crash(house: House) -> None:  # noqa: F811
    away = [Retry("sandbox", "connection refused")] * 3

    def markets() -> list[Rules]:
        if away:
            raise away.pop()
        return [house.rules]

    with watched(house, markets) as watch:
        watch.until(lambda: bool(watch.results))
        assert not watch.agreed
        assert "not agreed: the markets could not be asked for" in watch.results[-1].report[-1]
        watch.until(lambda: watch.agreed)
