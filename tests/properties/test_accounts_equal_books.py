"""Whatever is ordered, cancelled and traded, in whatever order: at the end each Account tells what the books say."""

from decimal import Decimal
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import faults as kinds
from tests.protocol.account_house import WAYS, House, house_of
from venues.account import IOC, LIMIT, MARKET, POST_ONLY, STOP
from venues.errors import OutcomeUnknown, Rejected

KINDS = {"coindcx": (MARKET, LIMIT), "binance": (MARKET, LIMIT, IOC, POST_ONLY, STOP), "kraken": ()}
KINDS["kraken"] = KINDS["binance"]


class Create(NamedTuple):
    kind: int  # which of the venue's, going round
    side: str
    quantity: Decimal
    away_bps: int  # from the last price, and upwards
    fault: str


class Cancel(NamedTuple):
    place: int  # of the order among all so far, from the newest, going round


class Step(NamedTuple):
    ms: int


CREATES = st.builds(
    Create,
    st.integers(0, 4),
    st.sampled_from(["buy", "sell"]),
    st.integers(1, 20_000).map(lambda units: Decimal(units) / 100_000),
    st.integers(-30, 30),
    st.sampled_from(["", "", "", kinds.DROPPED_REPLY, kinds.LOST_REQUEST, kinds.LATE_REJECTION]),
)
CANCELS = st.builds(Cancel, st.integers(0, 9))
STEPS = st.builds(Step, st.integers(0, 20_000))
SHARES = st.sampled_from([1.0, 0.1, 0.01])


def create(house: House, number: int, wanted: Create) -> None:
    """Sends one order; that it is refused, or its answer lost, is part of the game."""
    kind = KINDS[house.protocol][wanted.kind % len(KINDS[house.protocol])]
    price = house.price(str(1 + Decimal(wanted.away_bps) / 10_000))
    side = "sell" if kind == STOP else wanted.side
    order = house.order(
        f"h{number}",
        kind,
        str(wanted.quantity),
        side=side,
        price=None if kind in (MARKET, STOP) else price,
        stop_price=price if kind == STOP else None,
    )
    if wanted.fault == kinds.LATE_REJECTION:
        house.served.fault(wanted.fault, ms=500, times=1)
    elif wanted.fault:
        house.served.fault(wanted.fault, path=house.ways.create, method="POST", times=1)
    try:
        house.account.create(order)
    except (Rejected, OutcomeUnknown) as error:
        booked = house.booked(order.client_order_id)
        assert booked is None or isinstance(error, OutcomeUnknown), "what was refused is in the books"


def cancel(house: House, names: list[str], wanted: Cancel) -> None:
    name = names[-1 - wanted.place % len(names)]
    booked = house.booked(name)
    try:
        house.account.cancel(house.rules, name)
    except Rejected:
        assert booked is None or not house.booked(name).status.working  # type: ignore[union-attr]


@pytest.mark.parametrize("protocol", WAYS)
@settings(max_examples=12, suppress_health_check=list(HealthCheck), deadline=None)
@given(actions=st.lists(CREATES | CANCELS | STEPS, min_size=3, max_size=14), share=SHARES)
def test_orders_fills_and_balances_told_are_those_of_the_books(
    protocol: str, actions: list[Create | Cancel | Step], share: float
) -> None:
    with house_of(protocol) as house:
        house.deposit("BTC", "0.3")
        house.served.fault(kinds.PARTIAL_FILLS, share=share)
        names: list[str] = []
        for action in actions:
            if isinstance(action, Create):
                names.append(f"h{len(names)}")
                create(house, len(names) - 1, action)
            elif isinstance(action, Step):
                house.step(action.ms)
            elif names:
                cancel(house, names, action)
        house.step(1)
        house.agree()
        held = {order.client_id for order in house.all_booked()}
        for name in names:
            assert (house.account.order(house.rules, name) is not None) is (name in held)
