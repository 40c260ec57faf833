"""Settings: the table, what is refused and how it is told, and where the values come from."""

import errno
import os
import re
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from core import settings as module
from core import settings_load
from core.errors import BotError, MisconfiguredError
from core.paths import ROOT
from core.settings import Settings, indicator_hash, shared_hash
from core.settings_check import exposure
from core.settings_load import applied, apply, changed, for_stage, from_texts, goes_by_applied, load, var_dir_only
from core.settings_parse import Secret
from core.settings_table import SETTINGS

NO_FILE = Path("/nonexistent/.env")


def refusal(texts: dict[str, str]) -> str:
    """What a person is told about these settings."""
    with pytest.raises(MisconfiguredError) as caught:
        load(texts, NO_FILE)
    return str(caught.value)


def env_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / ".env"
    path.write_text(text)
    path.chmod(mode)
    return path


# --- the table ---


def test_the_struct_has_an_attribute_for_each_row() -> None:
    assert set(Settings.__struct_fields__) == {setting.attribute for setting in SETTINGS.values()}


def test_env_example_is_written_from_the_table() -> None:
    assert (ROOT / ".env.example").read_text() == module.env_example(), (
        "write it anew: python -c 'from core import settings; print(settings.env_example(), end=\"\")' > .env.example"
    )


def test_env_example_is_a_valid_env_file_with_the_defaults(tmp_path: Path) -> None:
    path = env_file(tmp_path, module.env_example(), 0o644)
    assert load({}, path) == load({}, NO_FILE)


def test_every_default_survives_writing_and_reading() -> None:
    settings = load({}, NO_FILE)
    assert from_texts(module.as_texts(settings)) == settings


def test_the_defaults_of_the_design() -> None:
    settings = load({}, NO_FILE)
    assert settings.simulation_mode and not settings.live_confirm
    assert settings.pairs == ("B-BTC_USDT",)
    assert (settings.trade_capital, settings.paper_balance) == (Decimal(10000), Decimal(10500))
    assert settings.taker_fee_bps is None
    assert settings.timeframe_ms == 60_000
    assert (settings.host, settings.port, settings.sandbox_port) == ("127.0.0.1", 3000, 3080)
    assert settings.on_shutdown == "hold"


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_says_what_it_means_and_concerns_a_stage(name: str) -> None:
    setting = SETTINGS[name]
    assert setting.meaning and setting.allowed and setting.stages


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        load({}, NO_FILE).port = 1  # type: ignore[misc]


# --- values ---

BAD_VALUES = {
    "SIMULATION_MODE": ["maybe", "2"],
    "LIVE_CONFIRM": ["sure"],
    "VENUE": ["nyse"],
    "PAIRS": [",", "B-BTC", "BTC USDT", "BTC/"],
    "TIMEFRAME": ["2m", "60"],
    "WARMUP_CANDLES": ["0", "1.5", "-1", "1e3", "1_000"],
    "FEED": ["push"],
    "POLL_SECONDS": ["0", "nan", "inf", "301"],
    "TRADE_CAPITAL": ["0", "11000000001", "0.000000001", "-5", "1,000", "ten"],
    "PAPER_BALANCE": ["0", "NaN", "Infinity"],
    "RSI_PERIOD": ["1", "14.0", "1001"],
    "RSI_SMOOTHING": ["sma"],
    "RSI_BUY": ["101", "-1", "x"],
    "BB_PERIOD": ["1"],
    "BB_STDDEV": ["0", "-2"],
    "TRAILING_STOP_PCT": ["0", "1", "0.5%", "-0.1"],
    "PAPER_FILL": ["best"],
    "PAPER_PARTICIPATION": ["0", "1.1"],
    "ENTRY_TIMEOUT_MS": ["0"],
    "TAKER_FEE_BPS": ["5bps", "2000"],
    "SLIPPAGE_BPS": ["-1", "0.001"],
    "MAX_DRAWDOWN_PCT": ["10", "1"],
    "DAY_OFFSET_MINUTES": ["841"],
    "ON_SHUTDOWN": ["sell"],
    "TAPE_MAX_MB": ["1"],
    "HOST": ["not a host", "999.1.1.1", "-x"],
    "PORT": ["0", "65536", "http"],
    "VENUE_REST_URL": ["ftp://x", "localhost:80", "http://u:p@x", "http://x:99999"],
    "VENUE_STREAM_URL": ["http://x"],
    "BOT_NAME": ["scalper", "bot1", "a-b"],
    "LOG_LEVEL": ["verbose"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD_VALUES.items() for text in texts])
