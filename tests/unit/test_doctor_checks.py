"""What the doctor makes of what it found: each check with its fault planted, and well."""

import signal
from decimal import Decimal

import pytest

from tools import doctor_checks as checks
from tools import doctor_lines
from tools.doctor_checks import Disk, Need, Purse, Skew
from tools.doctor_lines import FAIL, OK, SKIPPED, WARN, Imported, Line
from venues.account import Balance, KeyRights
from venues.errors import Misconfigured, Retry
from venues.venue import Rules

D = Decimal
GB = 1_000_000_000
RULES = Rules("BTCUSDT", "BTCUSDT", "BTC", "USDT", D("0.01"), D("0.00001"), D("0.00001"), D("5"))
WHOLE = Rules("DOGEUSDT", "DOGEUSDT", "DOGE", "USDT", D("0.00001"), D(1), D(1), D("0"))
STOOD = Rules("ETHUSDT", "ETHUSDT", "ETH", "USDT", D("0.01"), D("0.001"), D("0.001"), D("5"), active=False)
GONE = Retry("binance", "GET /api/v3/exchangeInfo: the host's\nname is not known")
BAD_KEY = Misconfigured("binance", "GET /api/v3/account: refused (-2015)", "check the venue's keys")


def disk(free: int = 50 * GB, taped: int = 0, filesystem: str = "ext4", medium: str = "SSD") -> Disk:
    return Disk("/bot/var", free, taped, filesystem, medium)


def stake(amount: str, price: str = "100000", rules: Rules = RULES, left: str = "0.99") -> Line:
    return checks.minimum(Need(rules, D(price), D(left)), D(amount))


def purse(capital: str = "10000", first: str = "1000", costs: str = "10") -> Purse:
    return Purse("USDT", D(capital), D(first), D(costs), {"BTC": D(100_000)})


def held(**amounts: str) -> list[Balance]:
    """Free, or free+locked, by currency."""
    rows = {name: text.split("+") for name, text in amounts.items()}
    return [Balance(name, D(row[0]), D(row[1] if len(row) > 1 else 0)) for name, row in rows.items()]


