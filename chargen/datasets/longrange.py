"""Sentences with an exact span, made from a phrase bank: the corpus, and what probes ask."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from chargen.datasets.bank import Bank, FactSet, Half
from chargen.datasets.fillers import Fillers

Place = Literal["before", "after"]

SHORTEST_SHARE = 0.5  # of the sentences: what lies close by is learned first, then carried farther
DECOY_SHARE = 0.5  # of the sentences have another fact's cue where it is not asked about
LONGEST_SPAN = 256  # characters: the longest span in the corpus
HELD_OUT = ((29, 35), (116, 140))  # spans, both ends counted, that the corpus leaves out


@dataclass(frozen=True)
class Decoy:
    """Another fact's cue, in a place that is not asked about."""

    fact: int  # whose cue, 0 .. K-1
    place: Place  # before the sentence, or after its cue among the fillers


@dataclass(frozen=True)
class Frame:
    """A sentence about one fact, and where its parts stand."""

    text: str  # all before the target: decoy, opening, cue, filler, lead
    target: str
    facts: FactSet
    answer: int  # which fact it tells, 0 .. K-1
    span: int  # characters from the end of the cue to the start of the target
    decoy: Decoy | None

    @property
    def cue_start(self) -> int:
        """Where in ``text`` the cue begins."""
        return len(self.text) - self.span - len(self.facts.cues[self.answer])

    @property
    def sentence(self) -> str:
        """The whole sentence, its line's end included."""
        return self.text + self.target + self.facts.ending


class Composer:
    """Makes sentences from one half of a bank, and draws from the generator it is handed."""

    def __init__(self, bank: Bank, half: Half) -> None:
        self.bank = bank
        self.half: Half = half
        self.fillers = Fillers(bank.phrases(half), bank.links)

    def reaches(self, facts: FactSet, span: int) -> bool:
        """Whether a sentence of exactly this span can be made."""
        return self.fillers.reaches(span - facts.shortest_span)

    def frame(
        self,
        facts: FactSet,
        answer: int,
        span: int,
        rng: np.random.Generator,
        decoy: Decoy | None = None,
    ) -> Frame:
        """A sentence of exactly ``span`` characters between cue and target.

        A decoy that should stand after the cue stands before it where the span has no room. A
        span that the fillers do not reach is a ``ValueError``.
        """
        chars = span - facts.shortest_span
        splits = self._splits(chars, facts) if decoy and decoy.place == "after" else []
        head = ""
        if decoy and splits:
            first = splits[rng.integers(len(splits))]
            rest = chars - first - facts.decoy_chars
            mention = facts.cues[decoy.fact].join(facts.decoy_after)
            filler = self.fillers.draw(first, rng) + mention + self.fillers.draw(rest, rng)
        else:
            filler = self.fillers.draw(chars, rng)
            if decoy:
                decoy = Decoy(decoy.fact, "before")
                head = facts.cues[decoy.fact].join(facts.decoy_before)
        text = head + facts.opening + facts.cues[answer] + filler + facts.lead
        return Frame(text, facts.targets[answer], facts, answer, span, decoy)

    def _splits(self, chars: int, facts: FactSet) -> list[int]:
        """How much filler can stand before a decoy, so that filler and decoy make ``chars``."""
        rest = chars - facts.decoy_chars
        reaches = self.fillers.reaches
        return [first for first in range(rest + 1) if reaches(first) and reaches(rest - first)]

    def sentences(self, rng: np.random.Generator) -> Iterator[Frame]:
        """Sentences without end, of the spans, facts and decoys that the corpus has."""
        sets = self.bank.fact_sets
        while True:
            facts = sets[rng.integers(len(sets))]
            answer = int(rng.integers(len(facts.cues)))
            decoy = None
            if rng.random() < DECOY_SHARE:
                decoy = Decoy(other_fact(answer, len(facts.cues), rng), any_place(rng))
            yield self.frame(facts, answer, self._span(facts, rng), rng, decoy)

    def _span(self, facts: FactSet, rng: np.random.Generator) -> int:
        """The shortest span half the time, else log-uniform, never one that is held out."""
        if rng.random() < SHORTEST_SHARE:
            return facts.shortest_span
        while True:
            span = round(
                math.exp(rng.uniform(math.log(facts.shortest_span), math.log(LONGEST_SPAN)))
            )
            if self.reaches(facts, span) and not is_held_out(span):
                return span


def other_fact(answer: int, facts: int, rng: np.random.Generator) -> int:
    """A fact that is not ``answer``, each of the others equally likely."""
    return int((answer + rng.integers(1, facts)) % facts)


def any_place(rng: np.random.Generator) -> Place:
    """Either place of a decoy, each equally likely."""
    return "before" if rng.random() < 0.5 else "after"


def is_held_out(span: int) -> bool:
    """Whether the corpus leaves this span out though it has longer ones."""
    return any(low <= span <= high for low, high in HELD_OUT)


def corpus(bank: Bank, chars: int, seed: int) -> str:
    """At least ``chars`` characters of sentences from the training half, as whole sentences."""
    rng = np.random.default_rng(seed)
    parts: list[str] = []
    made = 0
    for frame in Composer(bank, "training").sentences(rng):
        if made >= chars:
            break
        parts.append(frame.sentence)
        made += len(frame.sentence)
    return "".join(parts)
