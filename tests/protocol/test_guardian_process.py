"""The guardian as a process of its own at the sandbox, for each protocol; the test stands for the trader.

The account holds coin of the user's own besides, which must stay: a balance alone would not stop a second sale.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core import paths
from core.clock import LiveClock, boot_id
from core.lease import LeaseWriter, Position, read_claim
from core.lock import holder
from core.money import plain, steps_down
from core.settings import Settings
from core.settings_load import from_texts
from sandbox import faults as kinds
from sandbox.exchange.orders import Order
from tests.protocol.account_house import WAYS, Served
from tests.up_helpers import short_folder
from venues.account import BUY, MARKET, NewOrder
from venues.choose import account, market_data

LEASE_S = 1.0
OWN = Decimal(3)
EXITS = tuple(f"scalp{letter * 11}" for letter in "abcde")


class Guarded:
    """The sandbox, a position bought at it, a lease in the test's hands, and guardians."""

    def __init__(self, folder: Path, protocol: str) -> None:
        self.clock = LiveClock()
        self.served = Served(protocol, self.clock, self.clock.wall_ms() - 4_000_017)
        self.ways = WAYS[protocol]
        self._folder = folder
        self._environment = {
            "VENUE": "sandbox",
            "SIMULATION_MODE": "false",
            "LIVE_CONFIRM": "yes",
            "SANDBOX_PROTOCOL": protocol,
            "SANDBOX_PORT": str(self.served.port),
            "VAR_DIR": str(folder),
            "LEASE_SECONDS": str(LEASE_S),
        }
        settings: Settings = from_texts(self._environment)
        self.account = account(settings, self.clock)
        self.market = market_data(settings, self.clock)
        self.run_dir = paths.run_dir(folder)
        now_ns = self.clock.monotonic_ns()
        self.lease = LeaseWriter(self.run_dir, paths.book_name(settings), LEASE_S, now_ns, boot_id())
        self.position: Position | None = None
        self.guardians: list[subprocess.Popen[bytes]] = []

    def buy(self) -> None:
        """A position of 0.01, less the fee where it is taken in the coin; and coin that is none of ours."""
        rules = asyncio.run(self.market.markets())
        self.rules = next(one for one in rules if one.base == "BTC" and one.quote == "USDT")
        before = self.free()
        self.account.create(NewOrder(self.rules, "scalpbought0000000", BUY, MARKET, Decimal("0.01")))
        self.wait(lambda: not self.booked("scalpbought0000000")[0].status.working, "it is bought")
        lots = steps_down(self.free() - before, self.rules.step)
        self.served.deposit("BTC", str(OWN))
        price = float(self.last_price())
        self.position = Position(
            pair=self.rules.pair,
            key=EXITS[0],
            base="BTC",
            quantity=plain(lots * self.rules.step),
            step=plain(self.rules.step),
            highest=price,
            keep=0.5,
            price_ns=self.clock.wall_ns(),
            exit_ids=EXITS[:4],
        )

    def free(self) -> Decimal:
        return sum((one.free for one in self.account.balances() if one.currency == "BTC"), Decimal(0))

    def last_price(self) -> Decimal:
        return Decimal(str(asyncio.run(self.market.recent_trades(self.rules)).trades[-1].price))

    def renew(self, seconds: float = 0.0, *, through: bool = False) -> None:
        """The trader lives for a while; `through`: the last lease has its stop above the market."""
        end = time.monotonic() + seconds
        position = self.position
        assert position is not None
        if through:
            position = msgspec.structs.replace(position, keep=1.0, highest=position.highest * 1.2)
        while True:
            self.lease.renew(self.clock.monotonic_ns(), (position,), acts=True)
            if time.monotonic() >= end:
                return
            time.sleep(0.1)

    def guard(self) -> int:
        """Starts a guardian; its process."""
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        with (self._folder / "guardian.log").open("ab") as log:
            made = subprocess.Popen(
                [sys.executable, "-m", "guardian"],
                cwd=paths.ROOT,
                env=environment | self._environment,
                stdout=log,
                stderr=log,
            )
        self.guardians.append(made)
        self.wait(lambda: holder(self.run_dir, "guardian") == made.pid, "the guardian runs")
        return made.pid

    @property
    def log(self) -> str:
        return (self._folder / "guardian.log").read_text()

    def booked(self, *ids: str) -> list[Order]:
        """Orders of the exchange's own books with these ids, all of them."""
        found: list[Order] = self.served.within(lambda: self.served.exchange.orders("sandbox", limit=1000))
        return [one for one in found if one.client_id in ids]

    def sells(self) -> list[Order]:
        return self.booked(*EXITS)

    def flat(self) -> bool:
        """Whether all of the position was sold."""
        assert self.position is not None
        sold = sum((one.filled for one in self.sells()), Decimal(0))
        return sold == Decimal(self.position.quantity)

    def claimed(self) -> bool:
        claim = read_claim(self.run_dir)
        return claim is not None and bool(claim.sales)

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not within {seconds:g} s: {what}\n{self.log if self.guardians else ''}"
            time.sleep(0.03)

    def close(self) -> None:
        for one in self.guardians:
            if one.poll() is None:
                one.kill()
            one.wait(20)
        self.lease.close()
        self.account.close()
        self.market.close()
        self.served.close()


