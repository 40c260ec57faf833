"""The doctor's whole report: what was found (`doctor_facts`) and what is made of it (`doctor_checks`), in its order."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from core import paths
from core.clock import Clock
from core.errors import BotError, MisconfiguredError
from core.lock import holder
from core.money import UNIT
from core.settings import Settings
from tools import doctor_checks as checks
from tools import doctor_facts as facts
from tools import ports
from tools.doctor_lines import SKIPPED, Line, Report
from tools.doctor_wheels import first_lines
from trader import clearance, ladder
from venues.choose import account, market_data
from venues.venue import Rules

NO_KEYS = "no keys needed in simulation"
NOT_UP = "the sandbox runs with the bot alone: `make start`, then again"
PORTS = {"PORT": "dashboard", "SANDBOX_PORT": "sandbox"}  # whose they are
UNASKED = "not asked: see above"
OF_THE_ACCOUNT = ("key", "key may trade", "key may withdraw", "key bound to address", "balance", "fee")


def examine(
    settings: Settings, clock: Clock, env_file: Path = paths.ENV_FILE, first: Sequence[Line] | None = None
) -> Report:
    """Looks at everything and puts a pass, or that there is none, on record. `first`: what was looked at before.

    Raises MisconfiguredError where that cannot be written.
    """
    lines = [*(first_lines() if first is None else first), *machine(settings, env_file)]
    about, whole = venue_and_account(settings, clock)
    report = Report(lines + about, whole)
    if not report.passed:
        clearance.forget_pass(settings)
    elif report.whole:
        clearance.write_pass(settings, clock.wall_ms())
    return report


def machine(settings: Settings, env_file: Path) -> Iterator[Line]:
    """Lines about this machine, beyond the first ones."""
    disk = facts.disk(settings)
    yield checks.disk_room(disk, settings.tape_max_mb)
    yield checks.disk_kind(disk)
    yield checks.env_file(facts.env_mode(env_file), bool(settings.secrets))
    yield checks.exposure(settings.host, settings.port, bool(settings.dashboard_password))
    run_dir = paths.run_dir(paths.var_dir(settings))
    ours = {name for name, stage in PORTS.items() if holder(run_dir, stage) is not None}
    yield from (checks.port_taken(text) for text in ports.taken(settings) if text.partition("=")[0] not in ours)


def venue_and_account(settings: Settings, clock: Clock) -> tuple[list[Line], bool]:
    """Lines about the venue and the account, and whether the account was asked."""
    market = market_data(settings, clock)
    try:
        found = facts.venue(market, settings, clock)
        quote = found.rules[0].quote if isinstance(found.rules, list) else ""
        usual = market.fees_bps(quote)[0]
    finally:
        market.close()
    if isinstance(found.rest_ms, BotError) and settings.venue == "sandbox":
        return [Line(SKIPPED, name, NOT_UP) for name in ("REST", "clock", "PAIRS", "stream", *OF_THE_ACCOUNT)], False
    lines = [checks.reachable(settings.venue, found.rest_ms)]
    if found.rules is not None:
        lines += checks.markets(found.rules)
    if found.stream_ms is not None:
        lines.append(checks.streams(settings.venue, found.stream_ms))
    if not isinstance(found.rules, list):
        return [*lines, *skipped(UNASKED)], False
    fee = usual if settings.taker_fee_bps is None else settings.taker_fee_bps
    lines += minimums(settings, found, fee)
    if settings.venue == "coindcx":
        lines.append(checks.tax_withheld(quote, settings.tax_buy_bps, settings.tax_sell_bps))
    try:
        side = account(settings, clock, beside=True, run_dir=paths.run_dir(paths.var_dir(settings)))
    except MisconfiguredError as error:
        lines.append(_clock(found, None))
        if settings.simulation_mode:
            return [*lines, *skipped(NO_KEYS)], False
        return [*lines, checks.key(error), *skipped(UNASKED, "key")], False
    try:
        private = facts.private(side, found.rules, clock)
    finally:
        side.close()
    lines.append(_clock(found, private))
    return [*lines, *of_the_account(settings, found, private, fee)], not isinstance(private.key, BotError)


def skipped(why: str, *said: str) -> list[Line]:
    """The lines about the account but for those that were said, for where it was not asked."""
    return [Line(SKIPPED, name, why) for name in OF_THE_ACCOUNT if name not in said]


def _clock(found: facts.Venue, private: facts.Private | None) -> Line:
    if found.skew is None:
        return Line(SKIPPED, "clock", "this market is played by a clock of its own")
    if private is not None and private.skew is not None:
        return checks.clock(private.skew)
    return checks.clock(found.skew)


def first_stake(settings: Settings) -> Decimal:
    """Quote currency that an entry costs at most at first."""
    rungs = ladder.rungs_of(settings)
    return Decimal(ladder.stake(ladder.Ladder(), rungs)) / UNIT


def minimums(settings: Settings, found: facts.Venue, fee_bps: Decimal) -> Iterator[Line]:
    """A line for each market: what the venue takes for an order against the first stake."""
    assert isinstance(found.rules, list)
    left = (1 - Decimal(str(settings.trailing_stop_pct))) * (1 - fee_bps / checks.BPS)
    for rules in found.rules[: facts.PAIRS_MOST]:
        price = found.prices.get(rules.pair)
        if price is None:
            yield Line(SKIPPED, f"minimum {rules.pair}", "nobody has traded there yet: there is no price")
        else:
            yield checks.minimum(checks.Need(rules, price, left), first_stake(settings))
    yield from unasked("minimum", found.rules)


def of_the_account(settings: Settings, found: facts.Venue, private: facts.Private, fee_bps: Decimal) -> Iterator[Line]:
    """Lines about key, money and fees."""
    yield checks.key(private.key)
    if private.balances is None or private.rights is None:
        yield from skipped(UNASKED, "key")
        return
    assert isinstance(found.rules, list)
    yield from checks.rights(private.rights)
    yield checks.binding(private.rights, settings.venue == "sandbox")
    yield checks.balance(private.balances, purse(settings, found.rules, found.prices, fee_bps))
    for pair, told in private.fees.items():
        yield checks.fees(pair, told, fee_bps)
    yield from unasked("fee", found.rules)


def unasked(name: str, rules: Sequence[Rules]) -> Iterator[Line]:
    """A line for the markets beyond those that are asked about, which keep to the venue's limits."""
    more = len(rules) - facts.PAIRS_MOST
    if more > 0:
        yield Line(SKIPPED, name, f"of {more} more markets: the first {facts.PAIRS_MOST} are asked about")


def purse(settings: Settings, rules: Sequence[Rules], prices: Mapping[str, Decimal], fee_bps: Decimal) -> checks.Purse:
    """What has to be paid, in the markets' one quote currency."""
    by_base = {one.base: prices[one.pair] for one in rules if one.pair in prices}
    costs = fee_bps + settings.tax_buy_bps
    return checks.Purse(rules[0].quote, settings.trade_capital, first_stake(settings), costs, by_base)
