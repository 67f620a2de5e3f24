"""8-bit quantization of matrices with one scale per column."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

LEVELS = 127  # on either side of zero


def rounded(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantize ``(J, K)`` float32 to levels ``(J, K)`` int8 and scales ``(K,)`` float32.

    The largest magnitude of a column is `LEVELS` times its scale, and the error is at most half a
    scale. A column of zeros has scale 0.
    """
    scales = (np.abs(matrix).max(axis=0) / LEVELS).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.nan_to_num(np.rint(matrix / scales)).clip(-LEVELS, LEVELS)
    return levels.astype(np.int8), scales


def through_eight_bits(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Quantize and restore every matrix; arrays with one axis stay unchanged."""
    return {
        name: np.multiply(*rounded(array)) if array.ndim == 2 else array
        for name, array in arrays.items()
    }
