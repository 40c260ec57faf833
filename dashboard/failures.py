"""Programs that are down and why: from `run/STAGE.json`, as most of them cannot say it on the bus any more."""

from collections.abc import Iterable
from pathlib import Path

from core.lock import holder, read_record

LOOK_SECONDS = 2.0  # a program that is back within two looks tells of its failure by itself


class Failures:
    """Looks now and then; tells each failure once, until the program fails for another reason."""

    def __init__(self, run_dir: Path, names: Iterable[str]) -> None:
        self._run_dir = run_dir
        self._names = tuple(names)
        self._seen: dict[str, tuple[int, str]] = {}  # process and failure at the last look
        self._told: dict[str, str] = {}
        self.down: dict[str, str] = {}  # programs that are down now, with the reason

    def look(self) -> list[str]:
        """What a person should know of programs that are down since the last look at least."""
        fresh = []
        for name in self._names:
            record = read_record(self._run_dir / f"{name}.json")
            if record is None or not record.failure:  # it works, or was told to end
                self._seen.pop(name, None)
                self.down.pop(name, None)
                continue
            self.down[name] = record.failure
            now = (record.pid, record.failure)
            if self._seen.get(name) != now:
                self._seen[name] = now
            elif self._told.get(name) != record.failure:
                self._told[name] = record.failure
                fresh.append(f"{name} is down: {record.failure} ({self._next_step(name)})")
        return fresh

    def _next_step(self, name: str) -> str:
        if holder(self._run_dir, name) is not None:
            return "it tries again by itself"
        return f"mend it, then `make restart STAGE={name}`"
