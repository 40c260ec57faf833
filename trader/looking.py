"""Where an order is looked for, when, and when it may be called absent. Pure.

It is asked for by its id. Where that finds nothing for as long as `grace_ns` and LOOKS_MIN times, one round decides:
once more by its id, then among the open orders, then behind the latest fills.
"""

from trader.steps import Step
from trader.terms import NS_PER_S

LOOKS_MIN = 3
FIRST_LOOK_S, LAST_LOOK_S = 0.2, 5.0
FRESH_LOOK_S, REST_LOOK_S = 2.0, 30.0  # of a stop that rests at the venue: after news of it, and without
FAILURES_MAX = 3  # questions in a row without an answer, after which it is looked up anew


class Looking:
    """The next question, and what came of the last ones. Times are monotonic nanoseconds."""

    def __init__(self, now_ns: int) -> None:
        self.step = Step.LOOK
        self.at_ns: int | None = now_ns  # None: nothing is to be asked
        self.under_way = False
        self.suspects: list[str] = []  # venue ids of orders behind fills that may be this one
        self._pause_s = FIRST_LOOK_S
        self.news = False  # nudged or taken up at a start, and not answered since
        self._again = self._news_again = False  # nudged, with news, while a question was under way
        self._missing_ns: int | None = None  # since when it is not found
        self._misses = self._failures = 0
        self._decides = False

    @property
    def missing(self) -> bool:
        """Whether the venue does not find it."""
        return self._missing_ns is not None

    def begin(self, step: Step, now_ns: int, grace_ns: int) -> None:
        """A question goes out."""
        self.under_way = True
        if step == Step.LOOK and not self.suspects:
            patient = self._missing_ns is not None and now_ns >= self._missing_ns + grace_ns
            self._decides = patient and self._misses >= LOOKS_MIN - 1

    def ask(self, step: Step, now_ns: int) -> None:
        """The next question, at once."""
        self.step, self.at_ns = step, now_ns

    def later(self, now_ns: int, wait_s: float = 0.0) -> None:
        """The same question after a pause, which grows each time."""
        self.at_ns = now_ns + int(max(self._pause_s, wait_s) * NS_PER_S)
        self._pause_s = min(self._pause_s * 2, LAST_LOOK_S)

    def rest(self, now_ns: int) -> None:
        """Nothing is to happen without news: the same question once more, then seldom."""
        self.at_ns = now_ns + int(max(self._pause_s, FRESH_LOOK_S) * NS_PER_S)
        self._pause_s = REST_LOOK_S

    def soon(self) -> None:
        """Pauses are short again."""
        self._pause_s = FIRST_LOOK_S

    def nudge(self, now_ns: int, news: bool) -> None:
        """At once, and again where a question is under way; `news`: something is waited for."""
        self.soon()
        self.news = self.news or news
        self.at_ns, self._again = now_ns, self.under_way
        self._news_again = self.under_way and (self._news_again or news)

    def answered(self, now_ns: int) -> None:
        """An answer was dealt with."""
        self._failures = 0
        self.news, self._news_again = self._news_again, False
        if self._again and self.at_ns is not None:
            self._again, self.at_ns = False, now_ns

    def failed(self, now_ns: int, wait_s: float) -> None:
        """A question had no answer."""
        self._failures += 1
        if self._failures % FAILURES_MAX == 0:
            self.suspects, self.step = [], Step.LOOK
        self.later(now_ns, wait_s)

    def lose(self, now_ns: int, since_ns: int | None = None) -> None:
        """Nobody knows whether the venue has it. `since_ns`: when it can have been sent at the latest, else now."""
        self._missing_ns, self._misses = now_ns if since_ns is None else min(since_ns, now_ns), 0
        self.soon()
        self.ask(Step.LOOK, now_ns)

    def find(self) -> None:
        """The venue tells of it."""
        self._missing_ns, self._misses, self.suspects, self.step = None, 0, [], Step.LOOK

    def miss(self, now_ns: int, grace_ns: int) -> None:
        """Its id found nothing: the round goes on where it decides, else there is another one later."""
        if self._missing_ns is None:
            self._missing_ns = now_ns
        self._misses += 1
        if self._decides:
            self.ask(Step.OPEN, now_ns)
            return
        ends_ns = self._missing_ns + grace_ns
        later_ns = now_ns + int(self._pause_s * NS_PER_S)
        self.at_ns = min(later_ns, ends_ns) if ends_ns > now_ns else later_ns
        self._pause_s = min(self._pause_s * 3, LAST_LOOK_S)

    def end(self, at_ns: int | None) -> None:
        """It is over; looked up once more at a time, or not at all."""
        self._missing_ns, self.step, self.at_ns = None, Step.LOOK, at_ns
