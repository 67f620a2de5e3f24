"""Limits of the machine: matmul rate and memory bandwidth, best of several rounds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit

from chargen.recurrent.matmul import matmul

SIDE = 1024  # of the square matrices
ROUNDS = 15


def products() -> tuple[float, float]:
    """Return FLOP/s of square float32 matmuls on all threads: torch's ``a @ b``, and oneDNN."""
    a, b = torch.randn(2, SIDE, SIDE)
    rates = (2 * SIDE**3 / fastest(call) for call in (lambda: a @ b, lambda: matmul(a, b)))
    torchs, onednns = rates
    return torchs, onednns


def reading(size: int) -> float:
    """Return bytes/s of reading a buffer of ``size`` bytes repeatedly, on one thread."""
    from chargen.sampling.compiled import aligned

    values = aligned(np.ones((1, size // 4), dtype=np.float32))[0]
    return size / fastest(lambda: _total(values))


@njit(fastmath=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _total(values: Any) -> Any:
    """Read every number once."""
    total = np.float32(0)
    for place in range(len(values)):
        total += values[place]
    return total


def fastest(call: Callable[[], object], rounds: int = ROUNDS, seconds: float = 0.02) -> float:
    """Return the seconds of one call in the fastest round."""
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
