"""The doctor before the three protocols: the venue's own name and keys, with the sandbox in the venue's place."""

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core import sandbox_keys
from core.errors import MisconfiguredError
from core.settings import Settings
from core.settings_load import from_texts
from sandbox import faults as kinds
from tests.protocol.account_house import PAIR, WAYS, House, house_of
from tests.protocol.sandbox_program import ROOT, Program, free_port
from tests.up_helpers import short_folder
from tools import doctor, doctor_facts, doctor_lines, doctor_report, doctor_wheels, live
from tools.doctor_lines import FAIL, OK, SKIPPED, WARN, Report
from trader import clearance
from venues.choose import account

WRONG = "c2VjcmV0IG9mIG5vYm9keSB3aGljaCBtdXN0IG5vdCBiZSBzaG93bg=="  # Kraken's have to be base64
TELL = {"binance": "/sapi/v1/account/apiRestrictions", "kraken": "/0/private/GetApiKeyInfo"}
MAY_WITHDRAW = {
    "binance": '{"ipRestrict":true,"enableWithdrawals":true,"enableSpotAndMarginTrading":true}',
    "kraken": '{"error":[],"result":{"permissions":["modify-trades","withdraw-funds"],"ipAllowlist":["1.2.3.4"]}}',
}
MAY_NOT_TRADE = {
    "binance": '{"ipRestrict":false,"enableWithdrawals":false,"enableSpotAndMarginTrading":false}',
    "kraken": '{"error":[],"result":{"permissions":["query-funds"],"ipAllowlist":[]}}',
}
# Every path that an order, a cancel or money goes by.
CHANGING = {
    "coindcx": ["POST /exchange/v1/orders/c*", "POST /exchange/v1/orders/edit"],
    "binance": ["POST *", "DELETE *", "PUT *"],
    "kraken": ["POST */Add*", "POST */Cancel*", "POST */Edit*", "POST */Amend*", "POST */With*", "POST */Wallet*"],
}


@pytest.fixture(params=WAYS)
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    with house_of(request.param) as made:
        yield made


