"""Sentences with an exact span, composed from a phrase bank: the corpus and the test sentences."""

import math
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

import numpy as np

from chargen.datasets.phrase_bank import Bank, FactSet, Half
from chargen.datasets.tasks import whole_lines

Place = Literal["before", "after"]

SHORTEST_SHARE = 0.5  # of the sentences: models learn short spans first
DISTRACTOR_SHARE = 0.5  # of the sentences have a distractor
IMPOSSIBLE = float("-inf")
LONGEST_SPAN = 256  # characters, in the corpus
HELD_OUT = ((29, 35), (116, 140))  # inclusive ranges of spans that the corpus lacks


@dataclass(frozen=True)
class Distractor:
    """A distractor: the cue of another fact."""

    fact: int  # 0 .. K-1
    place: Place  # before the sentence, or after its cue among the fillers


@dataclass(frozen=True)
class Frame:
    """A sentence that states one fact."""

    text: str  # before the target: distractor, opening, cue, filler, lead
    target: str
    facts: FactSet
    answer: int  # index of the fact, 0 .. K-1
    span: int  # characters from the end of the cue to the start of the target
    distractor: Distractor | None

    @property
    def sentence(self) -> str:
        return self.text + self.target + self.facts.ending


class Fillers:
    """Random filler of an exact length, composed of pieces.

    The distribution is that of pieces drawn uniformly one after the other, conditioned on the
    total length. Two ``links`` are never adjacent.
    """

    def __init__(self, phrases: Sequence[str], links: Sequence[str] = ()) -> None:
        self._pieces = [(phrase, False) for phrase in phrases] + [(link, True) for link in links]
        # _log_ways[after_link][n]: log-probability, up to a factor, that drawn pieces end exactly n
        # characters on. Probabilities would leave the range of floats.
        self._log_ways: tuple[list[float], list[float]] = ([0.0], [0.0])
        self._choices: dict[tuple[int, bool], list[float]] = {}

    def reaches(self, chars: int) -> bool:
        for length in range(len(self._log_ways[0]), chars + 1):
            for after_link, log_ways in enumerate(self._log_ways):
                total = np.logaddexp.reduce(self._weights(length, bool(after_link)))
                log_ways.append(float(total) - np.log(len(self._pieces)))
        return chars >= 0 and self._log_ways[False][chars] > IMPOSSIBLE

    def draw(self, chars: int, rng: np.random.Generator) -> str:
        if not self.reaches(chars):
            raise ValueError(f"no filler of {chars} characters")
        drawn, after_link = [], False
        while chars:
            if (chars, after_link) not in self._choices:
                weights = np.array(self._weights(chars, after_link))
                shares = np.exp(weights - weights.max()).tolist()
                self._choices[chars, after_link] = list(accumulate(shares))
            cumulative = self._choices[chars, after_link]
            piece, after_link = self._pieces[bisect(cumulative, rng.random() * cumulative[-1])]
            drawn.append(piece)
            chars -= len(piece)
        return "".join(drawn)

    def _weights(self, chars: int, after_link: bool) -> list[float]:
        return [
            IMPOSSIBLE
            if len(piece) > chars or (after_link and is_link)
            else self._log_ways[is_link][chars - len(piece)]
            for piece, is_link in self._pieces
        ]


class Composer:
    """Composes sentences from one half of a phrase bank."""

    def __init__(self, bank: Bank, half: Half) -> None:
        self.bank = bank
        self.fillers = Fillers(bank.training if half == "training" else bank.test, bank.links)

    def reaches(self, facts: FactSet, span: int) -> bool:
        return self.fillers.reaches(span - facts.shortest_span)

    def frame(
        self,
        facts: FactSet,
        answer: int,
        span: int,
        rng: np.random.Generator,
        distractor: Distractor | None = None,
    ) -> Frame:
        """Compose a sentence of exactly ``span`` characters; `ValueError` if no filler fits."""
        chars, draw, reaches = span - facts.shortest_span, self.fillers.draw, self.fillers.reaches
        head, splits = "", []  # splits: possible lengths of filler before the distractor
        if distractor and distractor.place == "after":
            mention = facts.cues[distractor.fact].join(facts.distractor_after)
            rest = chars - len(mention)
            splits = [n for n in range(rest + 1) if reaches(n) and reaches(rest - n)]
        if splits:
            first = splits[rng.integers(len(splits))]
            filler = draw(first, rng) + mention + draw(rest - first, rng)
        else:
            filler = draw(chars, rng)
            if distractor:  # there is no room for it after the cue
                distractor = Distractor(distractor.fact, "before")
                head = facts.cues[distractor.fact].join(facts.distractor_before)
        text = head + facts.opening + facts.cues[answer] + filler + facts.lead
        return Frame(text, facts.targets[answer], facts, answer, span, distractor)

    def with_answer(self, frame: Frame, answer: int) -> Frame:
        """Return a sentence without a distractor with the cue and the target of another fact."""
        facts = frame.facts
        after = frame.text[len(facts.opening) + len(facts.no_cue) :]
        text = facts.opening + facts.cues[answer] + after
        return replace(frame, text=text, target=facts.targets[answer], answer=answer)

    def sentences(self, rng: np.random.Generator) -> Iterator[Frame]:
        sets = self.bank.fact_sets
        while True:
            facts = sets[rng.integers(len(sets))]
            answer = int(rng.integers(len(facts.cues)))
            distractor = None
            if rng.random() < DISTRACTOR_SHARE:
                other = int((answer + rng.integers(1, len(facts.cues))) % len(facts.cues))
                distractor = Distractor(other, any_place(rng))
            yield self.frame(facts, answer, self._span(facts, rng), rng, distractor)

    def _span(self, facts: FactSet, rng: np.random.Generator) -> int:
        """Draw the shortest span half of the time, else log-uniformly a span in the corpus."""
        if rng.random() < SHORTEST_SHARE:
            return facts.shortest_span
        while True:
            low, high = math.log(facts.shortest_span), math.log(LONGEST_SPAN)
            span = round(math.exp(rng.uniform(low, high)))
            if self.reaches(facts, span) and not is_held_out(span):
                return span


def any_place(rng: np.random.Generator) -> Place:
    return "before" if rng.random() < 0.5 else "after"


def is_held_out(span: int) -> bool:
    """Return whether the corpus lacks this span although it has longer ones."""
    return any(low <= span <= high for low, high in HELD_OUT)


def corpus(bank: Bank, chars: int, seed: int) -> str:
    """Generate at least ``chars`` characters of whole sentences from the training half."""
    frames = Composer(bank, "training").sentences(np.random.default_rng(seed))
    return whole_lines((frame.sentence for frame in frames), chars)
