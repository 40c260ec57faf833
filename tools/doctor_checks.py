"""What `make doctor` makes of what it found: facts in, one line each out. Pure; `doctor_facts` gathers.

A line names the thing, the value and, where something is to be done, the next step. `fail` says that real orders would
go wrong, `warn` what a person should know, `skipped` why nothing could be said.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from core.disk import MB, TAPE_FREE_BYTES
from core.errors import BotError
from core.money import least_quantity, plain, steps_down
from core.settings_parse import is_loopback
from tools.doctor_lines import FAIL, OK, SKIPPED, WARN, Line
from tools.mounts import IN_MEMORY
from venues.account import Balance, KeyRights
from venues.venue import Rules

CLOCK_FAIL_MS = 1_000  # Binance refuses what is stamped further ahead
CLOCK_WARN_MS = 250
BPS = Decimal(10_000)
CENTS = 2  # decimals of amounts that are shown

NOT_TOLD = "the venue does not tell"


# --- the machine ----------------------------------------------------------------------------------------


class Disk(NamedTuple):
    """Where VAR_DIR lies: bytes free, bytes of tape there are already, the file system and what it lies on."""

    folder: str
    free: int
    taped: int
    filesystem: str  # as the kernel names it, "" where that is not known
    medium: str  # "SD card", "eMMC", "disk", "SSD", "" where that is not known


ON_THE_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "ceph", "glusterfs")


def disk_room(found: Disk, tape_max_mb: int) -> Line:
    """Room for the tape that may come, above what the bot must have to go on."""
    text = f"{found.free // MB} MB free in {found.folder}"
    if found.free < TAPE_FREE_BYTES:
        step = f"free some, or set VAR_DIR to another disk: below {TAPE_FREE_BYTES // MB} MB there are no entries"
        return Line(FAIL, "disk", text, step)
    tape = max(0, tape_max_mb * MB - found.taped)
    if found.free < TAPE_FREE_BYTES + tape:
        return Line(WARN, "disk", f"{text}, and the tape may grow by {tape // MB} MB", "free some or lower TAPE_MAX_MB")
    return Line(OK, "disk", text)


def disk_kind(found: Disk) -> Line:
    """What VAR_DIR lies on: each order waits for its journal to be on the disk."""
    name = "disk kind"
    what = " on ".join(part for part in (found.filesystem, found.medium) if part)
    if found.filesystem in ON_THE_NETWORK:
        return Line(FAIL, name, f"{what}: SQLite's log does not work there", "set VAR_DIR to a disk of this machine")
    if found.filesystem in IN_MEMORY:
        return Line(WARN, name, f"{what}: gone with the power, and the ledger with it", "set VAR_DIR to a real disk")
    if found.medium == "SD card":
        return Line(WARN, name, f"{what}: it wears out, and each order waits for it", "set VAR_DIR to an SSD")
    if not what:
        return Line(SKIPPED, name, "this machine does not tell")
    return Line(OK, name, what)


def env_file(mode: int | None, holds_secrets: bool) -> Line:
    """Who may read `.env`; `mode` None: there is none."""
    if mode is None:
        return Line(SKIPPED, ".env", "there is none: settings come from the environment and the defaults")
    if not mode & 0o077:
        return Line(OK, ".env", f"mode {mode:04o}: you alone may read it")
    text = f"mode {mode:04o}: others may read it"
    return Line(FAIL if holds_secrets else WARN, ".env", text, "chmod 600 .env")


def exposure(host: str, port: int, has_password: bool) -> Line:
    """Who can reach the page."""
    name, where = "page", f"HOST={host} PORT={port}"
    if is_loopback(host):
        return Line(OK, name, f"{where}: this machine alone")
    if not has_password:
        return Line(FAIL, name, f"{where}: anybody in the network, without a login", "set HOST=127.0.0.1")
    step = "HOST=127.0.0.1 and `ssh -L` are safer, or a proxy with TLS before it"
    return Line(WARN, name, f"{where}: the network, with a login that goes over it unencrypted", step)


def port_taken(problem: str) -> Line:
    """A port that the bot could not bind, as `ports.taken` tells it."""
    return Line(FAIL, "port", problem)


# --- the venue -------------------------------------------------------------------------------------------


def reachable(venue: str, found: int | BotError) -> Line:
    """Milliseconds that the list of markets took, or what came instead."""
    if isinstance(found, BotError):
        return Line(FAIL, "REST", _said(found), "check the network, or see whether the venue is in maintenance")
    return Line(OK, "REST", f"{venue} answered within {found} ms")


def streams(venue: str, found: int | BotError) -> Line:
    """Milliseconds until the stream of trades was subscribed to."""
    if isinstance(found, BotError):
        step = "a firewall or proxy may keep web sockets out; FEED=poll does without"
        return Line(FAIL, "stream", _said(found), step)
    return Line(OK, "stream", f"{venue} took the subscription within {found} ms")


class Skew(NamedTuple):
    """The venue's clock less ours, give or take `bound_ms` (half the round trip, and the venue's own step)."""

    offset_ms: int
    bound_ms: int


def clock(found: Skew | BotError) -> Line:
    """This machine's clock against the venue's; wrong is what is wrong at best."""
    if isinstance(found, BotError):
        return Line(FAIL, "clock", _said(found))
    side = "behind" if found.offset_ms > 0 else "ahead of"
    text = f"{abs(found.offset_ms)} ms {side} the venue's, give or take {found.bound_ms} ms"
    certain = abs(found.offset_ms) - found.bound_ms
    step = "let the clock be set: sudo timedatectl set-ntp true"
    if certain > CLOCK_FAIL_MS:
        return Line(FAIL, "clock", text, step)
    if certain > CLOCK_WARN_MS:
        return Line(WARN, "clock", text, step)
    return Line(OK, "clock", text)


def markets(found: Sequence[Rules] | BotError) -> list[Line]:
    """Whether the venue has the markets of PAIRS, and trades them now."""
    if isinstance(found, BotError):
        return [Line(FAIL, "PAIRS", _said(found))]
    still = [rules.pair for rules in found if not rules.active]
    if still:
        step = "take it out of PAIRS, or wait until the venue trades it again"
        return [Line(FAIL, "PAIRS", f"{', '.join(still)} cannot be traded at the venue now", step)]
    return [Line(OK, "PAIRS", ", ".join(rules.pair for rules in found))]


class Need(NamedTuple):
    """What a stake has to be good for in one market: its last price, and what share of a purchase a stop leaves."""

    rules: Rules
    price: Decimal
    left: Decimal  # 1 - TRAILING_STOP_PCT, less the fee of the purchase


def minimum(need: Need, stake: Decimal) -> Line:
    """Whether the stake buys what the venue takes for an order, and what is left of it at the stop can be sold."""
    rules, price, _ = need
    name, unit = f"minimum {rules.pair}", rules.quote
    quantity = steps_down(stake / price, rules.step) * rules.step
    least = least_quantity(price, rules.step, min_quantity=rules.min_quantity, min_notional=rules.min_notional) * price
    text = f"an order takes at least {_amount(least)} {unit}, the stake is {_amount(stake)} {unit}"
    step = f"set LIVE_START_CAPITAL to {_amount(2 * least)} or more, and TRADE_CAPITAL no lower"
    if quantity < rules.min_quantity or quantity * price < rules.min_notional or not quantity:
        return Line(FAIL, name, text, step)
    if quantity * price * need.left < rules.min_notional:
        return Line(FAIL, name, f"{text}; at the stop it would be too small to be sold", step)
    return Line(OK, name, text)


# --- the account -----------------------------------------------------------------------------------------


def key(found: Sequence[str] | BotError) -> Line:
    """What was asked with the key (names of questions), or what came instead."""
    if isinstance(found, BotError):
        return Line(FAIL, "key", _said(found))
    return Line(OK, "key", f"it works: {', '.join(found)} were answered")


def rights(found: KeyRights | BotError) -> list[Line]:
    """A key has to be able to trade, and should be able to do nothing else."""
    if isinstance(found, BotError):
        return [Line(FAIL, "key may trade", _said(found)), Line(SKIPPED, "key may withdraw", NOT_TOLD)]
    trade = {
        True: Line(OK, "key may trade", "yes"),
        False: Line(FAIL, "key may trade", "no", "give it that right on the venue's page of API keys, or make another"),
        None: Line(SKIPPED, "key may trade", f"{NOT_TOLD} before the first order"),
    }[found.trade]
    without = "make a key without that right: who steals this one can take the money away"
    withdraw = {
        True: Line(FAIL, "key may withdraw", "yes", without),
        False: Line(OK, "key may withdraw", "no"),
        None: Line(SKIPPED, "key may withdraw", f"{NOT_TOLD}: see on its page of API keys"),
    }[found.withdraw]
    return [trade, withdraw]


def binding(found: KeyRights | BotError, play_money: bool) -> Line:
    """A key that works from this machine's address alone is of no use to a thief."""
    name, step = "key bound to address", "bind it to this machine's address on the venue's page of API keys"
    if play_money:
        return Line(SKIPPED, name, "it is play money")
    if isinstance(found, BotError):
        return Line(SKIPPED, name, NOT_TOLD)
    if found.bound_to_address:
        return Line(OK, name, "yes")
    return Line(WARN, name, NOT_TOLD if found.bound_to_address is None else "no", step)


