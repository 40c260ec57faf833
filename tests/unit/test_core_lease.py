"""The lease and the claim: what is read is whole, ages are of this boot, and neither side begins beside the other."""

import os
from pathlib import Path

import pytest

from core.clock import NS_PER_S
from core.errors import BotError
from core.lease import CLAIM_FILE, LEASE_FILE, PLACE, ClaimWriter, LeaseWriter, Position, Sale, read_claim, read_lease
from core.lock import StageLock

BOOK, BOOT = "live-sandbox-coindcx-seed1", "boot-1"
T0 = 100 * NS_PER_S


def held(pair: str = "B-BTC_USDT", **changes: object) -> Position:
    fields = {
        "pair": pair,
        "key": "scalpaaaaaaaaaaa",
        "base": "BTC",
        "quantity": "0.5",
        "step": "0.00001",
        "highest": 100.0,
        "keep": 0.99,
        "price_ns": 7,
        "exit_ids": ("scalpaaaaaaaaaaa", "scalpbbbbbbbbbbb"),
    }
    return Position(**(fields | changes))  # type: ignore[arg-type]


def writer(folder: Path, now_ns: int = T0, book: str = BOOK, boot: str = BOOT) -> LeaseWriter:
    return LeaseWriter(folder, book, 3.0, now_ns, boot)


def test_what_was_renewed_is_read_with_its_age(tmp_path: Path) -> None:
    lease = writer(tmp_path)
    lease.renew(T0, (held(),), acts=True)
    found = read_lease(tmp_path)
    assert found is not None
    assert (found.book, found.pid, found.positions) == (BOOK, os.getpid(), (held(),))
    assert found.age_ns(T0 + 5, BOOT) == 5
    assert found.positions[0].stop_price == 99.0
    assert (tmp_path / LEASE_FILE).stat().st_mode & 0o777 == 0o600
    lease.close()


def test_a_lease_of_another_boot_has_no_age(tmp_path: Path) -> None:
    lease = writer(tmp_path)
    lease.renew(T0, (), acts=True)
    found = read_lease(tmp_path)
    assert found is not None
    assert found.age_ns(T0, "boot-2") is None
    assert found.age_ns(T0, "") is None
    lease.close()


def test_a_trader_that_may_not_send_writes_what_it_holds_and_does_not_renew(tmp_path: Path) -> None:
    lease = writer(tmp_path)
    lease.renew(T0, (), acts=True)
    lease.renew(T0 + 9, (held(),), acts=False)
    found = read_lease(tmp_path)
    assert found is not None
    assert (found.positions, found.age_ns(T0 + 9, BOOT)) == ((held(),), 9)
    lease.close()


@pytest.mark.parametrize(("book", "boot", "age"), [(BOOK, BOOT, 50), ("another", BOOT, None), (BOOK, "boot-2", None)])
def test_the_next_trader_goes_on_with_the_age_of_its_own_book_and_boot(
    tmp_path: Path, book: str, boot: str, age: int | None
) -> None:
    first = writer(tmp_path)
    first.renew(T0, (held(),), acts=True)
    first.close()
    second = writer(tmp_path, T0 + 40, book, boot)
    second.renew(T0 + 40, (), acts=False)
    found = read_lease(tmp_path)
    assert found is not None
    assert found.age_ns(T0 + 50, boot) == age
    second.close()


def test_half_a_lease_is_never_read(tmp_path: Path) -> None:
    lease = writer(tmp_path)
    lease.renew(T0, (held(),), acts=True)
    lease.renew(T0 + 1, (held(quantity="0.4"),), acts=True)  # sequence 2, in the first place
    lease.close()
    data = bytearray((tmp_path / LEASE_FILE).read_bytes())
    length = int.from_bytes(data[12:16], "little")
    for at in range(16 + length):
        torn = bytearray(data)
        torn[at] ^= 0xFF
        (tmp_path / LEASE_FILE).write_bytes(torn)
        found = read_lease(tmp_path)
        assert found is not None
        assert found.positions == (held(),), at


