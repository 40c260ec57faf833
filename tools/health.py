"""Is the bot well? Asks the page's /healthz, as anybody outside would."""

import http.client
import json
from dataclasses import dataclass, field

from core.settings import Settings


@dataclass(frozen=True, slots=True)
class Health:
    """`ok`, and what is not: one line a failing check, with its name first; those of a stage begin with stage:NAME."""

    ok: bool
    failing: tuple[str, ...] = field(default=())

    @property
    def stages(self) -> list[str]:
        """The stages whose log says more: those that are not heard of, and the feeder where it sees no market."""
        silent = [check.split(":")[1] for check in self.failing if check.startswith("stage:")]
        blind = any(check.startswith("market:") for check in self.failing)
        return [*silent, "feeder"] if blind and "feeder" not in silent else silent


def address(settings: Settings) -> str:
    """What a person types into the browser's address line."""
    return f"http://{_reachable(settings.host)}:{settings.port}/"


def ask(settings: Settings, timeout_s: float = 1.0) -> Health:
    """One look at /healthz; a page that does not answer is a failing check like any other."""
    host = _reachable(settings.host).strip("[]")
    connection = http.client.HTTPConnection(host, settings.port, timeout=timeout_s)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return Health(False, (f"stage:dashboard: the page does not answer ({type(error).__name__})",))
    finally:
        connection.close()
    if answer.status == 200:
        return Health(True)
    return Health(False, _failing(body) or (f"/healthz answered {answer.status}",))


def _failing(body: bytes) -> tuple[str, ...]:
    """The failing checks of a 503's body."""
    try:
        checks = json.loads(body)["failing"]
        return tuple(f"{name}: {text}" for name, text in checks.items())
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()


def _reachable(host: str) -> str:
    """An address for one's own machine: a server that listens everywhere is asked on loopback."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]", "*": "127.0.0.1"}.get(host, host)
