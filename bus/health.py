"""Signs of life: any message counts; a heartbeat also says what the peer is and where its topics stand."""

from bus.messages import Beat
from bus.notices import BeatSeen, Notice, PeerDiffers, PeerSilent, PeerUp
from core.clock import NS_PER_S

SILENCE_NS = 3 * NS_PER_S
BEAT_SECONDS = 1.0


class PeerWatch:
    """Whether one peer is heard, is the same process as before, and goes by the same layouts and settings."""

    def __init__(self, peer: str, layout_hash: int, settings_hash: int, now_ns: int) -> None:
        self.peer = peer
        self.beat: Beat | None = None
        self.silent = False
        self.differs = ""  # layout, settings, or nothing
        self._layout_hash = layout_hash
        self._settings_hash = settings_hash
        self.heard_ns = now_ns  # any message of the peer arrived

    @property
    def readable(self) -> bool:
        return self.differs != "layout"

    def unreadable(self, out: list[Notice], beat: Beat | None = None) -> None:
        """A message with another layout arrived."""
        if self.differs != "layout":
            self.differs = "layout"
            out.append(PeerDiffers(self.peer, "layout", beat))

    def take_beat(self, beat: Beat, now_ns: int, out: list[Notice]) -> bool:
        """Judges a heartbeat; True where the peer is another process than before (its first beat counts as one)."""
        before = self.beat
        restarted = before is None or (before.pid, before.started_ms) != (beat.pid, beat.started_ms)
        was_away = self.silent or before is None
        self.heard_ns = now_ns
        self.silent = False
        self.beat = beat
        if beat.layout_hash != self._layout_hash:
            if self.differs != "layout" or restarted:
                self.differs = "layout"
                out.append(PeerDiffers(self.peer, "layout", beat))
            out.append(BeatSeen(self.peer, beat))
            return restarted
        differs = "settings" if beat.settings_hash != self._settings_hash else ""
        if restarted or was_away or (self.differs and not differs):
            out.append(PeerUp(self.peer, beat))
        if differs and (self.differs != differs or restarted):
            out.append(PeerDiffers(self.peer, differs, beat))
        self.differs = differs
        out.append(BeatSeen(self.peer, beat))
        return restarted

    def check(self, now_ns: int, out: list[Notice]) -> None:
        """Notices silence."""
        if not self.silent and now_ns - self.heard_ns > SILENCE_NS:
            self.silent = True
            out.append(PeerSilent(self.peer))
