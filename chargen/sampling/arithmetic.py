"""Deterministic float arithmetic: elementary functions, norms and products.

Everything is made of additions, multiplications and divisions, whose result IEEE 754 fixes to the
bit; a library's exp or matmul is not so defined. The elementary functions run on NumPy arrays and,
compiled by numba, on single numbers (`chargen.sampling.compiled`), with the same bits.
"""

import math
from typing import Any

import numpy as np

from chargen.settings import SMALLEST

F = np.float32
LOG2_E = 1 / math.log(2)
# ln 2 in two parts; the first has so few digits that its product with k is exact.
LN2_HIGH, LN2_LOW = 0.693359375, -2.121944400546905827679e-4
ONE, TWO, LOG2_E_32, HIGH, LOW, SMALLEST_32 = map(F, (1, 2, LOG2_E, LN2_HIGH, LN2_LOW, SMALLEST))
MAX_EXP = F(87)  # bound of the argument of float32 exp, which then cannot overflow
A7, A6, A5, A4, A3, A2, A1, A0 = (F(1 / math.factorial(n)) for n in range(7, -1, -1))
MIN_LOG = -700.0  # float64 exp of anything below is exactly 0
B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14 = (
    1 / math.factorial(n) for n in range(15)
)
LEVELS = 127  # int8 levels on either side of zero
MIN_SCALE = F(1e-37)  # between levels; the reciprocal of anything above is finite
NEUTRAL = F(-0.0)  # the neutral element of addition; 0 would turn -0 into 0


def exp(x: Any) -> Any:
    """Return e**x of float32 to about 1e-7, clipped at ± `MAX_EXP`."""
    x = np.minimum(np.maximum(x, -MAX_EXP), MAX_EXP)
    k = np.rint(x * LOG2_E_32)
    rest = x - k * HIGH - k * LOW
    series = (((((A7 * rest + A6) * rest + A5) * rest + A4) * rest + A3) * rest + A2) * rest + A1
    power = np.int32((np.int32(k) + 127) << 23).view(np.float32)  # 2**k from its bits
    return (series * rest + A0) * power


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + e**-x) of float32."""
    return ONE / (ONE + exp(-x))


def tanh(x: Any) -> Any:
    """Return tanh of float32 to about 1e-7."""
    return ONE - TWO / (ONE + exp(x + x))


def gated(a: Any, b: Any) -> Any:
    """Return ``silu(a) * b`` of float32, with ``silu(a) = a * sigmoid(a)``."""
    return sigmoid(a) * a * b


def long_exp(x: Any) -> Any:
    """Return e**x of float64 x <= 0 to about 1e-16, and exactly 0 below `MIN_LOG`."""
    small = np.maximum(x, MIN_LOG)
    k = np.rint(small * LOG2_E)
    rest = small - k * LN2_HIGH - k * LN2_LOW
    series = ((((B14 * rest + B13) * rest + B12) * rest + B11) * rest + B10) * rest + B9
    series = ((((series * rest + B8) * rest + B7) * rest + B6) * rest + B5) * rest + B4
    series = (((series * rest + B3) * rest + B2) * rest + B1) * rest + B0
    power = np.int64((np.int64(k) + 1023) << 52).view(np.float64)  # 2**k from its bits
    return (x >= MIN_LOG) * series * power


def level_scale(largest: Any) -> Any:
    """Return the distance between int8 levels up to ``largest``, NaN unless that is finite."""
    return np.maximum(largest / F(LEVELS), MIN_SCALE) + (largest - largest)


def level(x: Any, scale: Any) -> Any:
    """Return the int8 level of ``x``, rounded half to even."""
    return np.rint(x / scale)


def norm(rows: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Return ``x / sqrt(mean(x²) + SMALLEST) * g`` of each row of ``(N, D)`` float32."""
    D = rows.shape[1]
    squares = product(rows * rows, np.ones((D, 1), dtype=F))
    return rows * (ONE / np.sqrt(squares / F(D) + SMALLEST_32)) * g


def product(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return ``(N, J) @ (J, K)`` with every sum taken in the order of j, unlike BLAS."""
    return np.stack([_summed(row[:, None] * matrix) for row in rows])


def _summed(terms: np.ndarray) -> np.ndarray:
    """Sum ``(J, K)`` over j in order; NumPy would sum a single column pairwise."""
    if terms.shape[1] == 1:
        return np.add.accumulate(terms, axis=0)[-1]
    return np.add.reduce(terms, axis=0, initial=NEUTRAL)
