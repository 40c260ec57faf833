"""What a run says of itself at once: lines for a terminal, and the object of `--json`.

`--json` (contract; keys are added, never renamed): see `json_object`.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

import msgspec

from backtest.bootstrap import Interval, Intervals
from backtest.figures import DASH, moment, money_digits, number, shown, signed, undefined
from backtest.result import Result
from backtest.sensitivity import SHORT_NAMES, Row
from backtest.stats import Statistics
from backtest.stats_legs import Group

WIDTH = 100
_LABEL, _VALUE = 23, 24
_BOLD, _GREEN, _RED, _DIM, _PLAIN = "\033[1m", "\033[32m", "\033[31m", "\033[2m", "\033[0m"

# The figures of the summary, two a line; the rest is in the report and in `--json`.
_LINES: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Account",
        (
            ("Opening balance", "money.opening", "money"),
            ("Closing equity", "money.closing", "money"),
            ("Net profit", "money.net_profit", "signed_money"),
            ("Return", "money.return_fraction", "signed_percent"),
            ("Buy and hold", "buy_and_hold.profit", "signed_money"),
            ("Its return", "buy_and_hold.return_fraction", "signed_percent"),
        ),
    ),
    (
        "Legs",
        (
            ("Legs", "trading.legs", "count"),
            ("Win rate", "trading.win_rate", "percent"),
            ("Expectancy", "trading.expectancy", "signed_money"),
            ("Of the stake", "trading.expectancy_return", "signed_bps"),
            ("Profit factor", "trading.profit_factor", "number"),
            ("Payoff ratio", "trading.payoff_ratio", "number"),
            ("Average win", "trading.average_win", "signed_money"),
            ("Average loss", "trading.average_loss", "signed_money"),
            ("Best leg", "trading.best", "signed_money"),
            ("Worst leg", "trading.worst", "signed_money"),
            ("Longest losing streak", "trading.longest_losing_streak", "count"),
            ("Exposure", "holding.exposure", "percent"),
            ("Median holding time", "holding.median_seconds", "duration"),
            ("Longest holding time", "holding.longest_seconds", "duration"),
        ),
    ),
    (
        "Costs",
        (
            ("Profit before costs", "costs.before_costs", "signed_money"),
            ("Profit after costs", "costs.net", "signed_money"),
            ("Fees", "costs.fees", "money"),
            ("Taxes", "costs.taxes", "money"),
            ("Cost paid a side", "costs.paid_bps", "bps"),
            ("Break-even a side", "costs.break_even_bps", "bps"),
        ),
    ),
    (
        "Risk",
        (
            ("Max drawdown", "drawdown.fraction", "percent"),
            ("Longest below a peak", "drawdown.longest_seconds", "duration"),
            ("Sharpe, yearly", "returns.sharpe", "number"),
            ("Sortino, yearly", "returns.sortino", "number"),
            ("Sharpe of a leg", "returns.sharpe_leg", "number"),
            ("Calmar", "returns.calmar", "number"),
            ("Ghost entries", "ghosts.share", "percent"),
            ("Their profit", "ghosts.ghost.profit", "signed_money"),
        ),
    ),
)


def json_object(
    result: Result,
    statistics: Statistics,
    *,
    intervals: Intervals | None = None,
    sensitivity: Sequence[Row] = (),
    about: dict[str, Any] | None = None,
) -> bytes:
    """The object of `--json`, one line.

    * `about`: what the caller adds of the run itself (engine, files, seconds); {} where nothing
    * `market`: venue, book, quote, and pairs with their tick and step as decimal text
    * `settings`: those that decide, by name, as text; `taker_fee_bps`: the fee in force
    * `spans`: first and last trade of each pair: ms and price
    * `statistics`: every field of `backtest.stats.Statistics`, defined there; amounts are exact decimal numbers, rates
      and returns parts of one, null where a figure cannot be said
    * `undefined`: what each such figure needs, by its dotted path
    * `intervals`: `backtest.bootstrap.Intervals`, or null; `sensitivity`: list of `backtest.sensitivity.Row`
    * `trading`, `trading_reason`: active or halted at the end, and why
    * `notes`: what a reader must know: skipped rows, truncated files, candles read as trades
    """
    told = {
        "about": about or {},
        "market": {
            "venue": result.start.venue,
            "book": result.start.book,
            "quote": result.quote,
            "pairs": [{"pair": item.pair, "tick": item.tick, "step": item.step} for item in result.start.markets],
        },
        "settings": result.settings,
        "taker_fee_bps": result.fee / 100,
        "spans": [
            {
                "pair": result.start.markets[span.pair].pair,
                "first_ms": span.first_ns // 1_000_000,
                "last_ms": span.last_ns // 1_000_000,
                "first_price": span.first_price,
                "last_price": span.last_price,
            }
            for span in result.spans
        ],
        "statistics": statistics,
        "undefined": undefined(statistics),
        "intervals": intervals,
        "sensitivity": list(sensitivity),
        "trading": result.trading,
        "trading_reason": result.trading_reason,
        "notes": result.notes,
    }
    return msgspec.json.Encoder(decimal_format="number").encode(told)


def summary(
    result: Result,
    statistics: Statistics,
    *,
    intervals: Intervals | None = None,
    sensitivity: Sequence[Row] = (),
    about: str = "",
    colour: bool = False,
) -> str:
    """Lines of at most 100 columns; `colour` only for a terminal; `about` is a line of the caller's on the run."""
    paint = Paint(colour)
    digits = money_digits(statistics.money.opening)
    lines = _head(result, statistics, about, paint)
    for title, figures in _LINES:
        lines += ["", paint.bold(title)]
        cells = [_cell(statistics, figure, digits, paint) for figure in figures]
        lines += [" ".join(cells[at : at + 2]).rstrip() for at in range(0, len(cells), 2)]
    lines += _groups(statistics, digits, paint)
    lines += _intervals(intervals, digits, paint)
    lines += _sensitivity(sensitivity, digits, paint)
    lines += _tail(result, statistics, digits, paint)
    return "\n".join(lines) + "\n"


