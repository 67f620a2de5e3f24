"""Documents of a corpus: where they begin, and where the held-out part is cut off."""

import numpy as np

from chargen.settings import HELD_OUT, MOST_HELD_OUT

DOCUMENT_ENDS = {"line": "\n", "blank-line": "\n\n"}
NO_TEXT = b"\0\0\0"  # before the first character of a file; no text contains NUL
FEWEST_TRAINED = 2  # characters: an input and its target


class DocumentSplitter:
    """Finds where documents start while a text is read in blocks.

    ``how`` is ``none``: the whole text is one document; ``file``: each file is one; ``line``: a
    file is also split after each line; or ``blank-line``: after each run of empty lines. Empty
    lines belong to the document before them. All line-end conventions are recognized.

    A document starts with the line end before it: read from a zero state, that predicts the first
    character, in training as in sampling.
    """

    def __init__(self, how: str) -> None:
        self._how = how
        self._chars = 0
        self._file: int | None = None
        self._before = NO_TEXT  # last characters of the file; its first empty lines do not count

    def split(self, file: int, data: bytes, chars: int) -> np.ndarray:
        """Return the starts in the next block of a file, in UTF-8, by index in the whole text."""
        starts: np.ndarray = np.empty(0, dtype=np.int64)
        if self._how in ("line", "blank-line"):
            self._before = self._before if file == self._file else NO_TEXT
            starts = self._after_line_ends(data)
            if chars < len(data):  # bytes within characters are the least as int8
                inner = np.flatnonzero(np.frombuffer(data, np.int8) < -64)
                starts -= np.searchsorted(inner, starts)
            starts += self._chars
        if self._file is None or (file != self._file and self._how != "none"):
            starts = np.append(self._chars, starts)
        self._file, self._chars = file, self._chars + chars
        return np.maximum(starts - 1, 0)

    def _after_line_ends(self, data: bytes) -> np.ndarray:
        if self._before == NO_TEXT:
            data = data.lstrip(b"\n\r").rjust(len(data), b"\0")
        data = self._before + data
        self._before = data[-3:]
        points = np.frombuffer(data, np.uint8)
        ends = points == ord("\n")
        if has_cr := b"\r" in data:
            ends |= points == ord("\r")
        if self._how == "line":
            return np.flatnonzero(ends[2:-1] > ends[3:])
        after = np.flatnonzero(ends[1:-2] & ends[2:-1])
        after = after[~ends[after + 3]]
        # The same line end twice, or any three.
        return after[(points[after + 2] == points[after + 1]) | ends[after]] if has_cr else after


def training_chars(chars: int, validation: float | None, starts: np.ndarray) -> int:
    """Return how many characters precede the held-out last part of a text.

    The held-out fraction is ``validation``, or a tenth but at most `MOST_HELD_OUT` characters. The
    cut moves to the nearest document start if that changes the held-out part by at most half.
    ``validation=0`` holds out no text.
    """
    if validation == 0:
        return chars
    share = HELD_OUT if validation is None else validation
    wanted = int(chars * (1 - share))
    if validation is None:
        wanted = max(wanted, chars - MOST_HELD_OUT)
    wanted = min(max(wanted, FEWEST_TRAINED), chars - 1)
    after = int(np.searchsorted(starts, wanted))
    room = (chars - wanted) / 2
    near = [
        start
        for start in starts[max(after - 1, 0) : after + 1].tolist()
        if abs(start - wanted) <= room and FEWEST_TRAINED <= start < chars
    ]
    return min(near, key=lambda start: abs(start - wanted), default=wanted)
