"""The settings in force: typed, frozen, read once.

What each one means stands in `settings_table`, how the values are found and checked in `settings_load`.
"""

import hashlib
from decimal import Decimal

import msgspec

from core.settings_parse import Secret, to_text
from core.settings_table import GROUPS, SETTINGS, TIMEFRAMES_MS

__all__ = [
    "SETTINGS",
    "TIMEFRAMES_MS",
    "Secret",
    "Settings",
    "as_texts",
    "env_example",
    "indicator_hash",
    "shared_hash",
]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings in force, typed and checked; amounts of money are exact decimals in quote currency."""

    simulation_mode: bool
    live_confirm: bool
    venue: str
    pairs: tuple[str, ...]  # the venue's own names
    timeframe: str
    warmup_candles: int
    feed: str
    poll_seconds: float
    trade_capital: Decimal
    live_start_capital: Decimal | None  # None: a part of trade_capital
    live_grow_trades: int
    live_skip_sim_day: bool
    paper_balance: Decimal
    rsi_period: int
    rsi_smoothing: str
    rsi_buy: float
    rsi_sell: float
    rsi_crash: float
    bb_period: int
    bb_stddev: float
    trailing_stop_pct: float
    paper_fill: str
    paper_latency_ms: int
    paper_participation: float
    entry_timeout_ms: int
    taker_fee_bps: Decimal | None  # None: the venue's
    maker_fee_bps: Decimal | None
    slippage_bps: Decimal
    entry_limit_bps: Decimal
    native_stop: bool
    tax_buy_bps: Decimal
    tax_sell_bps: Decimal
    spread_bps: Decimal
    cost_gate: str
    max_daily_loss: Decimal
    max_drawdown_pct: float
    max_consecutive_losses: int
    cooldown_seconds: float
    day_offset_minutes: int
    max_orders_per_minute: int
    max_open_positions: int
    shadow_limit_bps: Decimal
    stale_seconds: float
    on_shutdown: str
    retention_minutes: int
    tape_keep_hours: float
    tape_max_mb: int
    host: str
    port: int
    allowed_hosts: tuple[str, ...]
    dashboard_password: Secret
    dashboard_token: Secret
    sandbox_protocol: str
    sandbox_port: int
    sandbox_seed: int
    sandbox_tape: str
    sandbox_speed: float
    venue_rest_url: str
    venue_stream_url: str
    reconcile_seconds: float
    lease_seconds: float
    coindcx_api_key: Secret
    coindcx_secret_key: Secret
    binance_api_key: Secret
    binance_secret_key: Secret
    kraken_api_key: Secret
    kraken_secret_key: Secret
    bot_name: str
    var_dir: str
    log_level: str

    @property
    def timeframe_ms(self) -> int:
        return TIMEFRAMES_MS[self.timeframe]

    @property
    def protocol(self) -> str:
        """The protocol that our venue speaks: for the sandbox the one it imitates."""
        return self.sandbox_protocol if self.venue == "sandbox" else self.venue

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret text in force, to be masked wherever we write."""
        values = (getattr(self, name) for name in self.__struct_fields__)
        return tuple(value.reveal() for value in values if isinstance(value, Secret) and value)


INDICATOR_NAMES = (
    "RSI_PERIOD",
    "RSI_SMOOTHING",
    "RSI_BUY",
    "RSI_SELL",
    "RSI_CRASH",
    "BB_PERIOD",
    "BB_STDDEV",
    "TIMEFRAME",
    "WARMUP_CANDLES",
)

# Concern several stages, yet two stages that differ in them still agree on the market and the money.
NOT_SHARED = ("LOG_LEVEL", "VAR_DIR")


def as_texts(settings: Settings) -> dict[str, str]:
    """Every setting but the secrets as the text that parses back to it."""
    return {
        setting.name: to_text(getattr(settings, setting.attribute))
        for setting in SETTINGS.values()
        if not setting.secret
    }


def shared_hash(settings: Settings) -> int:
    """A 63-bit hash of the settings that more than one stage goes by."""
    texts = as_texts(settings)
    names = [s.name for s in SETTINGS.values() if len(s.stages) > 1 and not s.secret and s.name not in NOT_SHARED]
    return _hash({name: texts[name] for name in names})


def indicator_hash(settings: Settings) -> int:
    """A 63-bit hash of the settings that decide indicators and reason codes."""
    texts = as_texts(settings)
    return _hash({name: texts[name] for name in INDICATOR_NAMES})


def _hash(texts: dict[str, str]) -> int:
    digest = hashlib.sha256("\n".join(f"{name}={texts[name]}" for name in sorted(texts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def env_example() -> str:
    """The text of `.env.example`: every setting with its default, its meaning and what is allowed."""
    lines = [
        "# Every setting with its default. Copy this file to .env (chmod 600 .env), keep the lines you change and",
        "# delete the rest. The environment goes before .env. An empty value means the default. Write NAME=value:",
        "# no export, no comment behind the value; single quotes around a value with spaces, # or $.",
        "# A change takes effect at `make restart`.",
    ]
    for title, group in GROUPS:
        lines += ["", f"# --- {title} " + "-" * max(3, 110 - len(title))]
        for setting in group:
            lines += ["", f"# {setting.meaning[0].upper()}{setting.meaning[1:]}.", f"# Allowed: {setting.allowed}."]
            lines.append(f"{setting.name}={setting.default}")
    return "\n".join(lines) + "\n"
