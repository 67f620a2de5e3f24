"""Memory-mapped arrays that are read in part and then released from memory."""

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import DTypeLike

RESIDENT = 32 * 2**20  # bytes of a file that may stay in memory
ROWS = 16  # rows read between two releases


def map_file(file: BinaryIO | Path, dtype: DTypeLike) -> np.ndarray:
    """Map a whole file as a read-only array ``(L,)``; `ValueError` without whole items."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return map_file(opened, dtype)
    if not file.seek(0, 2):  # an empty file cannot be mapped
        return np.frombuffer(b"", dtype)
    return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype)


def underlying_map(array: np.ndarray) -> mmap.mmap | None:
    """Return the memory map that ``array`` is a view of, or None if it is in memory."""
    base: object = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return base


def release(array: np.ndarray) -> None:
    """Drop the pages of the map under ``array``, if it has one, from memory."""
    under = underlying_map(array)
    if under is not None and hasattr(mmap, "MADV_DONTNEED"):
        under.madvise(mmap.MADV_DONTNEED)


def rows_at(array: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return ``array[positions]``; the positions in a row of ``(n, T)`` are close together."""
    return _in_parts(array, positions, array.__getitem__)


def count_below(array: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return how many items of an ascending array are below each of ``values``."""
    return _in_parts(array, values, lambda some: np.asarray(np.searchsorted(array, some)))


def _in_parts(
    array: np.ndarray, rows: np.ndarray, read: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Read some rows at a time, and release a large map after each part.

    A page of a mapped file takes memory until it is released, with 64 KiB to 2 MiB around it.
    """
    under = underlying_map(array)
    if under is None or len(under) <= RESIDENT:
        return read(rows)
    parts = []
    for first in range(0, max(len(rows), 1), ROWS):
        parts.append(read(rows[first : first + ROWS]))
        release(array)
    return np.concatenate(parts)
