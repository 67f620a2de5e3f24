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

PAIRS = {
    "(": ")", "[": "]", "{": "}", "“": "”", "«": "»", "‹": "›", "「": "」", "『": "』",
    "《": "》", "（": "）", "【": "】", '"': '"',
}  # fmt: skip
# Single quotes are left out: most of them are apostrophes.
_MARKS = re.compile("[" + re.escape("".join({*PAIRS, *PAIRS.values()})) + r"]|\n[^\S\n]*\n")
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
class Closers:
    """The brackets and quotes of a text, parsed."""

    cases: tuple[Case, ...]  # by target
    open_before: dict[str, np.ndarray]  # by closing character: (L + 1,) how many await it


def closers(text: str) -> Closers:
    """Parse brackets and quotes with a stack.

    A closing character whose opening one is on top of the stack is a case. One that closes over
    others, left open inside, takes them off the stack and is no case; one that closes nothing is
    passed over. An upright quote opens unless one is open; at an empty line, where a quotation
    of several paragraphs need not have been closed, open upright quotes are dropped.
    """
    change = {close: np.zeros(len(text) + 1, dtype=np.int64) for close in PAIRS.values()}
    stack: list[tuple[str, int]] = []  # the closing character awaited, and where it was opened
    cases = []
    for mark in _MARKS.finditer(text):
        char, place = mark[0], mark.start()
        awaited = [close for close, _ in stack]
        gone: list[tuple[str, int]] = []
        if char not in PAIRS and len(char) > 1:
            gone = [entry for entry in stack if entry[0] == '"']
            stack = [entry for entry in stack if entry[0] != '"']
        elif char in awaited:
            depth = len(awaited) - 1 - awaited[::-1].index(char)
            stack, gone = stack[:depth], stack[depth:]
            if len(gone) == 1:
                cases.append(Case(gone[0][1], gone[0][1] + 1, place, place + 1))
        elif char in PAIRS:
            stack.append((PAIRS[char], place))
            change[PAIRS[char]][place + 1] += 1
        for close, _ in gone:
            change[close][min(place + 1, len(text))] -= 1
    return Closers(tuple(cases), {close: steps.cumsum() for close, steps in change.items()})


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
