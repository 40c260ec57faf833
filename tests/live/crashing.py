"""The trader stage in a process of its own that kills itself (SIGKILL) at a numbered point of an order's way.

    python -m tests.live.crashing '{"texts": ..., "run_dir": ..., "path": ..., "point": "3", "purpose": "entry"}'

    1 before the intent is journalled    4 after the reply was read
    2 after the intent is on the disk    5 after the venue filled, before that is journalled
    3 after the request was written      6 after the fill is on the disk

Of the cancel of a stop that rests there: its intent and request, and its end in place of the fill. No point: it runs
on. The journal and the connection are wrapped where they touch disk and network.
"""

import http.client
import json
import logging
import os
import signal
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from bus.messages import FillEvent, OrderEvent, TraderEvent
from core.clock import LiveClock
from core.loop import PollLoop
from core.settings_load import from_texts
from core.stage import Context
from tests.live.brisk import BRISK
from trader import app, desk, journal
from venues.account import Account, NewOrder, Order
from venues.choose import account

POINTS = {
    "1": "before the intent",
    "2": "after the intent",
    "3": "after the request",
    "4": "after the reply",
    "5": "after the fill",
    "6": "after the record",
}
STOP, CANCEL = "stop", "cancel"  # an exit that rests at the venue, and its cancel
PURPOSES = {"entry": "buy", "exit": "sell", "stop": STOP, "cancel": CANCEL}  # what `Trap` calls each purpose


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Trap:
    """Where the process ends. Intents are told apart as buy, sell, stop and cancel; ends as buy, sell and cancel."""

    def __init__(self, point: str, purpose: str) -> None:
        self.point = point
        self.wanted = PURPOSES.get(purpose, "")

    def meets(self, point: str, what: str) -> None:
        """The process is at a point of such an order."""
        if point == self.point and what == self.wanted:
            die()

    def intent(self, event: TraderEvent) -> str:
        """What the order is whose intent this is, or ''."""
        if not isinstance(event, OrderEvent):
            return ""
        if event.type == STOP and event.status == "cancelling":
            return CANCEL
        if event.status != "submitting":
            return ""
        return STOP if event.type == STOP else event.side

    def end(self, event: TraderEvent) -> str:
        """The side of the fill that this is, CANCEL where a stop is over without one, or ''."""
        if isinstance(event, OrderEvent) and event.type == STOP and event.status == "cancelled":
            return CANCEL
        return event.side if isinstance(event, FillEvent) else ""

    def before(self, event: TraderEvent) -> None:
        """An event is about to be journalled."""
        self.meets("1", self.intent(event))
        self.meets("5", self.end(event))

    def after(self, event: TraderEvent) -> None:
        """An event is on the disk."""
        self.meets("2", self.intent(event))
        self.meets("6", self.end(event))


def trapped_journal(trap: Trap) -> None:
    """Points 1, 2, 5 and 6: around what the journal is given, and around its commit."""
    commit = journal._commit

    class Trapped(journal.Journal):
        def append(self, events: list[TraderEvent], state: bytes, *, checkpoint: bool = False) -> None:
            for event in events:
                trap.before(event)
            super().append(events, state, checkpoint=checkpoint)

    def committed(connection: sqlite3.Connection, batch: list[Any]) -> None:
        commit(connection, batch)
        for one in batch:
            for entry in one.entries:
                trap.after(entry.event)

    app.Journal = Trapped  # type: ignore[misc]
    journal._commit = committed


def trapped_account(trap: Trap, path: str) -> None:
    """Points 3 and 4: between the request's last byte and its answer, and after the answer."""
    under_way = threading.local()
    getresponse = http.client.HTTPConnection.getresponse

    class Trapped:
        def __init__(self, inner: Account) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def create(self, new: NewOrder) -> Order:
            under_way.what = STOP if new.kind == STOP else new.side
            order = self._inner.create(new)
            trap.meets("4", under_way.what)
            under_way.what = ""
            return order

        def cancel(self, *which: Any) -> None:
            under_way.what = CANCEL
            self._inner.cancel(*which)
            trap.meets("4", CANCEL)
            under_way.what = ""

    def awaited(self: http.client.HTTPConnection) -> http.client.HTTPResponse:
        if str(getattr(self, "asked", "")).startswith(path):
            trap.meets("3", getattr(under_way, "what", ""))
        return getresponse(self)

    putrequest = http.client.HTTPConnection.putrequest

    def asked(self: http.client.HTTPConnection, method: str, url: str, *more: Any, **options: Any) -> None:
        self.asked = f"{method} {url}"  # type: ignore[attr-defined]
        putrequest(self, method, url, *more, **options)

    http.client.HTTPConnection.putrequest = asked  # type: ignore[method-assign]
    http.client.HTTPConnection.getresponse = awaited  # type: ignore[method-assign]
    desk.account = lambda *arguments, **options: Trapped(account(*arguments, **options))  # type: ignore[assignment]


def main(wanted: dict[str, Any]) -> None:
    """Runs the stage until it is killed, or told to stop by TERM."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in BRISK.items():
            patch.setattr(name, value)
        run(wanted)


def run(wanted: dict[str, Any]) -> None:
    trap = Trap(wanted["point"], wanted["purpose"])
    trapped_journal(trap)
    trapped_account(trap, wanted["path"])
    clock = LiveClock()
    context = Context("trader", from_texts(wanted["texts"]), clock, logging.getLogger("trader"))
    context.run_dir = Path(wanted["run_dir"])
    context.loop = PollLoop(clock)
    app.build(context)
    signal.signal(signal.SIGTERM, lambda *_: context.loop.stop())
    context.loop.run()
    context.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
