"""`chargen.sampling.arithmetic` compiled by numba, for one row of an array at a time.

Each function does the same operations in the same order as its namesake and gives the same bits;
nothing may be reassociated or fused, so ``fastmath`` stays off.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from chargen.cells import ACTIVATION_NAMES
from chargen.sampling.arithmetic import (
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    LONG_TERMS,
    MAX_EXP,
    MIN_LOG,
    NEUTRAL,
    TERMS,
)
from chargen.settings import SMALLEST

F = np.float32
ONE, TWO = F(1), F(2)
LOG2_E_32, HIGH, LOW, MOST = F(LOG2_E), F(LN2_HIGH), F(LN2_LOW), F(MAX_EXP)
SMALLEST_32 = F(SMALLEST)
A7, A6, A5, A4, A3, A2, A1, A0 = (F(term) for term in TERMS)
TANH, RELU, SIGMOID, LINEAR = range(len(ACTIVATION_NAMES))

compiled: Any = njit(cache=True, nogil=True, error_model="numpy")


@compiled
def exp(x: Any, powers: Any) -> None:
    """Exponentiate in place; ``powers`` is a buffer of as many int32."""
    for i in range(len(x)):
        value = min(max(x[i], -MOST), MOST)
        k = np.rint(value * LOG2_E_32)
        rest = value - k * HIGH - k * LOW
        series = A7 * rest + A6
        series = series * rest + A5
        series = series * rest + A4
        series = series * rest + A3
        series = series * rest + A2
        series = series * rest + A1
        x[i] = series * rest + A0
        powers[i] = (np.int32(k) + np.int32(127)) << np.int32(23)
    scale = powers.view(np.float32)
    for i in range(len(x)):
        x[i] *= scale[i]


@compiled
def sigmoid(x: Any, powers: Any) -> None:
    """Apply the sigmoid in place."""
    for i in range(len(x)):
        x[i] = -x[i]
    exp(x, powers)
    for i in range(len(x)):
        x[i] = ONE / (ONE + x[i])


@compiled
def tanh(x: Any, powers: Any) -> None:
    """Apply tanh in place."""
    for i in range(len(x)):
        x[i] = x[i] + x[i]
    exp(x, powers)
    for i in range(len(x)):
        x[i] = ONE - TWO / (ONE + x[i])


@compiled
def activate(x: Any, powers: Any, activation: int) -> None:
    """Apply an activation function, by its index in ACTIVATION_NAMES, in place."""
    if activation == TANH:
        tanh(x, powers)
    elif activation == SIGMOID:
        sigmoid(x, powers)
    elif activation == RELU:
        for i in range(len(x)):
            x[i] = max(x[i], F(0))


@compiled
def gated(a: Any, b: Any, powers: Any, out: Any) -> None:
    """Compute ``silu(a) * b``, ``(K,)``; ``out`` is neither of them."""
    for i in range(len(a)):
        out[i] = a[i]
    sigmoid(out, powers)
    for i in range(len(a)):
        out[i] = out[i] * a[i] * b[i]


@compiled
def norm(x: Any, g: Any, out: Any) -> None:
    """Compute the RMSNorm of ``x`` ``(D,)`` with gain ``g``."""
    D = len(x)
    total = F(0)
    for i in range(D):
        total += x[i] * x[i]
    scale = ONE / np.sqrt(total / F(D) + SMALLEST_32)
    for i in range(D):
        out[i] = x[i] * scale * g[i]


@compiled
def product(rows: Any, matrix: Any, out: Any) -> None:
    """Compute ``(N, J) @ (J, K)``, six rows of the matrix at a time.

    Each sum is then loaded once for six additions; for more there are too few registers.
    """
    N, J = rows.shape
    K = matrix.shape[1]
    for n in range(N):
        for k in range(K):
            out[n, k] = NEUTRAL
    j = 0
    while j + 6 <= J:
        for n in range(N):
            sums = out[n]
            a0, a1, a2 = rows[n, j], rows[n, j + 1], rows[n, j + 2]
            a3, a4, a5 = rows[n, j + 3], rows[n, j + 4], rows[n, j + 5]
            for k in range(K):
                total = sums[k] + a0 * matrix[j, k]
                total = total + a1 * matrix[j + 1, k]
                total = total + a2 * matrix[j + 2, k]
                total = total + a3 * matrix[j + 3, k]
                total = total + a4 * matrix[j + 4, k]
                sums[k] = total + a5 * matrix[j + 5, k]
        j += 6
    while j < J:
        for n in range(N):
            a = rows[n, j]
            for k in range(K):
                out[n, k] += a * matrix[j, k]
        j += 1


@compiled
def add(x: Any, y: Any, out: Any) -> None:
    """Compute ``x + y``, ``(K,)``."""
    for i in range(len(x)):
        out[i] = x[i] + y[i]


@compiled
def long_exp(x: float) -> float:
    """Return e**x of x <= 0."""
    if x < MIN_LOG:
        return 0.0
    k = np.rint(x * LOG2_E)
    rest = x - k * LN2_HIGH - k * LN2_LOW
    series = LONG_TERMS[0]
    for term in LONG_TERMS[1:]:
        series = series * rest + term
    return math.ldexp(series, np.int32(k))  # type: ignore[arg-type]
