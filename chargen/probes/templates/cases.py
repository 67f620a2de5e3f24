"""The frames that the template instrument asks, a function of bank and seed alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from chargen.datasets.longrange import Composer, Decoy, Frame, any_place, other_fact
from chargen.datasets.phrase_bank import Bank, FactSet
from chargen.errors import ChargenError

PREFIX_CHARS = (32, 128)  # the natural text before a frame is at least, and under, so long
LONGEST = 2048  # characters: no bank is searched for longer spans of its own
BATCH_ROUNDS = 7  # Latin squares that share one length, so that no padding is needed


@dataclass(frozen=True)
class Batch:
    """N frames of one fact set and one span, each at the end of a context of T characters."""

    facts: FactSet
    span: int
    frames: tuple[Frame, ...]  # (N,)
    contexts: tuple[str, ...]  # (N,) of one length T, all before the target

    @property
    def cueless(self) -> tuple[str, ...]:
        """The contexts with a word of equal length, which is no cue, in the cue's place."""
        return self._with_cues([self.facts.no_cue] * len(self.contexts))

    @property
    def others(self) -> np.ndarray:
        """A fact for each frame that is not its answer: ``(N,)`` in 0 .. K-1.

        In K - 1 rounds without decoys, each pair of facts comes once.
        """
        K = len(self.facts.cues)
        rounds = np.arange(len(self.frames)) // K
        others: np.ndarray = (self.answers + 1 + rounds % (K - 1)) % K
        return others

    @property
    def recued(self) -> tuple[str, ...]:
        """The contexts with the cue of another fact, that of `others`, in the cue's place."""
        return self._with_cues([self.facts.cues[other] for other in self.others])

    def _with_cues(self, words: Sequence[str]) -> tuple[str, ...]:
        before = self.span + len(self.facts.no_cue)
        return tuple(
            context[:-before] + word + context[-self.span :]
            for context, word in zip(self.contexts, words, strict=True)
        )

    @property
    def plain(self) -> np.ndarray:
        """Which frames hold no decoy, ascending: ``(M,)`` in 0 .. N-1."""
        return np.flatnonzero([frame.decoy is None for frame in self.frames])

    def without_decoys(self) -> Batch:
        """The frames that hold no decoy."""
        frames = tuple(self.frames[n] for n in self.plain)
        return replace(self, frames=frames, contexts=tuple(self.contexts[n] for n in self.plain))

    @property
    def answers(self) -> np.ndarray:
        """The right answer of each frame: ``(N,)`` in 0 .. K-1."""
        return np.array([frame.answer for frame in self.frames])


def make(bank: Bank, span: int, frames: int, seed: int) -> list[Batch]:
    """At least ``frames`` frames of one span, balanced, from the bank's test half.

    The frames are dealt in rounds. A round holds, for each set of facts, each of its K answers
    once without a decoy and once with one, so that a constant answer is right in exactly 1/K of
    the frames with and without. Each frame follows other sentences of the test half, cut at
    random; how long they are does not depend on the span. The frames of other spans do not
    change these.
    """
    rng = np.random.default_rng([seed, span])
    check_spans(bank, [span])
    composer = Composer(bank, "test")
    rounds = -(-frames // sum(2 * len(facts.cues) for facts in bank.fact_sets))
    return [
        _batch(composer, facts, span, range(first, min(first + BATCH_ROUNDS, rounds)), rng)
        for facts in bank.fact_sets
        for first in range(0, rounds, BATCH_ROUNDS)
    ]


def nearest_spans(bank: Bank, wanted: Sequence[int]) -> tuple[int, ...]:
    """The shortest span that every set of facts has, then those nearest to the ``wanted``.

    Ascending, and no longer than `LONGEST`. Of ``wanted`` those count that are half as long again
    as the shortest. A bank whose sets have no span in common is a `ChargenError`.
    """
    composer = Composer(bank, "test")
    common = (
        span
        for span in range(1, LONGEST + 1)
        if all(composer.reaches(facts, span) for facts in bank.fact_sets)
    )
    shortest = next(common, None)
    if shortest is None:
        raise ChargenError(f"{bank.name}: its sets of facts have no span in common")
    farther = [span for span in wanted if 2 * span >= 3 * shortest]
    reached = list(common) if farther else []
    near = {min(reached, key=lambda s: abs(s - span)) for span in farther if reached}
    return tuple(sorted({shortest, *near}))


def digest(batches: Sequence[Batch]) -> str:
    """A SHA-256 of all that the frames ask, and in which order."""
    said = hashlib.sha256()
    for batch in batches:
        for context, frame in zip(batch.contexts, batch.frames, strict=True):
            asked = [context, str(frame.answer), *batch.facts.targets]
            said.update("\0".join(asked).encode() + b"\0")
    return said.hexdigest()


def check_spans(bank: Bank, spans: Sequence[int]) -> None:
    """Refuse a span that no sentence of the bank has, and name the nearest that one has."""
    composer = Composer(bank, "test")
    for span, facts in product(spans, bank.fact_sets):
        if not composer.reaches(facts, span):
            _refuse(composer, facts, span)


def _refuse(composer: Composer, facts: FactSet, span: int) -> None:
    reached = [s for s in range(1, 2 * span + 100) if composer.reaches(facts, s)]
    near = sorted(sorted(reached, key=lambda s: abs(s - span))[:3])
    raise ChargenError(
        f"span {span}: no {composer.half} sentence of {composer.bank.name}, {facts.name!r}, "
        f"has it; nearest are {', '.join(map(str, near))}"
    )


def _batch(
    composer: Composer, facts: FactSet, span: int, rounds: range, rng: np.random.Generator
) -> Batch:
    frames = [frame for _ in rounds for frame in _round(composer, facts, span, rng)]
    # Room for the longest frame with its decoy, and natural text before every one.
    chars = max(len(frame.text) for frame in frames) + int(rng.integers(*PREFIX_CHARS))
    contexts = tuple(_preceded(composer, frame, chars, rng) for frame in frames)
    return Batch(facts, span, tuple(frames), contexts)


def _round(composer: Composer, facts: FactSet, span: int, rng: np.random.Generator) -> list[Frame]:
    K = len(facts.cues)
    frames = [composer.frame(facts, answer, span, rng) for answer in range(K)]
    for answer in range(K):
        decoy = Decoy(other_fact(answer, K, rng), any_place(rng))
        frames.append(composer.frame(facts, answer, span, rng, decoy))
    return frames


def _preceded(composer: Composer, frame: Frame, chars: int, rng: np.random.Generator) -> str:
    """The frame at the end of ``chars`` characters of text, cut where the length says."""
    text = frame.text
    before = composer.sentences(rng)
    while len(text) < chars:
        text = next(before).sentence + text
    return text[-chars:]


def shuffled(batches: Sequence[Batch], seed: int) -> list[Batch]:
    """The same contexts with the answers dealt out anew: a control that must come out at chance."""
    rng = np.random.default_rng(seed)
    dealt = []
    for batch in batches:
        answers = rng.permutation(batch.answers)
        frames = [
            replace(frame, answer=int(answer), target=batch.facts.targets[answer])
            for frame, answer in zip(batch.frames, answers, strict=True)
        ]
        dealt.append(replace(batch, frames=tuple(frames)))
    return dealt
