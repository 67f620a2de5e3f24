"""The interface that instruments see a model through, and predictors that need no training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from chargen.text.vocabulary import Vocabulary

State = Any
"""Whatever a predictor must remember: ``None``, or arrays (NumPy or torch) whose first axis is N,
in tuples nested to any depth. Instruments pass it on and pick rows of it with `select`, no more."""


class NextCharPredictor(Protocol):
    """Anything that says how likely each next character is."""

    vocabulary: Vocabulary

    def advance(self, ids: np.ndarray, state: State = None) -> tuple[np.ndarray, State]:
        """Read T more characters of N texts.

        ``ids`` is ``(N, T)`` integers; ``state`` is what the last call returned, or ``None`` at
        the beginning of a text. Returns ``log_probs`` ``(N, T, V)`` in nats, where
        ``log_probs[n, t]`` is the distribution of the character after ``ids[n, t]``, and the
        new state.
        """
        ...


def select(state: State, rows: np.ndarray) -> State:
    """The states of some texts of a batch, in the order of ``rows``; a row may come many times."""
    if state is None:
        return None
    if isinstance(state, tuple):
        return tuple(select(part, rows) for part in state)
    return state[rows]


class UniformPredictor:
    """Every character is equally likely: loss ln V, which any model must be under."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def advance(self, ids: np.ndarray, state: State = None) -> tuple[np.ndarray, State]:
        """See `NextCharPredictor.advance`; the state is always ``None``."""
        size = len(self.vocabulary)
        return np.full((*ids.shape, size), -np.log(size), dtype=np.float32), None


@dataclass(frozen=True)
class _Level:
    """What an n-gram knows of contexts of one length, each named by its rank.

    A context's code is ``rank of its later part * V + its first character``, so contexts of any
    length are 64-bit integers; its rank is its code's place among all codes. The continuations of
    context r are entries ``bounds[r]`` to ``bounds[r + 1]`` of ``chars`` and ``weights``.
    """

    codes: np.ndarray  # (contexts,) sorted
    bounds: np.ndarray  # (contexts + 1,)
    chars: np.ndarray  # (pairs,) the character that follows
    weights: np.ndarray  # (pairs,) its discounted share
    backing_off: np.ndarray  # (contexts,) the share left to the shorter context

    @classmethod
    def of(cls, codes: np.ndarray, pairs: np.ndarray, counts: np.ndarray, size: int) -> _Level:
        """From sorted ``rank * V + character`` pairs and how often each counts."""
        ones, twos = (counts == 1).sum(), (counts == 2).sum()
        discount = ones / (ones + 2 * twos) if ones and twos else 0.5
        ranks = pairs // size
        bounds = np.searchsorted(ranks, np.arange(len(codes) + 1))
        totals = np.bincount(ranks, counts, len(codes))
        kept = np.bincount(ranks, counts - discount, len(codes))
        shares = np.divide(kept, totals, out=np.zeros(len(codes)), where=totals > 0)
        # Long contexts are about as many as the text has characters: keep them small.
        return cls(
            codes,
            bounds.astype(np.min_scalar_type(len(pairs))),
            (pairs % size).astype(np.min_scalar_type(size)),
            ((counts - discount) / totals[ranks]).astype(np.float32),
            (1 - shares).astype(np.float32),
        )


class BackoffNgram:
    """An n-gram of ``order`` characters that backs off to shorter ones: the floor to be beaten.

    Interpolated Kneser-Ney smoothing (Kneser & Ney 1995; Chen & Goodman 1999, equation 20): the
    longest context counts how often a character followed, a shorter one after how many different
    characters; a discount of n1 / (n1 + 2 n2) goes to the shorter context, at last to a uniform
    choice. ``ids`` is the training text, ``(L,)``, L >= 2. It sees the last ``order - 1``
    characters and nothing before them.
    """

    def __init__(self, vocabulary: Vocabulary, ids: np.ndarray, order: int) -> None:
        if order < 2 or len(ids) < 2:
            raise ValueError(f"order is {order} and the text has {len(ids)} characters, 2 at least")
        self.vocabulary = vocabulary
        self.order = order
        self._levels = self._count(np.asarray(ids, dtype=np.int64), min(order, len(ids)) - 1)

    def _count(self, ids: np.ndarray, longest: int) -> list[_Level]:
        size = len(self.vocabulary)
        codes = [np.zeros(1, dtype=np.int64)]
        ranks = np.zeros(len(ids), dtype=np.int64)  # of the context before each position
        for length in range(1, longest + 1):
            here, ranks = np.unique(
                ranks[1:] * size + ids[: len(ids) - length], return_inverse=True
            )
            codes.append(here)
        pairs, counts = np.unique(ranks * size + ids[longest:], return_counts=True)
        levels = [_Level.of(codes[longest], pairs, counts, size)]
        for length in range(longest, 0, -1):
            shorter = codes[length][pairs // size] // size * size + pairs % size
            pairs, counts = np.unique(shorter, return_counts=True)
            levels.insert(0, _Level.of(codes[length - 1], pairs, counts, size))
        return levels

    def advance(self, ids: np.ndarray, state: State = None) -> tuple[np.ndarray, State]:
        """See `NextCharPredictor.advance`; the state is the last characters, ``(N, order - 1)``."""
        (N, T), V, seen = ids.shape, len(self.vocabulary), self.order - 1
        before = np.full((N, seen), -1, dtype=np.int64) if state is None else state
        history = np.concatenate([before, ids], axis=1)
        probabilities = np.full((N * T, V), 1 / V)
        rows, ranks = np.arange(N * T), np.zeros(N * T, dtype=np.int64)
        for length, level in enumerate(self._levels):
            if length:
                earlier = history[:, seen - length + 1 :][:, :T].reshape(-1)[rows]
                codes = ranks * V + earlier
                ranks = np.searchsorted(level.codes, codes).clip(max=len(level.codes) - 1)
                known = (level.codes[ranks] == codes) & (earlier >= 0)
                rows, ranks = rows[known], ranks[known]
            starts = level.bounds[ranks].astype(np.int64)
            counts = level.bounds[ranks + 1] - starts
            probabilities[rows] *= level.backing_off[ranks, None]
            # Entry j of row r's continuations, for all rows in one list.
            entries = np.arange(counts.sum()) + np.repeat(starts - counts.cumsum() + counts, counts)
            probabilities[np.repeat(rows, counts), level.chars[entries]] += level.weights[entries]
        log_probs = np.log(probabilities).astype(np.float32).reshape(N, T, V)
        return log_probs, history[:, history.shape[1] - seen :]
