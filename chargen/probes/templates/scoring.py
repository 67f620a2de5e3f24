"""Scores of batches of cloze sentences, and what is counted in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from chargen.evaluation import context_limit
from chargen.predictors import Model, select
from chargen.probes.statistics.intervals import Estimate, wilson
from chargen.probes.templates.candidates import CandidateScores, read_texts, score_candidates
from chargen.probes.templates.cases import Batch
from chargen.probes.templates.result import DistractorTally, Tally


@dataclass(frozen=True)
class Reading:
    """Contexts of equal length with K candidates: each is read once, however often it occurs.

    Contexts that agree in their first ``shared`` characters share the state after these.
    """

    contexts: Sequence[str]
    candidates: Sequence[str]
    shared: int = 0

    @cached_property
    def unique(self) -> dict[str, int]:
        """Each context and its index."""
        return {text: n for n, text in enumerate(dict.fromkeys(self.contexts))}

    @cached_property
    def prefixes(self) -> dict[str, int]:
        """Each text that contexts share and its index."""
        return {
            text: n for n, text in enumerate(dict.fromkeys(x[: self.shared] for x in self.unique))
        }

    @property
    def chars(self) -> int:
        """The number of characters that are read."""
        after = len(self.contexts[0]) - self.shared + sum(map(len, self.candidates))
        return len(self.prefixes) * self.shared + len(self.unique) * after

    def scores(
        self, model: Model, on_read: Callable[[int], None] = lambda chars: None
    ) -> CandidateScores:
        """Return the scores of all candidates after all contexts, ``(N, K)``."""
        limit = context_limit(model)
        if limit is not None and limit < len(self.contexts[0]):
            near = [context[-limit:] for context in self.contexts]
            return Reading(near, self.candidates).scores(model, on_read)
        state = None
        if self.shared:
            state = read_texts(model, [*self.prefixes], on_read)
            state = select(state, np.array([self.prefixes[x[: self.shared]] for x in self.unique]))
        rest = [text[self.shared :] for text in self.unique]
        scores = score_candidates(model, rest, self.candidates, on_read, state)
        return scores[np.array([self.unique[text] for text in self.contexts])]


def cue_effect(batch: Batch, log_probs: np.ndarray, recued: np.ndarray) -> np.ndarray:
    """Return D, the number of bits by which the cue alone moves the choice between two targets.

        D = [lp(a | A) - lp(b | A)] - [lp(a | B) - lp(b | B)]

    A is the sentence with its own cue, whose target is a; B is the same text with the cue of
    another fact, whose target is b. D is 0 for a cue without effect. Its sign is no accuracy: a
    trace of 0.0001 bits has the right sign in every sentence.

    Args:
        batch: N sentences.
        log_probs: log-probabilities of the K targets after the batch's contexts, ``(N, K)`` nats.
        recued: the same after the contexts with the cues of `Batch.others`.

    Returns:
        ``(N,)`` bits.
    """
    rows, own, other = np.arange(len(log_probs)), batch.answers, np.array(batch.others, dtype=int)
    moved = log_probs - recued
    bits: np.ndarray = (moved[rows, own] - moved[rows, other]) / math.log(2)
    return bits


@dataclass(frozen=True)
class Outcome:
    """Outcome of N sentences, one by one."""

    credit: np.ndarray  # (N,) credit of the correct target
    greedy: np.ndarray  # (N,) whether greedy decoding generated it
    distractor: np.ndarray  # (N,) credit of the distractor's target; 0 where that is no error
    places: np.ndarray  # (N,) "before", "after", or "" without a distractor
    texts: np.ndarray  # (N,) the sentence up to its target

    @classmethod
    def of(cls, batch: Batch, scores: CandidateScores) -> Outcome:
        """Return the outcome of a batch whose candidates are the targets of its facts."""
        rows = np.arange(len(batch.frames))
        said = [frame.distractor for frame in batch.frames]
        facts = np.array([one.fact if one else -1 for one in said], dtype=int)
        wrong = (facts >= 0) & (facts != batch.answers)
        return cls(
            credit=scores.credit[rows, batch.answers],
            greedy=scores.greedy[rows, batch.answers],
            distractor=np.where(wrong, scores.credit[rows, facts], 0.0),
            places=np.array([one.place if one else "" for one in said]),
            texts=np.array([frame.text for frame in batch.frames], dtype=object),
        )

    @classmethod
    def join(cls, parts: Iterable[Outcome]) -> Outcome:
        """Concatenate outcomes."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*map(np.concatenate, columns))

    def where(self, kept: np.ndarray) -> Outcome:
        """Return the sentences for which ``kept``, ``(N,)``, is true."""
        return Outcome(*(column[kept] for column in vars(self).values()))

    @property
    def sentences(self) -> tuple[int, ...]:
        """The number of each sentence, the same for equal ones, ``(N,)``."""
        numbers: dict[str, int] = {}
        return tuple(numbers.setdefault(text, len(numbers)) for text in self.texts)

    def tally(self) -> Tally:
        """Return the accuracy over all N sentences."""
        return Tally(*self._counts())

    def at(self, *places: str) -> DistractorTally | None:
        """Return the accuracy over sentences with a distractor in one of ``places``, if any."""
        part = self.where(np.isin(self.places, places))
        wrong = float((1 - part.credit).sum())
        chosen = float(part.distractor.sum()) / wrong if wrong > 0 else None
        return DistractorTally(*part._counts(), chosen) if len(part.credit) else None

    def _counts(self) -> tuple[Estimate, int, Estimate]:
        accuracy, greedy = (self._share(values) for values in (self.credit, self.greedy))
        return accuracy, len(self.credit), greedy

    def _share(self, values: np.ndarray) -> Estimate:
        """Return a share with the Wilson interval of as many sentences as are independent.

        A sentence that occurs m times is one observation: after L. Kish, "Survey sampling", 1965,
        N sentences count as N^2 divided by the sum of all m^2.
        """
        N = len(values)
        times = np.bincount(self.sentences)
        share, trials = float(values.mean()), N**2 / int((times**2).sum())
        return Estimate(share, *wilson(min(share * trials, trials), trials))
