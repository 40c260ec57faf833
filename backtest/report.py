"""The report of a run: one HTML file that needs nothing else, no network and no server.

The page's own template, style and scripts stand in `backtest/page/`; the chart library and the style of the dashboard
are taken from `dashboard/static`, so that both look alike. All that varies is one JSON object in the page, in which no
markup can begin, and the page writes it as text. A policy in the page forbids every other script and every request.
"""

import base64
import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from backtest.bootstrap import Intervals
from backtest.legs import legs_table
from backtest.report_data import LEG_COLUMNS, run_data
from backtest.report_sections import Section
from backtest.result import Array, Result
from backtest.sensitivity import Row
from backtest.stats import Statistics
from core.errors import MisconfiguredError
from core.paths import ROOT

PAGE = ROOT / "backtest" / "page"
STATIC = ROOT / "dashboard" / "static"
CHARTS = STATIC / "vendor" / "lightweight-charts"
SCRIPTS = ("format.js", "dom.js", "charts.js", "price.js", "bars.js", "tables.js", "main.js")


def write(
    path: Path,
    result: Result,
    statistics: Statistics,
    *,
    intervals: Intervals | None = None,
    sensitivity: Sequence[Row] = (),
    sections: Sequence[Section] = (),
    about: str = "",
    legs: Array | None = None,
) -> int:
    """Writes the report of a run and gives its size in bytes; the file is there whole or as it was before.

    `about` is a line of the caller's on the run (engine, files); `sections` come from `report_sections`; `legs` is the
    run's legs_table where it is at hand. The price is drawn where the run kept its bars. Raises MisconfiguredError
    where the file cannot be written.
    """
    legs = legs_table(result) if legs is None else legs
    run = run_data(result, statistics, legs, intervals=intervals, sensitivity=sensitivity, about=about)
    return _save(path, page(f"Backtest of {run['title']}", run, sections))


def write_sections(path: Path, title: str, sections: Sequence[Section], *, notes: Sequence[str] = ()) -> int:
    """Writes a report of sections alone, as of a sweep, and gives its size in bytes. Raises MisconfiguredError."""
    return _save(path, page(title, None, sections, notes))


def page(title: str, run: dict[str, Any] | None, sections: Sequence[Section], notes: Sequence[str] = ()) -> str:
    """The whole page as text."""
    data = {
        "title": title,
        "run": run,
        "leg_columns": LEG_COLUMNS,
        "sections": list(sections),
        "notes": list(notes),
    }
    library = _read(CHARTS / "lightweight-charts.standalone.production.js")
    script = "(() => {\n'use strict';\n" + "\n".join(_read(PAGE / name) for name in SCRIPTS) + "\n})();\n"
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src {_hash(library)} {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "{{title}}": escape(title),
        "{{policy}}": policy,
        "{{style}}": _read(STATIC / "app.css") + _read(PAGE / "report.css"),
        "{{notice}}": escape(_read(CHARTS / "NOTICE").strip()),
        "{{licence}}": escape(_read(CHARTS / "LICENSE").strip("\n")),
        "{{data}}": safe_json(data),
        "{{library}}": library,
        "{{script}}": script,
    }
    return _filled(_read(PAGE / "report.html"), parts)


def safe_json(data: Any) -> str:
    """JSON that may stand inside a script element: no sign in it can end the element or begin another."""
    text = msgspec.json.encode(data).decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def escape(text: str) -> str:
    """Text as HTML."""
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(sign, entity)
    return text


def _filled(template: str, parts: dict[str, str]) -> str:
    """The template with each mark replaced once; what is put in is not looked at again."""
    found = []
    rest = template
    for mark, text in sorted(parts.items(), key=lambda item: template.index(item[0])):
        before, rest = rest.split(mark, 1)
        found += [before, text]
    return "".join([*found, rest])


def _hash(script: str) -> str:
    """The source expression of a script in a Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _save(path: Path, text: str) -> int:
    """Writes beside the file, then over it."""
    aside = path.with_name(path.name + ".part")
    try:
        size = aside.write_bytes(text.encode())
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise MisconfiguredError(
            f"the report {path} cannot be written: {error.strerror}. Name another place with --report."
        ) from error
    return size
