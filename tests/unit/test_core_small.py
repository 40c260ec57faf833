"""The small parts of core: clock, pairs, paths, books."""

from pathlib import Path

import pytest

from core import pairs, paths
from core.books import book_name, open_book, tape_stem
from core.clock import LiveClock, ManualClock, iso_utc
from core.errors import MisconfiguredError
from core.settings_load import from_texts


def test_iso_utc_has_milliseconds() -> None:
    assert iso_utc(1_795_355_920_123) == "2026-11-22T13:58:40.123Z"
    assert iso_utc(0) == "1970-01-01T00:00:00.000Z"


def test_a_manual_clock_stands_until_it_is_moved() -> None:
    clock = ManualClock(wall_ns=5_000_000, monotonic_ns=7)
    assert (clock.wall_ms(), clock.monotonic_ns()) == (5, 7)
    clock.advance(1_000_000)
    assert (clock.wall_ns(), clock.monotonic_ns()) == (6_000_000, 1_000_007)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)
    assert LiveClock().wall_ms() > 1_700_000_000_000


# --- pairs ---


@pytest.mark.parametrize(
    ("name", "canonical", "coindcx", "binance", "kraken"),
    [
        ("B-BTC_USDT", "BTC/USDT", "B-BTC_USDT", "BTCUSDT", "BTC/USDT"),
        ("btc/usdt", "BTC/USDT", "B-BTC_USDT", "BTCUSDT", "BTC/USDT"),
        ("BTCUSDT", "BTC/USDT", "B-BTC_USDT", "BTCUSDT", "BTC/USDT"),
        ("BTC/INR", "BTC/INR", "I-BTC_INR", "BTCINR", "BTC/INR"),
        ("KC-XYZ_USDT", "XYZ/USDT", "KC-XYZ_USDT", "XYZUSDT", "XYZ/USDT"),
        ("ETHFDUSD", "ETH/FDUSD", "B-ETH_FDUSD", "ETHFDUSD", "ETH/FDUSD"),
        ("XBTUSDT", "XBT/USDT", "B-XBT_USDT", "XBTUSDT", "BTC/USDT"),
        ("XXBTZUSD", "XBT/USD", "B-XBT_USD", "XBT/USD", "BTC/USD"),
        ("USDTZUSD", "USDT/USD", "B-USDT_USD", "USDT/USD", "USDT/USD"),
        ("XDG/XBT", "XDG/XBT", "B-XDG_XBT", "XDGXBT", "DOGE/BTC"),
        ("BNBUSD", "BN/BUSD", "B-BN_BUSD", "BNBUSD", "BNB/USD"),
        ("ETHXBT", "ETH/XBT", "B-ETH_XBT", "ETHXBT", "ETH/BTC"),
        ("BNB/USD", "BNB/USD", "B-BNB_USD", "BNB/USD", "BNB/USD"),
        ("BTC/PLN", "BTC/PLN", "B-BTC_PLN", "BTCPLN", "BTC/PLN"),
        ("BTCPLN", "BTCPLN", "BTCPLN", "BTCPLN", "BTCPLN"),
        ("btcuah", "BTC/UAH", "B-BTC_UAH", "BTCUAH", "BTC/UAH"),
        ("XBTDAI", "XBT/DAI", "B-XBT_DAI", "XBTDAI", "BTC/DAI"),
        ("ETH2.S/ETH", "ETH2.S/ETH", "B-ETH2.S_ETH", "ETH2.SETH", "ETH2.S/ETH"),
        ("NEW-BTC_USDT", "BTC/USDT", "NEW-BTC_USDT", "BTCUSDT", "BTC/USDT"),
    ],
)
def test_names_of_one_market(name: str, canonical: str, coindcx: str, binance: str, kraken: str) -> None:
    assert pairs.canonical(name) == canonical
    assert [pairs.own_name(name, venue) for venue in ("coindcx", "binance", "kraken")] == [coindcx, binance, kraken]


@pytest.mark.parametrize(
    "name", ["", "BTC", "B-BTC", "BTC-USDT", "BTC//USDT", "B BTC_USDT", "../BTC", "BTC/..", "X" * 40]
)
def test_what_is_no_pair_is_refused(name: str) -> None:
    for read in (pairs.split, pairs.quote_of, pairs.canonical, lambda name: pairs.own_name(name, "kraken")):
        with pytest.raises(ValueError, match="is no pair"):
            read(name)


# --- paths and books ---


def test_relative_paths_are_the_repositorys() -> None:
    assert paths.absolute("var") == paths.ROOT / "var"
    assert paths.absolute("/x/y") == Path("/x/y")


def test_the_run_folder_is_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o755)
    assert paths.run_dir(tmp_path).stat().st_mode & 0o777 == 0o700


def test_a_folder_too_long_for_a_socket_is_told(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match=r"too long for a socket.*VAR_DIR"):
        paths.run_dir(tmp_path / ("x" * 100))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("")
    with pytest.raises(MisconfiguredError, match="cannot make the folder"):
        paths.run_dir(tmp_path / "var")


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        ({}, "sim-sandbox-coindcx-seed1"),
        ({"SANDBOX_SEED": "42"}, "sim-sandbox-coindcx-seed42"),
        ({"SANDBOX_TAPE": "/data/day 1.csv.gz"}, "sim-sandbox-coindcx-day_1"),
        ({"VENUE": "coindcx"}, "sim-coindcx"),
    ],
)
def test_book_names(texts: dict[str, str], name: str) -> None:
    assert book_name(from_texts(texts)) == name


def test_the_stem_of_a_tape_is_fit_for_a_folder() -> None:
    assert tape_stem("../..") == "tape"
    assert tape_stem("a/b.tape") == "b"


def test_opening_a_book_points_current_to_it(tmp_path: Path) -> None:
    for seed in ("1", "2", "2"):
        settings = from_texts({"VAR_DIR": str(tmp_path), "SANDBOX_SEED": seed})
        folder = open_book(settings)
        assert (folder / "tape").is_dir()
        assert (tmp_path / "current").resolve() == folder == paths.book_dir(settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["books", "current"]