class Paint:
    """Colours for a terminal, or none."""

    def __init__(self, colour: bool) -> None:
        self.colour = colour

    def bold(self, text: str) -> str:
        return self._in(_BOLD, text)

    def dim(self, text: str) -> str:
        return self._in(_DIM, text)

    def by_sign(self, text: str) -> str:
        """Green for a plus, red for a minus; the sign itself stays to be read."""
        if "+" in text:
            return self._in(_GREEN, text)
        return self._in(_RED, text) if "−" in text else text

    def _in(self, code: str, text: str) -> str:
        return f"{code}{text}{_PLAIN}" if self.colour else text


def _head(result: Result, statistics: Statistics, about: str, paint: Paint) -> list[str]:
    pairs = ", ".join(market.pair for market in result.start.markets)
    period = statistics.period
    lines = [paint.bold(cut(f"Backtest of {pairs or 'no pair'} ({result.start.venue})"))]
    if period.first_ms is None or period.last_ms is None:
        lines.append("no trade that counts was found")
    else:
        lines.append(cut(f"{moment(period.first_ms)} to {moment(period.last_ms)} UTC, {number(period.days, 2)} days"))
    counts = statistics.counts
    judged = f"{counts.trades:,} trades judged, {counts.late:,} late, {counts.unknown:,} unknown or impossible"
    lines.append(cut(f"{judged}; amounts in {statistics.money.quote or 'quote currency'}"))
    if about:
        lines.append(cut(about))
    if result.trading != "active":
        lines.append(paint.bold(cut(f"Trading was {result.trading} at the end: {result.trading_reason}")))
    return lines


def _cell(statistics: Statistics, figure: tuple[str, str, str], digits: int, paint: Paint) -> str:
    label, path, kind = figure
    value: Any = statistics
    for name in path.split("."):
        value = getattr(value, name)
    text = f"{shown(value, kind, digits):>{_VALUE}}"
    return f"  {label:<{_LABEL}}{paint.by_sign(text) if kind.startswith('signed') else text}"


