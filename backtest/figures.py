"""The figures that a person reads: where each stands in Statistics, its name, how it is written, what it means.

One table for the terminal and the page; a test holds it complete. Amounts are written with as many decimals as their
currency is usually read with, unknown ones as a dash.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from backtest.stats import Statistics

DASH = "–"
_EPOCH_YEAR_2200_MS = 7_258_118_400_000


class Figure(NamedTuple):
    """One figure; `kind` says how it is written, `needs` what is missing where it is None."""

    path: str  # in Statistics, dotted
    label: str
    kind: str  # see FORMATS
    meaning: str
    needs: str = ""


class FigureGroup(NamedTuple):
    """Figures that are read together."""

    title: str
    figures: tuple[Figure, ...]


_LEG = "a completed leg"
_WIN, _LOSS = "a leg that won", "a leg that lost"

GROUPS = (
    FigureGroup(
        "Account",
        (
            Figure("money.opening", "Opening balance", "money", "PAPER_BALANCE, before the first trade"),
            Figure("money.closing", "Closing equity", "money", "wallet and open positions at the last prices"),
            Figure("money.net_profit", "Net profit", "signed_money", "closing equity less opening balance"),
            Figure("money.return_fraction", "Return", "signed_percent", "net profit as a part of the opening balance"),
            Figure("money.realized", "Realised", "signed_money", "profit of all ended exits, as the ledger counts it"),
            Figure(
                "money.unrealized",
                "Unrealised",
                "signed_money",
                "what selling the open positions at the last prices would add, net of the exit fee",
            ),
            Figure(
                "money.dust_cost",
                "Dust",
                "money",
                "cost of remains below the market's minimum, which could not be sold and count as lost",
            ),
        ),
    ),
    FigureGroup(
        "Legs",
        (
            Figure("trading.legs", "Legs", "count", "completed round trips: an entry and all that sold it"),
            Figure("trading.legs_a_day", "Legs a day", "number", "legs / days of market", "a market that lasted"),
            Figure("trading.wins", "Wins", "count", "legs with a profit above 0, net of both sides' costs"),
            Figure("trading.losses", "Losses", "count", "legs with a profit below 0"),
            Figure("trading.even", "Even", "count", "legs that made exactly 0"),
            Figure("trading.win_rate", "Win rate", "percent", "wins / legs", _LEG),
            Figure("trading.expectancy", "Expectancy", "signed_money", "mean net profit of a leg", _LEG),
            Figure(
                "trading.expectancy_return",
                "Expectancy of the stake",
                "signed_bps",
                "profit of all legs / what they had cost, in hundredths of a per cent",
                _LEG,
            ),
            Figure(
                "trading.mean_return",
                "Mean return of a leg",
                "signed_bps",
                "mean of profit / cost; a leg that filled in part weighs as much as a whole one",
                _LEG,
            ),
            Figure("trading.profit_factor", "Profit factor", "number", "sum of the wins / sum of the losses", _LOSS),
            Figure(
                "trading.payoff_ratio", "Payoff ratio", "number", "average win / average loss", f"{_WIN} and {_LOSS}"
            ),
            Figure("trading.won", "Sum of wins", "signed_money", "net profit of the winning legs together"),
            Figure("trading.lost", "Sum of losses", "signed_money", "net profit of the losing legs together"),
            Figure("trading.average_win", "Average win", "signed_money", "mean of the winning legs", _WIN),
            Figure("trading.average_loss", "Average loss", "signed_money", "mean of the losing legs", _LOSS),
            Figure("trading.median_win", "Median win", "signed_money", "the winning leg in the middle", _WIN),
            Figure("trading.median_loss", "Median loss", "signed_money", "the losing leg in the middle", _LOSS),
            Figure("trading.best", "Best leg", "signed_money", "the highest net profit of a leg", _LEG),
            Figure("trading.worst", "Worst leg", "signed_money", "the lowest net profit of a leg", _LEG),
            Figure("trading.best_return", "Best return", "signed_percent", "the highest profit / cost of a leg", _LEG),
            Figure("trading.worst_return", "Worst return", "signed_percent", "the lowest profit / cost of a leg", _LEG),
            Figure("trading.longest_losing_streak", "Longest losing streak", "count", "losing legs in a row"),
            Figure("trading.longest_winning_streak", "Longest winning streak", "count", "winning legs in a row"),
        ),
    ),
    FigureGroup(
        "Costs",
        (
            Figure(
                "costs.before_costs",
                "Profit before costs",
                "signed_money",
                "of the legs, with fees and taxes given back; slippage is in the prices and stays",
            ),
            Figure("costs.fees", "Fees", "money", "of the completed legs, both sides"),
            Figure("costs.taxes", "Taxes", "money", "withheld on the completed legs"),
            Figure("costs.net", "Profit after costs", "signed_money", "of the completed legs"),
            Figure(
                "costs.cost_share",
                "Costs of the profit",
                "percent",
                "fees and taxes / profit before costs",
                "a profit before costs",
            ),
            Figure("costs.turnover", "Turnover", "money", "bought plus sold by the completed legs"),
            Figure("costs.paid_bps", "Cost paid a side", "bps", "fees and taxes / turnover", _LEG),
            Figure(
                "costs.break_even_bps",
                "Break-even cost a side",
                "bps",
                "at this cost the same fills would have made nothing; below 0 they lose without any",
                _LEG,
            ),
            Figure("costs.fees_paid", "All fees", "money", "of every fill, open positions included"),
            Figure("costs.taxes_paid", "All taxes", "money", "of every fill, open positions included"),
        ),
    ),
    FigureGroup(
        "Risk and return",
        (
            Figure("drawdown.fraction", "Max drawdown", "percent", "deepest fall of the equity below its highest"),
            Figure("drawdown.amount", "Max drawdown, amount", "money", "the deepest in money; may be another fall"),
            Figure("drawdown.peak_ms", "Fall began", "moment", "the peak before the deepest fall", "a fall"),
            Figure("drawdown.valley_ms", "Fall ended", "moment", "the lowest point of the deepest fall", "a fall"),
            Figure(
                "drawdown.recovered_ms",
                "Recovered",
                "moment",
                "when the equity was back at that peak",
                "a fall that was made good",
            ),
            Figure(
                "drawdown.longest_seconds",
                "Longest below a peak",
                "duration",
                "longest time until a peak was reached again, or until the end",
            ),
            Figure(
                "returns.sharpe",
                "Sharpe ratio, yearly",
                "number",
                "mean / deviation of the daily equity returns, times sqrt(365); risk-free rate 0",
                "30 days, and returns that differ",
            ),
            Figure(
                "returns.sortino",
                "Sortino ratio, yearly",
                "number",
                "mean / downside deviation of the daily equity returns, times sqrt(365)",
                "30 days, one of them below 0",
            ),
            Figure(
                "returns.sharpe_leg",
                "Sharpe ratio of a leg",
                "number",
                "mean / deviation of the legs' returns, not made yearly",
                "two legs whose returns differ",
            ),
            Figure(
                "returns.sortino_leg",
                "Sortino ratio of a leg",
                "number",
                "mean / downside deviation of the legs' returns, not made yearly",
                "two legs, one of them lost",
            ),
            Figure("returns.cagr", "Growth a year", "signed_percent", "compound, 365 days", "360 days of market"),
            Figure("returns.calmar", "Calmar ratio", "number", "growth a year / max drawdown", "360 days and a fall"),
            Figure("returns.days", "Days", "count", "of which there are daily returns, parts of days included"),
            Figure("returns.best_day", "Best day", "signed_percent", "highest daily return of the equity", "a day"),
            Figure("returns.worst_day", "Worst day", "signed_percent", "lowest daily return of the equity", "a day"),
            Figure("returns.daily_mean", "Mean of a day", "signed_percent", "mean daily return of the equity", "a day"),
            Figure(
                "returns.daily_deviation",
                "Deviation of a day",
                "percent",
                "sample deviation of the daily returns",
                "two days",
            ),
        ),
    ),
    FigureGroup(
        "Time",
        (
            Figure("period.first_ms", "First trade", "moment", "UTC, by the venue's clock", "a trade"),
            Figure("period.last_ms", "Last trade", "moment", "UTC, by the venue's clock", "a trade"),
            Figure("period.days", "Days of market", "number", "first trade to last, in days of 24 hours"),
            Figure(
                "holding.exposure",
                "Exposure",
                "percent",
                "time in which any pair held a position / market time",
                "a market that lasted",
            ),
            Figure("holding.mean_seconds", "Mean holding time", "duration", "first entry fill to last exit fill", _LEG),
            Figure("holding.median_seconds", "Median holding time", "duration", "of the leg in the middle", _LEG),
            Figure("holding.shortest_seconds", "Shortest holding time", "duration", "of all legs", _LEG),
            Figure("holding.longest_seconds", "Longest holding time", "duration", "of all legs", _LEG),
        ),
    ),
    FigureGroup(
        "Buy and hold",
        (
            Figure("buy_and_hold.stake", "Stake", "money", "what the strategy could put in at most, over all pairs"),
            Figure(
                "buy_and_hold.profit",
                "Profit of holding",
                "signed_money",
                "bought at the first trade, sold at the last, one entry and one exit fee",
            ),
            Figure(
                "buy_and_hold.return_fraction",
                "Return of holding",
                "signed_percent",
                "as a part of the opening balance, to be read beside the run's",
            ),
            Figure(
                "buy_and_hold.price_change",
                "Change of price",
                "signed_percent",
                "of the pairs, no costs",
                "a trade",
            ),
            Figure(
                "buy_and_hold.drawdown_fraction",
                "Max drawdown of holding",
                "percent",
                "on the closes of the candles",
                "candles (they are kept for a report)",
            ),
        ),
    ),
    FigureGroup(
        "Ghost entries",
        (
            Figure(
                "ghosts.legs",
                "Ghost entries",
                "count",
                "legs entered inside a candle whose close would not have confirmed any entry",
            ),
            Figure("ghosts.share", "Share of ghosts", "percent", "of the legs of which it is known", "a leg judged"),
            Figure("ghosts.ghost.profit", "Profit of ghosts", "signed_money", "net profit of those legs"),
            Figure("ghosts.confirmed.profit", "Profit of the confirmed", "signed_money", "net profit of the others"),
        ),
    ),
)

ALL = tuple(figure for group in GROUPS for figure in group.figures)


def value_of(statistics: Statistics, path: str) -> Any:
    """The figure at a dotted path."""
    found: Any = statistics
    for name in path.split("."):
        found = getattr(found, name)
    return found


def undefined(statistics: Statistics) -> dict[str, str]:
    """What each figure that is None needs to be said, by its path."""
    return {figure.path: figure.needs for figure in ALL if value_of(statistics, figure.path) is None}


def scalar_paths(statistics: Statistics) -> Iterator[str]:
    """Paths of all figures that are no list or table, for the test that none is left out."""
    for name in statistics.__struct_fields__:
        part = getattr(statistics, name)
        if isinstance(part, msgspec.Struct):
            for field in part.__struct_fields__:
                if not isinstance(getattr(part, field), msgspec.Struct | list | dict | str):
                    yield f"{name}.{field}"


# --- how they are written -------------------------------------------------------------------------


def money_digits(opening: Decimal) -> int:
    """Decimals of an amount: two for an account of 100 and more, else as many as show a ten-thousandth of it."""
    return 2 if opening >= 100 else 4 if opening >= 1 else 8


def shown(value: Any, kind: str, digits: int = 2) -> str:
    """A figure as text, `digits` being the decimals of money; a dash for None."""
    return DASH if value is None else FORMATS[kind](value, digits)


def number(value: float | Decimal, digits: int) -> str:
    """With thousands separated and a true minus; never a minus before nothing."""
    text = f"{value:,.{digits}f}"
    if text.startswith("-"):
        text = text[1:] if not text.strip("-0.,") else "−" + text[1:]
    return text


def signed(value: float | Decimal, digits: int) -> str:
    """With its sign, unless it is shown as nothing."""
    text = number(value, digits)
    return f"+{text}" if value > 0 and text.strip("0.,") else text


def duration(seconds: float) -> str:
    """A span of time in its two largest units: 0.4 s, 48 s, 3 m 12 s, 2 h 5 m, 3 d 4 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for size, unit, small, lesser in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // small} {lesser}"
    return f"{whole} s"


def moment(ms: int) -> str:
    """Date and time in UTC, to the second."""
    if not 0 <= ms < _EPOCH_YEAR_2200_MS:
        return f"{ms} ms"
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _percent_digits(value: float) -> int:
    """Two decimals of a per cent, four of what is below a tenth of one."""
    return 2 if value == 0 or abs(value) > 0.00099 else 4


FORMATS = {
    "money": lambda value, digits: number(value, digits),
    "signed_money": lambda value, digits: signed(value, digits),
    "percent": lambda value, digits: f"{number(value * 100, _percent_digits(value))} %",
    "signed_percent": lambda value, digits: f"{signed(value * 100, _percent_digits(value))} %",
    "bps": lambda value, digits: f"{number(value, 2)} bps",
    "signed_bps": lambda value, digits: f"{signed(value * 10_000, 2)} bps",
    "count": lambda value, digits: f"{value:,}",
    "number": lambda value, digits: number(value, 2),
    "duration": lambda value, digits: duration(value),
    "moment": lambda value, digits: moment(value),
}
