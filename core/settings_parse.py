"""From the text of one setting to its value. Every parser raises ValueError on what is not allowed; pure, no I/O."""

import ipaddress
import re
from collections.abc import Callable
from decimal import Decimal
from urllib.parse import urlsplit

from core import pairs

_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d{1,18}(\.\d{0,18})?|\.\d{1,18})", re.ASCII)
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}))*\.?")
_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")


class Secret:
    """A text that must not be printed: `reveal()` is the only way to read it; false where there is none."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(***)" if self._text else "Secret()"

    __str__ = __repr__


def boolean(text: str) -> bool:
    """true or false, also yes/no, on/off, 1/0."""
    lowered = text.lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ValueError(text)


def integer(low: int, high: int) -> Callable[[str], int]:
    """A whole number from `low` to `high`, both allowed."""

    def parse(text: str) -> int:
        if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return parse


def amount(low: str, high: str, step: str, *, above: bool = False) -> Callable[[str], Decimal]:
    """An exact decimal from `low` to `high` in whole steps; with `above`, `low` itself is not allowed."""
    lowest, highest, unit = Decimal(low), Decimal(high), Decimal(step)

    def parse(text: str) -> Decimal:
        if not _NUMBER.fullmatch(text):
            raise ValueError(text)
        value = Decimal(text)
        if not lowest <= value <= highest or (above and value == lowest) or value % unit:
            raise ValueError(text)
        return value

    return parse


def optional_amount(low: str, high: str, step: str) -> Callable[[str], Decimal | None]:
    """As `amount`, or None for the empty text."""
    parse = amount(low, high, step)
    return lambda text: parse(text) if text else None


def number(low: float, high: float, *, above: bool = False, below: bool = False) -> Callable[[str], float]:
    """A float from `low` to `high`; `above` and `below` take the ends out."""

    def parse(text: str) -> float:
        if not _NUMBER.fullmatch(text):
            raise ValueError(text)
        value = float(text)
        if not low <= value <= high or (above and value == low) or (below and value == high):
            raise ValueError(text)
        return value

    return parse


def choice(*names: str) -> Callable[[str], str]:
    """One of the names, in either case."""

    def parse(text: str) -> str:
        if text.lower() not in names:
            raise ValueError(text)
        return text.lower()

    return parse


def pair_names(text: str) -> tuple[str, ...]:
    """Comma-separated market names, each once, all of one quote currency."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise ValueError(text)
    for name in names:
        pairs.quote_of(name)
    return names


def host(text: str) -> str:
    """An address to listen on: IP address or host name."""
    bare = text.strip("[]")
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        if not _HOST_NAME.fullmatch(text) or re.fullmatch(r"[\d.]+", text):
            raise
        return text
    return bare


def hosts(text: str) -> tuple[str, ...]:
    """Comma-separated host names, lower case."""
    names = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    for name in names:
        host(name)
    return names


def url(*schemes: str) -> Callable[[str], str]:
    """The empty text, or a URL with a host and one of the schemes; kept without a closing slash."""

    def parse(text: str) -> str:
        if not text:
            return ""
        parts = urlsplit(text)
        if parts.scheme not in schemes or not parts.hostname or parts.username or parts.password:
            raise ValueError(text)
        _ = parts.port  # raises ValueError beyond 65535
        return text.rstrip("/")

    return parse


def plain(text: str) -> str:
    """Any text on one line."""
    if any(ord(letter) < 32 for letter in text):
        raise ValueError(text)
    return text


def path(text: str) -> str:
    """A file or folder."""
    if not text:
        raise ValueError(text)
    return plain(text)


def bot_name(text: str) -> str:
    """1 to 6 letters of the alphabet."""
    if not re.fullmatch(r"[A-Za-z]{1,6}", text):
        raise ValueError(text)
    return text


def secret(text: str) -> Secret:
    """A password, token or key."""
    return Secret(plain(text))


def is_loopback(address: str) -> bool:
    """Whether an address to listen on is reachable from this machine alone."""
    if address.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def to_text(value: object) -> str:
    """The text that parses back to the value; secrets are empty."""
    if value is None or isinstance(value, Secret):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, Decimal):
        plain_text = format(value, "f")
        return plain_text.rstrip("0").rstrip(".") if "." in plain_text else plain_text
    if isinstance(value, float):
        plain_text = format(Decimal(repr(value)), "f")
        return plain_text[:-2] if plain_text.endswith(".0") else plain_text
    return str(value)
