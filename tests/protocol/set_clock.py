"""A clock for tests of feeders: the machine's own, which somebody sets."""

from core.clock import LiveClock


class SetClock(LiveClock):
    """The machine's clock, with a step that somebody made."""

    __slots__ = ("step_ns",)

    def __init__(self, step_ns: int = 0) -> None:
        self.step_ns = step_ns

    def wall_ns(self) -> int:
        return super().wall_ns() + self.step_ns
