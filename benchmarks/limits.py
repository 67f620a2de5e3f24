"""What the machine can do at most: the rate of its products, and of reading memory.

The best of some rounds, measured in the run in which something is set beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit

from chargen.recurrent.matmul import matmul

SIDE = 1024  # of the square product
ROUNDS = 15


def products() -> tuple[float, float]:
    """Floating-point operations a second of square float32 products, on all threads.

    As torch makes them when it is asked for ``a @ b``, and as oneDNN does.
    """
    a, b = torch.randn(2, SIDE, SIDE)
    rates = (2 * SIDE**3 / fastest(call) for call in (lambda: a @ b, lambda: matmul(a, b)))
    torchs, onednns = rates
    return torchs, onednns


def reading(size: int) -> float:
    """Bytes a second of reading ``size`` bytes over and over, on one thread."""
    values = np.ones(size // 4, dtype=np.float32)
    return size / fastest(lambda: _total(values))


@njit(fastmath=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _total(values: Any) -> Any:
    """A sum reads every number once and does next to nothing with it."""
    total = np.float32(0)
    for place in range(len(values)):
        total += values[place]
    return total


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
