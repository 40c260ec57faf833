"""Parameters of Binance's calls: what they may look like, their time and their signature. Pure.

Everything here raises Refused with the venue's code and text where it says no.
"""

import hmac
import re
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import parse_qsl

from sandbox.faces.binance_wire import Refused

AHEAD_MS = 1000  # a timestamp may be so little ahead of us
WINDOW_MS, WINDOW_MOST_MS = 5000, 60_000
SIGNING = frozenset({"timestamp", "recvWindow", "signature", "apiKey"})

Params = Mapping[str, str]

# What a parameter may look like; the venue names this expression where it does not.
NUMBER, DECIMAL, NAME = "^[0-9]{1,20}$", "^([0-9]{1,20})(\\.[0-9]{1,20})?$", "^[a-zA-Z0-9-_]{1,36}$"
BOOLEAN = "^(true|false)$"
NUMBER_MOST = 2**63 - 1
SHAPES = {
    "symbol": "^[A-Z0-9-_.]{1,20}$",
    "limit": NUMBER,
    "fromId": NUMBER,
    "orderId": NUMBER,
    "startTime": NUMBER,
    "endTime": NUMBER,
    "timestamp": NUMBER,
    "recvWindow": DECIMAL,
    "quantity": DECIMAL,
    "quoteOrderQty": DECIMAL,
    "price": DECIMAL,
    "stopPrice": DECIMAL,
    "newClientOrderId": NAME,
    "origClientOrderId": NAME,
    "omitZeroBalances": BOOLEAN,
    "computeCommissionRates": BOOLEAN,
    "showPermissionSets": BOOLEAN,
}
_SHAPES = {name: re.compile(shape, re.ASCII) for name, shape in SHAPES.items()}


def missing(name: str) -> Refused:
    return Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def illegal(name: str, shape: str) -> Refused:
    return Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{shape}'.")


def params_of(query: str, body: str) -> dict[str, str]:
    """The parameters of a query and a form; the query's count where both have one of a name."""
    found: dict[str, str] = {}
    for text in (query, body):
        here: dict[str, str] = {}
        for name, value in parse_qsl(text, keep_blank_values=True):
            if name in here:
                raise Refused(-1101, "Duplicate values for a parameter detected.")
            if not value:
                raise Refused(-1105, f"Parameter '{name}' was empty.")
            here[name] = value
        found = here | found
    return found


def check_shape(name: str, value: str) -> None:
    shape = _SHAPES.get(name)
    if shape is not None and not shape.fullmatch(value):
        raise illegal(name, SHAPES[name])
    if SHAPES.get(name) == NUMBER and int(value) > NUMBER_MOST:
        raise Refused(-1108, f"Parameter '{name}' overflowed.")


def check_params(params: Params, takes: frozenset[str], needs: tuple[str, ...]) -> None:
    """What is needed has to be there, nothing else, and each as it may look."""
    for name in needs:
        if name not in params:
            raise missing(name)
    read = len(takes & params.keys())
    if read < len(params):
        text = f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(params)}'."
        raise Refused(-1104, text)
    for name, value in params.items():
        check_shape(name, value)


def check_signed(params: Params, secret: str, signed: str, now_ms: int) -> None:
    """The time of a signed call has to be near, and its signature (hex, either case) that of the text `signed`."""
    for name in ("timestamp", "signature"):
        if name not in params:
            raise missing(name)
    for name in ("timestamp", "recvWindow"):
        check_shape(name, params.get(name, "0"))
    window_ms = float(params.get("recvWindow", WINDOW_MS))
    if window_ms > WINDOW_MOST_MS:
        raise Refused(-1102, f"'recvWindow' contains unexpected value. Cannot be greater than {WINDOW_MOST_MS}.")
    timestamp_ms = int(params["timestamp"])
    if timestamp_ms >= now_ms + AHEAD_MS:
        raise Refused(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_ms - timestamp_ms > window_ms:
        raise Refused(-1021, "Timestamp for this request is outside of the recvWindow.")
    true = hmac.new(secret.encode(), signed.encode(), sha256).hexdigest()
    if not hmac.compare_digest(true.encode(), params["signature"].lower().encode()):
        raise Refused(-1022, "Signature for this request is not valid.")


def signed_text(query: str, body: str) -> str:
    """What a client of REST signed: query and body without the signature, joined with nothing in between."""
    return "".join(re.sub("(^|&)signature=[^&]*", "", text) for text in (query, body))


def signed_words(params: Params) -> str:
    """What a client of the WebSocket API signed: its parameters sorted by name."""
    return "&".join(f"{name}={params[name]}" for name in sorted(params) if name != "signature")
