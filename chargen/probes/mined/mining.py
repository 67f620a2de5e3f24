"""Which of a text's dependencies are asked, and what other text goes in their cue's place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from chargen.evaluation import Segments
from chargen.probes.mined.dependencies import Case, by_distance, holds, returning_words
from chargen.text.brackets import parse_brackets
from chargen.text.vocabulary import Vocabulary

CLOSERS, WORDS = "closing bracket or quote", "returning word"
KINDS = (WORDS, CLOSERS)
LONGEST = 1024  # cues lie nearer than that
CASES = 256  # of a kind at distances of one power of two, at most
TEXT_CHARS = 2**17  # that are mined, at most
SWAPS = 64  # parts of the text that are put in the cues' place
STREAMS = 64  # in which the whole text is read, at most


@dataclass(frozen=True)
class Group:
    """Cases of one kind at distances of one power of two, ascending by distance."""

    kind: str
    distance: int  # the least
    cases: np.ndarray  # (N, 4) as `Case`
    swaps: np.ndarray  # (N,) which of the plan's other parts goes in the cue's place

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def segments(self) -> Segments:
        """The text from the end of each cue to the end of its target, which is predicted."""
        return Segments(*self.cases[:, 1:].T)

    @property
    def starts(self) -> np.ndarray:
        """Where each target starts, ``(N,)``."""
        return self.cases[:, 2]

    @property
    def ends(self) -> np.ndarray:
        """One past each target, ``(N,)``."""
        return self.cases[:, 3]

    def slices(self, size: int) -> Iterator[Group]:
        """The cases ``size`` at a time."""
        for first in range(0, len(self), size):
            part = slice(first, first + size)
            yield replace(self, cases=self.cases[part], swaps=self.swaps[part])

    def rows_of(self, values: np.ndarray) -> np.ndarray:
        """Of a value a character, ``(L,)``, those of each target: ``(N, longest)``, then zeros."""
        steps = np.arange(int((self.ends - self.starts).max()))
        places = self.starts[:, None] + steps
        there = values[places.clip(max=len(values) - 1)]
        rows: np.ndarray = np.where(places < self.ends[:, None], there, 0.0)
        return rows


@dataclass(frozen=True)
class Plan:
    """All that is asked of one text."""

    ids: np.ndarray  # (L,) the text that is mined
    full: int  # characters before a target that "all" means, at least
    swaps: np.ndarray  # (P,) where other parts of ``full`` characters start
    groups: tuple[Group, ...]  # by kind, then distance

    @classmethod
    def of(cls, vocabulary: Vocabulary, ids: np.ndarray, longest: int, seed: int) -> Plan:
        """The dependencies of a text; a text under six times ``longest`` is asked less far back."""
        ids = ids[:TEXT_CHARS]
        while longest > 1 and 6 * longest > len(ids):
            longest //= 2
        if longest < 2:
            return cls(ids, 0, np.zeros(0, dtype=np.int64), ())
        full = 2 * longest
        rng = np.random.default_rng([seed, 0])
        shares = np.arange(SWAPS + 1) * (len(ids) - full) // SWAPS
        plan = cls(ids, full, rng.integers(shares[:-1], shares[1:] + 1), ())
        text = vocabulary.decode(ids)
        groups = [*plan._words(text, longest, seed), *plan._closers(text, longest, seed)]
        return replace(plan, groups=tuple(groups))

    def swap_chars(self, group: Group) -> int:
        """How much of the other text is read: with what is left in view, ``full`` at most."""
        return self.full - 2 * group.distance

    @property
    def streams(self) -> Segments:
        """Parallel streams through the text from ``full`` on."""
        chars = len(self.ids) - self.full
        N = min(STREAMS, max(1, chars // 512))
        bounds = self.full + np.arange(N + 1) * chars // N
        return Segments(bounds[:-1] - self.full, bounds[:-1], bounds[1:])

    def in_place(self, rows: np.ndarray) -> np.ndarray:
        """What the streams told, ``(N, longest)``, a value a character: ``(L,)``, first zeros."""
        lengths = self.streams.ends - self.streams.begins
        told = [row[:length] for row, length in zip(rows, lengths, strict=True)]
        return np.concatenate([np.zeros(self.full), *told])

    def _words(self, text: str, longest: int, seed: int) -> Iterator[Group]:
        found = returning_words(text, self.full)

        def without(case: Case, ends: np.ndarray, chars: int) -> np.ndarray:
            """Which other parts do not hold the word."""
            return ~holds(found.uses[text[case.start : case.end]], ends - chars, ends)

        return self._groups(WORDS, found.cases, longest, seed, without)

    def _closers(self, text: str, longest: int, seed: int) -> Iterator[Group]:
        found = parse_brackets(text)
        cases = [Case(opened, opened + 1, end, end + 1) for opened, end in found.pairs]

        def without(case: Case, ends: np.ndarray, chars: int) -> np.ndarray:
            """At the end of which other parts nothing awaits the closing character."""
            nothing: np.ndarray = found.open_before[text[case.start]][ends] == 0
            return nothing

        return self._groups(CLOSERS, cases, longest, seed, without)

    def _groups(
        self,
        kind: str,
        cases: Sequence[Case],
        longest: int,
        seed: int,
        without: Callable[[Case, np.ndarray, int], np.ndarray],
    ) -> Iterator[Group]:
        """The groups of a kind; a case for which no other part will do is left out."""
        within = [case for case in cases if case.start >= self.full]
        for distance, some in by_distance(within, longest).items():
            rng = np.random.default_rng([seed, 1, kind == WORDS, distance])
            chars = self.full - 2 * distance
            ends = self.swaps + chars
            kept: list[tuple[Case, int]] = []
            for case in (some[place] for place in rng.permutation(len(some))):
                apart = (ends <= case.start - self.full) | (self.swaps >= case.end)
                fit = np.flatnonzero(apart & without(case, ends, chars))
                if len(fit):
                    kept.append((case, int(rng.choice(fit))))
                if len(kept) == CASES:
                    break
            kept.sort(key=lambda pair: (pair[0].distance, pair[0].start))
            chosen = np.array([case for case, _ in kept], dtype=np.int64).reshape(-1, 4)
            yield Group(kind, distance, chosen, np.array([row for _, row in kept], dtype=np.int64))
