"""How often stretches of a text come again: entropies of n-grams, and the longest repeat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class NgramEntropy:
    """How uncertain a character is, given the ``n - 1`` before it, by counting a text's n-grams.

    Counts know only what they saw: the figure is too low where much of the text is n-grams that
    come once, since each of them looks certain.
    """

    n: int
    bits_per_char: float
    distinct: int  # n-grams
    seen_once_share: float  # of the places, those whose n-gram comes nowhere else


@dataclass(frozen=True)
class Repeat:
    """A stretch that stands at two places, which may overlap; the longest of its text."""

    chars: int
    first: int  # where it stands, in characters from the beginning of the text
    second: int  # where it stands again


def entropies(ids: np.ndarray, longest: int) -> list[NgramEntropy]:
    """The conditional entropies H_1 to H_longest of ``ids`` ``(L,)``, as far as L allows.

    H_n = H(n-grams) - H((n-1)-grams) of the same places (Shannon 1951, equation 1), from counts.
    """
    found = []
    size = int(ids.max()) + 1
    ranks = np.zeros(len(ids) + 1, dtype=np.int64)  # of the (n-1)-gram that begins at each place
    for n in range(1, min(longest, len(ids)) + 1):
        contexts = ranks[: len(ids) - n + 1]
        grams = contexts * size + ids[n - 1 :]
        _, ranks, counts = np.unique(grams, return_inverse=True, return_counts=True)
        bits = (_sum_of_logs(np.bincount(contexts)) - _sum_of_logs(counts)) / len(grams)
        once = float((counts == 1).sum() / len(grams))
        found.append(NgramEntropy(n, float(bits), len(counts), once))
    return found


def _sum_of_logs(counts: np.ndarray) -> float:
    """Σ c log2 c, over counts that are not zero."""
    there = counts[counts > 0]
    return float((there * np.log2(there)).sum())


def longest_repeat(ids: np.ndarray) -> Repeat:
    """The longest stretch of ``ids`` ``(L,)`` that comes twice, and its first two places.

    Stretches of 2^k characters are ranked by the ranks of their halves (Karp, Miller & Rosenberg
    1972); from the longest power that comes twice on, the length is made up of smaller ones. Takes
    O(L log² L), and 4 L bytes for each power.
    """
    powers = []  # ranks of the stretches of 2^k characters that begin at each place
    ranks = _ranked(ids.astype(np.int64))
    while ranks is not None:
        powers.append(ranks)
        half = 1 << (len(powers) - 1)
        ranks = _joined(ranks, ranks, half)
    chars, found = 0, np.zeros(len(ids) + 1, dtype=np.int32)
    for k in range(len(powers) - 1, -1, -1):
        longer = _joined(found, powers[k], chars)
        if longer is not None:
            chars, found = chars + (1 << k), longer
    _, places, counts = np.unique(found, return_index=True, return_counts=True)
    if not chars:
        return Repeat(0, 0, 0)
    first = int(places[counts > 1].min())
    second = first + 1 + int(np.argmax(found[first + 1 :] == found[first]))
    return Repeat(chars, first, second)


def _joined(left: np.ndarray, right: np.ndarray, chars: int) -> np.ndarray | None:
    """Ranks of stretches whose first ``chars`` characters have the ranks ``left`` and whose others
    have the ranks ``right``; None where each comes once."""
    places = min(len(left), len(right) - chars)
    if places < 2:
        return None
    after = right[chars : chars + places].astype(np.int64)
    return _ranked(left[:places].astype(np.int64) * (int(right.max()) + 1) + after)


def _ranked(codes: np.ndarray) -> np.ndarray | None:
    distinct, ranks = np.unique(codes, return_inverse=True)
    return None if len(distinct) == len(codes) else ranks.astype(np.int32)