@pytest.fixture(params=WAYS)
def guarded(request: pytest.FixtureRequest) -> Iterator[Guarded]:
    with short_folder() as folder:
        made = Guarded(folder, request.param)
        try:
            made.buy()
            yield made
        finally:
            made.close()


def test_the_trader_is_dead_and_the_price_through_the_stop_so_it_is_sold_once_and_no_more(guarded: Guarded) -> None:
    guarded.renew()
    guarded.guard()
    guarded.renew(2.0)
    assert guarded.sells() == []
    assert guarded.free() >= OWN
    guarded.renew(through=True)
    guarded.wait(guarded.flat, "flat within the lease and 5 s", LEASE_S + 5)
    guarded.wait(lambda: not guarded.claimed(), "the claim is given back")
    time.sleep(1.5)
    assert guarded.position is not None
    assert [(one.client_id, one.quantity) for one in guarded.sells()] == [
        (EXITS[0], Decimal(guarded.position.quantity))
    ]
    assert OWN <= guarded.free() < OWN + guarded.rules.step
    # the trader is back: it asks for the exit that it would have sent, and finds it
    guarded.renew()
    found = guarded.account.order(guarded.rules, EXITS[0])
    assert found is not None and found.filled == Decimal(guarded.position.quantity)
    assert "sold" in guarded.log and "Traceback" not in guarded.log


@pytest.mark.parametrize("fault", [kinds.DROPPED_REPLY, kinds.LOST_REQUEST])
def test_an_answer_that_is_lost_is_looked_up_and_nothing_is_sold_twice(guarded: Guarded, fault: str) -> None:
    number = guarded.served.fault(fault, path=guarded.ways.create, method="POST", times=1)
    guarded.renew(through=True)
    guarded.guard()
    guarded.wait(guarded.flat, "flat", 60)
    assert guarded.served.struck(number) == 1
    assert len(guarded.sells()) == 1
    assert OWN <= guarded.free() < OWN + guarded.rules.step


def test_killed_in_the_middle_of_its_sale_the_next_one_does_not_sell_again(guarded: Guarded) -> None:
    number = guarded.served.fault(kinds.LATENCY, path=guarded.ways.create, method="POST", ms=1_500)
    guarded.renew(through=True)
    first = guarded.guard()
    guarded.wait(lambda: guarded.served.struck(number) == 1, "the order is on its way")
    os.kill(first, signal.SIGKILL)
    assert guarded.claimed()
    guarded.guardians[0].wait(10)
    guarded.guard()
    guarded.wait(guarded.flat, "flat", 60)
    guarded.wait(lambda: not guarded.claimed(), "the claim is given back")
    assert len(guarded.sells()) == 1
    assert OWN <= guarded.free() < OWN + guarded.rules.step
    assert "a guardian before this one was selling" in guarded.log


def test_in_simulation_it_is_not_called_for(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "VAR_DIR": str(tmp_path), "SIMULATION_MODE": "true"}
    done = subprocess.run(
        [sys.executable, "-m", "guardian"], cwd=paths.ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "SIMULATION_MODE=true" in done.stdout + done.stderr
