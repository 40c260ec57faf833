"""`python -m backtest COMMAND …`: finds the command, reads its options, turns errors into one line and an exit code.

A command is a module with `add_arguments(parser)` and `main(args) -> int`; only the one that is asked for is loaded.
Exit codes: 0 done, 1 it could not be done, 2 only a person can mend it, 130 stopped by Ctrl-C.
"""

import argparse
import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from core.errors import BotError, MisconfiguredError
from core.settings import Settings
from core.settings_load import load

PROGRAM = "python -m backtest"
COMMANDS = {
    "run": "replay recorded trades through the strategy and say what it would have made",
    "sweep": "try many settings on the same trades, and say how much of the best is chance",
    "parity": "replay what a simulated session recorded and compare every decision, fill and balance",
    "fetch": "bring the past of a market from a venue onto a tape",
    "convert": "rewrite tapes, trades and candles from one format into another",
}


class Parser(argparse.ArgumentParser):
    """Errors are raised, not printed; options are never guessed, the nearest is named instead."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        stop = "" if message.endswith("?") else "."
        raise MisconfiguredError(f"{message}{stop} `{self.prog} --help` lists the options.")

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The options. Raises MisconfiguredError."""
        args, unknown = self.parse_known_args(arguments)
        if unknown:
            options = [text for action in self._actions for text in action.option_strings]
            self.error(_unknown(unknown[0], "option" if unknown[0].startswith("-") else "argument", options))
        return args


def main(arguments: Sequence[str]) -> int:
    """Runs a command and returns the exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    name = arguments[0]
    try:
        if name not in COMMANDS:
            raise MisconfiguredError(f"{_unknown(name, 'command', COMMANDS)}; there are {', '.join(COMMANDS)}.")
        command = importlib.import_module(f"backtest.command_{name}")
        parser = Parser(f"{PROGRAM} {name}", f"{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}.")
        command.add_arguments(parser)
        return int(command.main(parser.read(arguments[1:])))
    except BotError as error:
        print(f"backtest: {error}", file=sys.stderr)
        return 2 if isinstance(error, MisconfiguredError) else 1
    except KeyboardInterrupt:
        print("backtest: stopped", file=sys.stderr)
        return 130


def help_text() -> str:
    """What is printed without a command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join([f"usage: {PROGRAM} COMMAND …", "", *lines, "", f"`{PROGRAM} COMMAND --help` says more."])


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The option --set."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting, over the environment and .env; may be given several times",
    )


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings in force: --set over the environment over `.env`. Raises MisconfiguredError."""
    given = {}
    for text in args.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise MisconfiguredError(f"--set {text}: write --set NAME=VALUE, as --set RSI_BUY=35.")
        given[name.strip()] = value.strip()
    return load(given=given)


def add_files(parser: argparse.ArgumentParser) -> None:
    """The options that say how files of trades are read."""
    parser.add_argument(
        "--qty-unit",
        choices=("base", "quote"),
        default="base",
        help="the currency of the quantities in files of trades (default: base)",
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave bad rows out and count them")


def add_trades(parser: argparse.ArgumentParser) -> None:
    """The option --trades, and how the files are read."""
    parser.add_argument(
        "--trades",
        nargs="+",
        type=Path,
        required=True,
        metavar="FILE",
        help="tapes (file, folder), or files of trades or candles, in order of time",
    )
    add_files(parser)


def _unknown(text: str, what: str, known: Sequence[str] | dict[str, str]) -> str:
    near = difflib.get_close_matches(text.partition("=")[0], list(known), n=1, cutoff=0.5)
    return f"{text} is no {what}" + (f": did you mean {near[0]}?" if near else "")
