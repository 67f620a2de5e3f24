"""The n-gram baseline, and a model that is mixed with it."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from chargen.errors import ChargenError
from chargen.predictors.protocol import State
from chargen.text.vocabulary import Vocabulary

BASELINE_ORDER = 6  # of the n-gram baseline


@dataclass(frozen=True)
class Level:
    """Continuations of all contexts of one length.

    The code of a context is ``rank of its later part * V + its first character``, a 64-bit integer
    for contexts of any length; its rank is the index of its code. The continuations of context r
    are entries ``bounds[r]`` to ``bounds[r + 1]`` of ``chars`` and ``weights``.
    """

    codes: np.ndarray  # (contexts,) sorted
    bounds: np.ndarray  # (contexts + 1,)
    chars: np.ndarray  # (pairs,) next character
    weights: np.ndarray  # (pairs,) its discounted probability
    backing_off: np.ndarray  # (contexts,) probability left to the shorter context

    @classmethod
    def of(cls, codes: np.ndarray, pairs: np.ndarray, counts: np.ndarray, size: int) -> "Level":
        """Build a level from sorted ``rank * V + character`` pairs and their counts."""
        ranks, discount = pairs // size, estimate_discount(counts)
        bounds = np.searchsorted(ranks, np.arange(len(codes) + 1))
        totals = np.bincount(ranks, counts, len(codes))
        kept = np.bincount(ranks, counts - discount, len(codes))
        shares = np.divide(kept, totals, out=np.zeros(len(codes)), where=totals > 0)
        # There are about as many long contexts as characters: use small types.
        return cls(
            codes,
            bounds.astype(np.min_scalar_type(len(pairs))),
            (pairs % size).astype(np.min_scalar_type(size)),
            ((counts - discount) / totals[ranks]).astype(np.float32),
            (1 - shares).astype(np.float32),
        )


def estimate_discount(counts: np.ndarray) -> float:
    """Return the discount of one context length, n1 / (n1 + 2 n2); see `BackoffNgram`."""
    ones, twos = (counts == 1).sum(), (counts == 2).sum()
    return float(ones / (ones + 2 * twos)) if ones and twos else 0.5


def count(size: int, ids: np.ndarray, orders: Iterable[int]) -> dict[int, list[Level]]:
    """Return the levels of n-grams of several orders; they share those of shorter contexts.

    ``size`` is that of the vocabulary. The first characters of the text, fewer than the highest
    order, count in no shorter context.
    """
    ids = np.asarray(ids, dtype=np.int64)
    tops = {order: min(order, len(ids)) - 1 for order in orders}
    longest = max(tops.values())
    codes = [np.zeros(1, dtype=np.int64)]
    ranks = np.zeros(len(ids), dtype=np.int64)  # of the context before each position
    counted = {}
    for length in range(longest + 1):
        if length:
            contexts = ranks[1:] * size + ids[: len(ids) - length]
            here, ranks = np.unique(contexts, return_inverse=True)
            codes.append(here)
        if length in tops.values():
            counted[length] = np.unique(ranks * size + ids[length:], return_counts=True)
    pairs, levels = counted[longest][0], list[Level]()
    for length in range(longest, 0, -1):
        shorter = codes[length][pairs // size] // size * size + pairs % size
        pairs, counts = np.unique(shorter, return_counts=True)
        levels.insert(0, Level.of(codes[length - 1], pairs, counts, size))
    return {
        order: [*levels[:top], Level.of(codes[top], counted[top][0], counted[top][1], size)]
        for order, top in tops.items()
    }


class BackoffNgram:
    """The n-gram baseline: interpolated Kneser-Ney smoothing.

    The longest context counts how often a character followed, a shorter one how many distinct
    characters preceded it; a discount of n1 / (n1 + 2 n2) goes to the shorter context and finally
    to a uniform distribution (Kneser & Ney 1995; Chen & Goodman 1999, equation 20).

    ``ids`` is the training text, ``(L,)`` with L >= 2. Predictions depend on the last ``order - 1``
    characters. ``levels`` is what `count` returns for the order, if it was counted before.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        ids: np.ndarray,
        order: int,
        levels: Sequence[Level] | None = None,
    ) -> None:
        if order < 2 or len(ids) < 2:
            raise ValueError(f"order is {order} and the text has {len(ids)} characters, 2 at least")
        self.vocabulary = vocabulary
        self.order = order
        self.context_chars = order - 1
        self._levels = levels or count(len(vocabulary), ids, [order])[order]

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
            # The indices of the continuations of all rows, concatenated.
            entries = np.arange(counts.sum()) + np.repeat(starts - counts.cumsum() + counts, counts)
            probabilities[np.repeat(rows, counts), level.chars[entries]] += level.weights[entries]
        log_probs = np.log(probabilities).astype(np.float32).reshape(N, T, V)
        return log_probs, history[:, history.shape[1] - seen :]


class Mixture:
    """A predictor whose probabilities are ``(1 - weight) * model + weight * ngram``.

    Linear interpolation of Jelinek & Mercer 1980. ``model`` is the ``advance`` of a
    `NextCharPredictor`; logits, and those of the last time steps only, will do. `ChargenError`
    unless 0 < weight < 1.
    """

    def __init__(
        self, model: Callable[..., tuple[np.ndarray, State]], ngram: BackoffNgram, weight: float
    ) -> None:
        if not 0 < weight < 1:
            raise ChargenError(f"--mix-ngram {weight:g}: must be 0 to below 1")
        self.vocabulary = ngram.vocabulary
        self._model, self._ngram = model, ngram
        self._logs = math.log1p(-weight), math.log(weight)

    def advance(self, ids: np.ndarray, state: State = None) -> tuple[np.ndarray, State]:
        """See `NextCharPredictor.advance`; the state is that of the model and of the n-gram."""
        own, before = (None, None) if state is None else state
        logits, own = self._model(ids, own)
        ngram, before = self._ngram.advance(ids, before)
        logits = logits - logits.max(axis=-1, keepdims=True)
        log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        first, second = self._logs
        mixed = np.logaddexp(log_probs + first, ngram[:, -logits.shape[1] :] + second)
        return mixed.astype(np.float32), (own, before)
