"""Scores of candidate answers after cloze sentences, and what is counted in them.

Axes: N contexts, K candidates.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import structs

from chargen.evaluation import advance_all, nats_of
from chargen.predictors import protocol
from chargen.probes.statistics.intervals import Estimate, wilson
from chargen.probes.templates.cases import Batch
from chargen.probes.templates.result import DistractorTally, Tally


@dataclass(frozen=True)
class CandidateScores:
    """Probabilities of K candidate continuations after each of N contexts."""

    log_probs: np.ndarray  # (N, K) of each whole candidate, in nats, float64
    greedy: np.ndarray  # (N, K) whether greedy decoding generates the candidate

    def __getitem__(self, rows: slice | np.ndarray) -> "CandidateScores":
        return CandidateScores(self.log_probs[rows], self.greedy[rows])


def credit_of(log_probs: np.ndarray) -> np.ndarray:
    """Return the credit of K candidates, ``(N, K)``: 1 for the likeliest, shared between ties."""
    best = log_probs == log_probs.max(axis=1, keepdims=True)
    return best / best.sum(axis=1, keepdims=True)


def read(
    model: protocol.Model, contexts: Sequence[str], candidates: Sequence[str], shared: int = 0
) -> CandidateScores:
    """Return the scores of K candidates after N contexts, as `score_candidates` does.

    Each context is read once, however often it occurs. Contexts that agree in their first
    ``shared`` characters share the state after these.
    """
    unique, state = _numbered(contexts), None
    rest = [*unique]
    if shared and not protocol.is_scorer(model):
        prefixes = _numbered(text[:shared] for text in rest)
        _, state = advance_all(model, _encode(model, [*prefixes]))
        state = protocol.select(state, np.array([prefixes[text[:shared]] for text in rest]))
        rest = [text[shared:] for text in rest]
    scores = score_candidates(model, rest, candidates, state)
    return scores[np.array([unique[text] for text in contexts])]


def score_candidates(
    model: protocol.Model,
    contexts: Sequence[str],
    candidates: Sequence[str],
    state: protocol.State = None,
) -> CandidateScores:
    """Score K candidates of equal length after each of N contexts of equal length.

    Each context is read once from ``state``, then every candidate from the state after it. The
    greedy decoding of a `TextScorer` is said to generate a candidate likelier than one half.
    `PredictorError` for a candidate of probability 0.
    """
    N, K = len(contexts), len(candidates)
    if protocol.is_scorer(model):
        texts = np.repeat(contexts, K).tolist()
        scores = protocol.log_probs_of(model, texts, [*candidates] * N)
        return CandidateScores(scores.reshape(N, K), scores.reshape(N, K) > math.log(1 / 2))
    here, state = advance_all(model, _encode(model, contexts), state)  # (N, V)
    targets = np.tile(_encode(model, candidates), (N, 1))  # (N K, T)
    rows = np.repeat(np.arange(N), K)
    log_probs = np.zeros(N * K)
    greedy = np.ones(N * K, dtype=bool)
    here, state = here[rows], protocol.select(state, rows)  # (N K, V)
    for place, ids in enumerate(targets.T):
        log_probs -= nats_of(here, ids)
        greedy &= here.argmax(axis=1) == ids
        if place + 1 < targets.shape[1]:
            step, state = protocol.advance(model, ids[:, None], state)
            here = step[:, 0]
    return CandidateScores(log_probs.reshape(N, K), greedy.reshape(N, K))


@dataclass(frozen=True)
class Outcome:
    """Outcome of N sentences, one by one."""

    credit: np.ndarray  # (N,) credit of the correct target
    greedy: np.ndarray  # (N,) whether greedy decoding generated it
    distractor: np.ndarray  # (N,) credit of the distractor's target; 0 where that is no error
    places: np.ndarray  # (N,) "before", "after", or "" without a distractor
    sets: np.ndarray  # (N,) the name of the fact set
    texts: np.ndarray  # (N,) the sentence up to its target

    @classmethod
    def of(cls, batch: Batch, scores: CandidateScores) -> "Outcome":
        """Return the outcome of a batch whose candidates are the targets of its facts."""
        rows = np.arange(len(batch.frames))
        distractors = [frame.distractor for frame in batch.frames]
        facts = np.array([one.fact if one else -1 for one in distractors], dtype=int)
        credit = credit_of(scores.log_probs)
        wrong = (facts >= 0) & (facts != batch.answers)
        return cls(
            credit=credit[rows, batch.answers],
            greedy=scores.greedy[rows, batch.answers],
            distractor=np.where(wrong, credit[rows, facts], 0.0),
            places=np.array([one.place if one else "" for one in distractors]),
            sets=np.full(len(rows), batch.facts.name, dtype=object),
            texts=np.array([frame.text for frame in batch.frames], dtype=object),
        )

    @classmethod
    def join(cls, parts: "Iterable[Outcome]") -> "Outcome":
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*map(np.concatenate, columns))

    def where(self, kept: np.ndarray) -> "Outcome":
        """Return the sentences for which ``kept``, ``(N,)``, is true."""
        return Outcome(*(column[kept] for column in vars(self).values()))

    @property
    def sentences(self) -> tuple[int, ...]:
        """The number of each sentence, the same for equal ones, ``(N,)``."""
        numbers = _numbered(self.texts)
        return tuple(numbers[text] for text in self.texts)

    def at(self, *places: str) -> DistractorTally | None:
        """Return the accuracy over sentences with a distractor in one of ``places``, if any."""
        part = self.where(np.isin(self.places, places))
        if not len(part.credit):
            return None
        wrong = float((1 - part.credit).sum())
        chosen = float(part.distractor.sum()) / wrong if wrong > 0 else None
        return DistractorTally(**structs.asdict(part.tally()), errors_to_distractor=chosen)

    def tally(self) -> Tally:
        """Return the accuracy over all N sentences, with Wilson intervals.

        A sentence that occurs m times is one observation: after L. Kish, "Survey sampling", 1965,
        N sentences count as N^2 divided by the sum of all m^2.
        """
        N = len(self.credit)
        trials = N**2 / int((np.bincount(self.sentences) ** 2).sum())
        shares = [float(values.mean()) for values in (self.credit, self.greedy)]
        accuracy, greedy = (Estimate(x, *wilson(min(x * trials, trials), trials)) for x in shares)
        return Tally(accuracy, N, greedy)


def _encode(predictor: protocol.NextCharPredictor, texts: Sequence[str]) -> np.ndarray:
    ids = predictor.vocabulary.encode("".join(texts)).astype(np.int64)
    return ids.reshape(len(texts), -1)


def _numbered(texts: Iterable[str]) -> dict[str, int]:
    return {text: n for n, text in enumerate(dict.fromkeys(texts))}
