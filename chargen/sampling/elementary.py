"""Elementary functions from additions, multiplications and divisions alone, for NumPy arrays.

IEEE 754 fixes what each of those gives, to the bit; what a library's exp gives it leaves open. The
compiled forms (`chargen.sampling.elementary_compiled`) do the same operations in the same order,
and so an engine that is made of either writes the same characters.
"""

from __future__ import annotations

import math

import numpy as np

from chargen.settings import SMALLEST

LOG2_E = 1 / math.log(2)
# ln 2 in two parts, of which the first has so few digits that its product with k is exact.
LN2_HIGH, LN2_LOW = 0.693359375, -2.121944400546905827679e-4
SMALL = 87.0  # float32's exp is kept between e**-87 and e**87, neither of which overflows
TERMS = tuple(1 / math.factorial(n) for n in range(7, -1, -1))  # of exp's series, the last first
LEAST = -700.0  # a float64 below it has an exp of exactly 0
LONG_TERMS = tuple(1 / math.factorial(n) for n in range(14, -1, -1))
NOTHING = np.float32(-0.0)  # leaves what is added to it as it is; 0 would make 0 of -0


def exp(x: np.ndarray) -> np.ndarray:
    """e**x of float32, to about 1e-7 of it; beyond ± `SMALL` it is that of `SMALL`."""
    x = np.minimum(np.maximum(x, np.float32(-SMALL)), np.float32(SMALL))
    k = np.rint(x * np.float32(LOG2_E))
    rest = x - k * np.float32(LN2_HIGH) - k * np.float32(LN2_LOW)
    series = np.full_like(x, np.float32(TERMS[0]))
    for term in TERMS[1:]:
        series *= rest
        series += np.float32(term)
    series *= ((k.astype(np.int32) + 127) << 23).view(np.float32)  # 2**k, bit by bit
    return series


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e**-x) of float32."""
    one = np.float32(1)
    result: np.ndarray = one / (one + exp(-x))
    return result


def tanh(x: np.ndarray) -> np.ndarray:
    """Of float32, to about 1e-7."""
    one, two = np.float32(1), np.float32(2)
    result: np.ndarray = one - two / (one + exp(x + x))
    return result


def gated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``silu(a) * b`` of float32, with ``silu(a) = a * sigmoid(a)``."""
    result: np.ndarray = sigmoid(a) * a * b
    return result


def norm(rows: np.ndarray, g: np.ndarray) -> np.ndarray:
    """``x / sqrt(mean(x²) + SMALLEST) * g`` of each row x of ``(N, D)`` float32, g ``(D,)``."""
    D = rows.shape[1]
    squares = product(rows * rows, np.ones((D, 1), dtype=np.float32))
    scale = np.float32(1) / np.sqrt(squares / np.float32(D) + np.float32(SMALLEST))
    result: np.ndarray = rows * scale * g
    return result


def long_exp(x: np.ndarray) -> np.ndarray:
    """e**x of float64 at most 0, to about 1e-16 of it, and exactly 0 below `LEAST`."""
    small = np.maximum(x, LEAST)
    k = np.rint(small * LOG2_E)
    rest = small - k * LN2_HIGH - k * LN2_LOW
    series = np.full_like(rest, LONG_TERMS[0])
    for term in LONG_TERMS[1:]:
        series *= rest
        series += term
    powers = np.ldexp(series, k.astype(np.int32))
    return np.where(x < LEAST, 0.0, powers)


def product(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``(N, J) @ (J, K)``, every sum taken in the order of j, as no library of products does."""
    return np.stack([_summed(row[:, None] * matrix) for row in rows])


def _summed(terms: np.ndarray) -> np.ndarray:
    """``(J, K)`` to ``(K,)``: row after row is added, but a single column NumPy adds in pairs."""
    if terms.shape[1] == 1:
        last: np.ndarray = np.add.accumulate(terms, axis=0)[-1]
        return last
    sums: np.ndarray = np.add.reduce(terms, axis=0, initial=NOTHING)
    return sums
