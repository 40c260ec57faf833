"""Does the recorded session, replayed by the project itself, come to the same to the bit?"""

from pathlib import Path

from backtest import command_parity, parity
from indicators import jit
from tests.chaos.findings import Finding, finding
from tests.indicator_tools import kernels


def judge_parity(book: Path) -> Finding:
    """All of the session is equal to its replay."""
    verdict = parity.judge(book, kernels().machine, jit.sources_hash())
    wrong = list(verdict.not_judged)
    if verdict.outcome != parity.EQUAL:
        wrong += command_parity.text(verdict).splitlines()
    judged = verdict.judged
    text = f"{judged.records} records and {judged.entries} entries are equal, over {judged.starts} starts"
    return finding("parity", f"{text} and {judged.spans} spans; {judged.states} whole states", wrong)
