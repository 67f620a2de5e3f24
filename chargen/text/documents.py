"""Documents of a corpus: where they begin, and where the held-out part is cut off."""

from __future__ import annotations

import numpy as np

from chargen.settings import HELD_OUT, MOST_HELD_OUT
from chargen.text.memory_map import RESIDENT, ArrayReader

LINE_ENDS = "\n\r"
FIRST_BYTE = -64  # least first byte of a character in UTF-8, as a signed integer
BLOCK = 256  # document starts per entry of the in-memory index
FEWEST_TRAINED = 2  # characters: an input and its target


class DocumentSplitter:
    """Finds the first characters of documents while a text is read in blocks.

    ``how`` is ``none``: the whole text is one document; ``file``: each file is one; ``line``: a
    file is also split after each line; or ``blank-line``: after each run of empty lines. Empty
    lines belong to the document before them. All line-end conventions are recognized.
    """

    def __init__(self, how: str) -> None:
        self._how = how
        self._least = {"line": 1, "blank-line": 2}.get(how)  # line ends between documents
        self._chars = 0
        self._file: int | None = None
        self._open = [0, 0]  # line feeds and carriage returns at the end of the previous block
        self._has_text = False  # the file holds more than line ends so far

    def split(self, file: int, data: bytes, chars: int) -> np.ndarray:
        """Return the document starts in the next block of a file, as indices of the whole text.

        ``data`` is the UTF-8 of the block, which has ``chars`` characters.
        """
        begins = self._file is None or (file != self._file and self._how != "none")
        starts = np.array([self._chars] if begins else [], dtype=np.int64)
        if begins:
            self._open, self._has_text = [0, 0], False
        self._file = file
        if self._least:
            units = np.frombuffer(data, np.int8)
            after = self._after_lines(units, self._least)
            if len(data) > chars:  # bytes that are not the first of their characters do not count
                after -= np.searchsorted(np.flatnonzero(units < FIRST_BYTE), after)
            starts = np.concatenate([starts, self._chars + after])
        self._chars += chars
        return starts

    def _after_lines(self, units: np.ndarray, least: int) -> np.ndarray:
        """Return the places in the bytes ``units`` after at least ``least`` line ends."""
        feeds, returns = (units == ord(char) for char in LINE_ENDS)
        ends = np.flatnonzero(feeds | returns)
        # Runs of line ends, from the one, perhaps empty, that began in the previous block.
        bounds = np.append(np.flatnonzero(np.diff(ends, prepend=-1) != 1), len(ends))
        after = np.append(-1, ends)[bounds] + 1
        counts = []
        for kind, already in zip((feeds, returns), self._open, strict=True):
            before = np.append(0, np.cumsum(kind[ends]))[bounds]
            counts.append(np.diff(before, prepend=-already))
        lines = np.maximum(*counts)
        if not self._has_text:  # empty lines at the beginning of a file start no document
            lines[0] = 0
        self._open = [int(count[-1]) if after[-1] == len(units) else 0 for count in counts]
        self._has_text |= len(ends) < len(units)
        return after[(lines >= least) & (after < len(units))]


class DocumentIndex:
    """Looks up which positions of a text begin a document.

    ``starts`` ``(D,)`` int64 holds the document starts, rising from 0. It may be a memory-mapped
    file of any size: one start in `BLOCK` is kept in memory, so that a search reads the file once
    rather than at each bisection step.
    """

    def __init__(self, starts: np.ndarray) -> None:
        self._reader = ArrayReader(starts)
        self._last = len(starts) - 1
        coarse = []
        part = RESIDENT // starts.itemsize
        for first in range(0, len(starts), part):
            coarse.append(starts[first : first + part : BLOCK].copy())
            self._reader.touched(1, part)
        self._coarse = np.concatenate(coarse)

    def before(self, places: np.ndarray) -> np.ndarray:
        """Return how many documents begin before each of ``places``, ``(n,)`` int64 each."""
        block = (np.searchsorted(self._coarse, places) - 1).clip(0) * BLOCK
        numbers = block[:, None] + np.arange(BLOCK)
        smaller = self._reader.rows(numbers.clip(max=self._last)) < places[:, None]
        found: np.ndarray = block + (smaller & (numbers <= self._last)).sum(axis=1)
        return found

    def begins(self, places: np.ndarray, timesteps: int) -> np.ndarray | None:
        """Mark the characters that begin a document in windows of T characters at ``places``.

        Returns:
            ``(n, T)`` bool, or None if no document begins in any window.
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


def training_chars(chars: int, validation: float | None, starts: np.ndarray) -> int:
    """Return how many characters precede the held-out last part of a text.

    The held-out fraction is ``validation``, or a tenth but at most `MOST_HELD_OUT` characters. The
    cut moves to the nearest document start if that changes the held-out part by at most half.
    Nothing is held out if ``validation`` is 0.
    """
    if validation == 0:
        return chars
    share = HELD_OUT if validation is None else validation
    wanted = int(chars * (1 - share))
    if validation is None:
        wanted = max(wanted, chars - MOST_HELD_OUT)
    wanted = min(max(wanted, FEWEST_TRAINED), chars - 1)
    after = int(np.searchsorted(starts, wanted))
    near = (int(starts[place]) for place in (after - 1, after) if 0 <= place < len(starts))
    room = (chars - wanted) / 2
    fitting = [at for at in near if abs(at - wanted) <= room and FEWEST_TRAINED <= at < chars]
    return min(fitting, key=lambda at: abs(at - wanted), default=wanted)
