"""How likely a predictor holds each candidate after each context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chargen.predictors import NextCharPredictor, State, select

CHUNK_FLOATS = 2**20  # log-probabilities held at a time: 4 MB, whatever the vocabulary


@dataclass(frozen=True)
class Scores:
    """What a predictor holds of K candidates after N contexts."""

    log_probs: np.ndarray  # (N, K) of each whole candidate, in nats, float64
    greedy: np.ndarray  # (N, K) whether taking the likeliest character each time writes it

    @property
    def credit(self) -> np.ndarray:
        """The share of the choice that each candidate wins: ``(N, K)``, ties in equal parts."""
        best = self.log_probs == self.log_probs.max(axis=1, keepdims=True)
        shares: np.ndarray = best / best.sum(axis=1, keepdims=True)
        return shares


def score(
    predictor: NextCharPredictor,
    contexts: Sequence[str],
    candidates: Sequence[str],
    read: Callable[[int], None] = lambda chars: None,
) -> Scores:
    """Read N contexts of equal length once, then each of the K equally long candidates after each.

    ``read`` is told how many characters more were read.
    """
    N, K = len(contexts), len(candidates)
    first, state = read_all(predictor, _encode(predictor, contexts), read)  # (N, V)
    targets = np.tile(_encode(predictor, candidates), (N, 1))  # (N K, L), candidates within texts
    rows = np.repeat(np.arange(N), K)
    log_probs = np.zeros(N * K)
    greedy = np.ones(N * K, dtype=bool)
    here, state = first[rows], select(state, rows)  # (N K, V)
    for place, ids in enumerate(targets.T):
        log_probs += here[np.arange(N * K), ids]
        greedy &= here.argmax(axis=1) == ids
        if place + 1 < targets.shape[1]:
            step, state = predictor.advance(ids[:, None], state)
            here = step[:, 0]
    read(targets.size)
    return Scores(log_probs.reshape(N, K), greedy.reshape(N, K))


def read_all(
    predictor: NextCharPredictor, ids: np.ndarray, read: Callable[[int], None] = lambda chars: None
) -> tuple[np.ndarray, State]:
    """The distribution after the last of ``ids``, ``(N, T)``: ``(N, V)`` in nats, and the state."""
    N, T = ids.shape
    chunk = max(1, CHUNK_FLOATS // (N * len(predictor.vocabulary)))
    state: State = None
    last = np.empty((N, 0))
    for start in range(0, T, chunk):
        log_probs, state = predictor.advance(ids[:, start : start + chunk], state)
        last = log_probs[:, -1]
        read(N * log_probs.shape[1])
    return last, state


def _encode(predictor: NextCharPredictor, texts: Sequence[str]) -> np.ndarray:
    """``(N, T)`` ids of N texts that are all T characters long."""
    ids = predictor.vocabulary.encode("".join(texts)).astype(np.int64)
    return ids.reshape(len(texts), -1)
