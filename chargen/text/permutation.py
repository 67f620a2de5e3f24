"""A shuffled order of any length, one place of it at a time."""

from __future__ import annotations

import math

import numpy as np

ROUNDS = 8


class Permutation:
    """A permutation of ``0 .. size - 1`` that is computed where it is asked for, never stored.

    The generalized Feistel network of Black & Rogaway (Ciphers with Arbitrary Finite Domains,
    2002) over ``a * b`` numbers, of which there are at most ``a`` more than ``size``; a number
    that lands beyond ``size`` goes through again until it does not (cycle walking, there too).
    What a round adds to one half is a hash of the other: the finalizer of SplitMix64 (Steele,
    Lea & Flood 2014). It is a function of ``size`` and ``seed``, any numbers from 0 up.
    It shuffles; it keeps no secrets.
    """

    def __init__(self, size: int, seed: tuple[int, ...]) -> None:
        if size < 1:
            raise ValueError(f"size is {size}, it must be 1 or more")
        self._size = size
        self._a = math.isqrt(size - 1) + 1
        self._b = -(-size // self._a)
        generator = np.random.default_rng(seed)
        self._keys = generator.integers(2**64, size=(ROUNDS, 1), dtype=np.uint64)

    def __len__(self) -> int:
        return self._size

    def at(self, places: np.ndarray) -> np.ndarray:
        """What stands at ``places`` ``(n,)``, int64 of ``0 .. size - 1``, as ``(n,)`` int64."""
        found = self._through(places.astype(np.uint64))
        while (beyond := found >= self._size).any():
            found[beyond] = self._through(found[beyond])
        return found.astype(np.int64)

    def _through(self, numbers: np.ndarray) -> np.ndarray:
        a, b = np.uint64(self._a), np.uint64(self._b)
        left, right = np.divmod(numbers, b)
        for even, odd in zip(self._keys[::2], self._keys[1::2], strict=True):
            left = (left + _hash(right + even) % a) % a
            right = (right + _hash(left + odd) % b) % b
        return left * b + right


def _hash(numbers: np.ndarray) -> np.ndarray:
    """Each of ``numbers``, uint64, to one that tells nothing of it; overflow is meant."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
