"""What the machine can do at most: the rate of its products, and of reading memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

SIDE = 1024  # of the square product
ROUNDS = 15


@dataclass(frozen=True)
class Limits:
    """Measured in the same run as what is set beside them."""

    flops: float  # floating-point operations a second: float32 products, all threads
    core_bytes: dict[int, float]  # by the bytes that are read over and over: bytes a second

    def reading(self, size: int) -> float:
        """Bytes a second, one thread, of reading ``size`` bytes over and over."""
        return self.core_bytes[min(self.core_bytes, key=lambda known: abs(known - size))]


def measure(sizes: tuple[int, ...]) -> Limits:
    """The best of some rounds: a limit is what was reached once."""
    a, b = torch.randn(2, SIDE, SIDE)
    seconds = fastest(lambda: a @ b)
    return Limits(2 * SIDE**3 / seconds, {size: _reading(size) for size in sizes})


def _reading(size: int) -> float:
    """A sum reads every number once and does next to nothing with it."""
    values = np.ones(size // 4, dtype=np.float32)
    # NumPy's sum adds pairwise in blocks; the dot product with itself reads as fast or faster.
    return size / min(fastest(values.sum), fastest(lambda: np.dot(values, values)))


def fastest(call: Callable[[], object], rounds: int = ROUNDS, seconds: float = 0.02) -> float:
    """Seconds of one call, in the fastest of some rounds."""
    call()
    begun = time.perf_counter()
    call()
    calls = max(1, round(seconds / max(time.perf_counter() - begun, 1e-7)))
    best = float("inf")
    for _ in range(rounds):
        begun = time.perf_counter()
        for _ in range(calls):
            call()
        best = min(best, (time.perf_counter() - begun) / calls)
    return best
