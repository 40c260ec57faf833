"""The random key that sessions are signed with: `var/dashboard.key`, 32 bytes, for its owner alone."""

import os
import secrets
import stat
from pathlib import Path

from dashboard.sessions import KEY_BYTES

NAME = "dashboard.key"


def read_key(var: Path) -> bytes | None:
    """The key as kept; None where there is none, or one that others could read, or of another size."""
    try:
        with (var / NAME).open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                return None
            key = file.read(KEY_BYTES + 1)
    except OSError:
        return None
    return key if len(key) == KEY_BYTES else None


def new_key(var: Path) -> tuple[bytes, str]:
    """A new key in place of any other, and why it could not be kept, or ""."""
    key = secrets.token_bytes(KEY_BYTES)
    aside = var / f"{NAME}.{os.getpid()}"
    try:
        aside.unlink(missing_ok=True)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(var / NAME)
    except OSError as error:
        return key, f"{var / NAME} cannot be written ({error.strerror})"
    return key, ""
