"""Who may call Kraken's private methods: API-Sign, the key's nonce and its counter, in this order."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

from sandbox.faces.kraken_limits import COSTS, Counter, Counters
from sandbox.faces.kraken_orders import Refused, invalid

NONCE_MOST = 1 << 64

Fields = Mapping[str, str]  # of a request, whether it was a form or JSON


class Door:
    """Checks requests against the keys' secrets; a sandbox that was started anew knows no nonce."""

    def __init__(self, secret: Callable[[str], str | None], limit: Counter) -> None:
        self._secret = secret
        self._nonces: dict[str, int] = {}
        self._counters = Counters(limit)

    def admitted(self, name: str, headers: Mapping[str, str], body: bytes, now_s: float) -> tuple[str, Fields]:
        """(account, the request's fields). Raises Refused."""
        account = headers.get("api-key", "")
        secret = self._secret(account)
        if secret is None:
            raise Refused("EAPI:Invalid key")
        fields = fields_of(body, headers.get("content-type", ""))
        nonce = fields.get("nonce", "")
        signed = signature(secret, f"/0/private/{name}", nonce, body)
        if not hmac.compare_digest(signed.encode(), headers.get("api-sign", "").encode()):
            raise Refused("EAPI:Invalid signature")
        self._check_nonce(account, nonce)
        if not self._counters.take(account, COSTS.get(name, 1), now_s):
            raise Refused("EAPI:Rate limit exceeded")
        return account, fields

    def _check_nonce(self, account: str, nonce: str) -> None:
        """Raises Refused where the nonce is no number or not larger than the key's last one."""
        if not nonce.isascii() or not nonce.isdigit() or len(nonce) > 20:
            raise Refused("EAPI:Invalid nonce")
        number = int(nonce)
        if not self._nonces.get(account, -1) < number < NONCE_MOST:
            raise Refused("EAPI:Invalid nonce")
        self._nonces[account] = number


def signature(secret: str, path: str, nonce: str, body: bytes) -> str:
    """API-Sign of a request; empty where the secret is no base64."""
    try:
        key = base64.b64decode(secret, validate=True)
    except binascii.Error:
        return ""
    digest = hashlib.sha256(nonce.encode() + body).digest()
    return base64.b64encode(hmac.new(key, path.encode() + digest, hashlib.sha512).digest()).decode()


def fields_of(body: bytes, content_type: str) -> Fields:
    """The fields of a form or of a JSON object, as text. Raises Refused."""
    try:
        text = body.decode()
        if "json" not in content_type and not text.lstrip().startswith("{"):
            return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=100))
        values = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise invalid() from None
    if not isinstance(values, dict):
        raise invalid()
    return {name: text_of(value) for name, value in values.items()}


def text_of(value: Any) -> str:
    """A JSON value as a form would have it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(map(text_of, value))
    return "" if value is None else str(value)
