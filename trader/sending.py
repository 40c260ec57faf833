"""An order until the venue has it: how much of it is sent, by which rules, and whether once more. Pure."""

from decimal import Decimal

from core.money import order_quantity, plain, price_on_tick
from trader.steps import Step, Task
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
        self.note = ""  # of what a refusal made of it
        self.why_unsent = ""
        self.no_more = ""  # why it may not be sent again, should it turn out that it was not taken
        self.refusal = ""  # the venue's words, and what was found besides
        self.lacks = False  # too little is free for any order
        self.asks = [Step.RULES] if task.entry or task.stop is not None else [Step.BALANCE, Step.RULES]
        self._near = task.near
        self._tries = 0

    def refused(self, words: str) -> bool:
        """The venue refused it: whether there is something left to ask that may make another order of it."""
        self.refusal = words
        return bool(self.asks)

    def resize(self, rules: Rules | None, free: Decimal | None, now_ns: int) -> bool:
        """The answer to the first of `asks`, None for none: whether it is sent once more, as another order.

        `free`: what can be sold; None where that was not asked for. `refusal` says why nothing is left to ask.
        """
        self.asks.pop(0)
        if self.no_more:
            self.asks.clear()
        if rules is None or self.no_more or (free is not None and free >= self.quantity):
            return False
        price = None if self.price is None else price_on_tick(self.price, rules.tick, up=False)
        quantity = order_quantity(
            self.quantity if free is None else min(self.quantity, free),
            price or self._near,
            rules.step,
            min_quantity=rules.min_quantity,
            min_notional=rules.min_notional,
            max_quantity=rules.max_quantity,
        )
        if (quantity, price) == (self.quantity, self.price):
            return False
        before = plain(self.quantity)
        if not quantity:
            by_rules = "by the market's rules of now it is too small"
            by_free = (
                "" if free is None else f"{plain(free)} {rules.base} are free of {before}: too little for an order"
            )
            self.refusal = f"{self.refusal}; {by_free or by_rules}"
            self.lacks = bool(by_free)
            self.asks.clear()
            return False
        why = "by the market's rules of now" if free is None else f"as {plain(free)} {rules.base} are free"
        self.note = f"{plain(quantity)} in place of {before}, {why}"
        self.quantity, self.price, self.at_ns = quantity, price, now_ns
        return True

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
