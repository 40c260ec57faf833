"""The watchdog: kills stages that hang, so that supervisord starts them again, and tells of those that keep dying.

It follows the beats of the five stages, and of the guardian in live mode. The sandbox has none: an exchange that hangs
is the feeder's affair, as any other exchange would be.
"""

from bus.guard import Guard
from bus.layouts import layout_hash
from bus.publisher import Facts, open_publisher
from bus.subscriber import SELDOM_SECONDS, open_subscriber
from core.failures import LOOK_SECONDS, Failures, News
from core.paths import WATCHDOG, beating, programs
from core.stage import Context


def build(context: Context) -> None:
    """Wires the watchdog to its loop."""
    Watchdog(context)


class Watchdog:
    """A guard over the stages, and a look at what programs left behind when they died."""

    def __init__(self, context: Context) -> None:
        self._context = context
        names = [name for name in programs(context.settings) if name != WATCHDOG]
        self._failures = Failures(context.run_dir, names, context.clock)
        watched = beating(context.settings)
        self._guard = Guard(context, watched)
        # Before the first beat: a watchdog that starts in the middle of a crash loop must not seem to call it over.
        found = self._failures.look()
        open_publisher(context, layout_hash(), self._facts)
        for stage in watched:
            open_subscriber(context, stage, {}, self._guard.take, layout_hash(), look_s=SELDOM_SECONDS)
        context.loop.every(LOOK_SECONDS, self._look)
        context.event("start", f"watches over {', '.join(watched)}")
        self._tell(found)

    def _look(self) -> None:
        self._tell(self._failures.look())

    def _tell(self, found: list[News]) -> None:
        for news in found:
            self._context.event(news.level, news.text)

    def _facts(self) -> Facts:
        """For the heartbeat; `failing` is what the trader goes by."""
        return {"failing": ", ".join(sorted(self._failures.failing)), "killed": self._guard.killed}
