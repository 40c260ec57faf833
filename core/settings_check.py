"""What is wrong with settings that are each allowed by themselves; pure."""

from core import pairs
from core.settings import Settings
from core.settings_parse import is_loopback

SHORTEST_PASSWORD = 8
SHORTEST_TOKEN = 16

Problem = tuple[tuple[str, ...], str]  # the settings it is about, and what a person should know


def across(settings: Settings) -> list[Problem]:
    """Every problem between settings, each with the names it depends on."""
    return [*_mode(settings), *_pairs(settings), *strategy(settings), *_ports(settings), *exposure(settings)]


def _mode(settings: Settings) -> list[Problem]:
    if settings.simulation_mode or settings.live_confirm or settings.venue == "sandbox":
        return []
    names = ("SIMULATION_MODE", "LIVE_CONFIRM", "VENUE")
    text = (
        f"SIMULATION_MODE=false sends real orders to {settings.venue} and needs LIVE_CONFIRM=yes as well: set it, or"
        " SIMULATION_MODE=true"
    )
    return [(names, text)]


def _pairs(settings: Settings) -> list[Problem]:
    found: list[Problem] = []
    names = ("PAIRS",)
    shown = ",".join(settings.pairs)
    if len(set(settings.pairs)) < len(settings.pairs):
        found.append((names, f"PAIRS={shown} names a market twice: name each once"))
    quotes = {pairs.quote_of(name) for name in settings.pairs}
    if "" in quotes and settings.venue == "sandbox":
        found.append((names, f"PAIRS={shown}: at the sandbox write BASE/QUOTE, as BTC/USDT"))
    if len(quotes - {""}) > 1:  # of the others the venue's list tells
        text = f"PAIRS={shown} mixes quote currencies: one wallet needs all pairs in one of them"
        found.append((names, text))
    return found


def strategy(settings: Settings) -> list[Problem]:
    """Those of `across` that settings can have which decide on a market: what a sweep varies makes no others."""
    found: list[Problem] = []
    sell = f"RSI_SELL={settings.rsi_sell:g}"
    for name, value in (("RSI_BUY", settings.rsi_buy), ("RSI_CRASH", settings.rsi_crash)):
        if value >= settings.rsi_sell:
            found.append(((name, "RSI_SELL"), f"{name}={value:g} must be below {sell}: an entry would be sold at once"))
    # The last close is one of the BB_PERIOD values: it cannot lie further than sqrt(n-1) deviations from their mean.
    if settings.bb_stddev * settings.bb_stddev >= settings.bb_period - 1:
        text = (
            f"BB_STDDEV={settings.bb_stddev:g} can never be reached with BB_PERIOD={settings.bb_period}: the square of"
            " BB_STDDEV must be below BB_PERIOD - 1"
        )
        found.append((("BB_STDDEV", "BB_PERIOD"), text))
    if 1.0 - settings.trailing_stop_pct == 1.0:
        text = f"TRAILING_STOP_PCT={settings.trailing_stop_pct:g} is no distance: the stop would be the price itself"
        found.append((("TRAILING_STOP_PCT",), text))
    return found


def _ports(settings: Settings) -> list[Problem]:
    found: list[Problem] = []
    if settings.venue == "sandbox" and settings.port == settings.sandbox_port:
        found.append((("PORT", "SANDBOX_PORT"), f"PORT={settings.port} and SANDBOX_PORT are the same: choose two"))
    return found


def exposure(settings: Settings) -> list[Problem]:
    """Why the page must not listen with these settings: open to others without a password, or with one easily guessed.

    The dashboard judges it again at its own start, as secrets are read anew at each.
    """
    found: list[Problem] = []
    password, token = settings.dashboard_password.reveal(), settings.dashboard_token.reveal()
    if not is_loopback(settings.host) and not password:
        text = (
            f"HOST={settings.host} opens the page to other machines and needs DASHBOARD_PASSWORD: set one, or"
            f" HOST=127.0.0.1 and come from elsewhere by ssh -L {settings.port}:127.0.0.1:{settings.port}"
        )
        found.append((("HOST", "DASHBOARD_PASSWORD"), text))
    if password and len(password) < SHORTEST_PASSWORD:
        text = f"DASHBOARD_PASSWORD is too short: at least {SHORTEST_PASSWORD} characters"
        found.append((("DASHBOARD_PASSWORD",), text))
    if token and len(token) < SHORTEST_TOKEN:
        text = f"DASHBOARD_TOKEN is too short: at least {SHORTEST_TOKEN} characters, as `openssl rand -hex 16` prints"
        found.append((("DASHBOARD_TOKEN",), text))
    if token and not password:
        text = "DASHBOARD_TOKEN protects nothing without DASHBOARD_PASSWORD: set that too, or remove the token"
        found.append((("DASHBOARD_TOKEN", "DASHBOARD_PASSWORD"), text))
    return found
