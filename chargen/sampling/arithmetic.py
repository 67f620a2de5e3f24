"""Deterministic float arithmetic in NumPy: elementary functions, norms and products.

Everything is made of additions, multiplications and divisions, whose result IEEE 754 fixes to the
bit; a library's exp or matmul is not so defined. `chargen.sampling.compiled_arithmetic` does the
same operations in the same order, so that both forms of the engine write the same characters.
"""

from __future__ import annotations

import math

import numpy as np

from chargen.settings import SMALLEST

LOG2_E = 1 / math.log(2)
# ln 2 in two parts; the first has so few digits that its product with k is exact.
LN2_HIGH, LN2_LOW = 0.693359375, -2.121944400546905827679e-4
MAX_EXP = 87.0  # bound of the argument of float32 exp, which then cannot overflow
TERMS = tuple(1 / math.factorial(n) for n in range(7, -1, -1))  # of the series of exp, last first
MIN_LOG = -700.0  # float64 exp of anything below is exactly 0
LONG_TERMS = tuple(1 / math.factorial(n) for n in range(14, -1, -1))
NEUTRAL = np.float32(-0.0)  # the neutral element of addition; 0 would turn -0 into 0


def exp(x: np.ndarray) -> np.ndarray:
    """Return e**x of float32 to about 1e-7, clipped at ± `MAX_EXP`."""
    x = np.minimum(np.maximum(x, np.float32(-MAX_EXP)), np.float32(MAX_EXP))
    k = np.rint(x * np.float32(LOG2_E))
    rest = x - k * np.float32(LN2_HIGH) - k * np.float32(LN2_LOW)
    series = np.full_like(x, np.float32(TERMS[0]))
    for term in TERMS[1:]:
        series *= rest
        series += np.float32(term)
    series *= ((k.astype(np.int32) + 127) << 23).view(np.float32)  # 2**k from its bits
    return series


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + e**-x) of float32."""
    one = np.float32(1)
    result: np.ndarray = one / (one + exp(-x))
    return result


def tanh(x: np.ndarray) -> np.ndarray:
    """Return tanh of float32 to about 1e-7."""
    one, two = np.float32(1), np.float32(2)
    result: np.ndarray = one - two / (one + exp(x + x))
    return result


def gated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``silu(a) * b`` of float32, with ``silu(a) = a * sigmoid(a)``."""
    result: np.ndarray = sigmoid(a) * a * b
    return result


def norm(rows: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Return ``x / sqrt(mean(x²) + SMALLEST) * g`` of each row of ``(N, D)`` float32."""
    D = rows.shape[1]
    squares = product(rows * rows, np.ones((D, 1), dtype=np.float32))
    scale = np.float32(1) / np.sqrt(squares / np.float32(D) + np.float32(SMALLEST))
    result: np.ndarray = rows * scale * g
    return result


def long_exp(x: np.ndarray) -> np.ndarray:
    """Return e**x of float64 x <= 0 to about 1e-16, and exactly 0 below `MIN_LOG`."""
    small = np.maximum(x, MIN_LOG)
    k = np.rint(small * LOG2_E)
    rest = small - k * LN2_HIGH - k * LN2_LOW
    series = np.full_like(rest, LONG_TERMS[0])
    for term in LONG_TERMS[1:]:
        series *= rest
        series += term
    powers = np.ldexp(series, k.astype(np.int32))
    return np.where(x < MIN_LOG, 0.0, powers)


def product(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return ``(N, J) @ (J, K)`` with every sum taken in the order of j, unlike BLAS."""
    return np.stack([_summed(row[:, None] * matrix) for row in rows])


def _summed(terms: np.ndarray) -> np.ndarray:
    """Sum ``(J, K)`` over j in order; NumPy would sum a single column pairwise."""
    if terms.shape[1] == 1:
        last: np.ndarray = np.add.accumulate(terms, axis=0)[-1]
        return last
    sums: np.ndarray = np.add.reduce(terms, axis=0, initial=NEUTRAL)
    return sums
