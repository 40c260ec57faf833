"""Where settings come from: the environment over `.env`, or for supervised stages the ones last applied.

The only module that reads the environment. Everything wrong is named in one message: name, value, what is allowed, the
nearest name.
"""

import difflib
import os
import stat
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
from dotenv.parser import parse_stream

from core import pairs
from core.disk import refused
from core.errors import MisconfiguredError
from core.paths import ENV_FILE, absolute, settings_file, var_dir
from core.settings import Settings, as_texts
from core.settings_check import across
from core.settings_parse import Secret
from core.settings_row import Setting
from core.settings_table import SETTINGS

ALIAS = {"PAIR": "PAIRS"}
KNOWN = (*SETTINGS, *ALIAS)
SECRET_NAMES = tuple(setting.name for setting in SETTINGS.values() if setting.secret)
DASHBOARD_SECRETS = tuple(name for name in SECRET_NAMES if name.startswith("DASHBOARD_"))
SUPERVISED = "SUPERVISOR_ENABLED"

# In the environment, which is full of other programs' names, only a close misspelling of ours is suspicious.
ENVIRONMENT_LIKENESS = 0.86
ENVIRONMENT_SHORTEST = 6
EVERYBODYS = ("HOST", "PORT", "VENUE", "FEED", "PAIR", "PAIRS", "LOG_LEVEL")  # LOGLEVEL is no misspelling of ours


def load(
    environ: Mapping[str, str] | None = None, env_file: Path = ENV_FILE, given: Mapping[str, str] | None = None
) -> Settings:
    """The settings from those given (--set) over the environment (this process's, unless one is named) over the file.

    Raises MisconfiguredError that lists every problem at once.
    """
    environ = os.environ if environ is None else environ
    given = given or {}
    problems: list[str] = [_unknown(name, "--set", name) for name in given if name not in KNOWN]
    texts = _from_file(env_file, problems)
    texts.update(_from_environment(environ, problems))
    texts.update(_resolve_alias(dict(given), "--set", problems))
    settings = _build(texts, problems)
    if settings is not None and settings.venue == "sandbox" and settings.sandbox_tape:
        tape = absolute(settings.sandbox_tape)
        if not tape.exists():
            problems.append(f"SANDBOX_TAPE={settings.sandbox_tape}: there is no file {tape}")
    if problems or settings is None:
        raise MisconfiguredError(_message(problems))
    return settings


def from_texts(texts: Mapping[str, str]) -> Settings:
    """The settings from name and text alone, defaults for the rest; for tests, tools and the backtest's --set."""
    problems: list[str] = []
    for name in texts:
        if name not in KNOWN:
            problems.append(_unknown(name, "the given settings", name))
    settings = _build(_resolve_alias(dict(texts), "the given settings", problems), problems)
    if problems or settings is None:
        raise MisconfiguredError(_message(problems))
    return settings


def var_dir_only(environ: Mapping[str, str] | None = None, env_file: Path = ENV_FILE) -> Path:
    """VAR_DIR alone, environment over `.env`: for commands that must work whatever else is wrong there."""
    environ = os.environ if environ is None else environ
    ignored: list[str] = []
    found = _from_file(env_file, ignored) | _from_environment(environ, ignored)
    return absolute(found.get("VAR_DIR") or SETTINGS["VAR_DIR"].default)


def apply(settings: Settings) -> Path:
    """Writes the settings, without secrets, where supervised stages read them; returns the file."""
    file = settings_file(var_dir(settings))
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside = file.with_name(f"{file.name}.{os.getpid()}")
        aside.write_bytes(msgspec.json.format(msgspec.json.encode(as_texts(settings)), indent=1) + b"\n")
        aside.replace(file)
    except OSError as error:
        raise MisconfiguredError(
            f"cannot write {file}: {error.strerror}. Free the folder or set VAR_DIR to another place."
        ) from error
    return file