@pytest.fixture
def waits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room in limits is waited for without a wait."""
    for place in ("venues.rest.sleep", "venues.kraken.account.sleep", "tools.doctor_facts.sleep"):
        monkeypatch.setattr(place, lambda seconds: house.breathe(int(seconds * 1e9) + 1))


def real(house: House, var: Path, **texts: str) -> Settings:
    """Settings for real orders at this venue, which the sandbox plays."""
    name = house.protocol.upper()
    given = {
        "VENUE": house.protocol,
        "VENUE_REST_URL": f"http://127.0.0.1:{house.served.port}",
        "VENUE_STREAM_URL": f"ws://127.0.0.1:{house.served.port}",
        f"{name}_API_KEY": sandbox_keys.API_KEY,
        f"{name}_SECRET_KEY": sandbox_keys.SECRET_KEY,
        "LIVE_CONFIRM": "yes",
        "TAKER_FEE_BPS": "5",
        "VAR_DIR": str(var),
    }
    return msgspec.structs.replace(from_texts(given | texts), simulation_mode=False)


def told(house: House, settings: Settings) -> dict[str, tuple[str, str]]:
    """Status and text by name of the line; no secret stands in any of them."""
    house.step_clocks(60_000)  # Kraken's numbers come from a clock that goes on, and its limits want a pause
    lines, whole = doctor_report.venue_and_account(settings, house.clock)
    report = Report(lines, whole)
    for text in (doctor_lines.told(report), doctor_lines.as_json(report)):
        for secret in (*settings.secrets, WRONG):
            assert secret == "sandbox" or secret not in text
    assert len({line.name for line in lines}) == len(lines)
    return {line.name.partition(" " + house.market.name)[0]: (line.status, line.shown()) for line in lines}


def failing(house: House, settings: Settings) -> list[str]:
    return [name for name, (status, _) in told(house, settings).items() if status == FAIL]


# --- what is well


def test_all_is_well_and_nothing_is_changed(house: House, tmp_path: Path) -> None:
    before = house.balances_booked()
    counts = [house.calls(path, method) for method, path in map(str.split, CHANGING[house.protocol])]
    lines = told(house, real(house, tmp_path))
    assert {status for status, _ in lines.values()} <= {OK, WARN, SKIPPED}
    assert lines["key"][0] == lines["REST"][0] == lines["stream"][0] == lines["clock"][0] == lines["PAIRS"][0] == OK
    assert lines["balance"][0] == OK, lines["balance"]
    assert [count() for count in counts] == [0] * len(counts)
    assert house.all_booked() == [] and house.balances_booked() == before


def test_what_each_venue_tells_of_the_key(house: House, tmp_path: Path) -> None:
    lines = told(house, real(house, tmp_path))
    tells = house.protocol in TELL
    assert lines["key may trade"][0] == lines["key may withdraw"][0] == (OK if tells else SKIPPED)
    assert lines["key bound to address"][0] == WARN and "bind it" in lines["key bound to address"][1]
    (fee,) = (line for name, line in lines.items() if name.startswith("fee "))
    assert fee[0] == (OK if tells else SKIPPED)


def test_withheld_tax_is_told_where_the_venue_withholds_it(house: House, tmp_path: Path) -> None:
    lines = told(house, real(house, tmp_path))
    assert ("tax withheld" in lines) == (house.protocol == "coindcx")
    play = msgspec.structs.replace(house.settings, var_dir=str(tmp_path))
    assert "tax withheld" not in told(house, play), "play money is not taxed"


def test_with_play_money_the_address_does_not_matter(house: House, tmp_path: Path) -> None:
    settings = msgspec.structs.replace(house.settings, simulation_mode=False, var_dir=str(tmp_path))
    lines = told(house, settings)
    assert lines["key bound to address"][0] == SKIPPED and lines["key"][0] == OK


# --- what is not


def test_a_wrong_key_fails_and_nothing_more_is_asked_with_it(house: House, tmp_path: Path) -> None:
    settings = real(house, tmp_path, **{f"{house.protocol.upper()}_API_KEY": "nobody"})
    after = [
        house.calls(path, "*") for path in ("*rade*istory", "*orders*", "*penOrders*", "*myTrades", "*TradeVolume")
    ]
    if house.protocol == "coindcx":  # the market's own history has the word in it too
        after = [house.calls(path, "POST") for path in ("*trade_history", "*active_orders")]
    lines = told(house, settings)
    assert lines["key"][0] == FAIL and "check the venue's" in lines["key"][1]
    for name in ("key may trade", "key may withdraw", "key bound to address", "balance", "fee"):
        assert lines[name][0] == SKIPPED and "see above" in lines[name][1]
    assert [count() for count in after] == [0] * len(after)
    house.step_clocks(1)
    assert not doctor_report.venue_and_account(settings, house.clock)[1], "the account did not answer"


def test_a_wrong_secret_fails(house: House, tmp_path: Path) -> None:
    settings = real(house, tmp_path, **{f"{house.protocol.upper()}_SECRET_KEY": WRONG})
    assert failing(house, settings) == ["key"]


def test_no_keys_fail_where_orders_are_real_and_are_not_missed_in_simulation(house: House, tmp_path: Path) -> None:
    name = house.protocol.upper()
    settings = real(house, tmp_path, **{f"{name}_API_KEY": "", f"{name}_SECRET_KEY": ""})
    assert failing(house, settings) == ["key"]
    lines = told(house, msgspec.structs.replace(settings, simulation_mode=True))
    assert lines["key"][0] == SKIPPED and "no keys needed in simulation" in lines["key"][1]
    assert lines["REST"][0] == OK and lines["clock"][0] == OK


@pytest.mark.parametrize("keys", [True, False], ids=["with keys", "without"])
@pytest.mark.parametrize("ms", [-90_000, 90_000])
def test_a_wrong_clock_fails(house: House, tmp_path: Path, ms: int, keys: bool) -> None:
    name = house.protocol.upper()
    settings = real(house, tmp_path)
    if not keys:
        settings = real(house, tmp_path, **{f"{name}_API_KEY": "", f"{name}_SECRET_KEY": ""})
        settings = msgspec.structs.replace(settings, simulation_mode=True)
    house.served.fault(kinds.CLOCK_SKEW, ms=ms)
    lines = told(house, settings)
    assert lines["clock"][0] == FAIL and "timedatectl" in lines["clock"][1]
    assert ("behind" if ms > 0 else "ahead of") in lines["clock"][1]
    assert [name for name, (status, _) in lines.items() if status == FAIL] == ["clock"], (
        "signed requests go by its clock"
    )


def test_a_small_difference_is_none(house: House, tmp_path: Path) -> None:
    house.served.fault(kinds.CLOCK_SKEW, ms=200)
    assert told(house, real(house, tmp_path))["clock"][0] == OK


def test_a_stake_that_the_account_does_not_hold_fails(house: House, tmp_path: Path) -> None:
    settings = real(house, tmp_path, TRADE_CAPITAL="200000")
    assert failing(house, settings) == ["balance"]
    assert "an entry of 20010 has to be paid" in told(house, settings)["balance"][1]
    taxed = real(house, tmp_path, TRADE_CAPITAL="200000", TAX_BUY_BPS="100")
    assert "an entry of 20210 has to be paid" in told(house, taxed)["balance"][1]
    house.deposit("BTC", "1")  # bought already: it would be sold first
    assert told(house, settings)["balance"][0] == WARN


def test_a_stake_below_the_venues_minimum_fails(house: House, tmp_path: Path) -> None:
    lines = told(house, real(house, tmp_path, LIVE_START_CAPITAL="0.3"))
    (minimum,) = (line for name, line in lines.items() if name.startswith("minimum "))
    assert minimum[0] == FAIL and "LIVE_START_CAPITAL" in minimum[1] and "the stake is 0.3 USDT" in minimum[1]


@pytest.mark.parametrize("house", ["coindcx", "binance"], indirect=True)
def test_a_stake_that_could_not_be_sold_at_its_stop_fails(house: House, tmp_path: Path) -> None:
    """Kraken's least is a quantity, which a fall of the price leaves as it is."""
    lines = told(house, real(house, tmp_path, LIVE_START_CAPITAL="9", TRAILING_STOP_PCT="0.5"))
    (minimum,) = (line for name, line in lines.items() if name.startswith("minimum "))
    assert minimum[0] == FAIL and "at the stop it would be too small" in minimum[1]


