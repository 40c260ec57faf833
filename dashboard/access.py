"""Who may reach the page: the settings this release refuses, and the Host check; pure."""

import ipaddress
import re

from core.settings import Settings
from core.settings_parse import is_loopback

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")


def refusal(settings: Settings) -> str | None:
    """Why the dashboard must not run with these settings, or None.

    Login is not in this release. So a page for other machines would be open to all of them, and a password would
    promise a protection that is not there: both are refused rather than half kept.
    """
    tunnel = f"reach it from elsewhere with: ssh -L {settings.port}:127.0.0.1:{settings.port} USER@THIS_MACHINE"
    if not is_loopback(settings.host):
        return (
            f"HOST={settings.host} would open the dashboard to other machines, and login is not in this release: "
            f"set HOST=127.0.0.1 and {tunnel}"
        )
    if settings.dashboard_password:
        return (
            "DASHBOARD_PASSWORD is set, but login is not in this release and the page would be open all the same: "
            f"remove it; the page listens on {settings.host} only, {tunnel}"
        )
    return None


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


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
