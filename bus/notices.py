"""What a subscriber tells its stage, besides the frames themselves."""

import msgspec

from bus.frames import Frame
from bus.messages import Beat

ANY_EPOCH = -1


class Cursor(msgspec.Struct, frozen=True):
    """Where a consumer goes on: the next number it needs, of which epoch.

    Where the publisher has another epoch by now: with `else_first` everything that it still has, from its first number
    on; otherwise its snapshot (and where it offers none, everything that it still has).
    """

    epoch: int
    next: int
    else_first: bool = False


FIRST = Cursor(ANY_EPOCH, 0, else_first=True)  # everything that the publisher still has


class Latest(msgspec.Struct, frozen=True):
    """Only the newest counts: join by snapshot, holes do not matter."""


LATEST = Latest()


class Whole(msgspec.Struct, frozen=True):
    """The snapshot has all that counts: join by it, and again where a hole is too old to be replayed."""


WHOLE = Whole()

Join = Cursor | Latest | Whole | None


class Joined(msgspec.Struct, frozen=True):
    """The cursor was none or of no use: forget what was, take the snapshot if there is one, go on at `next_number`.

    With `else_first` the snapshot is that of now although numbers begin earlier: on `trade/` the `Start` in force.
    """

    topic: str
    epoch: int
    next_number: int
    snapshot: bytes | None


class GapFound(msgspec.Struct, frozen=True):
    """Numbers first..last of a topic cannot be recovered; the stream goes on after `last`."""

    topic: str
    epoch: int
    first: int
    last: int


class PeerUp(msgspec.Struct, frozen=True):
    """The peer is heard: for the first time, after a silence, after a restart, or its settings are ours again."""

    peer: str
    beat: Beat


class PeerSilent(msgspec.Struct, frozen=True):
    """Nothing was heard of the peer for 3 s."""

    peer: str


class PeerDiffers(msgspec.Struct, frozen=True):
    """The peer has other record layouts (then it is not read) or other shared settings."""

    peer: str
    what: str  # layout, settings
    beat: Beat | None


class BeatSeen(msgspec.Struct, frozen=True):
    """The peer's heartbeat."""

    peer: str
    beat: Beat


Notice = Frame | Joined | GapFound | PeerUp | PeerSilent | PeerDiffers | BeatSeen