@pytest.mark.parametrize("house", list(TELL), indirect=True)
def test_a_key_that_may_withdraw_fails(house: House, tmp_path: Path) -> None:
    body = MAY_WITHDRAW[house.protocol]
    house.served.fault(kinds.STATUS, path=TELL[house.protocol], status=200, body=body)
    lines = told(house, real(house, tmp_path))
    assert [name for name, (status, _) in lines.items() if status == FAIL] == ["key may withdraw"]
    assert lines["key bound to address"][0] == OK


@pytest.mark.parametrize("house", list(TELL), indirect=True)
def test_a_key_that_may_not_trade_fails(house: House, tmp_path: Path) -> None:
    body = MAY_NOT_TRADE[house.protocol]
    house.served.fault(kinds.STATUS, path=TELL[house.protocol], status=200, body=body)
    assert failing(house, real(house, tmp_path)) == ["key may trade"]


@pytest.mark.parametrize("house", list(TELL), indirect=True)
def test_a_fee_above_the_one_reckoned_with_is_warned_of(house: House, tmp_path: Path) -> None:
    lines = told(house, real(house, tmp_path, TAKER_FEE_BPS="1"))
    (fee,) = (line for name, line in lines.items() if name.startswith("fee "))
    assert fee[0] == WARN and "set TAKER_FEE_BPS=5" in fee[1]


def test_a_market_that_stands_fails(house: House, tmp_path: Path) -> None:
    house.served.fault(kinds.HALT, pair=PAIR, trading="halted")
    assert failing(house, real(house, tmp_path)) == ["PAIRS"]


def test_a_market_that_is_none_fails_and_the_account_is_not_asked(house: House, tmp_path: Path) -> None:
    asked = house.calls(house.ways.balances, "*")
    lines = told(house, real(house, tmp_path, PAIRS="NOPE/USDT"))
    assert lines["PAIRS"][0] == FAIL and lines["key"][0] == SKIPPED and asked() == 0


def test_a_venue_that_does_not_answer_fails(house: House, tmp_path: Path) -> None:
    settings = real(house, tmp_path, VENUE_REST_URL="http://127.0.0.1:1")
    assert failing(house, settings) == ["REST"]


def test_a_venue_in_maintenance_fails(house: House, tmp_path: Path) -> None:
    house.served.fault(kinds.MAINTENANCE)
    assert failing(house, real(house, tmp_path)) == ["REST"]


