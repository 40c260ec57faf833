"""What is told of one order: only what the table of states lets be; the rest is for a person to hear. Pure."""

from collections.abc import Iterable

from trader.broker import BrokerEvent
from trader.orders import TABLE, OrderNews, OrderState, advance
from trader.steps import Out, Say

SAID_MAX = 20  # texts for a person, each once


class Telling:
    """The order's state as the fold has it, as far as it goes by what was told."""

    def __init__(self, order_id: str, state: OrderState = OrderState.SUBMITTING) -> None:
        self._order_id = order_id
        self._state = state
        self._said: set[str] = set()

    def may(self, news: OrderNews) -> bool:
        """Whether the order can be this now."""
        return (self._state, news) in TABLE

    def follow(self, news: OrderNews) -> None:
        """The fold itself made it so."""
        if self.may(news):
            self._state = advance(self._state, news)

    def tell(self, events: Iterable[BrokerEvent], venue_order_id: str) -> list[Out]:
        """The events that can be, with the venue's id."""
        out: list[Out] = []
        for event in events:
            if not self.may(event.news):
                out += self.once("error", f"it is {self._state}, and now {event.news}")
                continue
            self.follow(event.news)
            out.append(event._replace(venue_order_id=event.venue_order_id or venue_order_id))
        return out

    def once(self, level: str, text: str) -> list[Out]:
        """Words for a person, each once."""
        if text in self._said or len(self._said) >= SAID_MAX:
            return []
        self._said.add(text)
        return [Say(level, f"order {self._order_id}: {text}")]
