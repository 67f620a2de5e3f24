"""Test sentences of the cloze instrument, a function of phrase bank and seed alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np

from chargen.datasets.longrange import Composer, Distractor, Frame, any_place, other_fact
from chargen.datasets.phrase_bank import Bank, FactSet
from chargen.errors import ChargenError

PREFIX_CHARS = (32, 128)  # least, and end of the range, of the text before the longest sentence
LONGEST = 2048  # characters: default spans are sought up to here
BATCH_ROUNDS = 7  # Latin squares that share one length, so that no padding is needed
CACHED = 16  # spans whose sentences are kept for the next run


@dataclass(frozen=True)
class Batch:
    """N sentences of one fact set and one span, each at the end of T characters of context."""

    facts: FactSet
    span: int
    frames: tuple[Frame, ...]  # (N,)
    contexts: tuple[str, ...]  # (N,) of length T, all text before the target

    @property
    def answers(self) -> np.ndarray:
        """The correct answer of each sentence, ``(N,)`` in 0 .. K-1."""
        return np.array([frame.answer for frame in self.frames])

    @property
    def others(self) -> np.ndarray:
        """A wrong answer for each sentence, ``(N,)`` in 0 .. K-1.

        In K - 1 rounds without distractors, each pair of facts occurs once.
        """
        K = len(self.facts.cues)
        rounds = np.arange(len(self.frames)) // K
        others: np.ndarray = (self.answers + 1 + rounds % (K - 1)) % K
        return others

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
    def cue_start(self) -> int:
        """Return the index at which the cue begins in every context."""
        return len(self.contexts[0]) - self.span - len(self.facts.no_cue)

    def without_distractors(self) -> Batch:
        """Return the sentences without a distractor."""
        frames = tuple(self.frames[n] for n in self.plain)
        return replace(self, frames=frames, contexts=tuple(self.contexts[n] for n in self.plain))

    def _with_cues(self, words: Sequence[str]) -> tuple[str, ...]:
        start = self.cue_start
        return tuple(
            context[:start] + word + context[-self.span :]
            for context, word in zip(self.contexts, words, strict=True)
        )


@lru_cache(CACHED)
def make(bank: Bank, span: int, frames: int, seed: int) -> tuple[Batch, ...]:
    """Return at least ``frames`` balanced sentences of one span from the bank's test half.

    A round holds, for each fact set, each of its K answers once without and once with a
    distractor, so that a constant answer has an accuracy of exactly 1/K in both halves. Each
    sentence follows other sentences of the test half, cut at random; the length of that text does
    not depend on the span. The sentences do not depend on which other spans are measured.
    """
    rng = np.random.default_rng([seed, span])
    check_spans(bank, [span])
    composer = Composer(bank, "test")
    rounds = -(-frames // sum(2 * len(facts.cues) for facts in bank.fact_sets))
    return tuple(
        _batch(composer, facts, span, range(first, min(first + BATCH_ROUNDS, rounds)), rng)
        for facts in bank.fact_sets
        for first in range(0, rounds, BATCH_ROUNDS)
    )


def nearest_spans(bank: Bank, wanted: Sequence[int]) -> tuple[int, ...]:
    """Return the shortest span that every fact set has, then those nearest to the wanted ones.

    The spans ascend up to `LONGEST`. Wanted spans below 1.5 times the shortest are left out.

    Raises:
        ChargenError: the bank's fact sets have no span in common.
    """
    composer = Composer(bank, "test")
    common = (
        span
        for span in range(1, LONGEST + 1)
        if all(composer.reaches(facts, span) for facts in bank.fact_sets)
    )
    shortest = next(common, None)
    if shortest is None:
        raise ChargenError(f"{bank.name}: its fact sets have no span in common")
    longer = [span for span in wanted if 2 * span >= 3 * shortest]
    reached = list(common) if longer else []
    near = {min(reached, key=lambda s: abs(s - span)) for span in longer if reached}
    return tuple(sorted({shortest, *near}))


def check_spans(bank: Bank, spans: Sequence[int]) -> None:
    """Check that the bank has sentences of every span.

    Raises:
        ChargenError: it has none of some span; the message names the nearest spans.
    """
    composer = Composer(bank, "test")
    for span, facts in product(spans, bank.fact_sets):
        if not composer.reaches(facts, span):
            reached = [s for s in range(1, 2 * span + 100) if composer.reaches(facts, s)]
            near = sorted(sorted(reached, key=lambda s: abs(s - span))[:3])
            raise ChargenError(
                f"span {span}: no test sentence of {bank.name}, {facts.name!r}, has it; "
                f"the nearest spans are {', '.join(map(str, near))}"
            )


def digest(batches: Sequence[Batch]) -> str:
    """Return a SHA-256 of the contexts, answers and targets in their order."""
    sha256 = hashlib.sha256()
    for batch in batches:
        for context, frame in zip(batch.contexts, batch.frames, strict=True):
            case = [context, str(frame.answer), *batch.facts.targets]
            sha256.update("\0".join(case).encode() + b"\0")
    return sha256.hexdigest()


def _batch(
    composer: Composer, facts: FactSet, span: int, rounds: range, rng: np.random.Generator
) -> Batch:
    frames = [frame for _ in rounds for frame in _round(composer, facts, span, rng)]
    # Room for the longest sentence with its distractor, and text before every sentence.
    chars = max(len(frame.text) for frame in frames) + int(rng.integers(*PREFIX_CHARS))
    contexts = tuple(_preceded(composer, frame, chars, rng) for frame in frames)
    return Batch(facts, span, tuple(frames), contexts)


def _round(composer: Composer, facts: FactSet, span: int, rng: np.random.Generator) -> list[Frame]:
    K = len(facts.cues)
    frames = [composer.frame(facts, answer, span, rng) for answer in range(K)]
    for answer in range(K):
        distractor = Distractor(other_fact(answer, K, rng), any_place(rng))
        frames.append(composer.frame(facts, answer, span, rng, distractor))
    return frames


def _preceded(composer: Composer, frame: Frame, chars: int, rng: np.random.Generator) -> str:
    text = frame.text
    before = composer.sentences(rng)
    while len(text) < chars:
        text = next(before).sentence + text
    return text[-chars:]
