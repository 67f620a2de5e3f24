"""Matrices with 8-bit weights: N sequences, J rows and K columns of a matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from chargen.sampling.arithmetic import LEVELS, F, level, level_scale

PADDED = 64  # of the rows of `Int8Matrix.packed`


def rounded(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantize ``(J, K)`` float32 to int8 levels and scales ``(K,)``, 0 for a column of zeros."""
    scales = (np.abs(matrix).max(axis=0, initial=0) / LEVELS).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.nan_to_num(np.rint(matrix / scales)).clip(-LEVELS, LEVELS)
    return levels.astype(np.int8), scales


@dataclass(frozen=True)
class Int8Matrix:
    """A quantized matrix, whose product also quantizes the other operand, row by row.

    The products of levels are summed exactly, so that their order does not matter.
    """

    levels: np.ndarray  # (J, K), in a float type that represents all sums exactly
    scales: np.ndarray  # (K,)

    @classmethod
    def of(cls, matrix: np.ndarray) -> "Int8Matrix":
        levels, scales = rounded(matrix)
        exact = len(levels) * LEVELS**2 < 2**24
        return cls(levels.astype(np.float32 if exact else np.float64), scales)

    @cached_property
    def packed(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Levels ``(K, J)`` int8 with zeros up to a multiple of `PADDED`, the scales, and J."""
        J, K = self.levels.shape
        levels = np.zeros((K, J + -J % PADDED), dtype=np.int8)
        levels[:, :J] = self.levels.T
        return levels, self.scales, J

    def split(self, parts: int) -> Sequence["Int8Matrix"]:
        """Return equal parts along the last axis."""
        arrays = np.split(self.levels, parts, axis=1), np.split(self.scales, parts)
        return [Int8Matrix(*part) for part in zip(*arrays, strict=True)]

    def product(self, rows: np.ndarray) -> np.ndarray:
        """Return ``rows`` ``(N, J)`` times the matrix, ``(N, K)`` float32."""
        scales = level_scale(np.abs(rows).max(axis=1, keepdims=True))
        sums = level(rows, scales).astype(self.levels.dtype) @ self.levels
        return (sums.astype(F) + F(0)) * scales * self.scales  # -0 becomes 0
