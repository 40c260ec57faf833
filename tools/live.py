"""The gate to real orders, where a person starts the bot: the doctor, then what `trader.ladder` asks for.

What is cleared here is applied; a stage that comes back after a crash, and a service after a reboot, go by the settings
applied last and are not asked again: they may hold a position.
"""

from collections.abc import Callable
from pathlib import Path

from core import paths
from core.clock import Clock
from core.errors import MisconfiguredError
from core.money import units_text
from core.settings import Settings
from tools.doctor_lines import told
from trader import clearance, ladder


def clear(settings: Settings, clock: Clock, say: Callable[[str], None], env_file: Path = paths.ENV_FILE) -> None:
    """Nothing where these settings may run; each clearance for a real venue is a line in `var/log/live.log`.

    Raises MisconfiguredError with the doctor's lines, or with all that is missing, where real orders are asked for and
    may not be sent.
    """
    if settings.simulation_mode or settings.venue == "sandbox":
        return
    from tools.doctor_report import examine  # who simulates does not wait for its imports

    report = examine(settings, clock, env_file)
    if not report.passed:
        raise MisconfiguredError(f"no real orders, the doctor found something:\n{told(report)}")
    say(told(report))
    facts = clearance.cleared(settings, clock.wall_ms())
    rungs = ladder.rungs_of(settings)
    skipped = ladder.overridden(facts)
    file = clearance.record(facts)
    if skipped:
        say(f"{skipped}; this is on record in {file}")
    if rungs.first < rungs.top:
        first, top = (units_text(units) for units in (rungs.first, rungs.top))
        say(f"an entry costs {first} at most at first, and up to {top} after reconciled trades (LIVE_GROW_TRADES)")