def test_a_bad_value_is_named_with_what_is_allowed(name: str, text: str) -> None:
    told = refusal({name: text})
    assert f"{name}={text}" in told
    assert SETTINGS[name].allowed in told


GOOD_VALUES = [
    ("HOST", "::1", "host", "::1"),
    ("HOST", "localhost", "host", "localhost"),
    ("PAIRS", "BTC/USDT, ETH/USDT", "pairs", ("B-BTC_USDT", "B-ETH_USDT")),
    ("PAIRS", "BTC/INR", "pairs", ("I-BTC_INR",)),
    ("PAIRS", "KC-XYZ_USDT", "pairs", ("KC-XYZ_USDT",)),
    ("PAIR", "eth/usdt", "pairs", ("B-ETH_USDT",)),
    ("TAKER_FEE_BPS", "0", "taker_fee_bps", Decimal(0)),
    ("MAKER_FEE_BPS", "-1.5", "maker_fee_bps", Decimal("-1.5")),
    ("TIMEFRAME", "5M", "timeframe", "5m"),
    ("VENUE_REST_URL", "http://127.0.0.1:9/", "venue_rest_url", "http://127.0.0.1:9"),
    ("TRAILING_STOP_PCT", " .01 ", "trailing_stop_pct", 0.01),
    ("RSI_BUY", "", "rsi_buy", 30.0),
    ("ALLOWED_HOSTS", "Pi.local, bot", "allowed_hosts", ("pi.local", "bot")),
]


@pytest.mark.parametrize(("name", "text", "attribute", "value"), GOOD_VALUES)
def test_a_good_value_is_read(name: str, text: str, attribute: str, value: object) -> None:
    assert getattr(load({name: text}, NO_FILE), attribute) == value


ACROSS = {
    "an entry that would be sold at once": ({"RSI_BUY": "70"}, "RSI_BUY=70 must be below RSI_SELL=70"),
    "a crash that would be sold at once": ({"RSI_CRASH": "80"}, "RSI_CRASH=80 must be below RSI_SELL=70"),
    "a band no price can reach": ({"BB_PERIOD": "5", "BB_STDDEV": "2"}, "BB_STDDEV=2 can never be reached"),
    "a stop at the price itself": (
        {"TRAILING_STOP_PCT": "0.00000000000000001"},
        "TRAILING_STOP_PCT=1e-17 is no distance",
    ),
    "open to the network without a password": ({"HOST": "0.0.0.0"}, "needs DASHBOARD_PASSWORD: set one, or HOST=127"),
    "a name of the network without a password": ({"HOST": "pi.local"}, "HOST=pi.local opens the page"),
    "a password soon guessed": ({"DASHBOARD_PASSWORD": "hunter2"}, "DASHBOARD_PASSWORD is too short: at least 8"),
    "a token soon guessed": (
        {"DASHBOARD_PASSWORD": "correct horse", "DASHBOARD_TOKEN": "0123456789abcde"},
        "DASHBOARD_TOKEN is too short: at least 16",
    ),
    "a token that protects nothing": ({"DASHBOARD_TOKEN": "0123456789abcdef"}, "protects nothing without DASHBOARD_P"),
    "real orders with one key": ({"SIMULATION_MODE": "false", "VENUE": "coindcx"}, "needs LIVE_CONFIRM=yes"),
    "one market twice": ({"PAIRS": "BTC/USDT,B-BTC_USDT"}, "names a market twice"),
    "a word at the sandbox": ({"PAIRS": "BTCXYZ"}, "at the sandbox write BASE/QUOTE"),
    "two quote currencies": ({"PAIRS": "BTC/USDT,ETH/INR"}, "mixes quote currencies"),
    "one port for two": ({"PORT": "3080"}, "PORT=3080 and SANDBOX_PORT are the same"),
}


@pytest.mark.parametrize(("texts", "told"), ACROSS.values(), ids=ACROSS)
def test_values_that_do_not_go_together(texts: dict[str, str], told: str) -> None:
    assert told in refusal(texts)


def test_two_keys_open_the_way_to_real_orders_and_the_sandbox_needs_one() -> None:
    for venue in ("coindcx", "binance", "kraken"):
        assert not load({"SIMULATION_MODE": "false", "VENUE": venue, "LIVE_CONFIRM": "yes"}, NO_FILE).simulation_mode
        assert load({"VENUE": venue, "LIVE_CONFIRM": "yes"}, NO_FILE).simulation_mode
    assert not load({"SIMULATION_MODE": "false"}, NO_FILE).simulation_mode


