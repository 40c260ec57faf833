"""One row of the settings, and the names of the stages that it can concern; the rows stand in `settings_table`."""

from collections.abc import Callable
from typing import Any

import msgspec

from core.paths import STAGES


class Setting(msgspec.Struct, frozen=True):
    """One row of the table."""

    name: str
    default: str
    parse: Callable[[str], Any]
    allowed: str
    meaning: str
    stages: tuple[str, ...]
    secret: bool = False

    @property
    def attribute(self) -> str:
        return self.name.lower()


ALL = STAGES
WITH_SANDBOX = (*STAGES, "sandbox")
CANDLES = ("feeder", "indicators", "trader", "storage", "dashboard")
RULES = ("indicators", "trader")
FEEDER, TRADER, DASHBOARD = ("feeder",), ("trader",), ("dashboard",)
REMOTE, KEYED = ("feeder", "trader", "guardian"), ("trader", "guardian")
