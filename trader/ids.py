"""Client order ids that follow from the decision: the same decision, taken again, has the same id."""

import base64
import hashlib

MAX_LENGTH = 18
_LETTERS = 11  # 55 bits
_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz234567")


def client_order_id(
    bot_name: str, journal_id: str, pair: str, epoch: int, record: int, purpose: str, attempt: int
) -> str:
    """BOT_NAME and eleven base-32 letters, at most 18 characters; no clock, no chance.

    `epoch` and `record` are the tape place of the deciding trade, `purpose` is entry or exit.
    """
    text = "\x1f".join([journal_id, pair, str(epoch), str(record), purpose, str(attempt)])
    digest = hashlib.sha256(text.encode()).digest()
    return (bot_name + base64.b32encode(digest).decode()[:_LETTERS].lower())[:MAX_LENGTH]


def is_ours(bot_name: str, order_id: str) -> bool:
    """Whether a client order id is one that this BOT_NAME makes; none of another name is, though it begins alike."""
    letters = order_id.removeprefix(bot_name)
    return len(letters) == _LETTERS == len(order_id) - len(bot_name) and set(letters) <= _ALPHABET
