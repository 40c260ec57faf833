"""A project whose stages are small stand-ins, for what the real ones cannot be brought to do at will.

All but the stages' __main__ is real: settings, locks, exit codes, back-off and the control socket work as they do. A
stand-in does what the file `STAGE.acts` in the project's folder says: nothing (it runs), `misconfigured`, `crash`,
`deaf` (ignores TERM), `stuck` (does nothing any more and ignores TERM), `sick` (the dashboard's /healthz answers 503).
With a file `patient` orphans wait 20 s a layer for each other, so that a slow machine does not change their order.
The page is well only when every stage that has its lock has come up, so that what follows a start finds them there.
"""

import shutil
from pathlib import Path

from core import paths
from tests.pipeline.pipeline import ROOT, Pipeline

STAGE = """
import json, os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import core.parent
from core import paths
from core.errors import MisconfiguredError, NotCalledFor
from core.lock import holder, read_record
from core.stage import run

NAME = {name!r}
RUN_DIR: Path
if Path("patient").exists():
    core.parent.LAYER_SECONDS = 20.0

def acts():
    file = Path(NAME + ".acts")
    return file.read_text() if file.exists() else ""

def begins(name):
    # It has its lock, does not wait after quick deaths, and has not come to the end of `build`.
    pid, record, up = holder(RUN_DIR, name), read_record(RUN_DIR / (name + ".json")), Path(name + ".up")
    waits = record is not None and record.up_ms > time.time() * 1000
    return pid is not None and not waits and not (up.exists() and up.read_text() == str(pid))

class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        failing = {{"stage:" + name: "begins" for name in paths.PROGRAMS if begins(name)}}
        if acts() == "sick":
            failing["market"] = "no trade was heard"
        body = json.dumps({{"failing": failing}}).encode()
        self.send_response(503 if failing else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

def build(context):
    global RUN_DIR
    RUN_DIR = context.run_dir
    with open("starts", "a") as file:
        file.write(NAME + "\\n")
    def ended():
        with open("ends", "a") as file:
            file.write(NAME + "\\n")
    context.on_stop(ended)
    if acts() == "misconfigured":
        raise MisconfiguredError("nobody can make sense of THIS=that: change it")
    if acts() == "crash":
        raise RuntimeError("it broke")
    if acts() == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if acts() == "stuck":
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        context.loop.call_later(0, lambda: threading.Event().wait())
    if NAME == "sandbox" and context.settings.venue != "sandbox":
        raise NotCalledFor("VENUE is another")
    if NAME == "dashboard":
        server = ThreadingHTTPServer(("127.0.0.1", context.settings.port), Page)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    context.log.info("%s is up, RSI_BUY is %s", NAME, context.settings.rsi_buy)
    Path(NAME + ".new").write_text(str(os.getpid()))
    Path(NAME + ".new").rename(NAME + ".up")

run(NAME, build)
"""


def make_template(folder: Path) -> Path:
    """A project to copy, as `pipeline.make_template` makes one."""
    template = folder / "stand_ins"
    template.mkdir()
    for name in ("core", "bus", "tools", *paths.PROGRAMS):
        shutil.copytree(ROOT / name, template / name, ignore=shutil.ignore_patterns("bench", "static"))
    shutil.copy(ROOT / "supervisord.conf", template)
    (template / ".venv").symlink_to(ROOT / ".venv")
    for name in paths.PROGRAMS:
        (template / name / "__main__.py").write_text(STAGE.format(name=name))
    return template


def acts(bot: Pipeline, stage: str, what: str) -> None:
    (bot.root / f"{stage}.acts").write_text(what)


def words(bot: Pipeline, name: str) -> list[str]:
    file = bot.root / name
    return file.read_text().split() if file.exists() else []


def assert_ended_in_order(ends: list[str]) -> None:
    assert ends[:2] == ["watchdog", "trader"] and ends[-1] == "storage"
    assert sorted(ends) == sorted(paths.PROGRAMS)
