"""Mining of natural dependencies: closing brackets and quotes, and words that return.

Axes: N cases, P replacement texts, L characters of text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from chargen.evaluation import Segments
from chargen.text.brackets import parse_brackets
from chargen.text.vocabulary import Vocabulary

CLOSERS, WORDS = "closing bracket or quote", "returning word"
KINDS = (WORDS, CLOSERS)
LONGEST = 1024  # every distance is below it
CASES = 256  # maximum number of cases per kind and power of two of the distance
TEXT_CHARS = 2**17  # maximum length of the mined text
SWAPS = 64  # replacement texts
STREAMS = 64  # maximum number of streams in which the whole text is read
WORD = re.compile(r"[^\W\d_]{3,}")  # three letters or more of any script


class Case(NamedTuple):
    """A target that depends on a cue, as indices in a text."""

    cue_start: int
    cue_end: int  # one past the cue
    start: int  # of the target
    end: int  # one past the target

    @property
    def distance(self) -> int:
        """Characters from the end of the cue to the start of the target."""
        return self.start - self.cue_end


Unfit = Callable[[Case, np.ndarray, np.ndarray], np.ndarray]
"""Return whether parts ``starts .. ends - 1`` of the text, ``(P,)``, hold the cue of a case."""


def returning_words(text: str, reach: int) -> tuple[list[Case], Unfit]:
    """Find words that occur exactly once within the ``reach`` characters before them.

    Case matters. In a script without spaces a word is all text between two punctuation marks, and
    few return. A replacement text is unfit if the word starts in it.
    """
    uses: dict[str, list[int]] = {}
    cases = []
    for found in WORD.finditer(text):
        word, start = found[0], found.start()
        earlier = uses.setdefault(word, [])
        in_reach = [place for place in earlier[-2:] if place >= start - reach]
        if len(in_reach) == 1:
            cases.append(Case(in_reach[0], in_reach[0] + len(word), start, found.end()))
        earlier.append(start)
    places = {word: np.array(starts) for word, starts in uses.items()}

    def unfit(case: Case, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        own = places[text[case.start : case.end]]
        return np.asarray(np.searchsorted(own, starts) < np.searchsorted(own, ends))

    return cases, unfit


def closers(text: str) -> tuple[list[Case], Unfit]:
    """Find closing brackets and quotation marks; a text is unfit if it ends within such a pair."""
    found = parse_brackets(text)
    cases = [Case(opened, opened + 1, end, end + 1) for opened, end in found.pairs]

    def unfit(case: Case, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        return np.asarray(found.open_before[text[case.start]][ends] > 0)

    return cases, unfit


def by_distance(cases: Sequence[Case], longest: int) -> dict[int, list[Case]]:
    """Group the cases below ``longest`` by powers of two: 1, 2 to 3, 4 to 7 …"""
    groups: dict[int, list[Case]] = {1 << b: [] for b in range((longest - 1).bit_length())}
    for case in cases:
        if 0 < case.distance < longest:
            groups[1 << case.distance.bit_length() - 1].append(case)
    return groups


@dataclass(frozen=True, eq=False)
class Group:
    """Cases of one kind at distances of one power of two, ascending by distance."""

    kind: str
    distance: int  # the shortest
    cases: np.ndarray  # (N, 4) as `Case`
    swaps: np.ndarray  # (N,) index of each case's replacement text

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, rows: slice) -> Group:
        return replace(self, cases=self.cases[rows], swaps=self.swaps[rows])

    @property
    def starts(self) -> np.ndarray:
        """Return the start of each target, ``(N,)``."""
        return self.cases[:, 2]

    @property
    def segments(self) -> Segments:
        """The text from the end of each cue to the end of its target, which is predicted."""
        return Segments(*self.cases[:, 1:].T)

    def at_targets(self, values: np.ndarray) -> np.ndarray:
        """Return the values ``(L,)`` at each target: ``(N, longest)``, padded with zeros."""
        ends = self.cases[:, 3]
        places = self.starts[:, None] + np.arange(int((ends - self.starts).max()))
        found = values[places.clip(max=len(values) - 1)]
        return np.where(places < ends[:, None], found, 0.0)


@dataclass(frozen=True, eq=False)
class Plan:
    """The cases of one text and their replacement texts."""

    ids: np.ndarray  # (L,) the mined text
    full: int  # fewest characters of full context
    swaps: np.ndarray  # (P,) where replacement texts of ``full`` characters start
    groups: tuple[Group, ...] = ()  # by kind, then distance

    @classmethod
    def of(cls, vocabulary: Vocabulary, ids: np.ndarray, longest: int, seed: int) -> Plan:
        """Mine a text; one shorter than six times ``longest`` gets shorter distances."""
        ids = ids[:TEXT_CHARS]
        while longest > 1 and 6 * longest > len(ids):
            longest //= 2
        if longest < 2:
            return cls(ids, 0, np.zeros(0, dtype=np.int64))
        full = 2 * longest
        rng = np.random.default_rng([seed, 0])
        shares = np.arange(SWAPS + 1) * (len(ids) - full) // SWAPS
        plan = cls(ids, full, rng.integers(shares[:-1], shares[1:] + 1))
        text = vocabulary.decode(ids)
        words = plan._groups(WORDS, *returning_words(text, full), longest, seed)
        return replace(plan, groups=(*words, *plan._groups(CLOSERS, *closers(text), longest, seed)))

    def swap_chars(self, distance: int) -> int:
        """Return how much of a replacement text is read before cases at these distances."""
        return self.full - 2 * distance

    @property
    def streams(self) -> Segments:
        """Parallel streams through the text after the first ``full`` characters."""
        chars = len(self.ids) - self.full
        N = min(STREAMS, max(1, chars // 512))
        bounds = self.full + np.arange(N + 1) * chars // N
        return Segments(bounds[:-1] - self.full, bounds[:-1], bounds[1:])

    def _groups(
        self, kind: str, cases: Sequence[Case], unfit: Unfit, longest: int, seed: int
    ) -> Iterator[Group]:
        """Yield the groups of a kind, without cases that no replacement text fits."""
        cases = [case for case in cases if case.start >= self.full]
        for distance, some in by_distance(cases, longest).items():
            rng = np.random.default_rng([seed, 1, kind == WORDS, distance])
            ends = self.swaps + self.swap_chars(distance)
            kept: list[tuple[Case, int]] = []
            for case in (some[place] for place in rng.permutation(len(some))):
                apart = (ends <= case.start - self.full) | (self.swaps >= case.end)
                fit = np.flatnonzero(apart & ~unfit(case, self.swaps, ends))
                if len(fit):
                    kept.append((case, int(rng.choice(fit))))
                if len(kept) == CASES:
                    break
            kept.sort(key=lambda pair: (pair[0].distance, pair[0].start))
            chosen = np.array([case for case, _ in kept], dtype=np.int64).reshape(-1, 4)
            yield Group(kind, distance, chosen, np.array([row for _, row in kept], dtype=np.int64))
