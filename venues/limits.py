"""Token buckets: how long to wait so that no more goes to a venue than it allows, with a share kept for exits.

Nothing is booked before it may go out: an exit therefore never queues behind calls that are still waiting. In any
stretch of t seconds at most `burst + rate * t` goes out, so a venue's "N in a window of W seconds" is kept with
burst + rate * W <= N. Exits go beyond it where the venue itself says that they may.

* Ordinary calls leave the share kept for exits alone; urgent ones may use all of it.
* Ordinary calls wait in line: a newcomer does not overtake them.
* A call that costs of several limits waits for all of them and books all at once.
* After a ban the buckets begin almost empty: the first call after it goes alone.
* A limit may be shared with other processes (`venues.shared`): what they used counts as our own.
* Where a venue refuses for one limit, nothing is left of it: who comes next waits until what its call costs fits.
* What a venue says is left in its running window (which others use up too) holds until that window ends: ordinary
  calls leave a share of it alone, urgent ones go by it alone, as far as the venue lets them.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from core.clock import NS_PER_S
from venues.shared import SharedUse, Used


class Limit(msgspec.Struct, frozen=True):
    """`rate_per_s` on average, `burst` at once; of the burst the part `kept_for_exits` (0 to 1) is for urgent calls."""

    rate_per_s: float
    burst: float
    kept_for_exits: float = 0.0


class Left(NamedTuple):
    """What a venue says is left in its running window: `amount`, of which ordinary calls leave `kept` for urgent ones;
    the window ends in `ends_s` seconds at the latest."""

    amount: float
    kept: float
    ends_s: float


class Limits:
    """Buckets by name, safe to use from several threads. Times are monotonic nanoseconds.

    `shared`: by name, where the use of a limit by all processes is kept.
    """

    def __init__(self, limits: Mapping[str, Limit], shared: Mapping[str, SharedUse] | None = None) -> None:
        self._buckets = {name: _Bucket(limit) for name, limit in limits.items()}
        self._shared = dict(shared or {})
        self._lock = threading.Lock()

    def take(
        self,
        costs: Mapping[str, float],
        now_ns: int,
        *,
        urgent: bool = False,
        in_line: bool = False,
        patience_s: float = float("inf"),
    ) -> tuple[float, str]:
        """Books and answers (0, ""), or books nothing and answers the seconds to wait and the limit that they are for.

        Who waits asks again after that time, with `in_line`. A wait beyond `patience_s` gets no place in the line.
        Costs of names that are no limits are ignored.
        """
        with self._current(now_ns):
            wanted = [(name, self._buckets[name], cost) for name, cost in costs.items() if name in self._buckets]
            waits = [(bucket.wait_s(cost, now_ns, urgent, in_line), name) for name, bucket, cost in wanted]
            wait_s, name = max(waits, default=(0.0, ""))
            if wait_s <= 0:
                for _, bucket, cost in wanted:
                    bucket.book(cost, now_ns, urgent)
                return 0.0, ""
            if not urgent and not in_line and wait_s <= patience_s:
                for _, bucket, cost in wanted:
                    bucket.line_up(cost, wait_s, now_ns)
            return wait_s, name

    def lacks_s(self, name: str, amount: float, now_ns: int) -> float:
        """Seconds until so much is there for urgent calls; 0: it is. Books nothing."""
        with self._current(now_ns):
            return self._buckets[name].wait_s(amount, now_ns, True, True) if name in self._buckets else 0.0

    def spend(self, costs: Mapping[str, float], now_ns: int) -> None:
        """Books what went out without asking for room: never below nothing, for the venue had room for it."""
        with self._current(now_ns):
            for name, cost in costs.items():
                if name in self._buckets:
                    bucket = self._buckets[name]
                    bucket.refill(now_ns)
                    bucket.level = min(bucket.level, max(0.0, bucket.level - cost))

    def told(self, left: Mapping[str, float | Left], now_ns: int) -> None:
        """What the venue says is left of its limits (others may use the same ones): never more than that is used.

        A number is what is left of a limit that refills as our bucket does.
        """
        with self._current(now_ns):
            for name, amount in left.items():
                if name in self._buckets:
                    self._buckets[name].told(amount, now_ns)

    def change(self, limits: Mapping[str, Limit]) -> None:
        """Other limits under the same names; what was used of the old ones stays used, what is left is told anew."""
        with self._lock:
            for name, limit in limits.items():
                if name in self._buckets:
                    self._buckets[name].change(limit)

    def block(self, now_ns: int, until_ns: int, name: str = "") -> None:
        """Nothing that costs of the limit (of any where `name` is empty) before then, and little just after.

        With a name: it is used up now, and what comes back of it until then is all that there is.
        """
        with self._current(now_ns):
            for own, bucket in self._buckets.items():
                if name == own:
                    bucket.empty(now_ns)
                if name in ("", own):
                    bucket.block(until_ns)

    @contextlib.contextmanager
    def _current(self, now_ns: int) -> Iterator[None]:
        """The buckets as all processes have used them, for this thread alone."""
        with self._lock, contextlib.ExitStack() as stack:
            files = {name: stack.enter_context(use.locked()) for name, use in self._shared.items()}
            for name, file in files.items():
                found = None if file is None else file.read(now_ns)
                if found is not None:
                    self._buckets[name].use = found
            yield
            for name, file in files.items():
                if file is not None:
                    file.write(self._buckets[name].use)


class _Bucket:
    """One limit. `level` is what is left of it, `line_ns` when the last of those in line is due."""

    __slots__ = ("_at_ns", "_left", "_limit", "_window_ns", "blocked_ns", "level", "line_ns")

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self.level = limit.burst
        self.line_ns = 0
        self.blocked_ns = 0
        self._at_ns = 0
        self._left = Left(0.0, 0.0, 0.0)  # by the venue's word, less what was booked since
        self._window_ns = 0  # when that ends to hold

    @property
    def kept(self) -> float:
        return self._limit.burst * self._limit.kept_for_exits

    @property
    def use(self) -> Used:
        return Used(max(0.0, self._limit.burst - self.level), self._at_ns)

    @use.setter
    def use(self, used: Used) -> None:
        self.level, self._at_ns = self._limit.burst - used.amount, used.at_ns

    def told(self, left: float | Left, now_ns: int) -> None:
        self.refill(now_ns)
        if isinstance(left, Left):
            self._left, self._window_ns = left, now_ns + int(left.ends_s * NS_PER_S)
        else:
            self.level = min(self.level, left)

    def change(self, limit: Limit) -> None:
        if limit == self._limit:
            return
        self._window_ns = 0
        self.level = max(limit.burst - (self._limit.burst - self.level), min(self.level, 0.0))
        self._limit = limit

    def book(self, cost: float, now_ns: int, urgent: bool) -> None:
        after = self.level - cost
        if self._by_its_word(now_ns, urgent):
            after = max(after, min(self.level, 0.0))  # no debt that would be waited for later
        self.level = after
        self._left = self._left._replace(amount=self._left.amount - cost)

    def _by_its_word(self, now_ns: int, urgent: bool) -> bool:
        """Whether a call goes by what the venue said is left, whatever our own bucket holds."""
        return urgent and now_ns < self._window_ns

    def refill(self, now_ns: int) -> None:
        if now_ns <= self._at_ns:
            return
        if self._at_ns:
            gained = (now_ns - self._at_ns) * self._limit.rate_per_s / NS_PER_S
            self.level = min(self._limit.burst, self.level + gained)
        self._at_ns = now_ns

    def wait_s(self, cost: float, now_ns: int, urgent: bool, in_line: bool) -> float:
        self.refill(now_ns)
        blocked_s = max(0, self.blocked_ns - now_ns) / NS_PER_S
        floor = 0.0 if urgent else self.kept
        needed = min(cost + floor, self._limit.burst)  # what costs more than the burst waits for a full bucket
        missing_s = max(0.0, needed - self.level - 1e-9) / self._limit.rate_per_s
        if self._by_its_word(now_ns, urgent):
            missing_s = 0.0
        window_s = 0.0
        if now_ns < self._window_ns and self._left.amount - (0.0 if urgent else self._left.kept) < cost:
            window_s = (self._window_ns - now_ns) / NS_PER_S
        line_s = 0.0
        if not urgent and not in_line and self.line_ns > now_ns:
            line_s = (self.line_ns - now_ns) / NS_PER_S + cost / self._limit.rate_per_s
        return max(blocked_s, missing_s, window_s, line_s)

    def line_up(self, cost: float, wait_s: float, now_ns: int) -> None:
        own_ns = int((cost / self._limit.rate_per_s) * NS_PER_S)
        self.line_ns = max(self.line_ns + own_ns if self.line_ns > now_ns else 0, now_ns + int(wait_s * NS_PER_S))

    def empty(self, now_ns: int) -> None:
        self.refill(now_ns)
        self.level = min(self.level, 0.0)

    def block(self, until_ns: int) -> None:
        self.refill(until_ns)  # time that passes in a ban fills nothing beyond the line below
        self.blocked_ns = max(self.blocked_ns, until_ns)
        self.level = min(self.level, self.kept + 1.0)
