"""What a sweep says on the terminal, as JSON and as CSV; pure."""

from collections.abc import Iterator, Sequence
from typing import Any

from backtest.figures import DASH, moment, money_digits, shown
from backtest.report_sections import Window as WindowRow
from backtest.stats_legs import amount
from backtest.sweep import Plan, Swept
from backtest.sweep_figures import KINDS, MONEY, NAMES, figures_of, value_of, values_of
from backtest.sweep_luck import Luck
from backtest.walk_forward import Judged, Walked
from core.money import units_text

NS_PER_MS = 1_000_000
SHOWN_FIGURES = ("net_profit", "legs", "win_rate", "profit_factor", "sharpe_leg", "drawdown_fraction")
LABELS = {
    "net_profit": "net profit",
    "win_rate": "win rate",
    "profit_factor": "profit factor",
    "sharpe_leg": "Sharpe/leg",
    "drawdown_fraction": "drawdown",
}
SHOWN_FORBIDDEN = 3


def csv_rows(swept: Swept) -> Iterator[list[str]]:
    """The header and one row a combination that was run, in the grid's order: settings, then figures.

    Money is exact text, floats are the shortest text that reads back to the same bits, what is not known is empty.
    """
    yield [*(axis.name for axis in swept.plan.grid.axes), *NAMES]
    for place in swept.places.tolist():
        yield [*swept.plan.texts_at(place).values(), *(csv_cell(swept.rows[place], name) for name in NAMES)]


def csv_cell(row: Any, name: str) -> str:
    """One figure of a FIGURES record as text."""
    value = row[name].item()
    if name in MONEY:
        return units_text(value)
    return "" if value != value else repr(value)


