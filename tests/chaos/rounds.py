"""Plays a schedule of disturbances against a real bot and asks the judges.

Health is what anybody outside sees: the page's /healthz. A stage that was stopped goes on after its time, unless
whoever watches over the stages has ended it meanwhile.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from bus.messages import Entry
from sandbox.listings import LISTINGS
from tests.chaos import judge_decisions, judge_ledger, judge_logs, judge_market, judge_parity, judge_updates
from tests.chaos.findings import Finding, finding
from tests.chaos.listener import Heard, Listener
from tests.chaos.schedule import Act, Step
from tests.pipeline import audit
from tests.pipeline.pipeline import Pipeline
from tests.reference.read_tape import read_segments

Say = Callable[[str], None]

PAIRS = [listing.rules.pair for listing in LISTINGS if listing.rules.quote == "USDT"]
BALANCE = 5_000
FRAME_MS = 5_000
# A bot that trades without rest in many pairs at once: short candles, loose limits, a tight stop.
SETTINGS: dict[str, object] = {
    "PAIRS": ",".join(PAIRS),
    "TIMEFRAME": f"{FRAME_MS // 1000}s",
    "WARMUP_CANDLES": 10,
    "RSI_PERIOD": 5,
    "RSI_BUY": 47.3,
    "RSI_SELL": 52.7,
    "RSI_CRASH": 11.3,
    "BB_PERIOD": 10,
    "BB_STDDEV": 0.7,
    "TRAILING_STOP_PCT": 0.0007,
    "TRADE_CAPITAL": 200,
    "PAPER_BALANCE": BALANCE,
    "MAX_ORDERS_PER_MINUTE": 200,
    "MAX_OPEN_POSITIONS": 12,
}
TURN_S = 0.05
HEALTHY_S = 120.0
COMMAND_S = 30.0
QUIET_S = 30.0
LAST_STRETCH_S = 6.0
# The longest that this market went without an entry is 85 s: in its first minutes all pairs fall in the same ones.
TRADES_ON_S = 120.0
LOOK_S = 1.0
SLACK_MS = 3_000  # trades this young at the stop may not be on the tape


@dataclass
class Stopped:
    """A process that sleeps until `until`."""

    stage: str
    pid: int
    born: str
    until: float


@dataclass
class Away:
    """A process that was ended: a new one is expected."""

    number: int
    stage: str
    pid: int
    since: float


class Rounds:
    """One bot under disturbance, from its start to the judgement."""

    def __init__(self, bot: Pipeline, say: Say) -> None:
        self.bot = bot
        self.say = say
        self.findings: list[Finding] = []
        self.asked: Counter[str] = Counter()
        self.acknowledged: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.slowest_s: dict[str, float] = {}
        self._listener = Listener(bot.run_dir)
        self._heard = Heard()
        self._number = 0
        self._stopped: list[Stopped] = []
        self._ever_stopped: set[tuple[str, int]] = set()
        self._ended: Counter[str] = Counter()
        self._away: list[Away] = []
        self._revive_at: float | None = None  # supervisord was killed: start again then
        self._starting: subprocess.Popen[str] | None = None
        self._asking: list[tuple[str, subprocess.Popen[str]]] = []
        self._well = True
        self._ill_since = 0.0

    # --- the disturbances

    def play(self, steps: list[Step], checkpoint: int = 50) -> None:
        """Starts the bot and does what is planned; every `checkpoint` acts the ledger is looked at while it runs."""
        self._listener.start()
        self.bot.start()
        self.bot.wait(lambda: self.bot.rows("SELECT * FROM trades"), "a first entry", TRADES_ON_S)
        looked = 0
        for step in steps:
            self._wait(step.gap_s)
            for act in step.acts:
                self._number += 1
                self._do(act)
            if self._number - looked >= checkpoint:
                looked = self._number
                self.look()
        self._settle()

    def _do(self, act: Act) -> None:
        if act.kind in ("supervisord", "restart", "command"):
            self._finish_start()
        note = ""
        if act.kind == "supervisord":
            pid = self.bot.supervisord()
            os.kill(pid, signal.SIGKILL)
            self._revive_at = time.monotonic() + act.seconds
        elif act.kind == "command":
            self._ask(act.target)
        elif act.kind == "restart":
            self._starting = self._spawn("tools.up", "restart", *filter(None, [act.target]))
        else:
            note = self._signal(act)
        self.done[act.kind] += 1
        self.say(f"{self._number:4}  {act}{note}")

    def _signal(self, act: Act) -> str:
        pid = self.process(act.target)
        if pid is None:
            return " (is away)"
        number = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}[act.kind]
        born = birth_of(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if act.kind == "stop":
            self._stopped.append(Stopped(act.target, pid, born, time.monotonic() + act.seconds))
            self._ever_stopped.add((act.target, pid))
        else:
            self._ended[act.target] += 1
            self._away.append(Away(self._number, act.target, pid, time.monotonic()))
        return "" if self.bot.pid(act.target) == pid else " (which is just coming up)"

    def process(self, stage: str) -> int | None:
        """The stage's process, that which holds its lock before one that is still on its way there."""
        found = [pid for pid, command in self.bot.processes().items() if f" -m {stage} " in f"{command} "]
        holder = self.bot.pid(stage)
        return holder if holder in found else min(found, default=None)

    def _spawn(self, module: str, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [".venv/bin/python", "-m", module, *arguments],
            cwd=self.bot.root,
            env=self.bot.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _ask(self, action: str) -> None:
        self.asked[action] += 1
        self._asking.append((action, self._spawn("tools.control", action)))

    # --- time goes by

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._turn()
            time.sleep(TURN_S)

    def _turn(self) -> None:
        """What is due, and what has come back."""
        now = time.monotonic()
        for stopped in [one for one in self._stopped if one.until <= now]:
            self._stopped.remove(stopped)
            wake(stopped)
        if self._revive_at is not None and self._revive_at <= now:
            self._revive_at = None
            self._starting = self._spawn("tools.up", "start")
        if self._starting is not None and self._starting.poll() is not None:
            self._started(self._starting)
            self._starting = None
        for action, child in [one for one in self._asking if one[1].poll() is not None]:
            self._asking.remove((action, child))
            self._answered(action, child)
        for away in list(self._away):
            if self.bot.pid(away.stage) not in (None, 0, away.pid):
                self._away.remove(away)
                took = now - away.since
                self.slowest_s[away.stage] = max(took, self.slowest_s.get(away.stage, 0.0))
                self.say(f"      {away.stage} is back {took:.1f} s after {away.number}")
        self._look_at_health(now)

    def _look_at_health(self, now: float) -> None:
        well = self.bot.get("/healthz", timeout=0.5)[0] == 200
        if self._well and not well:
            self._ill_since = now
        elif well and not self._well:
            self.say(f"      healthy after {now - self._ill_since:.1f} s")
        self._well = well

    def _started(self, child: "subprocess.Popen[str]") -> None:
        said = child.communicate()[0]
        if child.returncode:
            what = " ".join(child.args[2:]) if isinstance(child.args, list) else str(child.args)
            self.findings.append(
                finding("start", f"after {self._number}", [f"{what}: exit {child.returncode}: {said}"])
            )

    def _answered(self, action: str, child: "subprocess.Popen[str]") -> None:
        said = child.communicate()[0]
        if child.returncode == 0 and "has not taken it" not in said:
            self.acknowledged[action] += 1

    def _until(self, condition: Callable[[], Any], what: str, seconds: float) -> bool:
        """Waits with everything else going on; False, and a finding, where it does not come true."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                self.findings.append(finding("in time", what, [f"not within {seconds:g} s after {self._number}"]))
                return False
            self._turn()
            time.sleep(TURN_S)
        return True

    def _finish_start(self) -> None:
        self._until(lambda: self._starting is None and self._revive_at is None, "the start in between", HEALTHY_S)

    def _healthy(self) -> bool:
        self._turn()
        return self._well and not self._away and not self._stopped

    # --- looking

    def look(self) -> None:
        """The bot is let come to itself; what is written by now must be whole."""
        self._finish_start()
        if not self._until(self._healthy, "healthy", HEALTHY_S):
            return
        book = self.bot.book.resolve()
        entries = audit.journal(book)
        upto = entries[-1].number
        self._until(lambda: self.bot.rows(f"{CURSOR} >= {upto}"), "storage has what the journal has", QUIET_S)
        some = [judge_ledger.judge_database(book, entries, upto), judge_ledger.judge_money(entries, Decimal(BALANCE))]
        for one in some:
            self._keep(one)

    def _keep(self, found: Finding) -> None:
        self.findings.append(found)
        for line in found.lines():
            self.say(line)

    def _settle(self) -> None:
        """After the last disturbance: everything back, traded on, then no more entries."""
        self._finish_start()
        self._until(self._healthy, "healthy at the end", HEALTHY_S)
        for action in ("resume", "pause"):
            self._ask(action)
            self._until(lambda: not self._asking, f"an answer to {action}", COMMAND_S)
            if action == "resume":
                self._trade_on()
        self._until(self._healthy, "healthy at the end", HEALTHY_S)

    def _trade_on(self) -> None:
        """A bot that is healthy and takes no entries any more has not survived: waits for one, all spans closed."""
        book, end = self.bot.book.resolve(), time.monotonic() + TRADES_ON_S
        after = audit.journal(book)[-1].number
        self._wait(LAST_STRETCH_S)
        while not (found := judge_decisions.judge_trading_on(audit.journal(book), after)).ok and time.monotonic() < end:
            self._wait(LOOK_S)
        self._keep(found)

    # --- the judgement

    def judge(self) -> list[Finding]:
        """Stops the bot in order and judges what it left. Returns all findings, those from before included."""
        self._page()
        until_ms, stopped_ns = int(time.time() * 1000) - SLACK_MS, time.time_ns()
        stopped = self.bot.stop()
        self._heard = self._listener.stop()
        left = self.bot.processes()
        wrong = [f"{pid}: {command}" for pid, command in left.items()]
        if stopped.returncode or "ended what ran" in stopped.stdout:
            wrong.append(f"stop: exit {stopped.returncode}: {stopped.stdout}{stopped.stderr}")
        self._keep(finding("stop", "no process is left", wrong))
        self._files(until_ms, stopped_ns)
        self._keep(self._logs())
        return self.findings

    def _page(self) -> None:
        """Exits go on while paused: the page is asked until the journal stood still around it."""
        book = self.bot.book.resolve()
        end = time.monotonic() + QUIET_S
        while True:
            before = audit.journal(book)
            found = judge_ledger.judge_page(self.bot.get, before, PAIRS, Decimal(BALANCE))
            still = settled(audit.journal(book)) == settled(before)
            if (found.ok and still) or time.monotonic() > end:
                self._keep(found)
                return
            self._turn()
            time.sleep(TURN_S)

    def _files(self, until_ms: int, stopped_ns: int) -> None:
        book = self.bot.book.resolve()
        entries = audit.journal(book)
        epochs = sorted(path.name for path in (book / "tape").iterdir())
        self._keep(finding("epochs", f"the tape has {len(epochs)}", epochs[1:]))
        segments = list(read_segments(book / "tape" / epochs[-1]))
        market = judge_market.market_of(book)
        self._keep(judge_market.judge_tape(segments, market, PAIRS, until_ms, FRAME_MS))
        self._keep(judge_updates.judge_updates(segments, self._heard, stopped_ns))
        self._keep(judge_ledger.judge_money(entries, Decimal(BALANCE)))
        self._keep(judge_ledger.judge_database(book, entries))
        self._keep(judge_ledger.judge_csv(book, entries))
        self._keep(judge_ledger.judge_gaps(book))
        rows, markets, fee_bps = audit.tape(book)
        applied = entries[-1].event.at.record
        told = self._heard.indicators()
        folded = judge_updates.spoken_of(rows, self._heard)
        result = audit.reference(folded, markets, fee_bps, entries, SETTINGS, missing_limit=500)
        self._keep(judge_ledger.judge_candles(book, result, folded))
        rows = [row for row in rows if row.number <= applied]
        result = audit.reference(rows, markets, fee_bps, entries, SETTINGS, missing_limit=500, told=told)
        self._keep(judge_decisions.judge_decisions(entries, result))
        self._keep(judge_decisions.judge_commands(entries, self.acknowledged, self.asked))
        self._keep(judge_parity.judge_parity(book))

    def _logs(self) -> Finding:
        files = sorted((self.bot.var / "log").iterdir())
        lines = ((path.name, line) for path in files for line in path.read_text(errors="replace").splitlines())
        return judge_logs.judge_logs(lines, self._ever_stopped, self._ended)

    def summary(self) -> str:
        """One line about what was done."""
        done = ", ".join(f"{count} {kind}" for kind, count in self.done.most_common())
        slowest = ", ".join(f"{stage} {took:.1f} s" for stage, took in sorted(self.slowest_s.items()))
        return f"{self._number} disturbances ({done}); slowest return: {slowest}"

    def close(self) -> None:
        """Whatever happened: no process stays."""
        for stopped in self._stopped:
            wake(stopped)
        for child in (self._starting, *(child for _, child in self._asking)):
            if child is not None:
                child.kill()
                child.communicate()
        self.bot.stop()
        for pid in self.bot.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._listener.stop()  # takes all that comes: only now nobody speaks any more


CURSOR = "SELECT number FROM cursors WHERE topic = 'trader/0/' AND number"


def settled(entries: list[Entry]) -> list[Entry]:
    """The entries that move money; a position that moves with none of them is one with another `highest`."""
    return [entry for entry in entries if type(entry.event).__name__ in ("FillEvent", "TradeEvent")]


def birth_of(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wake(stopped: Stopped) -> None:
    """Lets a stopped process go on, if it is still the same one."""
    if stopped.born and birth_of(stopped.pid) == stopped.born:
        with contextlib.suppress(ProcessLookupError):
            os.kill(stopped.pid, signal.SIGCONT)
