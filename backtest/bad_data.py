"""What is wrong with a file of market data: the file, the line and the value are named, and what can be done."""

from pathlib import Path

from core.errors import MisconfiguredError

# Kinds of bad row, as they are counted.
COLUMNS, TEXT, TIME, PRICE, QUANTITY, SIDE, PAIR, CANDLE, ORDER, DUPLICATE = KINDS = (
    "columns",
    "text",
    "time",
    "price",
    "quantity",
    "side",
    "pair",
    "candle",
    "order",
    "duplicate",
)
SHOWN_LETTERS = 60


class BadFile(MisconfiguredError):
    """A file that cannot be read as market data."""


class BadRow(MisconfiguredError):
    """A row that is no trade; `--skip-bad` goes on without it."""

    def __init__(self, path: Path, line: int, kind: str, reason: str) -> None:
        self.path, self.line, self.kind, self.reason = path, line, kind, reason
        super().__init__(f"{path} line {line}: {reason}. Mend the file, or leave such rows out with --skip-bad.")


class Odd(Exception):
    """Why a row is none, before anybody has said where it stands."""

    def __init__(self, kind: str, reason: str) -> None:
        self.kind, self.reason = kind, reason
        super().__init__(reason)


def shown(text: str) -> str:
    """A value as it is shown to a person: quoted, short, without what a terminal would obey."""
    return repr(text if len(text) <= SHOWN_LETTERS else text[: SHOWN_LETTERS - 3] + "...")


class Skipped:
    """The bad rows that were left out: how many of each kind, and the first one."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.firsts: dict[str, str] = {}

    def add(self, row: BadRow) -> None:
        self.counts[row.kind] = self.counts.get(row.kind, 0) + 1
        self.firsts.setdefault(row.kind, f"{row.path.name} line {row.line}: {row.reason}")

    def notes(self) -> list[str]:
        """A line a kind."""
        return [
            f"{count} bad row{'s' if count > 1 else ''} left out ({kind}); the first is {self.firsts[kind]}"
            for kind, count in self.counts.items()
        ]
