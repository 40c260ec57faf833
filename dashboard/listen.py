"""The listening socket, bound before anything else starts so that a port in use is told plainly."""

import errno
import socket

from core.errors import MisconfiguredError
from core.ports import port_holder

BACKLOG = 64
SEND_BYTES = 128 * 1024  # that the system keeps for one connection; by itself it goes to megabytes
STALLED_MS = 60_000  # who takes nothing for so long, or left without a word, is cut off; a page that wakes reconnects


def open_socket(host: str, port: int, stalled_ms: int = STALLED_MS) -> socket.socket:
    """A bound TCP socket; MisconfiguredError names the setting to change and, where readable, who holds the port.

    Its connections are bounded in what they hold and in how long they may take nothing.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise MisconfiguredError(f"HOST={host} is no address of this machine: {error.strerror}") from error
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What is accepted inherits these.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stalled_ms)
        sock.bind(address)
        # Listening at once: until then another program could still bind the same port.
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise MisconfiguredError(_refused(host, port, error)) from error
    return sock


def _refused(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = port_holder(port)
        by = f" by {holder}" if holder else ""
        return f"PORT={port} is in use{by}: end that program or set PORT to a free one, as PORT={_another(port)}"
    if error.errno == errno.EACCES:
        return f"PORT={port} needs root: set PORT to one above 1023, as PORT=3000"
    return f"HOST={host} PORT={port} cannot be listened on: {error.strerror}"


def _another(port: int) -> int:
    return port + 1 if port < 65535 else 3000
