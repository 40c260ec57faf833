"""Settings of a bot that trades without rest on the sandbox's market, so that a test need not wait for it."""

from collections.abc import Mapping
from types import MappingProxyType

# One-second candles, which the venue's recent trades give at once; loose limits and a tight stop.
LIVELY: Mapping[str, object] = MappingProxyType(
    {
        "TIMEFRAME": "1s",
        "WARMUP_CANDLES": 10,
        "RSI_PERIOD": 5,
        "RSI_BUY": 47.3,
        "RSI_SELL": 52.7,
        "RSI_CRASH": 11.3,
        "BB_PERIOD": 10,
        "BB_STDDEV": 0.7,
        "TRAILING_STOP_PCT": 0.0007,
    }
)
