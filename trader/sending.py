"""An order until the venue has it: how much of it is sent, by which rules, and whether once more. Pure."""

from decimal import Decimal

from core.money import order_quantity, plain, price_on_tick
from trader.steps import Task
from trader.terms import NS_PER_S
from venues.errors import RateLimited, Retry
from venues.venue import Rules

TRIES_MAX = 100
FIRST_WAIT_S, LAST_WAIT_S = 0.2, 5.0


class Sending:
    """What is sent; `at_ns` is when. Where a method gives words, the order ends by them."""

    def __init__(self, task: Task, now_ns: int) -> None:
        self.quantity = task.lots * task.step
        self.price = task.price
        self.at_ns = now_ns
        self.resized = False
        self.note = ""  # of what new rules, or the balance, made of it
        self.why_unsent = ""
        self.no_more = ""  # why it may not be sent again, should it turn out that it was not taken
        self.refusal = ""  # the venue's words, while rules and balance are read anew
        self._near = task.near
        self._tries = 0

    def anew(self, rules: Rules | None, free: Decimal | None, now_ns: int) -> str:
        """After a refusal: once more as the rules of now have it, and for no more than is `free` (None: not asked for).

        Words where they make no other order of it.
        """
        if rules is None or self.no_more:
            return self.refusal
        price = None if self.price is None else price_on_tick(self.price, rules.tick, up=False)
        short = free is not None and free < self.quantity
        quantity = order_quantity(
            free if free is not None and short else self.quantity,
            price or self._near,
            rules.step,
            min_quantity=rules.min_quantity,
            min_notional=rules.min_notional,
            max_quantity=rules.max_quantity,
        )
        if (quantity, price) == (self.quantity, self.price):
            return self.refusal
        why = (
            f"as {plain(free)} {rules.base} are free" if free is not None and short else "by the market's rules of now"
        )
        if not quantity:
            return f"{self.refusal}; {why} it is too small"
        self.note = f"{plain(quantity)} in place of {plain(self.quantity)}, {why}"
        self.quantity, self.price, self.resized, self.at_ns = quantity, price, True, now_ns
        return ""

    def again(self, error: Retry, now_ns: int) -> str:
        """It was certainly not taken: once more, later; words where that is enough."""
        self._tries += 1
        if self.no_more:
            return f"not sent: {self.no_more}"
        if self._tries >= TRIES_MAX:
            return f"not sent in {self._tries} tries: {error.text}"
        wait_s = min(FIRST_WAIT_S * 2.0 ** min(self._tries - 1, 10), LAST_WAIT_S)
        if isinstance(error, RateLimited):
            wait_s = max(wait_s, error.retry_after_s)
        self.at_ns, self.why_unsent = now_ns + int(wait_s * NS_PER_S), error.text
        return ""
