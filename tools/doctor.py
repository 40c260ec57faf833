"""doctor: is this machine, this venue and this account fit for real orders? One line each; nothing is changed.

In simulation no keys are needed: without them what is asked with keys is skipped. A pass with keys is on record in
VAR_DIR/doctor.json and counts for 24 hours and these settings; a live start asks the doctor by itself.

Exit codes: 0 nothing failed (warnings allowed), 1 something failed, 2 settings that only you can mend.
"""

import argparse
import sys
from collections.abc import Sequence

from tools.doctor_lines import Report, as_json, told
from tools.doctor_wheels import first_lines

PASSED, FAILED, MISCONFIGURED = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    given = parser.parse_args(arguments)
    first = Report(first_lines(), False)
    if not first.passed:  # what follows loads these packages
        print(as_json(first) if given.json else told(first))
        return FAILED
    from core import settings_load
    from core.clock import LiveClock
    from core.errors import MisconfiguredError
    from tools.doctor_report import examine

    try:
        report = examine(settings_load.load(), LiveClock(), first=first.lines)
    except MisconfiguredError as error:
        print(error, file=sys.stderr)
        return MISCONFIGURED
    print(as_json(report) if given.json else told(report))
    return PASSED if report.passed else FAILED


if __name__ == "__main__":
    sys.exit(main())
