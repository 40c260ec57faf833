"""Server-sent events: each payload is encoded once per tick and the same bytes go to every client.

Every event carries the whole latest state of its kind, not a difference. So a client needs no queue: one that is slow
or was away is given the newest, and a reconnect resumes by itself. Kinds: `tick` (one pair, at most 7 Hz), `health`
(stages, sums, notices; once a second and when it changed), `logs` (the last events; when they changed).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

GAP_SECONDS = 0.15  # between two events of a kind, so that a page draws at most 7 times a second
SHOW_SECONDS = 0.5  # looked at this often even when nothing came in
IDLE_SECONDS = 1.0  # something is sent this often even when nothing moves, so that a dead link shows
MAX_CLIENTS = 32
RETRY_MS = 1000


class Slot:
    """The latest event of one kind, ready to send."""

    __slots__ = ("data", "number", "sent_ns", "version")

    def __init__(self) -> None:
        self.number = 0  # grows with each encoding
        self.data = b""
        self.version = -1  # of the state it shows
        self.sent_ns = 0


class Broadcaster:
    """Encodes what changed, once, and wakes the clients."""

    def __init__(self, boot_ms: int) -> None:
        self.boot_ms = boot_ms
        self.slots: dict[str, Slot] = {}
        self.watched: dict[str, int] = {}  # pair: clients
        self.clients = 0
        self.closed = False
        self.joined: Callable[[], object] = lambda: None  # called as a client comes
        self._wake = asyncio.Event()
        self._encode = msgspec.json.Encoder().encode

    def publish(
        self, key: str, kind: str, version: int, now_ns: int, build: Callable[[], Any], *, again: bool = True
    ) -> bool:
        """Encode `build()` as the latest event of `key` if its version moved or, with `again`, it has been idle.

        Returns whether it did.
        """
        slot = self.slots.setdefault(key, Slot())
        idle = again and now_ns - slot.sent_ns >= IDLE_SECONDS * 1e9
        if slot.number and version == slot.version and not idle:
            return False
        slot.number += 1
        slot.version, slot.sent_ns = version, now_ns
        slot.data = b"event: %s\nid: %d-%d\ndata: %s\n\n" % (
            kind.encode(),
            self.boot_ms,
            slot.number,
            self._encode(build()),
        )
        return True

    def wake(self) -> None:
        """Let every client send what is new to it."""
        self._wake.set()
        self._wake = asyncio.Event()

    def close(self) -> None:
        """End all streams: the stage stops."""
        self.closed = True
        self.wake()

    def full(self) -> bool:
        """True while no further client is taken."""
        return self.clients >= MAX_CLIENTS

    async def stream(self, pair: str, goes_on: Callable[[], bool] = lambda: True) -> AsyncIterator[bytes]:
        """The events of one client that looks at `pair`, while he may: asked before each, which is once a second at
        least."""
        self.clients += 1
        self.watched[pair] = self.watched.get(pair, 0) + 1
        self.joined()
        seen: dict[str, int] = {}
        keys = (f"tick:{pair}", "health", "logs")
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            while not self.closed and goes_on():
                wake = self._wake
                fresh = [(key, self.slots[key]) for key in keys if key in self.slots]
                parts = [slot.data for key, slot in fresh if slot.number != seen.get(key)]
                seen = {key: slot.number for key, slot in fresh}
                if parts:
                    yield b"".join(parts)
                else:
                    await wake.wait()
        finally:
            self.clients -= 1
            self.watched[pair] -= 1
            if not self.watched[pair]:
                del self.watched[pair]
                self.slots.pop(f"tick:{pair}", None)
            if not self.clients:
                self.slots.clear()  # it grows old while nobody looks
