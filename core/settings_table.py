"""The table of settings: name, default, what is allowed, what it means and which stages it concerns.

`.env.example` is written from it, and `settings.Settings` has an attribute for each row: the name in lower case.
How the bot is run, shown and connected stands in `settings_table_running`.
"""

from core import settings_parse as parse
from core.settings_row import ALL, CANDLES, FEEDER, REMOTE, RULES, TRADER, WITH_SANDBOX, Setting
from core.settings_table_running import RUNNING

TIMEFRAMES_MS = {
    "1s": 1_000,
    "5s": 5_000,
    "15s": 15_000,
    "1m": 60_000,
    "3m": 180_000,
    "5m": 300_000,
    "15m": 900_000,
    "1h": 3_600_000,
}

# Amounts are 64-bit whole numbers of a hundred-millionth: sums and products must fit.
MOST_MONEY = "11000000000"
_bps = parse.amount("0", "5000", "0.01")
_fee = parse.optional_amount("-100", "1000", "0.01")
_money = parse.amount("0", MOST_MONEY, "0.00000001")
_positive = parse.amount("0", MOST_MONEY, "0.00000001", above=True)
_start_capital = parse.optional_amount("0.00000001", MOST_MONEY, "0.00000001")
_rsi = parse.number(0, 100)
_FEE_ALLOWED = "empty for the venue's own, or -100 to 1000 in steps of 0.01"
_BPS_ALLOWED = "0 to 5000 in steps of 0.01"