def applied(var: Path, secret_texts: Mapping[str, str] | None = None) -> Settings | None:
    """The settings last applied, secrets empty unless given by name; None where none were applied.

    Raises MisconfiguredError on a file that is damaged or of another version, BotError where the disk fails.
    """
    file = settings_file(var)
    try:
        texts = msgspec.json.decode(file.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refused(f"cannot read {file}: {error.strerror}. `make restart` writes it anew.", error.errno) from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise MisconfiguredError(f"cannot read {file}: {error}. `make restart` writes it anew.") from error
    texts = {name: text for name, text in texts.items() if name in SETTINGS}
    texts["VAR_DIR"] = str(var)
    problems: list[str] = []
    # Secrets are not written down. The page's are for the dashboard alone to judge: an edit of them stops nobody else.
    unknown = DASHBOARD_SECRETS if secret_texts is not None else SECRET_NAMES
    settings = _build(texts | dict(secret_texts or {}), problems, unknown)
    if problems or settings is None:
        raise MisconfiguredError(_message(problems, f"in {file}; `make restart` applies .env anew"))
    return settings


def changed(old: Settings, new: Settings) -> list[Setting]:
    """The settings that differ, in the table's order, each with the stages it concerns; secrets are not compared."""
    before, now = as_texts(old), as_texts(new)
    # VAR_DIR is applied as an absolute path and may be written as a relative one.
    before["VAR_DIR"], now["VAR_DIR"] = str(var_dir(old)), str(var_dir(new))
    return [SETTINGS[name] for name in now if before[name] != now[name]]


def for_stage(environ: Mapping[str, str] | None = None, env_file: Path = ENV_FILE) -> Settings:
    """A stage's settings: under supervisord those last applied, by hand the environment over `.env`.

    Secrets are never written down, so they come from the environment over `.env` in both cases.
    """
    environ = os.environ if environ is None else environ
    if SUPERVISED not in environ:
        return load(environ, env_file)
    ignored: list[str] = []
    now = _from_file(env_file, ignored)
    now.update(_from_environment(environ, ignored))
    var = absolute(now.get("VAR_DIR") or SETTINGS["VAR_DIR"].default)
    settings = applied(var, {name: now[name] for name in SECRET_NAMES if name in now})
    return settings if settings is not None else load(environ, env_file)


def goes_by_applied(var: Path, environ: Mapping[str, str] | None = None) -> bool:
    """Whether a stage goes by settings that a command applied: it runs under supervisord, and there are such."""
    environ = os.environ if environ is None else environ
    return SUPERVISED in environ and settings_file(var).exists()


def environment(name: str) -> str | None:
    """A variable of the environment that is no setting of ours (SUPERVISOR_…, CI, NUMBA_…), or None."""
    return os.environ.get(name)


def full_environment() -> dict[str, str]:
    """A copy of this process's environment, to start another program with."""
    return dict(os.environ)


def _from_file(env_file: Path, problems: list[str]) -> dict[str, str]:
    """Name and text of every line of `.env`; nothing where there is no file."""
    try:
        text = env_file.read_text(encoding="utf-8-sig")
        mode = stat.S_IMODE(env_file.stat().st_mode)
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problems.append(f"{env_file} cannot be read: line {line} is no UTF-8 text. Save the file as UTF-8.")
        return {}
    except OSError as error:
        problems.append(f"{env_file} cannot be read ({error.strerror}): it must be a text file that you may read")
        return {}
    found: dict[str, str] = {}
    for binding in parse_stream(StringIO(text)):
        text_here = binding.original.string
        # The parser counts blank lines before a setting as part of it.
        line = binding.original.line + text_here[: len(text_here) - len(text_here.lstrip())].count("\n")
        if binding.error or (binding.key is not None and binding.value is None):
            problems.append(f"{env_file.name} line {line}: {_no_binding(text_here)}")
        elif binding.key is None:
            continue
        elif binding.key not in KNOWN:
            problems.append(_unknown(binding.key, f"{env_file.name} line {line}", binding.key))
        elif binding.key in found:
            problems.append(f"{env_file.name} line {line}: {binding.key} is there twice: keep one of the lines")
        else:
            found[binding.key] = binding.value or ""
    held = [name for name, value in found.items() if value and name in SETTINGS and SETTINGS[name].secret]
    if mode & 0o077 and held:
        problems.append(
            f"{env_file} holds {', '.join(held)} and others may read it (mode {mode:o}): chmod 600 {env_file.name}"
        )
    return _resolve_alias({name: value for name, value in found.items() if value}, env_file.name, problems)


def _no_binding(text: str) -> str:
    """What is wrong with a line that is no NAME=value; never its value, which may be a secret."""
    name, equals, value = text.strip().partition("=")
    name = name.removeprefix("export ").strip()
    if equals and name in KNOWN and value.strip()[:1] in ("'", '"'):
        return f"the value of {name} has an opening quote and no closing one, or something behind it"
    return f"{name[:40]!r} is no setting: write NAME=value"


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """Our names in the environment; an empty value counts as unset."""
    found = {name: environ[name] for name in KNOWN if environ.get(name)}
    for name in environ:
        if name not in KNOWN and len(name) >= ENVIRONMENT_SHORTEST:
            near = difflib.get_close_matches(name.upper(), KNOWN, n=1, cutoff=ENVIRONMENT_LIKENESS)
            if near and near[0] not in EVERYBODYS:
                problems.append(f"{name} (environment) is no setting: did you mean {near[0]}? unset {name} otherwise")
    return _resolve_alias(found, "the environment", problems)


def _resolve_alias(texts: dict[str, str], where: str, problems: list[str]) -> dict[str, str]:
    for alias, name in ALIAS.items():
        text = texts.pop(alias, None)
        if text is None:
            continue
        if texts.get(name, text) != text:
            problems.append(f"{alias} and {name} both stand in {where} and differ: keep {name}")
        texts.setdefault(name, text)
    return texts


def _unknown(name: str, where: str, shown: str) -> str:
    near = difflib.get_close_matches(name.upper(), KNOWN, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else ".env.example lists them all"
    return f"{shown} ({where}) is no setting: {hint}"


def _build(texts: Mapping[str, str], problems: list[str], unknown: Iterable[str] = ()) -> Settings | None:
    """Every text parsed, then the checks across settings, but for those that depend on an unknown one.

    None where a value could not be read.
    """
    values: dict[str, Any] = {}
    bad: set[str] = set()
    for name, setting in SETTINGS.items():
        text = texts.get(name, "").strip() or setting.default
        try:
            values[setting.attribute] = setting.parse(text)
        except (ValueError, ArithmeticError):
            shown = "***" if setting.secret else text if len(text) <= 80 else text[:77] + "..."
            shown = "".join(letter if letter.isprintable() else "?" for letter in shown)
            problems.append(f"{name}={shown} is not allowed: {setting.allowed}")
            bad.add(name)
            values[setting.attribute] = setting.parse(setting.default)
    if values["venue"] == "sandbox":
        # The sandbox has keys of its own: real ones are not even held in memory.
        for setting in SETTINGS.values():
            if setting.secret and setting.name not in DASHBOARD_SECRETS:
                values[setting.attribute] = Secret()
    settings = Settings(**values)
    own = tuple(pairs.own_name(name, settings.protocol) for name in settings.pairs)
    settings = msgspec.structs.replace(settings, pairs=own)
    problems += [text for names, text in across(settings) if not bad.union(unknown).intersection(names)]
    return None if bad else settings


def _message(problems: list[str], where: str = "") -> str:
    count = f"{len(problems)} settings are wrong" if len(problems) > 1 else "a setting is wrong"
    return f"{count}{' ' + where if where else ''}:\n" + "\n".join(f"  {problem}" for problem in problems)
