"""doctor: is this machine, this venue and this account fit for real orders? One line each; nothing is changed.

In simulation no keys are needed: without them what is asked with keys is skipped. A pass with keys is on record in
VAR_DIR/doctor.json and counts for 24 hours and these settings; a live start asks the doctor by itself.

Exit codes: 0 nothing failed (warnings allowed), 1 something failed, 2 settings that only you can mend.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import msgspec

from core import paths, settings_load
from core.clock import Clock, LiveClock
from core.errors import BotError, MisconfiguredError
from core.lock import holder
from core.money import UNIT
from core.settings import Settings
from tools import doctor_checks as checks
from tools import doctor_facts as facts
from tools import ports
from tools.doctor_checks import FAIL, SKIPPED, Line
from trader import clearance, ladder
from trader.terms import terms_of
from venues.choose import account, market_data
from venues.venue import Rules

PASSED, FAILED, MISCONFIGURED = 0, 1, 2
NO_KEYS = "no keys needed in simulation"
NOT_UP = "the sandbox runs with the bot alone: `make start`, then again"
UNASKED = "not asked: see above"
OF_THE_ACCOUNT = ("key", "key may trade", "key may withdraw", "key bound to address", "balance", "fee")


class Report(NamedTuple):
    """All lines; `whole`: the account was asked, too, so that a pass counts for real orders."""

    lines: list[Line]
    whole: bool

    @property
    def passed(self) -> bool:
        return not checks.failed(self.lines)


def examine(settings: Settings, clock: Clock, env_file: Path = paths.ENV_FILE) -> Report:
    """Looks at everything and puts a pass, or that there is none, on record.

    Raises MisconfiguredError where that cannot be written.
    """
    lines = [*machine(settings, env_file)]
    about, whole = venue_and_account(settings, clock)
    report = Report(lines + about, whole)
    if not report.passed:
        clearance.forget_pass(settings)
    elif report.whole:
        clearance.write_pass(settings, clock.wall_ms())
    return report


def machine(settings: Settings, env_file: Path) -> Iterator[Line]:
    """Lines about this machine."""
    yield checks.bits(*facts.pointer_bits())
    for found in facts.imported(list(facts.WHEELS.values())):
        yield checks.wheel(found)
    disk = facts.disk(settings)
    yield checks.disk_room(disk, settings.tape_max_mb)
    yield checks.disk_kind(disk)
    yield checks.env_file(facts.env_mode(env_file), bool(settings.secrets))
    yield checks.exposure(settings.host, settings.port, bool(settings.dashboard_password))
    if holder(paths.run_dir(paths.var_dir(settings)), "dashboard") is None:  # else the port is the bot's own
        yield from map(checks.port_taken, ports.taken(settings))


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
    try:
        side = account(settings, clock, beside=True)
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


def told(report: Report) -> str:
    """The report as a person reads it."""
    width = max((len(line.name) for line in report.lines), default=0)
    lines = [line.shown(width) for line in report.lines]
    count = sum(line.status == FAIL for line in report.lines)
    if count:
        lines.append(f"{count} of {len(report.lines)} failed")
    elif report.whole:
        lines.append("nothing failed; on record for 24 hours and these settings")
    else:
        lines.append("nothing failed; the account was not asked, so that this is no pass for real orders")
    return "\n".join(lines)


def as_json(report: Report) -> str:
    """The report for a program."""
    rows = [line._asdict() for line in report.lines]
    answer = {"passed": report.passed, "account_asked": report.whole, "lines": rows}
    return msgspec.json.format(msgspec.json.encode(answer), indent=1).decode()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    given = parser.parse_args(arguments)
    try:
        settings = settings_load.load()
        terms_of(settings, 0)  # whether the money fits the trader's 64 bits
        report = examine(settings, LiveClock())
    except MisconfiguredError as error:
        print(error, file=sys.stderr)
        return MISCONFIGURED
    print(as_json(report) if given.json else told(report))
    return PASSED if report.passed else FAILED


if __name__ == "__main__":
    sys.exit(main())
