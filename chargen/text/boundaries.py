"""Where one document ends and the next begins, found as a text is read in blocks."""

from __future__ import annotations

import numpy as np

LINE_ENDS = "\r\n"
TOLD_BY = 4  # characters: among so many line ends there is an empty line, or there is none


class Boundaries:
    """Finds where the documents of a text begin, as it is read.

    ``how`` is ``none``: all is one document; ``file``: each file is one; or ``blank-line``: a file
    is cut after each run of empty lines too. Lines may end as on any system.
    """

    def __init__(self, how: str) -> None:
        self._how = how
        self._chars = 0  # read so far
        self._file: int | None = None
        self._waiting = ""  # line ends that the last block ended with
        self._begun = False  # whether the file holds more than line ends so far

    def read(self, file: int, text: str) -> np.ndarray:
        """The next block, which is of file number ``file``; ``(D,)`` places in the whole text."""
        begins = self._file is None or (file != self._file and self._how != "none")
        starts = np.array([self._chars] if begins else [], dtype=np.int64)
        if begins:
            self._waiting, self._begun = "", False
        self._file = file
        if self._how == "blank-line":
            starts = np.concatenate([starts, self._after_blank_lines(text)])
        self._chars += len(text)
        return starts

    def _after_blank_lines(self, text: str) -> np.ndarray:
        base = self._chars - len(self._waiting)
        text = self._waiting + text
        points = np.frombuffer(text.encode("latin-1", "replace"), np.uint8)  # of others as of "?"
        feeds, returns = (points == ord(char) for char in "\n\r")
        ends = np.flatnonzero(feeds | returns)
        last = np.flatnonzero(np.diff(ends, append=-1) != 1)  # of each run of line ends
        first = np.concatenate([[0], last[:-1] + 1])[: len(last)]
        of_feeds = np.add.reduceat(feeds[ends], first, dtype=np.int64) if len(ends) else first
        lines = np.maximum(of_feeds, last - first + 1 - of_feeds)
        if len(first) and ends[first[0]] == 0 and not self._begun:
            lines[0] = 0  # a file that begins with empty lines begins there
        found = ends[last[lines > 1]] + 1
        self._waiting = text[len(text.rstrip(LINE_ENDS)) :][-TOLD_BY:]
        self._begun |= len(ends) < len(text)
        return base + found[found < len(text)]
