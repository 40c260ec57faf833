"""A start for real orders goes through the gate before anything is touched."""

import msgspec
import pytest

from core.errors import MisconfiguredError
from core.paths import settings_file
from core.settings_load import from_texts
from tests.up_helpers import short_folder
from tools import up
from tools.lifecycle import PID_FILE, Bot


def test_a_start_that_is_not_cleared_touches_nothing() -> None:
    with short_folder() as folder:
        bot = Bot(folder)
        texts = {
            "VENUE": "kraken",
            "LIVE_CONFIRM": "yes",
            "VENUE_REST_URL": "http://127.0.0.1:1",
            "VAR_DIR": str(folder),
        }
        settings = msgspec.structs.replace(from_texts(texts), simulation_mode=False)
        with pytest.raises(MisconfiguredError, match="no real orders, the doctor found something") as caught:
            up.bring_up(bot, settings, lambda: False, patient=False)
        assert "fail     REST" in str(caught.value)
        assert not settings_file(folder).exists() and not (folder / "run" / PID_FILE).exists()
        assert bot.running() is None