# name: (line, status, words in it)
LINES: dict[str, tuple[Line, str, str]] = {
    "64 bits": (doctor_lines.bits(64, "aarch64"), OK, "aarch64"),
    "32 bits": (doctor_lines.bits(32, "aarch64"), FAIL, "install a 64-bit operating system"),
    "a wheel": (doctor_lines.wheel(Imported("llvmlite.binding", 0)), OK, "wheel llvmlite"),
    "an old processor": (
        doctor_lines.wheel(Imported("numpy", -signal.SIGILL)),
        FAIL,
        "SIGILL while importing (illegal",
    ),
    "a broken wheel": (doctor_lines.wheel(Imported("numpy", -signal.SIGSEGV)), FAIL, "SIGSEGV"),
    "a signal without a name": (doctor_lines.wheel(Imported("numpy", -63)), FAIL, "signal 63"),
    "no wheel": (doctor_lines.wheel(Imported("zmq", 1, "ImportError: no x")), FAIL, "ImportError: no x"),
    "a wheel that says nothing": (doctor_lines.wheel(Imported("zmq", 3)), FAIL, "exit 3"),
    "a slow wheel": (doctor_lines.wheel(Imported("numba", None)), FAIL, "in time"),
    "room": (checks.disk_room(disk(), 2048), OK, "50000 MB free in /bot/var"),
    "too little room": (checks.disk_room(disk(299_999_999), 2048), FAIL, "below 300 MB there are no entries"),
    "no room for the tape": (checks.disk_room(disk(2 * GB), 2048), WARN, "may grow by 2048 MB"),
    "the tape is there": (checks.disk_room(disk(2 * GB, taped=2 * GB), 2048), OK, "2000 MB"),
    "an SSD": (checks.disk_kind(disk()), OK, "ext4 on SSD"),
    "an SD card": (checks.disk_kind(disk(medium="SD card")), WARN, "ext4 on SD card: it wears out"),
    "eMMC": (checks.disk_kind(disk(medium="eMMC")), OK, "eMMC"),
    "memory": (checks.disk_kind(disk(filesystem="tmpfs", medium="")), WARN, "gone with the power"),
    "the network": (checks.disk_kind(disk(filesystem="nfs4", medium="")), FAIL, "a disk of this machine"),
    "a disk that says nothing": (checks.disk_kind(disk(filesystem="", medium="")), SKIPPED, "does not tell"),
    ".env of one's own": (checks.env_file(0o600, True), OK, "0600"),
    ".env that can only be read": (checks.env_file(0o400, True), OK, "0400"),
    ".env with secrets for the group": (checks.env_file(0o640, True), FAIL, "chmod 600 .env"),
    ".env without secrets for all": (checks.env_file(0o644, False), WARN, "chmod 600 .env"),
    "no .env": (checks.env_file(None, False), SKIPPED, "there is none"),
    "a page for this machine": (checks.exposure("127.0.0.1", 3000, False), OK, "this machine alone"),
    "a page for anybody": (checks.exposure("0.0.0.0", 3000, False), FAIL, "HOST=0.0.0.0 PORT=3000: anybody"),
    "a page with a login": (checks.exposure("192.168.1.2", 80, True), WARN, "unencrypted"),
    "a port in use": (checks.port_taken("PORT=3000: in use"), FAIL, "PORT=3000: in use"),
    "a venue": (checks.reachable("binance", 34), OK, "binance answered within 34 ms"),
    "no venue": (checks.reachable("binance", GONE), FAIL, "the host's name is not known"),
    "a stream": (checks.streams("kraken", 50), OK, "50 ms"),
    "no stream": (checks.streams("kraken", GONE), FAIL, "FEED=poll"),
    "a clock": (checks.clock(Skew(-40, 12)), OK, "40 ms ahead of the venue's, give or take 12 ms"),
    "a clock that is off": (checks.clock(Skew(400, 12)), WARN, "400 ms behind"),
    "a clock that is wrong": (checks.clock(Skew(-1_013, 12)), FAIL, "timedatectl set-ntp true"),
    "a clock that may be right": (checks.clock(Skew(1_400, 500)), WARN, "give or take 500 ms"),
    "a clock that is wrong all the same": (checks.clock(Skew(1_501, 500)), FAIL, "1501 ms behind"),
    "a clock that nobody told": (checks.clock(GONE), FAIL, "not known"),
    "markets": (checks.markets([RULES, WHOLE])[0], OK, "BTCUSDT, DOGEUSDT"),
    "a market that stands": (checks.markets([RULES, STOOD])[0], FAIL, "ETHUSDT cannot be traded"),
    "no such market": (checks.markets(BAD_KEY)[0], FAIL, "-2015"),
    "a stake": (stake("1000"), OK, "at least 5 USDT, the stake is 1000 USDT"),
    "a stake below the minimum": (
        stake("4.99"),
        FAIL,
        "set LIVE_START_CAPITAL to 10 or more, and TRADE_CAPITAL no lower",
    ),
    "a stake at the minimum": (stake("5"), FAIL, "at the stop it would be too small to be sold"),
    "a stake whose step is lost": (stake("5.99"), FAIL, "at the stop"),
    "a stake with room for the stop": (stake("6.1"), OK, "6.1 USDT"),
    "a stake that buys no step": (stake("0.3", "0.5", WHOLE), FAIL, "at least 0.5 USDT"),
    "a stake that buys one": (stake("0.6", "0.5", WHOLE), OK, "0.5 USDT"),
    "a key": (checks.key(["balances", "fills"]), OK, "balances, fills were answered"),
    "a wrong key": (checks.key(BAD_KEY), FAIL, "-2015"),
    "may trade": (checks.rights(KeyRights(True, False, True))[0], OK, "yes"),
    "may not trade": (checks.rights(KeyRights(False))[0], FAIL, "give it that right"),
    "may trade, who knows": (checks.rights(KeyRights())[0], SKIPPED, "the venue does not tell"),
    "trading cannot be asked": (checks.rights(GONE)[0], FAIL, "not known"),
    "may not withdraw": (checks.rights(KeyRights(True, False))[1], OK, "no"),
    "may withdraw": (checks.rights(KeyRights(True, True))[1], FAIL, "who steals this one"),
    "may withdraw, who knows": (checks.rights(KeyRights())[1], SKIPPED, "page of API keys"),
    "bound": (checks.binding(KeyRights(bound_to_address=True), False), OK, "yes"),
    "not bound": (checks.binding(KeyRights(bound_to_address=False), False), WARN, "bind it to this machine's address"),
    "bound, who knows": (checks.binding(KeyRights(), False), WARN, "does not tell: bind it"),
    "play money": (checks.binding(KeyRights(bound_to_address=False), True), SKIPPED, "play money"),
    "binding cannot be asked": (checks.binding(GONE, False), SKIPPED, "does not tell"),
    "a balance": (checks.balance(held(USDT="10000"), purse()), OK, "10000 USDT free"),
    "no balance": (checks.balance([], purse()), FAIL, "an entry of 1001 has to be paid"),
    "a balance a cent short": (checks.balance(held(USDT="1000.99"), purse()), FAIL, "1000.99 USDT free"),
    "a balance for the first stake": (checks.balance(held(USDT="1001"), purse()), WARN, "capped once the stake"),
    "bought already": (checks.balance(held(USDT="3", BTC="0.005+0.015"), purse()), WARN, "until something is sold"),
    "ordered already": (checks.balance(held(USDT="3+998"), purse()), WARN, "3 USDT free, 1001 with"),
    "other coins do not count": (checks.balance(held(DOGE="999999"), purse()), FAIL, "0 USDT free, 0 with"),
    "a balance that cannot be asked": (checks.balance(GONE, purse()), FAIL, "not known"),
    "the fee": (checks.fees("BTCUSDT", (D("10"), D("10")), D(10)), OK, "you pay 10 bps"),
    "a lower fee": (
        checks.fees("BTCUSDT", (D("7.5"), D("7.5")), D(10)),
        OK,
        "you pay 7.5 bps, the bot reckons with 10",
    ),
    "a higher fee": (checks.fees("BTCUSDT", (D("40"), D("25")), D(10)), WARN, "set TAKER_FEE_BPS=40"),
    "the fee, who knows": (checks.fees("BTCUSDT", None, D(24)), SKIPPED, "the bot reckons with 24 bps"),
    "tax withheld, unset": (checks.tax_withheld("USDT", D(0), D(0)), WARN, "set TAX_BUY_BPS=100, TAX_SELL_BPS=100"),
    "tax withheld, paid in INR": (checks.tax_withheld("INR", D(0), D(0)), WARN, "set TAX_SELL_BPS=100:"),
    "tax withheld, as it is": (checks.tax_withheld("USDT", D(100), D(100)), OK, "TAX_SELL_BPS=100"),
    "tax withheld, in INR as it is": (checks.tax_withheld("INR", D(0), D(100)), OK, "1 % of a sale (TDS)"),
    "the fee cannot be asked": (checks.fees("BTCUSDT", GONE, D(24)), FAIL, "not known"),
}