_TRADING: tuple[tuple[str, tuple[Setting, ...]], ...] = (
    (
        "What is traded, and whether with real money",
        (
            Setting(
                "SIMULATION_MODE",
                "true",
                parse.boolean,
                "true or false",
                "true: paper money; false sends real orders to VENUE (see README, Going live)",
                ALL,
            ),
            Setting(
                "LIVE_CONFIRM",
                "no",
                parse.boolean,
                "yes or no",
                "the second key to real orders: a real venue gets them with this and SIMULATION_MODE=false only",
                TRADER,
            ),
            Setting(
                "VENUE",
                "sandbox",
                parse.choice("sandbox", "coindcx", "binance", "kraken"),
                "sandbox, coindcx, binance or kraken",
                "the exchange; sandbox is the local one that comes with the bot",
                WITH_SANDBOX,
            ),
            Setting(
                "PAIRS",
                "B-BTC_USDT",
                parse.pair_names,
                "BASE/QUOTE or the venue's own names, comma-separated, all in one quote currency",
                "the markets to trade (PAIR means the same); the default is BTC/USDT on every venue",
                WITH_SANDBOX,
            ),
            Setting(
                "TIMEFRAME", "1m", parse.choice(*TIMEFRAMES_MS), ", ".join(TIMEFRAMES_MS), "length of a candle", CANDLES
            ),
            Setting(
                "WARMUP_CANDLES",
                "50",
                parse.integer(1, 5000),
                "1 to 5000",
                "closed candles before the first decision",
                CANDLES,
            ),
            Setting(
                "FEED",
                "stream",
                parse.choice("stream", "poll"),
                "stream or poll",
                "how trades reach us: the venue's stream (polled while it is down), or polling alone",
                FEEDER,
            ),
            Setting("POLL_SECONDS", "5", parse.number(0.2, 300), "0.2 to 300", "seconds between two polls", FEEDER),
            Setting(
                "TRADE_CAPITAL",
                "10000",
                _positive,
                "more than 0, at most 11000000000",
                "quote currency put into one entry, at most",
                TRADER,
            ),
            Setting(
                "LIVE_START_CAPITAL",
                "",
                _start_capital,
                "empty for a tenth of TRADE_CAPITAL (at the sandbox all of it), or 0.00000001 to 11000000000",
                "quote currency put into one entry at first with real money, at most",
                TRADER,
            ),
            Setting(
                "LIVE_GROW_TRADES",
                "20",
                parse.integer(0, 10_000),
                "0 to 10000",
                "round trips, all reconciled with the venue, until that doubles, up to TRADE_CAPITAL; 0: it stays",
                TRADER,
            ),
            Setting(
                "LIVE_SKIP_SIM_DAY",
                "no",
                parse.boolean,
                "yes or no",
                "real orders without a day of simulation of that venue on record; each such start is logged",
                TRADER,
            ),
            Setting(
                "PAPER_BALANCE",
                "10500",
                _positive,
                "more than 0, at most 11000000000",
                "quote currency that a new simulated book starts with",
                TRADER,
            ),
        ),
    ),
    (
        "Strategy",
        (
            Setting("RSI_PERIOD", "14", parse.integer(2, 1000), "2 to 1000", "candles of the RSI", RULES),
            Setting(
                "RSI_SMOOTHING",
                "wilder",
                parse.choice("wilder", "ema"),
                "wilder or ema",
                "how the RSI averages: wilder as TA-Lib, ema as the Rust crate ta",
                RULES,
            ),
            Setting(
                "RSI_BUY",
                "30",
                _rsi,
                "0 to 100, below RSI_SELL",
                "enter when the RSI is below this and the price below the lower band",
                RULES,
            ),
            Setting("RSI_SELL", "70", _rsi, "0 to 100", "take profit when the RSI is above this", RULES),
            Setting(
                "RSI_CRASH",
                "20",
                _rsi,
                "0 to 100, below RSI_SELL",
                "enter when the RSI is below this, wherever the bands are",
                RULES,
            ),
            Setting("BB_PERIOD", "20", parse.integer(2, 1000), "2 to 1000", "candles of the Bollinger bands", RULES),
            Setting(
                "BB_STDDEV",
                "2",
                parse.number(0, 30, above=True),
                "more than 0, its square below BB_PERIOD - 1",
                "width of the bands in standard deviations",
                RULES,
            ),
            Setting(
                "TRAILING_STOP_PCT",
                "0.005",
                parse.number(0, 1, above=True, below=True),
                "more than 0, less than 1",
                "sell when the price falls by this fraction of its highest since entry: 0.005 is half a per cent",
                TRADER,
            ),
        ),
    ),
    (
        "Simulated fills and costs (bps: hundredths of a per cent)",
        (
            Setting(
                "PAPER_FILL",
                "tape",
                parse.choice("tape", "instant"),
                "tape or instant",
                "tape: filled by the trades that follow; instant: at the deciding trade's price",
                TRADER,
            ),
            Setting(
                "PAPER_LATENCY_MS",
                "100",
                parse.integer(0, 60_000),
                "0 to 60000",
                "ms of market time before an order can fill",
                TRADER,
            ),
            Setting(
                "PAPER_PARTICIPATION",
                "1.0",
                parse.number(0.000001, 1),
                "0.000001 to 1",
                "the part of each following trade that our order may take",
                TRADER,
            ),
            Setting(
                "ENTRY_TIMEOUT_MS",
                "5000",
                parse.integer(1, 3_600_000),
                "1 to 3600000",
                "ms of market time after which the rest of an entry is cancelled",
                TRADER,
            ),
            Setting("TAKER_FEE_BPS", "", _fee, _FEE_ALLOWED, "fee of market orders", REMOTE),
            Setting("MAKER_FEE_BPS", "", _fee, _FEE_ALLOWED, "fee of resting orders", REMOTE),
            Setting("SLIPPAGE_BPS", "0", _bps, _BPS_ALLOWED, "how much worse than the market we fill", TRADER),
            Setting(
                "ENTRY_LIMIT_BPS",
                "10",
                _bps,
                _BPS_ALLOWED,
                "real orders: how far above the deciding price an entry may pay, beside SLIPPAGE_BPS",
                TRADER,
            ),
            Setting(
                "NATIVE_STOP",
                "true",
                parse.boolean,
                "true or false",
                "real orders: a stop rests at the venue while a position is held, where the venue has that",
                TRADER,
            ),
            Setting("TAX_BUY_BPS", "0", _bps, _BPS_ALLOWED, "tax on buying", TRADER),
            Setting("TAX_SELL_BPS", "0", _bps, _BPS_ALLOWED, "tax on selling", TRADER),
            Setting(
                "SPREAD_BPS",
                "0",
                _bps,
                _BPS_ALLOWED,
                "what you expect a round trip to lose to the spread, for COST_GATE alone",
                TRADER,
            ),
            Setting(
                "COST_GATE",
                "warn",
                parse.choice("off", "warn", "refuse"),
                "off, warn or refuse",
                "what happens where a round trip costs more than the stop's distance: refuse takes no entries",
                TRADER,
            ),
        ),
    ),
    (
        "Risk limits: they stop entries, never exits",
        (
            Setting(
                "MAX_DAILY_LOSS",
                "0",
                _money,
                "0 to 11000000000",
                "quote currency lost in one day before entries stop; 0 is off",
                TRADER,
            ),
            Setting(
                "MAX_DRAWDOWN_PCT",
                "0",
                parse.number(0, 1, below=True),
                "0 to less than 1",
                "fall of the equity from its highest before entries stop: 0.1 is ten per cent; 0 is off",
                TRADER,
            ),
            Setting(
                "MAX_CONSECUTIVE_LOSSES",
                "0",
                parse.integer(0, 10_000),
                "0 to 10000",
                "losing trades in a row before entries stop; 0 is off",
                TRADER,
            ),
            Setting(
                "COOLDOWN_SECONDS",
                "0",
                parse.number(0, 604_800),
                "0 to 604800",
                "seconds of market time without entries after an exit; 0 is off",
                TRADER,
            ),
            Setting(
                "DAY_OFFSET_MINUTES",
                "0",
                parse.integer(-840, 840),
                "-840 to 840",
                "where the day of MAX_DAILY_LOSS begins, in minutes ahead of UTC",
                TRADER,
            ),
            Setting(
                "MAX_ORDERS_PER_MINUTE",
                "30",
                parse.integer(0, 10_000),
                "0 to 10000",
                "entries in one minute of market time; 0 is off",
                TRADER,
            ),
            Setting(
                "MAX_OPEN_POSITIONS",
                "0",
                parse.integer(0, 10_000),
                "0 to 10000",
                "positions at one time; 0 is one per pair",
                TRADER,
            ),
            Setting(
                "SHADOW_LIMIT_BPS",
                "50",
                _bps,
                _BPS_ALLOWED,
                "real orders: trading halts when the last 20 filled this much worse than on paper on average; 0 is off",
                TRADER,
            ),
            Setting(
                "STALE_SECONDS",
                "30",
                parse.number(1, 3600),
                "1 to 3600",
                "no entries while the last proof of the market is older",
                ("feeder", "trader", "dashboard"),
            ),
            Setting(
                "ON_SHUTDOWN",
                "hold",
                parse.choice("hold", "flatten"),
                "hold or flatten",
                "make stop and Ctrl-C keep open positions (hold) or sell them first (flatten)",
                TRADER,
            ),
        ),
    ),
)

GROUPS = (*_TRADING, *RUNNING)
SETTINGS: dict[str, Setting] = {setting.name: setting for _, group in GROUPS for setting in group}
