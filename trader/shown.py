"""What people see of the pairs, published as it changes: those that look other than before, all of them each second."""

from collections.abc import Callable, Sequence

import msgspec

from bus.messages import Status
from trader.engine import Engine
from trader.status import Common, common_of, feed_of, own_of, status_of, status_without_market

_encode = msgspec.msgpack.Encoder().encode


class Shown:
    """`send` publishes one status; `wanted` are the pairs of the settings."""

    def __init__(self, engine: Engine, wanted: Sequence[str], send: Callable[[Status], object]) -> None:
        self._engine = engine
        self._wanted = wanted
        self._send = send
        self._shown: dict[str, Status] = {}
        self._own: dict[str, tuple[object, ...] | None] = {}  # what the idle pairs among them depended on
        self._common: Common | None = None
        self._turns = 0
        self._a_second = 1  # of them

    def turn(self, follow_mode: str, turns_a_second: int) -> None:
        """Shows what has changed, and a part of the rest."""
        self._turns += 1
        self._a_second = turns_a_second
        self.show(follow_mode)

    def show(self, follow_mode: str, *, everything: bool = False) -> None:
        """Publishes the pairs that look other than before, and in turn a part of the rest: all of them each second."""
        engine = self._engine
        feed = feed_of(follow_mode)
        common = common_of(engine, feed)
        everything = everything or common != self._common
        self._common = common
        turn = self._turns % self._a_second
        for place, pair in enumerate(engine.sync().pairs.values()):
            own = own_of(pair)
            due = everything or place % self._a_second == turn
            if not due and own is not None and self._own.get(pair.pair) == own:
                continue
            self._own[pair.pair] = own
            self._show_one(status_of(engine, pair, feed), due)
        for name in self._unnamed():
            self._show_one(status_without_market(engine, name, feed), everything or turn == 0)

    def _show_one(self, status: Status, due: bool) -> None:
        before = self._shown.get(status.pair)
        if due or before is None or _looks_other(before, status):
            self._shown[status.pair] = status
            self._send(status)

    def _unnamed(self) -> list[str]:
        """Pairs of the settings that no START has named yet."""
        state = self._engine.state
        wanted = self._wanted if state.start is None else ()
        return [name for name in wanted if name not in state.pairs]

    def _statuses(self, follow_mode: str) -> list[Status]:
        engine = self._engine
        feed = feed_of(follow_mode)
        found = [status_of(engine, pair, feed) for pair in engine.sync().pairs.values()]
        return found + [status_without_market(engine, name, feed) for name in self._unnamed()]

    def snapshot(self, follow_mode: str) -> bytes:
        """All of them, as they are now."""
        return _encode(self._statuses(follow_mode))


def _looks_other(one: Status, other: Status) -> bool:
    """Whether a person would see a difference, place and time of the last trade aside."""
    if (one.status, one.mode, one.feed, one.blocked) != (other.status, other.mode, other.feed, other.blocked):
        return True
    return (one.unrealized, one.quantity, one.highest, one.wallet_quote, one.realized) != (
        other.unrealized,
        other.quantity,
        other.highest,
        other.wallet_quote,
        other.realized,
    )