def _groups(statistics: Statistics, digits: int, paint: Paint) -> list[str]:
    """Tables by reason and, where there are several, by pair."""
    groups = statistics.groups
    lines = []
    tables: list[tuple[str, list[Group]]] = [
        ("Entries by reason", groups.by_entry_reason),
        ("Exits by reason", groups.by_exit_reason),
    ]
    if len(groups.by_pair) > 1:
        tables.append(("Pairs", groups.by_pair))
    for title, rows in tables:
        if not rows:
            continue
        lines += ["", f"{paint.bold(f'{title:<28}')}{'legs':>12}{'win rate':>12}{'net profit':>20}{'of a leg':>18}"]
        for row in rows:
            profit = paint.by_sign(f"{signed(row.profit, digits):>20}")
            mean = paint.by_sign(f"{shown(row.mean, 'signed_money', digits):>18}")
            rate = shown(row.win_rate, "percent")
            lines.append(f"  {cut(row.name, 26):<26}{row.legs:>12,}{rate:>12}{profit}{mean}")
    return lines


def _intervals(intervals: Intervals | None, digits: int, paint: Paint) -> list[str]:
    """Where the true values are likely to be."""
    if intervals is None:
        return []
    title = f"{intervals.level * 100:g} % intervals"
    how = f"bootstrap, {intervals.resamples:,} drawings, seed {intervals.seed}"
    lines = ["", f"{paint.bold(title)} {paint.dim(f'({how})')}"]
    for label, interval, kind in (
        ("Expectancy", intervals.expectancy, "signed_money"),
        ("Win rate", intervals.win_rate, "percent"),
        ("Profit factor", intervals.profit_factor, "number"),
        ("Profit of all legs", intervals.total_profit, "signed_money"),
        ("Sharpe, yearly", intervals.sharpe, "number"),
    ):
        lines.append(cut(f"  {label:<{_LABEL}}{interval_text(interval, kind, digits)}"))
    if intervals.chance_of_profit is not None:
        chance = shown(intervals.chance_of_profit, "percent")
        lines.append(f"  {'Drawings with a profit':<{_LABEL}}{chance}")
    return lines


def interval_text(interval: Interval, kind: str, digits: int) -> str:
    """`low to high`, or why there is none."""
    if interval.low is None and interval.high is None:
        return f"{DASH} ({interval.reason})"
    low = "no lower bound" if interval.low is None else shown(interval.low, kind, digits)
    high = "no upper bound" if interval.high is None else shown(interval.high, kind, digits)
    return f"{low} to {high}"


def _sensitivity(rows: Sequence[Row], digits: int, paint: Paint) -> list[str]:
    """A line for each variation; a star marks the run itself."""
    if not rows:
        return []
    titles = f"{'legs':>8}{'net profit':>16}{'change':>14}{'drawdown':>11}  decisions"
    lines = ["", f"{paint.bold(f'''{'With other costs':<30}''')}{titles}"]
    for row in rows:
        name = SHORT_NAMES.get(row.setting, row.setting)
        label = cut(f"{name} {row.label}{' *' if row.in_force else ''}", 28)
        profit = paint.by_sign(f"{signed(row.net_profit, digits):>16}")
        change = paint.by_sign(f"{signed(row.net_change, digits):>14}")
        fallen = shown(row.drawdown_fraction, "percent")
        told = "as the run" if row.same_decisions else f"{row.other_decisions:,} differ"
        lines.append(f"  {label:<28}{row.legs:>8,}{profit}{change}{fallen:>11}  {told}")
    return lines


def _tail(result: Result, statistics: Statistics, digits: int, paint: Paint) -> list[str]:
    """What is still held, what was refused, what a reader must know."""
    lines = []
    for position in statistics.open_positions:
        cost, value = number(position.cost, digits), number(position.value, digits)
        lines.append(cut(f"Still held: {position.quantity} {position.pair}, cost {cost}, worth {value}"))
    for left in statistics.dust:
        lines.append(cut(f"Dust: {left.quantity} {left.pair}, cost {number(left.cost, digits)}"))
    if statistics.refusals:
        told = ", ".join(f"{count:,} {reason}" for reason, count in statistics.refusals.items())
        lines.append(cut(f"Entries refused: {told}"))
    noted = {name: count for name, count in statistics.counts.notes.items() if count}
    if noted:
        lines.append(cut("Orders: " + ", ".join(f"{count:,} {name}" for name, count in noted.items())))
    for note in result.notes:
        lines += wrapped(f"Note: {note}")
    return ["", *lines] if lines else []


def cut(text: str, width: int = WIDTH) -> str:
    """Text that fits; what had to go is marked."""
    return text if len(text) <= width else text[: width - 1] + "…"


def wrapped(text: str) -> list[str]:
    """Text in lines that fit, broken at spaces where there are any."""
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")
