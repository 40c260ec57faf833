"""Who gave a command: written as its reason into the journal, and read again from what people are told of it; pure."""

import re

PAGE, PROGRAM, MAKE = "the page", "a program", "make"
LONGEST_WHY = 200

_SAID = re.compile(r"(?P<text>.*?) \(by (?P<who>the page|a program|make)(?:: (?P<why>.*))?\)")


def said_by(who: str, why: str = "") -> str:
    """The reason of a command: `by the page: the news at two`."""
    return f"by {who}: {why}" if why else f"by {who}"


def who_said(text: str) -> tuple[str, str, str] | None:
    """What was done, by whom and why (or ""), of an event's text that ends in such a reason; None for any other.

    The first such words count: what comes after is the reason that somebody wrote, whatever it pretends to be.
    """
    found = _SAID.fullmatch(text)
    return None if found is None else (found["text"], found["who"], found["why"] or "")
