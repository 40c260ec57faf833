"""Which of the bot's ports is taken, and by whom: asked before anything is started."""

import contextlib
import errno
import os
import socket
from pathlib import Path

from core.settings import Settings

_LISTENING = "0A"


def taken(settings: Settings) -> list[str]:
    """One line for each port that the stages could not bind: the setting to change and the holder where readable."""
    wanted = [("PORT", settings.host, settings.port, "the page")]
    if settings.venue == "sandbox":
        wanted.append(("SANDBOX_PORT", "127.0.0.1", settings.sandbox_port, "the sandbox"))
    if len(wanted) == 2 and settings.port == settings.sandbox_port:
        return [f"PORT and SANDBOX_PORT are both {settings.port}: give one of them another number."]
    problems = []
    for name, host, port, what in wanted:
        problem = _bind(host, port)
        if problem == errno.EADDRINUSE:
            held = holder(port)
            by = f" by {held}" if held else ""
            problems.append(f"{name}={port}: in use{by}. End that program, or set {name} to another number for {what}.")
        elif problem == errno.EACCES:
            problems.append(f"{name}={port}: only root may use this port. Set {name} to 1024 or above.")
        elif problem:
            problems.append(f"{name}={port}: cannot listen on {host}: {os.strerror(problem)}. Set HOST or {name}.")
    return problems


def holder(port: int) -> str | None:
    """`python3 (process 123)` of the program that listens on a port, None where this user may not see it."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        # processes of others, and those that end while we look
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                if os.readlink(descriptor) in inodes:
                    command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    return f"`{command[:80]}` (process {process.name})"
    return None


def _bind(host: str, port: int) -> int:
    """The error number of an attempt to bind, 0 where it works. The port is free again at return."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        return errno.EADDRNOTAVAIL
    with socket.socket(family, kind, protocol) as probe:
        # as the servers do: a connection that closes just now does not count
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            return error.errno or errno.EINVAL
    return 0
