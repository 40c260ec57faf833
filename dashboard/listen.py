"""The listening socket, bound before anything else starts so that a port in use is told plainly."""

import errno
import socket
from pathlib import Path

from core.errors import MisconfiguredError

LISTENING = "0A"  # state of a TCP socket in /proc/net/tcp
BACKLOG = 64


def open_socket(host: str, port: int) -> socket.socket:
    """A bound TCP socket; MisconfiguredError names the setting to change and, where readable, who holds the port."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise MisconfiguredError(f"HOST={host} is no address of this machine: {error.strerror}") from error
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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


def port_holder(port: int, proc: Path = Path("/proc")) -> str | None:
    """`NAME (pid N)` of the process that listens on `port`; None where it cannot be read (another user's)."""
    inodes = _listening_inodes(port, proc)
    if not inodes:
        return None
    for folder in proc.glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in inodes for link in (folder / "fd").iterdir()):
                return f"{(folder / 'comm').read_text().strip()} (pid {folder.name})"
        except OSError:
            continue  # another user's, or gone meanwhile
    return None


def _listening_inodes(port: int, proc: Path) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found
