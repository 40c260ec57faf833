"""What is on record about going live: when the doctor passed, and how long this venue was simulated.

It is asked where a person starts the bot:

* a command (`make run`, `start`, `restart`): `tools.live` asks, before it applies the settings.
* the trader by hand (`python -m trader`, or a supervisord that finds no applied settings): `may_begin` asks.
* what comes back by itself (a crash, a reboot, `supervisorctl`) goes by the settings applied last, which were cleared
  when they were applied. It may hold a position and is not asked again.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bus.messages import EquityEvent, SpanEvent, StartedEvent
from core.clock import iso_utc
from core.errors import MisconfiguredError
from core.paths import book_dir, book_name, log_dir, var_dir
from core.settings import Secret, Settings, as_texts
from core.settings_load import goes_by_applied
from core.stage import Context
from trader.journal_reader import JournalReader
from trader.ladder import LiveFacts, Mark, hours, may_go_live, overridden, simulated_ms

FILE = "doctor.json"
LOG = "live.log"

# What the doctor's answer depends on; the strategy does not.
LOOKED_AT = (
    "VENUE",
    "PAIRS",
    "TRADE_CAPITAL",
    "LIVE_START_CAPITAL",
    "TRAILING_STOP_PCT",
    "TAKER_FEE_BPS",
    "TAX_BUY_BPS",
    "TAX_SELL_BPS",
    "FEED",
    "HOST",
    "VENUE_REST_URL",
    "VENUE_STREAM_URL",
)


class Pass(msgspec.Struct, frozen=True):
    """The doctor's last pass."""

    passed_ms: int  # wall time
    settings_hash: str


def settings_hash(settings: Settings) -> str:
    """16 hex digits over what the doctor looks at, the venue's keys included."""
    texts = as_texts(settings)
    keys = [getattr(settings, f"{settings.venue}_{part}_key", Secret()) for part in ("api", "secret")]
    told = [f"{name}={texts[name]}" for name in LOOKED_AT] + [key.reveal() for key in keys]
    return hashlib.sha256("\0".join(told).encode()).hexdigest()[:16]


def write_pass(settings: Settings, now_ms: int) -> None:
    """Records that the doctor passed with these settings. Raises MisconfiguredError where that cannot be written."""
    file = var_dir(settings) / FILE
    aside = file.with_name(f"{FILE}.{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside.touch(mode=0o600)
        aside.write_bytes(msgspec.json.encode(Pass(now_ms, settings_hash(settings))) + b"\n")
        aside.replace(file)
    except OSError as error:
        raise MisconfiguredError(f"cannot write {file}: {error.strerror}. Free it or set VAR_DIR.") from error


def forget_pass(settings: Settings) -> None:
    """The doctor failed: an earlier pass counts no more. Raises MisconfiguredError where it cannot be removed."""
    file = var_dir(settings) / FILE
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise MisconfiguredError(f"cannot remove {file}: {error.strerror}. Free it or set VAR_DIR.") from error


def read_pass(settings: Settings) -> Pass | None:
    """The doctor's last pass; None where there is none that can be read."""
    try:
        return msgspec.json.decode((var_dir(settings) / FILE).read_bytes(), type=Pass)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None


def facts_of(settings: Settings, now_ms: int) -> LiveFacts:
    """All that `ladder.may_go_live` asks. Raises MisconfiguredError where the simulated journal cannot be read."""
    found = read_pass(settings)
    return LiveFacts(
        settings=settings,
        settings_hash=settings_hash(settings),
        now_ms=now_ms,
        passed_ms=None if found is None else found.passed_ms,
        passed_hash="" if found is None else found.settings_hash,
        simulated_ms=0 if settings.venue == "sandbox" else simulated_on_record(settings),
    )


def cleared(settings: Settings, now_ms: int) -> LiveFacts:
    """The facts, where these settings may send real orders.

    Raises MisconfiguredError naming all that is missing.
    """
    facts = facts_of(settings, now_ms)
    reasons = may_go_live(facts)
    if reasons:
        raise MisconfiguredError("\n".join(["no real orders:", *(f"  {reason}" for reason in reasons)]))
    return facts


def simulated_on_record(settings: Settings) -> int:
    """Milliseconds that the trader followed this venue in simulation, by the simulated book's journal."""
    journal = book_dir(msgspec.structs.replace(settings, simulation_mode=True)) / "journal.db"
    if not journal.exists():
        return 0
    with JournalReader(journal) as reader:
        return simulated_ms(_marks(reader))


def _marks(reader: JournalReader) -> Iterator[Mark]:
    """Rows of equity, without those of blind spans, and where a run began."""
    blind: SpanEvent | None = None
    for entry in reader.entries(kinds=(EquityEvent.__name__, SpanEvent.__name__, StartedEvent.__name__)):
        match entry.event:
            case StartedEvent():
                yield Mark(None)
            case SpanEvent(kind="blind") as span:
                blind = span
                yield Mark(None)
            case EquityEvent(at=at) as row:
                if blind is None or at.epoch != blind.at.epoch or not blind.first <= at.record <= blind.last:
                    yield Mark(row.time)


def may_begin(context: Context) -> None:
    """Asked at each start of the trader, before it touches its book. Raises MisconfiguredError as `cleared` does."""
    settings = context.settings
    if settings.simulation_mode or settings.venue == "sandbox" or goes_by_applied(context.var_dir):
        return
    record(cleared(settings, context.clock.wall_ms()), ", the trader was started by hand")


def record(facts: LiveFacts, how: str = "") -> Path:
    """Adds a line about a clearance to the log of live starts, as `note` does."""
    day = overridden(facts) or f"{hours(facts.simulated_ms)} of simulation on record"
    return note(facts.settings, facts.now_ms, f"{book_name(facts.settings)} may send real orders{how}; {day}")


def note(settings: Settings, now_ms: int, text: str) -> Path:
    """Adds a line to the log of live starts, which nothing rotates or prunes; returns the file.

    Raises MisconfiguredError where it cannot be written.
    """
    file: Path = log_dir(var_dir(settings)) / LOG
    try:
        fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "ab") as log:
            log.write(f"{iso_utc(now_ms)} {text}\n".encode())
    except OSError as error:
        raise MisconfiguredError(f"cannot write {file}: {error.strerror}. Free it or set VAR_DIR.") from error
    return file
