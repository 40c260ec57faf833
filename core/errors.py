"""Errors named for the reaction they call for.

BotError                 anything of ours that a person can read; a stage that raises it crashes (exit 1) and comes back
├─ MisconfiguredError    only a person can mend it: name the thing, the value and the next step (exit 2, no restart)
├─ NotCalledFor          the settings do not ask for this program (exit 3, no restart)
└─ RemoteError           a stage did not answer, or refused: name the stage and the next step
   └─ Unanswered         it was asked and said nothing in time: whether it did it is not known
"""


class BotError(Exception):
    """Base of our errors: its text is written for a person."""


class MisconfiguredError(BotError):
    """A restart cannot help: the text names the thing, the value and what to do."""


class NotCalledFor(BotError):
    """The settings in force do not need this program."""


class RemoteError(BotError):
    """A stage did not answer or refused; the text names it and the next step."""


class Unanswered(RemoteError):
    """A stage was asked and did not answer in time: whether it did what it was asked is not known, so look."""
