"""Chance as a function: numbers that depend on a key and a place alone, so that any span can be made again at any time.

Hashes are splitmix64 on uint64 arrays; they differ neither by numpy version nor by machine.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_MASK = (1 << 64) - 1


def key_of(*parts: object) -> int:
    """A 64-bit key of the parts' text."""
    text = "|".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def words(key: int, places: NDArray[np.int64]) -> Words:
    """One hash word a place (places may be negative)."""
    x = places.astype(np.uint64) * _GOLDEN + np.uint64(key)
    x ^= x >> np.uint64(30)
    x *= _MIX_1
    x ^= x >> np.uint64(27)
    x *= _MIX_2
    x ^= x >> np.uint64(31)
    return x


def word(key: int, place: int) -> int:
    """The same as `words`, for one place."""
    x = (place * 0x9E3779B97F4A7C15 + key) & _MASK
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 & _MASK
    x ^= x >> 27
    x = x * 0x94D049BB133111EB & _MASK
    return x ^ x >> 31


def unit(hashes: Words) -> Floats:
    """Hash words as numbers in [0, 1)."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53


def bell(hashes: Words) -> Floats:
    """Hash words as nearly normal numbers of mean 0 and deviation 1, within +-3.5 (four uniforms a word)."""
    total = np.zeros(hashes.shape[0])
    for shift in (0, 16, 32, 48):
        total += ((hashes >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.float64)
    return (total / 65536.0 - 2.0 + 2.0 / 65536.0) * 1.7320508075688772


def wave(key: int, octave: int, period: int, places: NDArray[np.int64]) -> Floats:
    """Smooth noise within +-1 whose turning points lie on a grid of `period` places."""
    cell = np.floor_divide(places, period)
    part = (places - cell * period) / period
    low, high = int(cell.min()), int(cell.max())
    grid = unit(words(key ^ octave * 0x51ED2701A5B3C947 & _MASK, np.arange(low, high + 2))) * 2.0 - 1.0
    at = cell - low
    ease = part * part * (3.0 - 2.0 * part)
    values: Floats = grid[at] + (grid[at + 1] - grid[at]) * ease
    return values


class Dice:
    """A few numbers drawn one after the other for one key and place."""

    def __init__(self, key: int, place: int) -> None:
        self._key = word(key, place)
        self._drawn = 0

    def between(self, low: float, high: float) -> float:
        self._drawn += 1
        return low + (high - low) * (word(self._key, self._drawn) >> 11) * 2.0**-53

    def below(self, count: int) -> int:
        return int(self.between(0.0, float(count)))