def test_a_stream_that_is_kept_out_fails_unless_it_is_polled(house: House, tmp_path: Path) -> None:
    house.served.fault(kinds.REFUSED, path=house.ways.market_stream, status=403)
    assert failing(house, real(house, tmp_path)) == ["stream"]
    assert "stream" not in told(house, real(house, tmp_path, FEED="poll"))


@pytest.mark.parametrize("question", ["open_orders", "fills"])
def test_a_key_that_is_not_answered_everything_fails(house: House, tmp_path: Path, question: str) -> None:
    paths: dict[str, dict[str, str]] = {
        "open_orders": {"coindcx": "*/active_orders", "binance": "*/openOrders", "kraken": "*/OpenOrders"},
        "fills": {"coindcx": "*/orders/trade_history", "binance": "*/myTrades", "kraken": "*/TradesHistory"},
    }
    body: dict[str, dict[str, Any]] = {
        "coindcx": {"status": 401, "body": '{"code":401,"message":"Invalid credentials","status":"error"}'},
        "binance": {"status": 401, "body": '{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}'},
        "kraken": {"status": 200, "body": '{"error":["EGeneral:Permission denied"]}'},
    }
    house.served.fault(kinds.STATUS, path=paths[question][house.protocol], **body[house.protocol])
    lines = told(house, real(house, tmp_path))
    assert lines["key"][0] == FAIL and lines["balance"][0] == SKIPPED


@pytest.mark.parametrize("house", ["kraken"], indirect=True)
@pytest.mark.parametrize(("times", "status"), [(2, OK), (100, FAIL)])
def test_a_venue_that_was_asked_too_often_is_waited_for_and_not_for_ever(
    house: House, tmp_path: Path, waits: None, times: int, status: str
) -> None:
    """As it is where the doctor looks for a second time before a start, or a trader uses the key."""
    body = '{"error":["EAPI:Rate limit exceeded"]}'
    house.served.fault(kinds.STATUS, path=house.ways.balances, times=times, status=200, body=body)
    line = told(house, real(house, tmp_path))["key"]
    assert line[0] == status and (status == OK or "asked too often" in line[1])


@pytest.mark.parametrize("house", ["kraken"], indirect=True)
def test_the_doctor_is_never_ahead_of_a_trader_that_uses_the_key(house: House) -> None:
    """Numbers from the kept file are ahead of the clock: the trader's next call would be refused for its own."""
    with short_folder() as var:
        settings = real(house, var, VENUE_REST_URL=f"http://0.0.0.0:{house.served.port}")  # no loopback by its name
        kept = var / "run" / "nonce-kraken"
        trader = account(settings, house.clock)
        assert trader.balances()
        before = kept.read_text()
        assert told(house, settings)["key"][0] == OK and kept.read_text() == before
        house.step_clocks(1)
        assert trader.balances()
        trader.close()


def test_of_many_markets_the_first_are_asked_about(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: None
) -> None:
    monkeypatch.setattr(doctor_facts, "PAIRS_MOST", 1)
    lines = told(house, real(house, tmp_path, PAIRS="BTC/USDT,ETH/USDT"))
    assert lines["minimum"] == (SKIPPED, lines["minimum"][1]) and "of 1 more markets" in lines["minimum"][1]
    assert lines["fee"][0] == SKIPPED and len([name for name in lines if name.startswith("minimum")]) == 2


# --- the whole report, and the gate that it opens