def test_a_tape_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "there is no file" in refusal({"SANDBOX_TAPE": str(tmp_path / "day.csv.gz")})
    (tmp_path / "day.csv.gz").touch()
    assert load({"SANDBOX_TAPE": str(tmp_path / "day.csv.gz")}, NO_FILE).sandbox_tape
    assert load({"SANDBOX_TAPE": "unused", "VENUE": "coindcx"}, NO_FILE).sandbox_tape == "unused"


def test_the_widest_band_that_a_price_can_reach_is_allowed() -> None:
    assert load({"BB_PERIOD": "6", "BB_STDDEV": "2.2360"}, NO_FILE).bb_stddev == 2.2360


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "192.168.1.5", "pi.local"])
def test_with_a_password_the_page_may_listen_anywhere(host: str) -> None:
    given = {"HOST": host, "DASHBOARD_PASSWORD": "8 letter", "DASHBOARD_TOKEN": "0123456789abcdef"}
    assert load(given, NO_FILE).host == host


def test_a_password_or_token_that_is_refused_is_not_repeated() -> None:
    told = refusal({"DASHBOARD_PASSWORD": "hunter2", "DASHBOARD_TOKEN": "swordfish"})
    assert "hunter2" not in told and "swordfish" not in told


def test_all_problems_come_in_one_message_and_a_bad_value_causes_no_second_one() -> None:
    told = refusal({"RSI_BUY": "x", "PORT": "0", "HOST": "0.0.0.0", "RSI_SELL": "10", "RSI_PERIODS": "4"})
    assert "5 settings are wrong" in told.splitlines()[0]
    for part in ("RSI_BUY=x", "PORT=0", "HOST=0.0.0.0", "did you mean RSI_PERIOD?", "RSI_CRASH=20"):
        assert part in told
    assert "RSI_BUY=30" not in told


# --- names ---


def test_other_programs_names_in_the_environment_are_none_of_our_business() -> None:
    others = (
        "PATH",
        "HOME",
        "HOSTNAME",
        "LOGNAME",
        "PAIRED",
        "TERM",
        "VIRTUAL_ENV",
        "SHELL",
        "EDITOR",
        "LANG",
        "PORTS",
        "LOGLEVEL",
    )
    assert load(dict.fromkeys(others, "x"), NO_FILE) == load({}, NO_FILE)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RSI_PERIODS", "RSI_PERIOD"),
        ("rsi_period", "RSI_PERIOD"),
        ("COINDCX_SECRET", "COINDCX_SECRET_KEY"),
        ("SIMULATION_MOD", "SIMULATION_MODE"),
        ("TRAILING_STOP_PTC", "TRAILING_STOP_PCT"),
    ],
)
def test_a_close_misspelling_in_the_environment_is_refused(name: str, meant: str) -> None:
    assert f"{name} (environment) is no setting: did you mean {meant}?" in refusal({name: "1"})


def test_every_unknown_name_in_the_file_is_refused_with_its_line(tmp_path: Path) -> None:
    path = env_file(tmp_path, "RSI_BUY=25\nRSI_SEL=75\n\nWHATEVER=1\n")
    with pytest.raises(MisconfiguredError) as caught:
        load({}, path)
    assert "RSI_SEL (.env line 2) is no setting: did you mean RSI_SELL?" in str(caught.value)
    assert "WHATEVER (.env line 4) is no setting" in str(caught.value)


@pytest.mark.parametrize("line", ["just words", "=5", "RSI_BUY", "RSI_BUY='30"])
def test_a_line_that_is_no_setting_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(MisconfiguredError, match="line 2"):
        load({}, env_file(tmp_path, f"# comment\n{line}\n"))


def test_a_name_given_twice_in_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match="RSI_BUY is there twice"):
        load({}, env_file(tmp_path, "RSI_BUY=25\nRSI_BUY=26\n"))


def test_pair_and_pairs_must_agree() -> None:
    assert "PAIR and PAIRS both stand in the environment" in refusal({"PAIR": "ETH/USDT", "PAIRS": "BTC/USDT"})


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"RSI_SELL=70\nRSI_BUY=\xff\xfe30")
    with pytest.raises(MisconfiguredError, match=r"cannot be read: line 2 .* UTF-8"):
        load({}, path)


def test_a_quote_that_is_not_closed_is_told_without_the_value(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError) as caught:
        load({}, env_file(tmp_path, 'RSI_BUY=25\nDASHBOARD_TOKEN="correct horse\n'))
    assert "line 2: the value of DASHBOARD_TOKEN has an opening quote" in str(caught.value)
    assert "horse" not in str(caught.value)