class Purse(NamedTuple):
    """What the stake has to be paid from: TRADE_CAPITAL, the stake at first, fee and tax of a purchase, last prices."""

    quote: str
    capital: Decimal
    stake: Decimal
    costs_bps: Decimal
    prices: dict[str, Decimal]  # by base currency


def balance(found: Sequence[Balance] | BotError, purse: Purse) -> Line:
    """Whether the account holds the stake: in quote currency, or bought already."""
    if isinstance(found, BotError):
        return Line(FAIL, "balance", _said(found))
    held = {row.currency: row for row in found}
    row = held.get(purse.quote)
    free = row.free if row else Decimal(0)
    rest = sum(((held[name].free + held[name].locked) * purse.prices[name] for name in purse.prices if name in held), 0)
    worth = free + (row.locked if row else 0) + rest
    need = purse.stake * (1 + purse.costs_bps / BPS)
    text = f"{_amount(free)} {purse.quote} free, {_amount(worth)} with what its markets hold"
    if worth < need:
        step = f"deposit, or lower TRADE_CAPITAL (LIVE_START_CAPITAL): an entry of {_amount(need)} has to be paid"
        return Line(FAIL, "balance", text, step)
    if free < need:
        return Line(WARN, "balance", text, f"an entry of {_amount(need)} has to wait until something is sold")
    if free < purse.capital:
        step = f"entries will be capped once the stake has grown to TRADE_CAPITAL={_amount(purse.capital)}"
        return Line(WARN, "balance", text, step)
    return Line(OK, "balance", text)


