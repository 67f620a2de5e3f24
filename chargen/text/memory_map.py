"""Memory-mapped arrays that are read in part and then released from memory."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import DTypeLike

FAULT = 64 * 2**10  # bytes that Linux maps around a page fault
RESIDENT = 32 * 2**20  # bytes that may stay in memory before they are released
ROWS = 16  # rows read between two measurements of the resident size
STATM = Path("/proc/self/statm")


def map_file(file: BinaryIO | Path, dtype: DTypeLike) -> np.ndarray:
    """Map a whole file as a read-only array ``(L,)``, which outlives an open file.

    `ValueError` if the file does not hold whole items.
    """
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return map_file(opened, dtype)
    if not file.seek(0, 2):  # an empty file cannot be mapped
        empty = np.empty(0, dtype)
        empty.flags.writeable = False
        return empty
    return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype)


def underlying_map(array: np.ndarray) -> mmap.mmap | None:
    """Return the memory map that ``array`` is a view of, or None if it is in memory."""
    base: object = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return base


def release(array: np.ndarray) -> None:
    """Drop the pages of the map under ``array`` from memory; they are read again on access.

    Does nothing for an array in memory and on systems without ``madvise``.
    """
    under = underlying_map(array)
    if under is not None and hasattr(mmap, "MADV_DONTNEED"):
        under.madvise(mmap.MADV_DONTNEED)


class ArrayReader:
    """Reads an array and releases it once many of its pages may be in memory.

    Pages of a mapped file count as memory of the process until they are released, with the pages
    that the system maps around them: 64 KiB, at worst 2 MiB. The reader therefore reads `ROWS` rows
    at a time and measures the resident size in between, where the system reports it.
    """

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self._mapped = underlying_map(array) is not None
        self._touched = 0  # estimated bytes, for systems that do not report the resident size
        self._least = _resident() if self._mapped else 0  # lowest since the last release

    def __len__(self) -> int:
        return len(self._array)

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Return ``array[positions]``; the positions in a row of ``(n, T)`` are close together."""
        if not self._mapped:
            return self._array[positions]
        found = np.empty(positions.shape, self._array.dtype)
        for first in range(0, len(positions), ROWS):
            some = slice(first, first + ROWS)
            found[some] = self._array[positions[some]]
            self.touched(len(found[some]), positions.shape[1])
        return found

    def touched(self, runs: int, length: int) -> None:
        """Account for ``runs`` runs of ``length`` items that were read without `rows`."""
        if not self._mapped:
            return
        self._touched += runs * (FAULT + length * self._array.itemsize)
        resident = _resident()
        self._least = min(self._least, resident)
        if (resident - self._least if resident else self._touched) >= RESIDENT:
            release(self._array)
            self._touched, self._least = 0, _resident()


def _resident() -> int:
    """Return the bytes of files in the memory of this process, or 0 if unknown."""
    try:
        return int(STATM.read_bytes().split()[2]) * mmap.PAGESIZE
    except OSError:
        return 0
