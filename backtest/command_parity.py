"""`python -m backtest parity [BOOK] [--json]`: replays what a simulated session recorded and compares to the bit.

Exit codes: 0 equal, 1 different (the first difference is shown), 2 it cannot be judged (and why, and what to do).
"""

import argparse
from pathlib import Path

import msgspec

from backtest.parity import DIFFERENT, EQUAL, NOT_JUDGED, Verdict, judge
from backtest.parity_words import Difference
from core import paths
from core.errors import MisconfiguredError
from core.settings_load import var_dir_only
from indicators import jit

CODES = {EQUAL: 0, DIFFERENT: 1, NOT_JUDGED: 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("book", nargs="?", type=Path, help="a book's folder, var/books/BOOK; default the one in force")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")


def main(args: argparse.Namespace) -> int:
    """Judges one book. Raises MisconfiguredError where there is nothing to judge."""
    var = var_dir_only()
    book = args.book
    if book is None:
        book = var / "current"
        if not book.exists():
            raise MisconfiguredError(f"there is no book in {var}: run the bot first, or name a book's folder")
    book = book.resolve()
    machine, complaint = jit.load(paths.cache_dir(var))
    verdict = judge(book, machine, jit.sources_hash())
    if complaint:
        verdict.notes.append(complaint)
    print(msgspec.json.encode(verdict).decode() if args.json else text(verdict))
    return CODES[verdict.outcome]


def text(verdict: Verdict) -> str:
    """The verdict for people."""
    judged = verdict.judged
    lines = [f"book {verdict.book}: {verdict.outcome}"]
    lines.append(
        f"  compared: {judged.records:,} records, {judged.entries:,} journal entries, of them {judged.decisions:,}"
        f" decisions, {judged.fills:,} fills, {judged.commands:,} commands, {judged.starts:,} starts, {judged.spans:,}"
        f" blind and degraded spans; {judged.states:,} whole states"
    )
    lines += [f"  not judged, {stretch}" for stretch in verdict.not_judged]
    lines += [f"  note: {note}" for note in verdict.notes]
    if verdict.difference is not None:
        lines += _difference(verdict.difference)
    if verdict.outcome == NOT_JUDGED:
        lines.append("  Nothing could be judged. States are recorded at each start and once in an hour of market time:")
        lines.append("  what follows the next one can be judged as long as the tape has it (TAPE_KEEP_HOURS).")
    return "\n".join(lines)


def _difference(found: Difference) -> list[str]:
    entry = f" (entry {found.entry})" if found.entry else ""
    lines = [
        f"  the first difference: {found.what}",
        f"  at record {found.record} of tape {found.epoch}, {found.time}{', ' + found.pair if found.pair else ''}",
        f"    journal{entry}: {found.journal}",
        f"    replay: {found.replay}",
    ]
    shown = list(found.fields.items())[:12]
    lines += [f"      {name}: journal {one}, replay {other}" for name, (one, other) in shown]
    if len(found.fields) > len(shown):
        lines.append(f"      and {len(found.fields) - len(shown)} more")
    if found.indicators_replay:
        lines.append(f"    indicators of the journal: {found.indicators_journal}")
        lines.append(f"    indicators of the replay: {found.indicators_replay}")
    if found.why:
        lines.append(f"    the replay went by: {found.why}")
    return lines
