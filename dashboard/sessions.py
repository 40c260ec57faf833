"""Who is logged in, as a signed cookie, and whether a password or token is the right one; pure.

A cookie is `EXPIRES.NONCE.SIGNATURE`: seconds since 1970, 16 random bytes and HMAC-SHA256 over both. The signing key is
made of a random key (`dashboard.keyfile`) and the password, so a changed password and a new random key each end every
session; nothing is kept per session, and a restart of the dashboard logs nobody out.
"""

import hashlib
import hmac
import re

LIFE_S = 7 * 86_400  # a session's, from its login
NONCE_BYTES = 16
KEY_BYTES = 32

_COOKIE = re.compile(r"([1-9][0-9]{0,11})\.([0-9a-f]{32})\.([0-9a-f]{64})")


class Sessions:
    """Signs and checks with one random key and the password in force."""

    def __init__(self, key: bytes, password: str) -> None:
        self._signing = hmac.digest(key, b"session " + password.encode(), hashlib.sha256)

    def issue(self, now_s: int, nonce: bytes) -> str:
        """The cookie of who logged in now; `nonce` is random, NONCE_BYTES long."""
        body = f"{now_s + LIFE_S}.{nonce.hex()}"
        return f"{body}.{self._signature(body)}"

    def valid(self, cookie: str, now_s: int) -> bool:
        """Whether we signed it and its time is not over."""
        found = _COOKIE.fullmatch(cookie)
        if found is None:
            return False
        expires, nonce, signature = found.groups()
        return hmac.compare_digest(signature, self._signature(f"{expires}.{nonce}")) and now_s < int(expires)

    def _signature(self, body: str) -> str:
        return hmac.digest(self._signing, body.encode(), hashlib.sha256).hex()


def same_secret(key: bytes, given: bytes, known: str) -> bool:
    """Whether `given` is the secret, in a time that tells neither where they differ nor how long it is."""
    digests = [hmac.digest(key, text, hashlib.sha256) for text in (given, known.encode())]
    return hmac.compare_digest(*digests)
