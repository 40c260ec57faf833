"""What can go wrong at a venue, named for the reaction it calls for.

VenueError            anything a venue did to us; the venue's own code and text are kept
├─ Retry              may pass by itself: ask again later (no answer, HTML, half JSON, wrong shape, 5xx)
│  └─ RateLimited     asked too often: no request before `retry_after_s` is over
├─ Rejected           the venue understood and said no: the same request gets the same answer
│  └─ Skewed          because of the time or number we stamped it with: measure the clock anew, then once more
├─ OutcomeUnknown     a request that changes something was sent and its answer is lost: look it up, never resend blindly
└─ Misconfigured      only a person can mend it (unknown pair, wrong address, not in this release): exit 2

`map` from a library's errors happens at one door each: `venues.rest` for requests, `venues.stream` for websockets.
"""

from core.errors import BotError, MisconfiguredError


class VenueError(BotError):
    """A venue's refusal or failure: who, what happened, and the next step."""

    def __init__(self, venue: str, text: str, next_step: str = "", code: str = "") -> None:
        self.venue = venue
        self.code = code  # the venue's own, or the HTTP status, or ""
        self.text = text
        self.next_step = next_step
        super().__init__(f"{venue}: {text}" + (f"; {next_step}" if next_step else ""))


class Retry(VenueError):
    """May pass by itself; ask again later."""


class RateLimited(Retry):
    """Asked too often; nothing may be sent before `retry_after_s` seconds are over."""

    def __init__(self, venue: str, text: str, retry_after_s: float, code: str = "429") -> None:
        self.retry_after_s = retry_after_s
        super().__init__(venue, text, f"no request for {retry_after_s:.0f} s", code)


class Rejected(VenueError):
    """Understood and refused; asking the same again changes nothing."""


class Skewed(Rejected):
    """Refused, certainly not carried out, because our clock (or nonce) is not the venue's."""


class OutcomeUnknown(VenueError):
    """Sent, but whether it was carried out is not known; look it up before anything else."""


class Misconfigured(VenueError, MisconfiguredError):
    """Only a person can mend it."""
