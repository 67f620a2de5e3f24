"""Arrays that stand in a file: read where they are asked for, and not kept in memory."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import DTypeLike

FAULT = 64 * 2**10  # bytes that the system maps around one that is read, if it does not tell
RESIDENT = 32 * 2**20  # bytes that may be in memory before they are let go
ROWS = 16  # read before it is looked how much that was
HELD = Path("/proc/self/statm")  # where Linux tells how much of files a process holds


def mapped(file: BinaryIO | Path, dtype: DTypeLike) -> np.ndarray:
    """All of ``file`` as a read-only array ``(L,)`` of ``dtype``, of which nothing is read yet.

    The array outlives an open file that is given. `ValueError` where the file does not hold whole
    items; an empty file gives an empty array.
    """
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return mapped(opened, dtype)
    if not file.seek(0, 2):  # which no system maps
        empty = np.empty(0, dtype)
        empty.flags.writeable = False
        return empty
    return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype)


def map_under(array: np.ndarray) -> mmap.mmap | None:
    """The map that ``array`` is a view of; None where it stands in memory."""
    base: object = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return base


def let_go(array: np.ndarray) -> None:
    """Take what was read of the map under ``array`` out of memory; it is read anew when asked for.

    Does nothing where ``array`` stands in memory, or where the system has no ``madvise``.
    """
    under = map_under(array)
    if under is not None and hasattr(mmap, "MADV_DONTNEED"):
        under.madvise(mmap.MADV_DONTNEED)


class Reader:
    """Reads an array, and lets go of it where much of it may be in memory.

    What is read of a mapped file counts as this process's memory until it is let go, with what the
    system maps around it: 64 KiB, or all that it once wrote or read together, 2 MiB at worst. So
    `ROWS` are read at a time, and the system is asked what is held by then, where it can tell.
    """

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self._mapped = map_under(array) is not None
        self._touched = 0  # bytes, where the system does not tell
        self._least = _held() if self._mapped else 0  # since this let go

    def __len__(self) -> int:
        return len(self._array)

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """``array[positions]``; what stands in one row of ``(n, T)`` is close together."""
        if not self._mapped:
            return self._array[positions]
        found = np.empty(positions.shape, self._array.dtype)
        for first in range(0, len(positions), ROWS):
            some = slice(first, first + ROWS)
            found[some] = self._array[positions[some]]
            self.touched(len(found[some]), positions.shape[1])
        return found

    def touched(self, runs: int, length: int) -> None:
        """``runs`` stretches of ``length`` items of the array were read, however."""
        if not self._mapped:
            return
        self._touched += runs * (FAULT + length * self._array.itemsize)
        held = _held()
        self._least = min(self._least, held)
        if (held - self._least if held else self._touched) >= RESIDENT:
            let_go(self._array)
            self._touched, self._least = 0, _held()


def _held() -> int:
    """Bytes of files that are in this process's memory; 0 where the system does not tell."""
    try:
        return int(HELD.read_bytes().split()[2]) * mmap.PAGESIZE
    except OSError:
        return 0
