"""The sandbox answers within milliseconds: what takes a venue seconds at worst, takes it tenths."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from core.clock import NS_PER_S
from venues.binance.account import BinanceAccount
from venues.coindcx.account import CoinDcxAccount
from venues.kraken.account import COUNTER, ORDERS, KrakenAccount
from venues.limits import Limit

ACCOUNTS = (BinanceAccount, CoinDcxAccount, KrakenAccount)
LIVES_S = 1.0  # a request that was lost on its way here is not taken after that

# What is replaced, by its name.
BRISK: Mapping[str, Any] = MappingProxyType(
    {
        "trader.look_schedule.AGAIN_S": 0.3,
        "trader.look_schedule.AWAY_S": 0.2,
        "trader.look_schedule.GAP_S": 0.2,
        "trader.reconcile_base.LAG_NS": NS_PER_S // 5,
        "trader.tracking.LAG_S": 0.3,
        "trader.tracking.EXIT_REST_S": 0.5,
        "venues.kraken.account.LIMITS": {COUNTER: Limit(1000.0, 1000.0), ORDERS: Limit(1000.0, 1000.0)},
        **{
            f"{one.__module__}.{one.__name__}.capabilities": msgspec.structs.replace(
                one.capabilities, request_lives_s=LIVES_S
            )
            for one in ACCOUNTS
        },
    }
)
