"""Client order ids that follow from the decision: the same decision, taken again, has the same id."""

import base64
import hashlib

MAX_LENGTH = 18
_LETTERS = 11  # 55 bits


def client_order_id(
    bot_name: str, journal_id: str, pair: str, epoch: int, record: int, purpose: str, attempt: int
) -> str:
    """BOT_NAME and eleven base-32 letters, at most 18 characters; no clock, no chance.

    `epoch` and `record` are the tape place of the deciding trade, `purpose` is entry or exit.
    """
    text = "\x1f".join([journal_id, pair, str(epoch), str(record), purpose, str(attempt)])
    digest = hashlib.sha256(text.encode()).digest()
    return (bot_name + base64.b32encode(digest).decode()[:_LETTERS].lower())[:MAX_LENGTH]