def test_what_editors_of_other_systems_leave_in_the_file_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"\xef\xbb\xbfRSI_BUY = 25\r\nFEED=\"poll\"\r\n\r\nexport BOT_NAME='abc'\r\n")
    path.chmod(0o600)
    settings = load({}, path)
    assert (settings.rsi_buy, settings.feed, settings.bot_name) == (25, "poll", "abc")


def test_a_value_of_letters_that_cannot_be_shown_is_told_readably() -> None:
    assert "RSI_PERIOD=1?4 is not allowed" in refusal({"RSI_PERIOD": "1\x074"})
    assert "RSI_PERIOD=\u0661\u0664 is not allowed" in refusal({"RSI_PERIOD": "\u0661\u0664"})


def test_nothing_in_the_file_is_expanded(tmp_path: Path) -> None:
    path = env_file(tmp_path, "DASHBOARD_PASSWORD='a$HOME #x'\n")
    assert load({"HOME": "/root"}, path).dashboard_password.reveal() == "a$HOME #x"


# --- sources ---


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    path = env_file(tmp_path, "RSI_BUY=25\nRSI_SELL=75\n")
    settings = load({"RSI_BUY": "20"}, path)
    assert (settings.rsi_buy, settings.rsi_sell) == (20, 75)


def test_secrets_in_a_file_that_others_may_read_are_refused(tmp_path: Path) -> None:
    path = env_file(tmp_path, "DASHBOARD_TOKEN=correct horse\n", 0o644)
    with pytest.raises(MisconfiguredError, match=r"holds DASHBOARD_TOKEN .* chmod 600"):
        load({}, path)
    assert load({}, env_file(tmp_path, "RSI_BUY=25\nDASHBOARD_PASSWORD=\n", 0o644)).rsi_buy == 25


def test_secrets_are_never_shown() -> None:
    settings = load({"DASHBOARD_PASSWORD": "correct horse"}, NO_FILE)
    assert "correct" not in repr(settings) and "correct" not in str(settings.dashboard_password)
    assert settings.secrets == ("correct horse",)
    assert "correct" not in refusal({"DASHBOARD_TOKEN": "correct\nhorse"})
    assert Secret("a") != Secret("b") and not Secret("")


def test_with_the_sandbox_the_real_keys_are_not_read() -> None:
    keys = {"COINDCX_API_KEY": "real", "COINDCX_SECRET_KEY": "real too"}
    assert not load(keys, NO_FILE).coindcx_api_key
    assert load({**keys, "VENUE": "coindcx"}, NO_FILE).coindcx_secret_key.reveal() == "real too"


def test_apply_writes_no_secret_and_a_supervised_stage_reads_it(tmp_path: Path) -> None:
    given = {"VAR_DIR": str(tmp_path), "RSI_BUY": "25", "DASHBOARD_PASSWORD": "correct horse", "HOST": "::"}
    settings = load(given, NO_FILE)
    file = apply(settings)
    assert file == tmp_path / "settings.json"
    assert "correct" not in file.read_text()
    later = {**given, "SUPERVISOR_ENABLED": "1", "RSI_BUY": "10", "PORT": "nonsense"}
    assert for_stage(later, NO_FILE) == settings


def test_a_supervised_stage_survives_a_broken_env_file(tmp_path: Path) -> None:
    apply(load({"VAR_DIR": str(tmp_path), "RSI_BUY": "25"}, NO_FILE))
    broken = env_file(tmp_path, "RSI_BUYY=1\nnonsense\nDASHBOARD_TOKEN=abcdef\n", 0o644)
    settings = for_stage({"SUPERVISOR_ENABLED": "1", "VAR_DIR": str(tmp_path)}, broken)
    assert settings.rsi_buy == 25
    assert settings.dashboard_token.reveal() == "abcdef"


def test_an_edit_of_the_pages_password_stops_no_other_stage_that_comes_back(tmp_path: Path) -> None:
    """The dashboard judges it at its own start; a trader that crashed in a position must not stay down for it."""
    apply(load({"VAR_DIR": str(tmp_path), "HOST": "::", "DASHBOARD_PASSWORD": "correct horse"}, NO_FILE))
    for edited in ("", "DASHBOARD_PASSWORD=short\n", "DASHBOARD_TOKEN=alone\n"):
        settings = for_stage({"SUPERVISOR_ENABLED": "1", "VAR_DIR": str(tmp_path)}, env_file(tmp_path, edited))
        assert settings.host == "::"
        assert [names for names, _ in exposure(settings)]


