"""Test sentences of the cloze instrument, a function of phrase bank and seed alone."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from chargen.datasets.longrange import Composer, Distractor, Frame, any_place
from chargen.datasets.phrase_bank import Bank, FactSet
from chargen.errors import ChargenError

BEFORE_CHARS = (32, 128)  # range of the length of the text before a sentence
LONGEST = 2048  # characters: default spans are sought up to here
CACHED = 16  # spans whose sentences are kept for the next run


@dataclass(frozen=True)
class Batch:
    """N sentences of one fact set and one span, each at the end of T characters of context.

    The sentences of a round follow the same text. Those without a distractor are pairs that differ
    in their cue alone.
    """

    facts: FactSet
    span: int
    frames: tuple[Frame, ...]  # (N,) in random order
    contexts: tuple[str, ...]  # (N,) of length T, all text before the target
    others: tuple[int, ...]  # (N,) the fact of the other sentence of a pair
    rounds: tuple[int, ...]  # (N,) 0 .. R-1

    @property
    def answers(self) -> np.ndarray:
        """The correct answer of each sentence, ``(N,)`` in 0 .. K-1."""
        return np.array([frame.answer for frame in self.frames], dtype=int)

    @property
    def cueless(self) -> tuple[str, ...]:
        """The contexts with a neutral word of equal length in place of the cue."""
        return self._with_cues([self.facts.no_cue] * len(self.contexts))

    @property
    def recued(self) -> tuple[str, ...]:
        """The contexts with the cue of another fact, that of `others`."""
        return self._with_cues([self.facts.cues[other] for other in self.others])

    @property
    def plain(self) -> np.ndarray:
        """The indices of the sentences without a distractor, ascending, ``(M,)``."""
        return np.flatnonzero([frame.distractor is None for frame in self.frames])

    @property
    def controlled(self) -> np.ndarray:
        """The indices of those without a distractor in the first half of the rounds."""
        return self.plain[2 * np.array(self.rounds)[self.plain] <= max(self.rounds)]

    @property
    def cue_start(self) -> int:
        return len(self.contexts[0]) - self.span - len(self.facts.no_cue)

    def at(self, rows: Sequence[int] | np.ndarray) -> "Batch":
        parts = ("frames", "contexts", "others", "rounds")
        kept: dict[str, Any] = {x: tuple(getattr(self, x)[n] for n in rows) for x in parts}
        return replace(self, **kept)

    def _with_cues(self, words: Sequence[str]) -> tuple[str, ...]:
        pairs = zip(self.contexts, words, strict=True)
        return tuple(x[: self.cue_start] + word + x[-self.span :] for x, word in pairs)


@lru_cache(CACHED)
def make(bank: Bank, span: int, frames: int, seed: int) -> tuple[Batch, ...]:
    """Return at least ``frames`` balanced sentences of one span from the bank's test half.

    A round holds, for each fact set, each of its K answers once without and once with a
    distractor. Each fact is the distractor once, and in one sentence of the round it names the
    answer, so that answers, last cues and everything but the distractor have an accuracy of 1/K.
    A round follows other sentences of the test half, cut at random regardless of the span.
    """
    rng = np.random.default_rng([seed, span])
    check_spans(bank, [span])
    composer = Composer(bank, "test")
    rounds = -(-frames // sum(2 * len(facts.cues) for facts in bank.fact_sets))
    return tuple(
        batch for facts in bank.fact_sets for batch in _batches(composer, facts, span, rounds, rng)
    )


def digest(batches: Sequence[Batch]) -> str:
    """Return a SHA-256 of the contexts, answers and targets in their order."""
    cases = [
        [context, str(frame.answer), *batch.facts.targets]
        for batch in batches
        for context, frame in zip(batch.contexts, batch.frames, strict=True)
    ]
    return hashlib.sha256(json.dumps(cases).encode()).hexdigest()


def nearest_spans(bank: Bank, wanted: Sequence[int]) -> tuple[int, ...]:
    """Return the shortest span that every fact set has, then those nearest to the wanted ones.

    Wanted spans below 1.5 times the shortest are left out. `ChargenError` if the bank's fact sets
    have no span up to `LONGEST` in common.
    """
    composer = Composer(bank, "test")
    common = (span for span in range(1, LONGEST + 1) if _reaches(composer, bank, span))
    shortest = next(common, None)
    if shortest is None:
        raise ChargenError(f"{bank.name}: its fact sets have no span in common")
    longer = [span for span in wanted if 2 * span >= 3 * shortest]
    reached = list(common) if longer else []
    near = {min(reached, key=lambda s: abs(s - span)) for span in longer if reached}
    return tuple(sorted({shortest, *near}))


def check_spans(bank: Bank, spans: Sequence[int]) -> None:
    """Raise `ChargenError`, which names the nearest spans, unless the bank has every span."""
    composer = Composer(bank, "test")
    for span in spans:
        if not _reaches(composer, bank, span):
            reached = [s for s in range(1, 2 * span + 100) if _reaches(composer, bank, s)]
            near = sorted(sorted(reached, key=lambda s: abs(s - span))[:3])
            raise ChargenError(
                f"span {span}: {bank.name} has no test sentences of it; the nearest spans are "
                f"{', '.join(map(str, near))}"
            )


def _reaches(composer: Composer, bank: Bank, span: int) -> bool:
    return all(composer.reaches(facts, span) for facts in bank.fact_sets)


def _batches(
    composer: Composer, facts: FactSet, span: int, rounds: int, rng: np.random.Generator
) -> Iterator[Batch]:
    """Yield the sentences of one fact set, those without a distractor before them first."""
    chars = int(rng.integers(*BEFORE_CHARS))
    rows: list[tuple[Frame, str, int, int]] = []
    for number in range(rounds):
        before, sentences = "", composer.sentences(rng)
        while len(before) < chars:
            before = next(sentences).sentence + before
        rows += [
            (frame, before[-chars:] + frame.text, other, number)
            for frame, other in _round(composer, facts, span, number, rng)
        ]
    rows = [rows[n] for n in rng.permutation(len(rows))]
    for length in sorted({len(context) for _, context, _, _ in rows}):
        some = [row for row in rows if len(row[1]) == length]
        yield Batch(facts, span, *zip(*some, strict=True))


def _round(
    composer: Composer, facts: FactSet, span: int, number: int, rng: np.random.Generator
) -> Iterator[tuple[Frame, int]]:
    """Yield each answer without and with a distractor, and the fact of its pair's other cue."""
    K = len(facts.cues)
    for one, other in _pairs(K, number):
        frame = composer.frame(facts, one, span, rng)
        yield frame, other if other != K else (one + 1) % K
        if other != K:
            yield composer.with_answer(frame, other), one
    mentioned = rng.permutation(K)
    while K > 2 and (mentioned == np.arange(K)).sum() != 1:  # 2 facts have no such order
        mentioned = rng.permutation(K)
    for answer in range(K):
        distractor = Distractor(int(mentioned[answer]), any_place(rng))
        yield composer.frame(facts, answer, span, rng, distractor), (answer + 1) % K


def _pairs(K: int, number: int) -> list[tuple[int, int]]:
    """Return the pairs of one round; in K - 1 rounds each pair occurs once. K stands for none."""
    size = K + K % 2
    ring = [0, *np.roll(np.arange(1, size), number).tolist()]
    pairs = ((ring[n], ring[-1 - n]) for n in range(size // 2))
    return [(min(pair), max(pair)) for pair in pairs]
