"""How much room there is, and when it is enough."""

from pathlib import Path

from core.disk import TAPE_FREE_BYTES, free_bytes, has_room


def test_a_folder_tells_its_free_bytes_and_one_that_is_gone_has_none(tmp_path: Path) -> None:
    assert free_bytes(tmp_path) > 0
    assert free_bytes(tmp_path / "gone") == 0


def test_what_stopped_goes_on_a_tenth_above_its_limit() -> None:
    limit = TAPE_FREE_BYTES
    assert has_room(limit, limit, True)
    assert not has_room(limit - 1, limit, True)
    assert not has_room(limit, limit, False)
    assert not has_room(limit + limit // 10 - 1, limit, False)
    assert has_room(limit + limit // 10, limit, False)
