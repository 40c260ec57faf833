"""What `make doctor` looks at: the machine, the venue, the account. Asks, and changes nothing anywhere.

A question that fails is its own error in place of the answer; once the key is refused nothing more is asked with it, as
venues lock out who goes on.
"""

import asyncio
import stat
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from core import paths
from core.clock import NS_PER_MS, Clock, sleep
from core.disk import free_bytes
from core.errors import BotError
from core.settings import Settings
from tools import mounts
from tools.doctor_checks import Disk, Skew
from venues.account import Account, Balance, KeyRights
from venues.errors import RateLimited, Retry
from venues.venue import MarketData, Rules

STREAM_SECONDS = 20.0
PAIRS_MOST = 5  # markets that are asked for price and fee: a venue's limits are small
LOOK_BACK_MS = 3_600_000  # own fills
PATIENCE_S = 60.0  # Kraken lets a new key's holder ask a dozen questions a minute, and each visit has six
PAUSE_S = 15.0  # at least: who asks again and again leaves no room to a trader that uses the same key
DATE_BOUND_MS = 1_000  # of a clock that is known by the Date of public answers alone

T = TypeVar("T")


# --- the machine ----------------------------------------------------------------------------------------


def env_mode(env_file: Path) -> int | None:
    """The permission bits of `.env`; None where there is none."""
    try:
        return stat.S_IMODE(env_file.stat().st_mode)
    except FileNotFoundError:
        return None


def disk(settings: Settings) -> Disk:
    """The disk that VAR_DIR lies on, or will."""
    folder = paths.var_dir(settings)
    tape = paths.book_dir(settings) / "tape"
    taped = sum(file.stat().st_size for file in tape.glob("*") if file.is_file())
    block = Path("/sys/dev/block") / mounts.device(folder)
    return Disk(str(folder), free_bytes(mounts.nearest(folder)), taped, mounts.filesystem_of(folder), medium(block))


def medium(device: Path) -> str:
    """What a block device is, of /sys; "" where that is not known."""
    try:
        block = device.resolve(strict=True)
        if (block / "partition").exists():  # it lies below its disk
            block = block.parent
        if block.name.startswith("mmcblk"):
            return "SD card" if (block / "device" / "type").read_text().strip() == "SD" else "eMMC"
        return "disk" if (block / "queue" / "rotational").read_text().strip() == "1" else "SSD"
    except OSError:
        return ""


# --- the venue ------------------------------------------------------------------------------------------


class Venue(NamedTuple):
    """What the public side said. Later answers are missing (None) where an earlier one failed."""

    rest_ms: int | BotError
    rules: list[Rules] | BotError | None = None
    prices: Mapping[str, Decimal] = MappingProxyType({})  # the last ones, by pair
    stream_ms: int | BotError | None = None
    skew: Skew | None = None  # by the Date of the answers; None: it is a clock of its own


def venue(market: MarketData, settings: Settings, clock: Clock) -> Venue:
    """Asks the public side: markets, prices, clock, stream."""
    return asyncio.run(_venue(market, settings, clock))


async def _venue(market: MarketData, settings: Settings, clock: Clock) -> Venue:
    began_ns = clock.monotonic_ns()
    try:
        listed = await market.markets()
    except BotError as error:
        return Venue(error)
    rest_ms = (clock.monotonic_ns() - began_ns) // NS_PER_MS
    try:
        rules = market.resolve(settings.pairs, listed)
    except BotError as error:
        return Venue(rest_ms, error)
    prices = {}
    for one in rules[:PAIRS_MOST]:
        try:
            found = (await market.recent_trades(one)).trades
        except BotError as error:
            return Venue(error)
        if found:
            prices[one.pair] = Decimal(str(found[-1].price))
    skew = None
    if not market.tape_clock:
        skew = Skew(market.clock_offset_ns() // NS_PER_MS, DATE_BOUND_MS)
    stream_ms = await _stream(market, rules, clock) if settings.feed == "stream" else None
    return Venue(rest_ms, rules, prices, stream_ms, skew)


async def _stream(market: MarketData, rules: Sequence[Rules], clock: Clock) -> int | BotError:
    began_ns = clock.monotonic_ns()
    try:
        async with asyncio.timeout(STREAM_SECONDS):
            stream = await market.open_stream(rules)
    except TimeoutError:
        return Retry(market.name, f"no connection for the stream within {STREAM_SECONDS:.0f} s")
    except BotError as error:
        return error
    took_ms = (clock.monotonic_ns() - began_ns) // NS_PER_MS
    await stream.close()
    return took_ms


# --- the account ----------------------------------------------------------------------------------------


class Private(NamedTuple):
    """What the private side said; after a key that was refused nothing but `key`."""

    key: list[str] | BotError  # the questions that were answered
    skew: Skew | BotError | None = None
    balances: list[Balance] | BotError | None = None
    fees: Mapping[str, tuple[Decimal, Decimal] | BotError | None] = MappingProxyType({})  # (taker, maker) bps by pair
    rights: KeyRights | BotError | None = None


def private(account: Account, rules: Sequence[Rules], clock: Clock) -> Private:
    """Asks what every trader asks: clock, balances, open orders, fills; and fees and rights of the key.

    Where the venue says "too often" (the doctor was here a moment ago, or a trader is) it waits, PATIENCE_S in all.
    """
    tried = Patience().tried
    skew = tried(lambda: skew_of(account, clock))
    balances = tried(account.balances)
    if isinstance(balances, BotError):
        return Private(balances, skew)
    orders = tried(lambda: account.open_orders(rules[0]))
    fills = tried(lambda: account.fills(rules[0], clock.wall_ms() - LOOK_BACK_MS))
    for found in (orders, fills):
        if isinstance(found, BotError):
            return Private(found, skew, balances)
    fees = {one.pair: tried(lambda one=one: account.fees_bps(one)) for one in rules[:PAIRS_MOST]}  # type: ignore[misc]
    return Private(["balances", "open orders", "fills"], skew, balances, fees, tried(account.key_rights))


def skew_of(account: Account, clock: Clock) -> Skew:
    """The venue's clock against ours, measured now."""
    sent_ms = clock.wall_ms()
    venue_ms = account.server_time_ms()
    now_ms = clock.wall_ms()
    bound_ms = (max(0, now_ms - sent_ms) + account.capabilities.clock_step_ms + 1) // 2
    return Skew(venue_ms - now_ms, bound_ms)


class Patience:
    """Questions that wait for as long as a venue wants, and are asked again."""

    def __init__(self) -> None:
        self._left_s = PATIENCE_S

    def tried(self, ask: Callable[[], T]) -> T | BotError:
        """The answer, or the error in its place."""
        while True:
            try:
                return ask()
            except RateLimited as error:
                wait_s = max(PAUSE_S, error.retry_after_s)
                if wait_s > self._left_s:
                    return error
                self._left_s -= wait_s
                sleep(wait_s)
            except BotError as error:
                return error
