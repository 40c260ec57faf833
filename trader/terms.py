"""The numbers the fold needs, out of settings and market rules, checked once: whole units, parts, nanoseconds."""

from decimal import Decimal
from typing import Any, NamedTuple

from bus.messages import Market, Start
from core.errors import MisconfiguredError
from core.money import (
    MAX_UNITS,
    Scale,
    decimal_of,
    fraction_to_parts,
    scale_of,
    steps_down,
    steps_up,
    to_parts,
    to_units,
)
from indicators.rules import keep_factor
from trader.ladder import Rungs, rungs_of

IOC, LIMIT, MARKET = "ioc", "limit", "market"  # kinds of order, in the words of the venues' accounts
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
NS_PER_MINUTE = 60 * NS_PER_S
NS_PER_HOUR = 3_600 * NS_PER_S
NS_PER_DAY = 86_400 * NS_PER_S

# Settings whose change is recorded at the next start: everything that decides.
DECIDING = (
    "venue",
    "pairs",
    "timeframe",
    "warmup_candles",
    "trade_capital",
    "rsi_period",
    "rsi_smoothing",
    "rsi_buy",
    "rsi_sell",
    "rsi_crash",
    "bb_period",
    "bb_stddev",
    "trailing_stop_pct",
    "paper_fill",
    "paper_latency_ms",
    "paper_participation",
    "entry_timeout_ms",
    "taker_fee_bps",
    "maker_fee_bps",
    "slippage_bps",
    "entry_limit_bps",
    "native_stop",
    "tax_buy_bps",
    "tax_sell_bps",
    "spread_bps",
    "cost_gate",
    "max_daily_loss",
    "max_drawdown_pct",
    "max_consecutive_losses",
    "cooldown_seconds",
    "max_orders_per_minute",
    "max_open_positions",
    "shadow_limit_bps",
    "stale_seconds",
    "day_offset_minutes",
    "bot_name",
    "simulation_mode",
    "paper_balance",
)


class Terms(NamedTuple):
    """Settings as the fold uses them. Amounts in units, rates in parts, times in ns; 0 switches a limit off."""

    bot_name: str
    keep: float  # 1 - TRAILING_STOP_PCT
    trade_capital: int
    paper_balance: int
    instant: bool
    latency_ns: int
    participation: int
    timeout_ns: int
    taker_fee: int | None  # None: the venue's, out of START
    slippage: int
    entry_limit: int  # live: how far above the deciding price an entry may pay, beside slippage
    entry_kind: str  # live: ioc or limit
    rungs: Rungs | None  # live: how the stake grows; None in simulation
    tax_buy: int
    tax_sell: int
    spread: int  # of a round trip
    cost_gate: str  # off, warn, refuse
    stop: Decimal  # TRAILING_STOP_PCT
    max_daily_loss: int
    max_drawdown: int
    max_consecutive_losses: int
    cooldown_ns: int
    max_orders_per_minute: int
    max_open_positions: int
    shadow_limit: int  # parts
    day_offset_ns: int
    indicator_hash: int
    native_stop: bool = False  # live: a stop rests at the venue while a position is held