def table(swept: Swept, by: str, most: int) -> list[str]:
    """The best combinations, the best first."""
    names = [axis.name for axis in swept.plan.grid.axes]
    figures = tuple(dict.fromkeys((by, *SHOWN_FIGURES)))
    digits = money_digits(swept.plan.base.paper_balance)
    lines = [[*names, *(LABELS.get(name, name) for name in figures)]]
    for place in swept.best(by, most):
        row = swept.rows[place]
        cells = [shown(value_of(row, name), KINDS[name], digits) for name in figures]
        lines.append([*swept.plan.texts_at(place).values(), *cells])
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return ["  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines]


def forbidden_words(plan: Plan) -> list[str]:
    """How many combinations were not run, and why."""
    if not plan.forbidden:
        return []
    texts = list(dict.fromkeys(item.reason for item in plan.named))
    more = f"; {len(texts) - SHOWN_FORBIDDEN} more reasons" if len(texts) > SHOWN_FORBIDDEN else ""
    some = "combinations are" if plan.forbidden > 1 else "combination is"
    return [f"{plan.forbidden:,} {some} forbidden and left out: {'; '.join(texts[:SHOWN_FORBIDDEN])}{more}."]


def luck_words(luck: Luck, by: str) -> list[str]:
    """The plain warning: how many were tried, and what the best of so many makes by chance."""
    if luck.tried == 1:
        return ["One combination was tried: there is no best of many."]
    lines = [
        f"{luck.tried:,} combinations were tried and the best by {by} was picked: what it made is too good to expect."
    ]
    found = luck.deflated
    if found is None:
        lines.append("Deflated Sharpe: the best has too few legs, or legs too much alike, to say anything.")
    else:
        lines.append(
            f"Deflated Sharpe: the best has {found.sharpe:.3f} a leg over {found.observations:,} legs; the best of"
            f" {found.trials:,} without any skill would have {found.by_chance:.3f}. Probability that it is better than"
            f" that: {found.probability:.1%}."
        )
    test = luck.permuted
    if test is None:
        lines.append("Permutation test: too few stretches of time with trades to say anything.")
    else:
        of_all = (
            "" if luck.sampled >= luck.tried else f" ({luck.sampled:,} of them, drawn at random: all would do better)"
        )
        lines.append(
            f"Permutation test: with gains and losses of {test.blocks} stretches of time turned at random, the most"
            f" profitable{of_all} makes {test.by_chance_median:,.2f} in the middle and {test.by_chance_95:,.2f} in one"
            f" case of 20; here it made {test.best:,.2f}. p = {test.p_value:.3f}."
        )
    return lines


def walk_words(walked: Walked, plan: Plan, by: str) -> list[str]:
    """How what was best on one window did on the next."""
    digits = money_digits(plan.base.paper_balance)
    rows = window_rows(walked, plan)
    lines = [f"Walk-forward, the best by {by} of each window on the next one:"]
    for row in rows:
        chosen = " ".join(f"{name}={value}" for name, value in row.chosen.items()) or "none could be chosen"
        fit, judged = (shown(value, "signed_money", digits) for value in (row.fit_profit, row.judge_profit))
        lines.append(
            f"  {moment(row.judge_first_ms)[:16]} to {moment(row.judge_last_ms)[:16]}  {fit:>12} then {judged:>12}"
            f" in {row.judge_legs:,} legs  {chosen}"
        )
    judged_steps = [step for step in walked.steps if step.place is not None]
    if walked.joined is None:
        return [*lines, "No window could be judged: the figure is not known of any combination there."]
    told = figures_of(walked.joined)[0]
    won = sum(int(step.fit["net_profit"][0]) for step in judged_steps)
    open_ends = sum(int(step.judged["open_positions"][0] > 0) for step in judged_steps)
    lines.append(
        f"  in sample {shown(amount(won), 'signed_money', digits)} (windows overlap), out of sample"
        f" {shown(value_of(told, 'net_profit'), 'signed_money', digits)} in {int(told['legs']):,} legs, drawdown"
        f" {shown(value_of(told, 'drawdown_fraction'), 'percent')}"
    )
    kept = DASH if walked.efficiency is None else f"{walked.efficiency:.0%}"
    lines.append(f"  kept of the profit a day when chosen: {kept}; {open_ends} windows ended with a position held")
    return lines


def window_rows(walked: Walked, plan: Plan) -> list[WindowRow]:
    """The steps as the report's table takes them."""
    return [_window_row(step, plan) for step in walked.steps]


def _window_row(step: Judged, plan: Plan) -> WindowRow:
    fit, judge = step.step
    return WindowRow(
        fit_first_ms=fit.first_ns // NS_PER_MS,
        fit_last_ms=fit.end_ns // NS_PER_MS,
        judge_first_ms=judge.first_ns // NS_PER_MS,
        judge_last_ms=judge.end_ns // NS_PER_MS,
        chosen={} if step.place is None else plan.texts_at(step.place),
        fit_profit=amount(int(step.fit["net_profit"][0])),
        judge_profit=amount(int(step.judged["net_profit"][0])),
        judge_legs=int(step.judged["legs"][0]),
    )


def json_of(
    swept: Swept, by: str, most: int, luck: Luck, walked: Walked | None, about: dict[str, Any]
) -> dict[str, Any]:
    """The object of `--json`; amounts in quote currency, times in ms.

    about, combinations, by, forbidden (count, named), best (settings, figures), luck (tried, sampled, deflated,
    permuted), walk_forward (windows, joined figures, efficiency) or null.
    """
    plan = swept.plan
    return {
        "about": about,
        "combinations": {"grid": plan.grid.size, "ran": int(swept.ran.sum())},
        "by": by,
        "forbidden": {
            "count": plan.forbidden,
            "named": [{"settings": plan.texts_at(item.place), "reason": item.reason} for item in plan.named],
        },
        "best": [_combination(swept, place) for place in swept.best(by, most)],
        "luck": {
            "tried": luck.tried,
            "sampled": luck.sampled,
            "deflated": None if luck.deflated is None else luck.deflated._asdict(),
            "permuted": None if luck.permuted is None else luck.permuted._asdict(),
        },
        "walk_forward": None if walked is None else _walk_json(walked, plan),
    }


def _combination(swept: Swept, place: int) -> dict[str, Any]:
    return {"settings": swept.plan.texts_at(place), "figures": dict(values_of(swept.rows[place]))}


def _walk_json(walked: Walked, plan: Plan) -> dict[str, Any]:
    whole = None if walked.joined is None else dict(values_of(figures_of(walked.joined)[0]))
    return {"windows": window_rows(walked, plan), "joined": whole, "efficiency": walked.efficiency}


def estimate_words(combinations: int, runs: int, trades: int, seconds: float, jobs: int) -> str:
    """How much there is to do and how long it takes."""
    more = f" ({runs:,} runs with the walk-forward)" if runs > combinations else ""
    return (
        f"{combinations:,} combinations over {trades:,} trades{more}: about {duration_words(seconds)} on {jobs}"
        f" {'threads' if jobs > 1 else 'thread'}"
    )


def duration_words(seconds: float) -> str:
    """Seconds as people say them, with one unit."""
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{max(seconds, 1):.0f} s"


def form_words(forms: Sequence[tuple[str, str]]) -> str:
    """By which form the combinations ran, and why not by the faster one."""
    told = [f"{form} ({reason})" if reason else form for form, reason in dict.fromkeys(forms)]
    return f"Ran by {', and '.join(told)}."
