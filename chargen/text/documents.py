"""Where the documents of a text begin."""

from __future__ import annotations

import numpy as np

from chargen.text.mapped import RESIDENT, Reader

BLOCK = 256  # starts, of which one is kept in memory


class Documents:
    """Finds beginnings of documents among ``starts``, ``(D,)`` int64, which rise from 0.

    ``starts`` may be a mapped file of any size: one in `BLOCK` is kept in memory, so that a search
    reads one place of the file, not one for each halving of it.
    """

    def __init__(self, starts: np.ndarray) -> None:
        self._reader = Reader(starts)
        self._last = len(starts) - 1
        coarse = []
        at_once = RESIDENT // starts.itemsize
        for first in range(0, len(starts), at_once):
            coarse.append(starts[first : first + at_once : BLOCK].copy())
            self._reader.touched(1, at_once)
        self._coarse = np.concatenate(coarse)

    def before(self, places: np.ndarray) -> np.ndarray:
        """How many documents begin before each of ``places``, ``(n,)`` int64 each."""
        block = (np.searchsorted(self._coarse, places) - 1).clip(0) * BLOCK
        numbers = block[:, None] + np.arange(BLOCK)
        smaller = self._reader.rows(numbers.clip(max=self._last)) < places[:, None]
        found: np.ndarray = block + (smaller & (numbers <= self._last)).sum(axis=1)
        return found

    def begins(self, places: np.ndarray, timesteps: int) -> np.ndarray | None:
        """Which characters of the windows at ``places`` ``(n,)`` begin a document.

        ``(n, T)`` bool, T = ``timesteps``; None where none does.
        """
        first, end = self.before(np.concatenate([places, places + timesteps])).reshape(2, -1)
        most = int((end - first).max(initial=0))
        if not most:
            return None
        numbers = first[:, None] + np.arange(most)
        offsets = self._reader.rows(numbers.clip(max=self._last)) - places[:, None]
        known = numbers < end[:, None]
        begins = np.zeros((len(places), timesteps), dtype=bool)
        begins[np.nonzero(known)[0], offsets[known]] = True
        return begins
