"""Probabilities of candidate continuations, under a predictor or a scorer of strings.

Axes: N contexts, K candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chargen.evaluation import OnRead, advance_all, nats_of
from chargen.predictors import (
    Model,
    NextCharPredictor,
    PredictorError,
    State,
    TextScorer,
    advance,
    is_scorer,
    select,
)
from chargen.predictors.protocol import TOLERANCE


@dataclass(frozen=True)
class CandidateScores:
    """Probabilities of K candidate continuations after each of N contexts."""

    log_probs: np.ndarray  # (N, K) of each whole candidate, in nats, float64
    greedy: np.ndarray  # (N, K) whether greedy decoding generates the candidate

    @property
    def credit(self) -> np.ndarray:
        """The credit of each candidate, ``(N, K)``."""
        return credit_of(self.log_probs)

    def __getitem__(self, rows: slice | np.ndarray) -> CandidateScores:
        return CandidateScores(self.log_probs[rows], self.greedy[rows])


def credit_of(log_probs: np.ndarray) -> np.ndarray:
    """Return the credit of K candidates, ``(N, K)``: 1 for the likeliest, shared between ties."""
    best = log_probs == log_probs.max(axis=1, keepdims=True)
    shares: np.ndarray = best / best.sum(axis=1, keepdims=True)
    return shares


def read_texts(model: Model, texts: Sequence[str], on_read: OnRead = lambda chars: None) -> State:
    """Read N texts of equal length and return the state; of a `TextScorer` the texts themselves."""
    if is_scorer(model):
        return np.array(texts, dtype=object)
    return advance_all(model, _encode(model, texts), None, on_read)[1]


def score_candidates(
    model: Model,
    contexts: Sequence[str],
    candidates: Sequence[str],
    on_read: OnRead = lambda chars: None,
    state: State = None,
) -> CandidateScores:
    """Score K candidates of equal length after each of N contexts of equal length.

    Each context is read once from ``state``, then every candidate from the state after it. The
    greedy decoding of a `TextScorer` is not known; it is said to generate a candidate that is
    likelier than one half.

    Raises:
        PredictorError: A candidate has probability 0.
    """
    N, K = len(contexts), len(candidates)
    if is_scorer(model):
        texts = contexts if state is None else [a + b for a, b in zip(state, contexts, strict=True)]
        scores = score_texts(model, np.repeat(texts, K).tolist(), [*candidates] * N).reshape(N, K)
        on_read(sum(map(len, contexts)) + N * sum(map(len, candidates)))
        return CandidateScores(scores, scores > math.log(1 / 2))
    here, state = advance_all(model, _encode(model, contexts), state, on_read)  # (N, V)
    targets = np.tile(_encode(model, candidates), (N, 1))  # (N K, T)
    rows = np.repeat(np.arange(N), K)
    log_probs = np.zeros(N * K)
    greedy = np.ones(N * K, dtype=bool)
    here, state = here[rows], select(state, rows)  # (N K, V)
    for place, ids in enumerate(targets.T):
        log_probs -= nats_of(here, ids)
        greedy &= here.argmax(axis=1) == ids
        if place + 1 < targets.shape[1]:
            step, state = advance(model, ids[:, None], state)
            here = step[:, 0]
    on_read(targets.size)
    return CandidateScores(log_probs.reshape(N, K), greedy.reshape(N, K))


def score_texts(
    model: TextScorer, contexts: Sequence[str], continuations: Sequence[str]
) -> np.ndarray:
    """Return the log-probabilities in nats of N continuations, ``(N,)`` float64.

    A model may have a method ``log_probs`` that scores several at once.

    Raises:
        PredictorError: One is not finite, or above 0.
    """
    several = getattr(model, "log_probs", None)
    found = np.array(
        several(contexts, continuations)
        if several
        else [model.log_prob(*pair) for pair in zip(contexts, continuations, strict=True)]
    )
    if not np.isfinite(found).all() or found.max() > TOLERANCE:
        raise PredictorError("log_prob: a continuation has no finite log-probability of at most 0")
    return found


def _encode(predictor: NextCharPredictor, texts: Sequence[str]) -> np.ndarray:
    """Return the ids of N texts of T characters each, ``(N, T)`` int64."""
    ids = predictor.vocabulary.encode("".join(texts)).astype(np.int64)
    return ids.reshape(len(texts), -1)