@pytest.fixture
def one_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are imported in test_doctor_machine; each takes a second of a processor."""
    monkeypatch.setattr(doctor_wheels, "WHEELS", {"msgspec": "msgspec"})


def test_a_whole_pass_is_on_record_and_a_failure_takes_it_back(house: House, tmp_path: Path, one_wheel: None) -> None:
    settings = real(house, tmp_path)
    report = doctor_report.examine(settings, house.clock, tmp_path / ".env")
    assert report.passed and report.whole, doctor_lines.told(report)
    found = clearance.read_pass(settings)
    assert found == clearance.Pass(house.clock.wall_ms(), clearance.settings_hash(settings))
    house.served.fault(kinds.MAINTENANCE)
    assert not doctor_report.examine(settings, house.clock, tmp_path / ".env").passed
    assert clearance.read_pass(settings) is None


@pytest.mark.parametrize("house", ["binance"], indirect=True)
def test_a_pass_without_keys_is_none(house: House, tmp_path: Path, one_wheel: None) -> None:
    settings = real(house, tmp_path, BINANCE_API_KEY="", BINANCE_SECRET_KEY="")
    report = doctor_report.examine(
        msgspec.structs.replace(settings, simulation_mode=True), house.clock, tmp_path / ".env"
    )
    assert report.passed and not report.whole and clearance.read_pass(settings) is None
    assert "no pass for real orders" in doctor_lines.told(report)


@pytest.mark.parametrize("house", ["binance"], indirect=True)
def test_secrets_that_others_may_read_fail(house: House, tmp_path: Path, one_wheel: None) -> None:
    env = tmp_path / ".env"
    env.write_text("")
    env.chmod(0o644)
    report = doctor_report.examine(real(house, tmp_path), house.clock, env)
    assert [line.name for line in report.lines if line.status == FAIL] == [".env"]


@pytest.mark.parametrize("house", ["binance"], indirect=True)
def test_the_gate_opens_after_the_doctor_and_a_day_and_says_so_in_the_log(
    house: House, tmp_path: Path, one_wheel: None
) -> None:
    said: list[str] = []
    env = tmp_path / ".env"
    settings = real(house, tmp_path)
    with pytest.raises(MisconfiguredError, match=r"0\.0 h of simulation with VENUE=binance"):
        live.clear(settings, house.clock, said.append, env)
    log = tmp_path / "log" / clearance.LOG
    assert not log.exists(), "nobody went live"
    skipping = real(house, tmp_path, LIVE_SKIP_SIM_DAY="yes")
    live.clear(skipping, house.clock, said.append, env)
    assert "live-binance may send real orders; LIVE_SKIP_SIM_DAY=yes: live with 0.0 h" in log.read_text()
    assert any("LIVE_SKIP_SIM_DAY=yes" in line and str(log) in line for line in said)
    assert any("1000" in line and "10000" in line for line in said), "what an entry costs at first"
    assert not any(secret in line for line in [*said, log.read_text()] for secret in (sandbox_keys.SECRET_KEY,))


@pytest.mark.parametrize("house", ["binance"], indirect=True)
def test_the_gate_stays_shut_with_the_doctors_lines(house: House, tmp_path: Path, one_wheel: None) -> None:
    said: list[str] = []
    settings = real(house, tmp_path, BINANCE_SECRET_KEY=WRONG, LIVE_SKIP_SIM_DAY="yes")
    with pytest.raises(MisconfiguredError) as caught:
        live.clear(settings, house.clock, said.append, tmp_path / ".env")
    assert "fail     key" in str(caught.value) and WRONG not in str(caught.value) and said == []


def test_the_gate_is_no_gate_for_play_money(house: House) -> None:
    said: list[str] = []
    for settings in (house.settings, msgspec.structs.replace(house.settings, simulation_mode=False)):
        live.clear(settings, house.clock, said.append)
    assert said == []


# --- the command beside a sandbox in a process of its own


@pytest.mark.parametrize("protocol", WAYS)
def test_the_command_beside_a_running_sandbox(protocol: str) -> None:
    with short_folder() as folder:
        program = Program(folder, SANDBOX_PROTOCOL=protocol)
        program.start()
        try:
            program.wait_for(lambda: program.get("/sandbox/faults") is not None)
            well = command(folder, protocol, program.port)
            assert well.returncode == doctor.PASSED, well.stdout + well.stderr
            assert "it works: balances, open orders, fills were answered" in well.stdout
            assert (folder / "v" / clearance.FILE).exists()
            if protocol != "binance":
                return
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", program.port, timeout=20)) as connection:
                connection.request("POST", "/sandbox/faults", json.dumps({"kind": kinds.CLOCK_SKEW, "ms": 30_000}))
                assert connection.getresponse().status == 200
            wrong = command(folder, protocol, program.port)
            assert wrong.returncode == doctor.FAILED, wrong.stdout + wrong.stderr
            assert re.findall(r"^fail +(\w+)", wrong.stdout, re.MULTILINE) == ["clock"]
            for done in (well, wrong):
                assert sandbox_keys.SECRET_KEY not in done.stdout + done.stderr
        finally:
            program.stop_if_running()


def command(folder: Path, protocol: str, port: int) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "VAR_DIR": str(folder / "v"), "SANDBOX_PROTOCOL": protocol}
    environment |= {"SANDBOX_PORT": str(port), "PORT": str(free_port())}
    return subprocess.run(
        [sys.executable, "-m", "tools.doctor"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