def terms_of(settings: Any, indicator_hash: int) -> Terms:
    """Terms out of Settings. Raises MisconfiguredError for what does not fit 64-bit money."""
    fee = settings.taker_fee_bps
    return Terms(
        bot_name=settings.bot_name,
        keep=keep_factor(float(settings.trailing_stop_pct)),
        trade_capital=to_units(settings.trade_capital, "TRADE_CAPITAL"),
        paper_balance=to_units(settings.paper_balance, "PAPER_BALANCE"),
        instant=settings.paper_fill == "instant",
        latency_ns=int(settings.paper_latency_ms) * NS_PER_MS,
        participation=_above_zero(settings.paper_participation, "PAPER_PARTICIPATION"),
        timeout_ns=int(settings.entry_timeout_ms) * NS_PER_MS,
        taker_fee=None if fee is None else to_parts(fee, "TAKER_FEE_BPS"),
        slippage=to_parts(settings.slippage_bps, "SLIPPAGE_BPS"),
        entry_limit=0 if settings.simulation_mode else to_parts(settings.entry_limit_bps, "ENTRY_LIMIT_BPS"),
        entry_kind=IOC,
        rungs=None if settings.simulation_mode else rungs_of(settings),
        tax_buy=to_parts(settings.tax_buy_bps, "TAX_BUY_BPS"),
        tax_sell=to_parts(settings.tax_sell_bps, "TAX_SELL_BPS"),
        spread=to_parts(settings.spread_bps, "SPREAD_BPS"),
        cost_gate=settings.cost_gate,
        stop=decimal_of(settings.trailing_stop_pct, "TRAILING_STOP_PCT"),
        max_daily_loss=to_units(settings.max_daily_loss, "MAX_DAILY_LOSS"),
        max_drawdown=_above_zero(settings.max_drawdown_pct, "MAX_DRAWDOWN_PCT") if settings.max_drawdown_pct else 0,
        max_consecutive_losses=int(settings.max_consecutive_losses),
        cooldown_ns=int(decimal_of(settings.cooldown_seconds, "COOLDOWN_SECONDS") * NS_PER_S),
        max_orders_per_minute=int(settings.max_orders_per_minute),
        max_open_positions=int(settings.max_open_positions),
        shadow_limit=to_parts(settings.shadow_limit_bps, "SHADOW_LIMIT_BPS"),
        day_offset_ns=int(settings.day_offset_minutes) * NS_PER_MINUTE,
        indicator_hash=indicator_hash,
    )


def _above_zero(fraction: float, what: str) -> int:
    """Parts of a fraction that must not become 0."""
    parts = fraction_to_parts(fraction, what)
    if parts == 0:
        raise MisconfiguredError(f"{what} is {fraction}: the least is 0.000001")
    return parts


def deciding_settings(settings: Any) -> dict[str, str]:
    """The settings that decide, as text by name, for StartedEvent."""
    found: dict[str, str] = {}
    for name in DECIDING:
        value = getattr(settings, name)
        if isinstance(value, list | tuple):
            value = ",".join(str(item) for item in value)
        elif isinstance(value, bool):
            value = "true" if value else "false"
        found[name.upper()] = "" if value is None else str(value)
    return found


class MarketTerms(NamedTuple):
    """One market in whole numbers: lots, and units for the notional."""

    pair: str
    base: str
    quote: str
    scale: Scale
    min_lots: int
    min_notional: int
    max_lots: int  # of one order
    active: bool

    @property
    def num(self) -> int:
        """Numerator of units per tick x lot."""
        return self.scale.num

    @property
    def den(self) -> int:
        """Denominator of units per tick x lot."""
        return self.scale.den


def market_terms(market: Market) -> MarketTerms:
    """A market's rules in whole numbers. Raises MisconfiguredError naming the market and the value."""
    scale = scale_of(market.tick, market.step, market.pair)
    least = decimal_of(market.min_quantity or "0", f"min_quantity of {market.pair}")
    if least < 0:
        raise MisconfiguredError(f"min_quantity of {market.pair} is {least}: it must not be negative")
    most = MAX_UNITS
    if market.max_quantity is not None:
        most = steps_down(decimal_of(market.max_quantity, f"max_quantity of {market.pair}"), scale.step) or MAX_UNITS
    return MarketTerms(
        pair=market.pair,
        base=market.base,
        quote=market.quote,
        scale=scale,
        min_lots=max(1, steps_up(least, scale.step)),
        min_notional=_notional_up(market.min_notional or "0", market.pair),
        max_lots=most,
        active=market.active,
    )


def start_fee(start: Start) -> int:
    """The venue's taker fee of a START record, in parts."""
    return to_parts(start.taker_fee_bps or "0", "the venue's taker fee")


def fee_of(start: Start, terms: Terms) -> int:
    """The taker fee under a START record, in parts: the setting's, or the venue's own."""
    return start_fee(start) if terms.taker_fee is None else terms.taker_fee


def _notional_up(text: str, pair: str) -> int:
    """A minimum notional in units, rounded up: what is refused below it is refused here too."""
    value = decimal_of(text, f"min_notional of {pair}")
    return to_units(value, f"min_notional of {pair}") + (1 if value * 10**8 != int(value * 10**8) else 0)


def rescaled(lots: int, old_step: Decimal, new_step: Decimal) -> int:
    """`lots` of the old step in whole lots of the new one, rounded down."""
    return steps_down(lots * old_step, new_step)