def test_a_stage_started_by_hand_reads_the_environment(tmp_path: Path) -> None:
    apply(load({"VAR_DIR": str(tmp_path), "RSI_BUY": "25"}, NO_FILE))
    assert for_stage({"VAR_DIR": str(tmp_path), "RSI_BUY": "10"}, NO_FILE).rsi_buy == 10


def test_settings_that_a_command_applied_are_told_from_those_of_a_stage_by_hand(tmp_path: Path) -> None:
    supervised = {"SUPERVISOR_ENABLED": "1"}
    assert not goes_by_applied(tmp_path, supervised), "nothing was applied"
    apply(load({"VAR_DIR": str(tmp_path)}, NO_FILE))
    assert goes_by_applied(tmp_path, supervised) and not goes_by_applied(tmp_path, {})


def test_a_damaged_settings_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(MisconfiguredError, match="make restart"):
        applied(tmp_path)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EIO, BotError), (errno.EACCES, MisconfiguredError)],
    ids=["a failing disk may be well again", "no right to read is for a person"],
)
def test_a_settings_file_that_cannot_be_read_is_told_by_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[BotError]
) -> None:
    def fails(path: Path) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "read_bytes", fails)
    with pytest.raises(BotError, match=r"cannot read .*settings\.json: .*make restart") as found:
        applied(tmp_path)
    assert type(found.value) is kind


def test_applied_copes_without_the_password_and_changed_names_what_differs(tmp_path: Path) -> None:
    assert applied(tmp_path) is None
    apply(load({"VAR_DIR": str(tmp_path), "HOST": "::", "DASHBOARD_PASSWORD": "correct horse"}, NO_FILE))
    old = applied(tmp_path)
    assert old is not None and old.host == "::" and not old.dashboard_password
    new = load({"VAR_DIR": str(tmp_path), "RSI_BUY": "20", "PORT": "3001"}, NO_FILE)
    assert [setting.name for setting in changed(old, new)] == ["RSI_BUY", "HOST", "PORT"]


def test_var_dir_can_be_had_whatever_else_is_wrong(tmp_path: Path) -> None:
    path = env_file(tmp_path, f"VAR_DIR={tmp_path}/x\nRSI_BUYY=1\n")
    assert var_dir_only({}, path) == tmp_path / "x"
    assert var_dir_only({"VAR_DIR": "elsewhere"}, path) == ROOT / "elsewhere"


# --- hashes ---


def test_the_shared_hash_changes_with_what_stages_share_and_with_nothing_else() -> None:
    base = load({}, NO_FILE)
    assert shared_hash(base) == shared_hash(load({"LOG_LEVEL": "debug", "PORT": "3001"}, NO_FILE))
    assert shared_hash(base) != shared_hash(load({"RSI_BUY": "29"}, NO_FILE))
    assert 0 <= shared_hash(base) < 2**63


@pytest.mark.parametrize("name", ["RSI_PERIOD", "RSI_BUY", "BB_STDDEV", "TIMEFRAME", "WARMUP_CANDLES"])
def test_the_indicator_hash_changes_with_its_settings(name: str) -> None:
    other = {"TIMEFRAME": "5m"}.get(name, "3")
    assert indicator_hash(load({name: other}, NO_FILE)) != indicator_hash(load({}, NO_FILE))
    assert indicator_hash(load({"PORT": "3001"}, NO_FILE)) == indicator_hash(load({}, NO_FILE))


def test_from_texts_refuses_unknown_names() -> None:
    with pytest.raises(MisconfiguredError, match="RSI_BUYS"):
        from_texts({"RSI_BUYS": "1"})


def test_only_settings_are_written(tmp_path: Path) -> None:
    file = apply(load({"VAR_DIR": str(tmp_path)}, NO_FILE))
    names = msgspec.json.decode(file.read_bytes(), type=dict[str, str])
    assert set(names) == {name for name, setting in SETTINGS.items() if not setting.secret}


def test_the_environment_of_this_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSI_BUY", "12")
    assert load(env_file=NO_FILE).rsi_buy == 12
    assert settings_load.environment("RSI_BUY") == "12"


def test_every_name_is_upper_case() -> None:
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]+", name) for name in SETTINGS)


def test_a_settings_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_bytes(b'{"PAIRS":"\xfe"}')
    with pytest.raises(MisconfiguredError, match="make restart"):
        applied(tmp_path)
