"""Matrices of 8-bit whole numbers, each column with a scale of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

LEVELS = 127  # to either side of zero


def rounded(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(J, K)`` float32 to levels ``(J, K)`` int8 and scales ``(K,)`` float32.

    The largest of a column is `LEVELS` times its scale, and nothing is off by more than half a
    scale. A column of zeros has the scale 0.
    """
    scales = (np.abs(matrix).max(axis=0) / LEVELS).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.nan_to_num(np.rint(matrix / scales)).clip(-LEVELS, LEVELS)
    return levels.astype(np.int8), scales


def restored(levels: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The ``(J, K)`` float32 that `rounded` stands for: one multiplication each."""
    values: np.ndarray = levels * scales
    return values


def through_eight_bits(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays by name with each matrix rounded and restored; what has one axis stays as it is."""
    return {
        name: restored(*rounded(array)) if array.ndim == 2 else array
        for name, array in arrays.items()
    }