@pytest.mark.parametrize(("line", "status", "words"), LINES.values(), ids=LINES)
def test_a_line_says_what_is_so_and_what_to_do(line: Line, status: str, words: str) -> None:
    assert line.status == status
    assert words in line.shown() and line.shown().startswith(f"{status:<8} {line.name}")
    assert "\n" not in line.shown()


@pytest.mark.parametrize(("line", "status", "words"), LINES.values(), ids=LINES)
def test_what_fails_or_warns_says_more_than_that(line: Line, status: str, words: str) -> None:
    if status in (WARN, FAIL):
        assert line.step or any(sign in line.text for sign in ("; ", ":", "refused")), "neither a cause nor a step"


def test_one_failure_fails_and_warnings_do_not() -> None:
    lines = [Line(OK, "a", ""), Line(WARN, "b", ""), Line(SKIPPED, "c", "")]
    assert (
        not doctor_lines.failed(lines)
        and doctor_lines.failed([*lines, Line(FAIL, "d", "")])
        and not doctor_lines.failed([])
    )


@pytest.mark.parametrize("amount", ["0", "0.1", "0.001", "0.00000001", "1234567.891", "1E+3"])
def test_amounts_are_short_and_never_nothing(amount: str) -> None:
    shown = checks._amount(D(amount))
    assert D(shown) == round(D(amount), 2) or D(shown) == D(amount)
    assert bool(D(shown)) == bool(D(amount)) and "E" not in shown
