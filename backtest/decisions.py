"""The decisions of a run as rows for people and other programs."""

from collections.abc import Iterator

from backtest.result import ACTIONS, REASONS, Result

Row = tuple[int, str, str, float, float, float, str]


def decision_rows(result: Result) -> Iterator[Row]:
    """ts_ns, action, reason, price, rsi, bb_lower, pair of each approved order, in tape order."""
    names = [market.pair for market in result.start.markets]
    columns = (
        result.decisions[name].tolist() for name in ("ns", "action", "reason", "price", "rsi", "bb_lower", "pair")
    )
    for ns, action, reason, price, rsi, lower, pair in zip(*columns, strict=True):
        yield ns, ACTIONS[action], REASONS[reason], price, rsi, lower, names[pair]
