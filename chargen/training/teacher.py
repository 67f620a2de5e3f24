"""The teacher of distillation: n-gram models of the training text."""

from typing import Any

import numpy as np
from numba import njit

from chargen.predictors.ngram import BASELINE_ORDER, estimate_discount

FOLDS = 4  # parts of the text


class NgramTeacher:
    """The n-gram baseline of a training text, which predicts each part from the other parts.

    Its predictions are therefore those for new text: a character does not count in its own
    prediction, and names and phrases of one part of the text alone are not known in advance.
    ``ids`` is the text, ``(L,)``, and ``size`` that of the vocabulary. The context of the first
    characters is the end of the text. Takes about 40 bytes per character.
    """

    def __init__(self, ids: np.ndarray, size: int) -> None:
        ids = np.asarray(ids, dtype=np.int64)
        self._size, self._folds = size, np.arange(len(ids)) * FOLDS // len(ids)
        ranks = ngrams = np.zeros(len(ids), dtype=np.int64)  # of the context and n-gram at each id
        contexts, chars, parents, shorter, earlier = [], [], [], 0, 0
        for length in range(BASELINE_ORDER):
            if length:
                ranks = np.unique(ranks * size + np.roll(ids, length), return_inverse=True)[1]
            codes, first, inverse = np.unique(
                ranks * size + ids, return_index=True, return_inverse=True
            )
            contexts.append(codes // size + earlier)
            chars.append(codes % size)
            parents.append(ngrams[first])  # the n-gram without its first character
            ngrams = inverse + shorter
            shorter, earlier = shorter + len(codes), contexts[-1][-1] + 1
        # How often the longest n-grams occur outside each fold; of a shorter one, how many distinct
        # characters precede it there.
        inside = np.bincount(self._folds * len(codes) + inverse, minlength=FOLDS * len(codes))
        counts = [inside.reshape(FOLDS, -1).sum(0) - inside.reshape(FOLDS, -1)]
        for longer in parents[:0:-1]:
            below = [np.bincount(longer - longer.min(), fold) for fold in counts[0] > 0]
            counts.insert(0, np.stack(below))
        self._longest = ngrams
        self._arrays = (
            np.concatenate(parents),
            np.concatenate(contexts),
            np.concatenate(chars),
            np.searchsorted(np.concatenate(contexts), np.arange(earlier + 1)),
            np.concatenate(counts, axis=1).astype(np.int32),
            np.array([[estimate_discount(fold) for fold in level] for level in counts]),
        )

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Return the probabilities of the characters at ``positions`` ``(N, T)``: ``(N, T, V)``."""
        flat = positions.ravel()
        probabilities = np.full((len(flat), self._size), 1 / self._size, dtype=np.float32)
        _predict(self._longest[flat], self._folds[flat], *self._arrays, probabilities)
        return probabilities.reshape(*positions.shape, self._size)


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
def _predict(
    longest: Any, folds: Any, parents: Any, contexts: Any, chars: Any, bounds: Any, counts: Any,
    discounts: Any, out: Any,
) -> None:  # fmt: skip
    """Turn uniform probabilities ``out`` ``(n, V)`` into those where the ``longest`` n-grams end.

    The n-grams of context c are ``bounds[c]`` to ``bounds[c + 1]`` of ``chars`` and ``counts``.
    """
    path = np.empty(len(discounts), dtype=np.int64)  # the contexts of all lengths, shortest first
    for row in range(len(longest)):
        fold, probabilities, ngram = folds[row], out[row], longest[row]
        for level in range(len(path) - 1, -1, -1):
            path[level], ngram = contexts[ngram], parents[ngram]
        for level in range(len(path)):
            first, end = bounds[path[level]], bounds[path[level] + 1]
            distinct = total = 0
            for ngram in range(first, end):
                distinct += counts[fold, ngram] > 0
                total += counts[fold, ngram]
            if total == 0:  # nor do longer contexts occur in another fold
                break
            discount = discounts[level, fold]
            probabilities *= np.float32(discount * distinct / total)
            for ngram in range(first, end):
                if counts[fold, ngram]:
                    probabilities[chars[ngram]] += (counts[fold, ngram] - discount) / total