@pytest.mark.parametrize("body", [b"", b"x", bytes(2 * PLACE)])
def test_a_file_that_is_no_lease_is_none(tmp_path: Path, body: bytes) -> None:
    (tmp_path / LEASE_FILE).write_bytes(body)
    assert read_lease(tmp_path) is None
    lease = writer(tmp_path)
    lease.renew(T0, (held(),), acts=True)
    assert read_lease(tmp_path) is not None
    lease.close()


def test_no_file_is_no_lease_and_no_claim(tmp_path: Path) -> None:
    assert read_lease(tmp_path) is None
    assert read_claim(tmp_path) is None


def test_more_positions_than_there_is_room_for_are_an_error(tmp_path: Path) -> None:
    lease = writer(tmp_path)
    with pytest.raises(BotError, match="hold fewer"):
        lease.renew(T0, tuple(held(f"B-{n}_USDT") for n in range(5000)), acts=True)
    lease.close()


def test_a_pause_is_more_than_half_the_lease_since_the_last_turn(tmp_path: Path) -> None:
    lease = writer(tmp_path)
    half = 3 * NS_PER_S // 2
    assert not lease.paused(T0 + half)
    assert lease.paused(T0 + half + 1)
    lease.renew(T0 + half + 1, (), acts=False)
    assert not lease.paused(T0 + half + 1)
    lease.close()


# --- the claim -----------------------------------------------------------------------------------------


def test_the_trader_waits_for_a_claim_and_for_one_that_came_about_since(tmp_path: Path) -> None:
    lease, claim = writer(tmp_path), ClaimWriter(tmp_path, BOOT)
    seen = lease.claim()
    assert lease.claim_over(seen, T0)
    claim.write({"B-BTC_USDT": Sale("id", T0)}, T0)
    assert not lease.claim_over(seen, T0)
    assert not lease.claim_over(lease.claim(), T0)
    claim.write({}, T0 + 1)
    assert not lease.claim_over(seen, T0 + 2), "it sold after the comparison began"
    assert lease.claim_over(lease.claim(), T0 + 2)
    lease.close()
    claim.close()


def test_the_claim_of_a_dead_guardian_holds_as_long_as_its_request_may_be_under_way(tmp_path: Path) -> None:
    lease, claim = writer(tmp_path), ClaimWriter(tmp_path, BOOT)
    claim.write({"B-BTC_USDT": Sale("id", T0)}, T0)
    seen = lease.claim()
    assert not lease.claim_over(seen, T0 + 15 * NS_PER_S - 1)
    assert lease.claim_over(seen, T0 + 15 * NS_PER_S)
    lock = StageLock(tmp_path, "guardian")
    lock.acquire()
    try:
        assert not lease.claim_over(seen, T0 + 99 * NS_PER_S), "it lives and has it in hand"
    finally:
        lock.release()
    lease.close()
    claim.close()


def test_a_claim_of_another_boot_is_over(tmp_path: Path) -> None:
    lease, claim = writer(tmp_path), ClaimWriter(tmp_path, "boot-0")
    claim.write({"B-BTC_USDT": Sale("id", T0)}, T0)
    assert lease.claim_over(lease.claim(), T0)
    lease.close()
    claim.close()


def test_the_next_guardian_finds_what_was_in_hand(tmp_path: Path) -> None:
    first = ClaimWriter(tmp_path, BOOT)
    first.write({"B-BTC_USDT": Sale("id", T0)}, T0)
    first.close()
    for boot, left in ((BOOT, {"B-BTC_USDT": Sale("id", T0)}), ("boot-2", {})):
        second = ClaimWriter(tmp_path, boot)
        assert second.left == left
        second.close()
    assert (tmp_path / CLAIM_FILE).stat().st_mode & 0o777 == 0o600
