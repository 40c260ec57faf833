"""Do the logs tell of errors that nobody caused, and did the watchdog end only what was made to stand still?"""

import re
from collections import Counter
from collections.abc import Iterable, Set

from tests.chaos.findings import Finding, finding

BAD_LINES = re.compile(r"Traceback|crashed| ERROR |FATAL|closing failed")
HUNG = re.compile(r"(\w+) \(process (\d+)\) runs but was not heard for \d+\.\d s: killed, to be started again")
LOOP = re.compile(r"(\w+) died (\d+) times in a row within 10 s of its start \(it was killed each time\)")


def judge_logs(lines: Iterable[tuple[str, str]], stopped: Set[tuple[str, int]], ended: Counter[str]) -> Finding:
    """`lines`: file and line. `stopped`: every stage and process that was sent SIGSTOP; `ended`: kills by stage.

    A line about an error is wrong, unless the watchdog says what was done here: that it killed a process which had been
    stopped, or that a stage died no more often than it was killed, by us or by the watchdog.
    """
    wrong = []
    count = 0
    told: set[tuple[str, int]] = set()
    loops = []
    for name, line in lines:
        count += 1
        if found := HUNG.search(line):
            process = (found[1], int(found[2]))
            if process in stopped:
                told.add(process)
            else:
                wrong.append(f"{name}: {line} (it was never stopped)")
        elif found := LOOP.search(line):
            loops.append((found[1], int(found[2]), f"{name}: {line}"))
        elif BAD_LINES.search(line):
            wrong.append(f"{name}: {line}")
    killed = ended + Counter(stage for stage, _ in told)
    wrong += [f"{line} (it was killed {killed[stage]} times)" for stage, times, line in loops if times > killed[stage]]
    said = f"{count} lines, no error; {len(told)} that stood still were killed, {len(loops)} crash loops told"
    return finding("logs", said, wrong)
