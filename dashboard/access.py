"""From where the page may be asked: the Host check and the Origin check; pure."""

import ipaddress
import re
from urllib.parse import urlsplit

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")


def host_allowed(header: str, machine: str, allowed: frozenset[str]) -> bool:
    """True when the Host header names this machine: localhost, an IP literal, its name, NAME.local or ALLOWED_HOSTS.

    A web page that resolves its own name to 127.0.0.1 (DNS rebinding) is told apart by this alone.
    """
    found = _HOST.fullmatch(header.strip())
    if found is None:
        return False
    name = found["name"].lower().rstrip(".")
    if name.startswith("["):
        return _is_address(name[1:-1])
    machine = machine.lower()
    own = {"localhost", machine, machine.split(".")[0], f"{machine.split('.')[0]}.local"} - {"", ".local"}
    return name in own or _is_address(name) or name in allowed


def origin_allowed(origin: str, host: str) -> bool:
    """True when a request's Origin is the page's own: the same name and port as its Host, whatever encrypts the way.

    A browser names in Origin the page that makes a POST, and no page can change it.
    """
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and parts.netloc.lower() == host.strip().lower()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
