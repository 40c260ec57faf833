"""Where things lie. Every path comes from the repository's folder, never from where one stands."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from core.disk import refused
from core.errors import MisconfiguredError

if TYPE_CHECKING:
    from core.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
ENV_FILE = ROOT / ".env"

STAGES = ("feeder", "indicators", "trader", "storage", "dashboard")
HOT_PATH = ("feeder", "indicators", "trader")  # a trade's way to its decision
WATCHDOG = "watchdog"
GUARDIAN = "guardian"  # in live mode only
PROGRAMS = ("sandbox", *STAGES, GUARDIAN, WATCHDOG)

# Layers are stopped one after the other, the programs of a layer together. The watchdog first, so that it takes nobody
# who stops for one who hangs; the trader before the others, so that nothing decides on what a half-stopped pipeline
# says; the guardian after the trader, as it takes its place; storage last, so that it takes down what the others said.
STOP_ORDER: tuple[tuple[str, ...], ...] = (
    (WATCHDOG,),
    ("trader",),
    (GUARDIAN, "dashboard", "indicators", "feeder", "sandbox"),
    ("storage",),
)

# sockaddr_un holds 108 bytes, the last of them 0.
SOCKET_PATH_MAX = 107
LONGEST_SOCKET = "indicators.pub"

_TAPE_ENDINGS = (".csv.gz", ".csv", ".tape", ".gz")


def absolute(text: str) -> Path:
    """A path of the settings: as it is where absolute, else below the repository's folder."""
    path = Path(text).expanduser()
    return path if path.is_absolute() else ROOT / path


def var_dir(settings: "Settings") -> Path:
    """The folder of everything that changes while we run."""
    return absolute(settings.var_dir)


def tape_stem(path: str) -> str:
    """The name of a file of recorded trades without folder and ending, fit for a folder's name."""
    name = Path(path).name
    for ending in _TAPE_ENDINGS:
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
            break
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "tape"


def book_name(settings: "Settings") -> str:
    """`sim-VENUE` or `live-VENUE`; for the sandbox with its protocol and its seed or tape."""
    mode = "sim" if settings.simulation_mode else "live"
    if settings.venue != "sandbox":
        return f"{mode}-{settings.venue}"
    world = tape_stem(settings.sandbox_tape) if settings.sandbox_tape else f"seed{settings.sandbox_seed}"
    return f"{mode}-sandbox-{settings.sandbox_protocol}-{world}"


def book_dir(settings: "Settings") -> Path:
    """The folder of the book in force; `books.open_book` makes it."""
    return var_dir(settings) / "books" / book_name(settings)


def run_dir(var: Path) -> Path:
    """Sockets and locks; made on demand, for its owner alone.

    Raises MisconfiguredError where its path leaves no room for a socket's name.
    """
    folder = var / "run"
    longest = len(bytes(folder / LONGEST_SOCKET))
    if longest > SOCKET_PATH_MAX:
        raise MisconfiguredError(
            f"the folder {folder} is too long for a socket: {longest} bytes with the socket's name, {SOCKET_PATH_MAX}"
            " are possible. Set VAR_DIR to a shorter absolute path, as VAR_DIR=/srv/bot, or move the project."
        )
    return _private(folder)


def log_dir(var: Path) -> Path:
    """The stages' logs, which supervisord writes."""
    return _private(var / "log")


def cache_dir(var: Path) -> Path:
    """What can be made again: compiled kernels, the indicators' saved state."""
    return _private(var / "cache")


def profile_dir(var: Path) -> Path:
    """Flame graphs of stages."""
    return _private(var / "profile")


def programs(settings: "Settings") -> tuple[str, ...]:
    """The programs that these settings call for."""
    uncalled = set() if settings.venue == "sandbox" else {"sandbox"}
    uncalled |= {GUARDIAN} if settings.simulation_mode else set()
    return tuple(name for name in PROGRAMS if name not in uncalled)


def beating(settings: "Settings") -> tuple[str, ...]:
    """Of these those that the watchdog looks after: all that beat, but itself."""
    return STAGES if settings.simulation_mode else (*STAGES, GUARDIAN)


def settings_file(var: Path) -> Path:
    """The settings as last applied, without secrets."""
    return var / "settings.json"


def _private(folder: Path) -> Path:
    """Makes the folder readable by its owner alone; a folder of ours that was opened up is closed again."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        text = f"cannot make the folder {folder}: {error.strerror}. Free it or set VAR_DIR to another place."
        raise refused(text, error.errno) from error
    return folder
