"""Text frames that the sandbox writes by hand are those of the library, at every width of their length."""

import pytest
from websockets.frames import Frame, Opcode

from sandbox.gate import frame_of

SIZES = (0, 1, 125, 126, 65_535, 65_536, 70_000)


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_is_as_the_library_writes_it(size: int) -> None:
    text = "x" * size
    assert frame_of(text) == Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


@pytest.mark.parametrize("size", SIZES)
def test_its_length_is_in_bytes(size: int) -> None:
    text = "€" * size
    assert frame_of(text) == Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
