"""A socket's bytes with an end in time: what bounds an answer as a whole, however it is cut into pieces."""

import io
import socket
from typing import Any, Final

from core.clock import NS_PER_S, Clock


class Timely(io.RawIOBase):
    """Reads a socket until `total_s` after its making; a venue that sends byte by byte does not hold a thread."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, clock: Clock, total_s: float) -> None:
        self._raw: Final = raw
        self._socket = sock
        self._clock = clock
        self._end_ns = clock.monotonic_ns() + int(total_s * NS_PER_S)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = (self._end_ns - self._clock.monotonic_ns()) / NS_PER_S
        if left_s <= 0:
            raise TimeoutError("still not the end of the answer")
        usual_s = self._socket.gettimeout()
        self._socket.settimeout(left_s if usual_s is None else min(usual_s, left_s))
        try:
            return self._raw.readinto(buffer)
        finally:
            self._socket.settimeout(usual_s)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()