def fees(pair: str, found: tuple[Decimal, Decimal] | BotError | None, assumed: Decimal) -> Line:
    """The account's taker fee against the one that the bot reckons with, in basis points."""
    name, reckoned = f"fee {pair}", f"the bot reckons with {plain(assumed)} bps"
    if isinstance(found, BotError):
        return Line(FAIL, name, _said(found))
    if found is None:
        return Line(SKIPPED, name, f"{NOT_TOLD} before the first order; {reckoned}")
    taker = plain(found[0])
    if found[0] > assumed:
        return Line(WARN, name, f"you pay {taker} bps, {reckoned}", f"set TAKER_FEE_BPS={taker}: it looks too good now")
    return Line(OK, name, f"you pay {taker} bps, {reckoned}")


TDS_BPS = Decimal(100)  # Income-tax Act s.194S: of a sale, and of a purchase too where it is paid in crypto


def tax_withheld(quote: str, buy_bps: Decimal, sell_bps: Decimal) -> Line:
    """What an Indian exchange withholds against what the bot reckons with, in basis points."""
    name = "tax withheld"
    due = {"TAX_BUY_BPS": Decimal(0) if quote == "INR" else TDS_BPS, "TAX_SELL_BPS": TDS_BPS}
    reckoned = {"TAX_BUY_BPS": buy_bps, "TAX_SELL_BPS": sell_bps}
    text = f"1 % of {'a sale' if quote == 'INR' else 'a purchase and of a sale'} (TDS), the bot reckons with "
    text += ", ".join(f"{one}={plain(bps)}" for one, bps in reckoned.items())
    low = [f"{one}={plain(bps)}" for one, bps in due.items() if reckoned[one] < bps]
    if low:
        return Line(WARN, name, text, f"set {', '.join(low)}: costs and cost gate look too good now")
    return Line(OK, name, text)


def _said(error: BotError) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split())


def _amount(value: Decimal) -> str:
    """At most two decimals, more where that would be nothing."""
    short = round(value, CENTS)
    return plain(short if short or not value else value.normalize())
