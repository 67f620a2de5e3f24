"""Finding, in any text, what hangs on something that stood before it.

Two kinds: a closing bracket or quote, which hangs on what it closes, and a word that comes back
after one earlier use.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_WORD = re.compile(r"[^\W\d_]{3,}")  # letters of any script


class Case(NamedTuple):
    """A target that hangs on a cue, as places in a text; ends are one past the last character."""

    cue_start: int
    cue_end: int
    start: int
    end: int

    @property
    def distance(self) -> int:
        """Characters from the end of the cue to the start of the target."""
        return self.start - self.cue_end


@dataclass(frozen=True)
class Returns:
    """The words of a text that come back."""

    cases: tuple[Case, ...]  # by target
    uses: dict[str, np.ndarray]  # where each word starts, ascending


def returning_words(text: str, reach: int) -> Returns:
    """Words of three letters or more that were used exactly once in the ``reach`` before them.

    A use counts where all of it lies within those characters. Upper and lower case differ. In a
    script without blanks a word is all that stands between two marks, and few come back.
    """
    uses: dict[str, list[int]] = {}
    cases = []
    for found in _WORD.finditer(text):
        word, start = found[0], found.start()
        earlier = uses.setdefault(word, [])
        in_reach = [place for place in earlier[-2:] if place >= start - reach]
        if len(in_reach) == 1:
            cases.append(Case(in_reach[0], in_reach[0] + len(word), start, found.end()))
        earlier.append(start)
    return Returns(tuple(cases), {word: np.array(places) for word, places in uses.items()})


def holds(places: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Whether any of ``places``, ascending, lies in each ``starts .. ends - 1``: ``(N,)``."""
    found: np.ndarray = np.searchsorted(places, starts) < np.searchsorted(places, ends)
    return found


def by_distance(cases: Sequence[Case], longest: int) -> dict[int, list[Case]]:
    """The cases at 1, 2 to 3, 4 to 7 … characters, by the least, all under ``longest``."""
    bins: dict[int, list[Case]] = {1 << b: [] for b in range((longest - 1).bit_length())}
    for case in cases:
        if 0 < case.distance < longest:
            bins[1 << case.distance.bit_length() - 1].append(case)
    return bins
