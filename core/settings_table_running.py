"""The table's second half: how the bot is run, shown and kept, and what it is connected to."""

from core import settings_parse as parse
from core.settings_row import DASHBOARD, FEEDER, KEYED, REMOTE, TRADER, WITH_SANDBOX, Setting

_port = parse.integer(1, 65535)


def _secret(name: str, meaning: str, stages: tuple[str, ...]) -> Setting:
    return Setting(name, "", parse.secret, "any text on one line", meaning, stages, secret=True)


RUNNING: tuple[tuple[str, tuple[Setting, ...]], ...] = (
    (
        "What is kept",
        (
            Setting(
                "RETENTION_MINUTES",
                "60",
                parse.integer(1, 5_256_000),
                "1 to 5256000",
                "market rows older than this are pruned; the ledger is kept for ever",
                ("indicators", "storage", "dashboard"),
            ),
            Setting(
                "TAPE_KEEP_HOURS",
                "24",
                parse.number(0, 87_600, above=True),
                "more than 0, at most 87600",
                "hours of recorded trades that are kept",
                FEEDER,
            ),
            Setting(
                "TAPE_MAX_MB",
                "2048",
                parse.integer(16, 1_048_576),
                "16 to 1048576",
                "MB of recorded trades that are kept",
                FEEDER,
            ),
        ),
    ),
    (
        "The page",
        (
            Setting(
                "HOST",
                "127.0.0.1",
                parse.host,
                "an IP address or host name of this machine; beyond 127.0.0.1 with DASHBOARD_PASSWORD only",
                "where the page listens",
                DASHBOARD,
            ),
            Setting("PORT", "3000", _port, "1 to 65535", "the page's port", DASHBOARD),
            Setting(
                "ALLOWED_HOSTS",
                "",
                parse.hosts,
                "host names, comma-separated",
                "more names under which browsers may ask for the page",
                DASHBOARD,
            ),
            Setting(
                "DASHBOARD_PASSWORD",
                "",
                parse.secret,
                "8 characters or more, on one line",
                "the page asks for it and can then pause, sell and restart; without it the page can only be read",
                DASHBOARD,
                secret=True,
            ),
            Setting(
                "DASHBOARD_TOKEN",
                "",
                parse.secret,
                "16 characters or more, on one line, with DASHBOARD_PASSWORD",
                "for programs, in place of a login: Authorization: Bearer TOKEN",
                DASHBOARD,
                secret=True,
            ),
        ),
    ),
    (
        "The local exchange (VENUE=sandbox)",
        (
            Setting(
                "SANDBOX_PROTOCOL",
                "coindcx",
                parse.choice("coindcx", "binance", "kraken"),
                "coindcx, binance or kraken",
                "the venue that the sandbox imitates",
                WITH_SANDBOX,
            ),
            Setting("SANDBOX_PORT", "3080", _port, "1 to 65535", "the sandbox's port", ("sandbox", "feeder", "trader")),
            Setting(
                "SANDBOX_SEED",
                "1",
                parse.integer(0, 2**31 - 1),
                "0 to 2147483647",
                "which synthetic market it makes up",
                WITH_SANDBOX,
            ),
            Setting(
                "SANDBOX_TAPE",
                "",
                parse.plain,
                "a file, .csv.gz or tape",
                "recorded trades to play in place of the synthetic market",
                WITH_SANDBOX,
            ),
            Setting(
                "SANDBOX_SPEED",
                "1",
                parse.number(1, 1000),
                "1 to 1000",
                "how many times faster recorded trades are played",
                ("sandbox", "feeder"),
            ),
        ),
    ),
    (
        "Real exchanges",
        (
            Setting(
                "VENUE_REST_URL",
                "",
                parse.url("http", "https"),
                "http:// or https:// URL",
                "replaces the venue's REST hosts (proxy, test exchange)",
                REMOTE,
            ),
            Setting(
                "VENUE_STREAM_URL",
                "",
                parse.url("ws", "wss"),
                "ws:// or wss:// URL",
                "replaces the venue's stream hosts",
                REMOTE,
            ),
            Setting(
                "RECONCILE_SECONDS",
                "30",
                parse.number(5, 3600),
                "5 to 3600",
                "real orders: seconds between two comparisons of the journal with the venue",
                TRADER,
            ),
            Setting(
                "LEASE_SECONDS",
                "3",
                parse.number(1, 30),
                "1 to 30",
                "real orders: silence of the trader after which the guardian holds the stops",
                KEYED,
            ),
            _secret("COINDCX_API_KEY", "keys without the right to withdraw; never read with VENUE=sandbox", KEYED),
            _secret("COINDCX_SECRET_KEY", "its secret", KEYED),
            _secret("BINANCE_API_KEY", "as above", KEYED),
            _secret("BINANCE_SECRET_KEY", "its secret", KEYED),
            _secret("KRAKEN_API_KEY", "as above", KEYED),
            _secret("KRAKEN_SECRET_KEY", "its secret", KEYED),
        ),
    ),
    (
        "The program itself",
        (
            Setting("BOT_NAME", "scalp", parse.bot_name, "1 to 6 letters", "our orders' ids begin with it", TRADER),
            Setting(
                "VAR_DIR",
                "var",
                parse.path,
                "a folder; relative to the project's",
                "ledgers, tape, logs and sockets",
                WITH_SANDBOX,
            ),
            Setting(
                "LOG_LEVEL",
                "info",
                parse.choice("debug", "info", "warning", "error"),
                "debug, info, warning or error",
                "how much the stages log",
                WITH_SANDBOX,
            ),
        ),
    ),
)
