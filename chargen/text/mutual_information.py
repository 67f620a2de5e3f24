"""Mutual information between the characters of a text at a distance, and how it decays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BLOCKS = 20  # of the jackknife
T95 = 2.093  # quantile of Student's t with BLOCKS - 1 degrees of freedom
SHUFFLES = 4
FEWEST_PAIRS = 64  # per unit of the longest default distance
LONGEST = 2**16  # default distance, characters
FEWEST_FITTED = 4  # distances
MODEL_ERROR = 0.1  # standard deviation of a law's logarithm, beside that of the estimates


@dataclass(frozen=True)
class DecayFit:
    """A law of decay: ``scale * exp(-d / decay)`` or ``scale * d ** -decay`` bits at distance d."""

    law: str  # "exponential" or "power law"
    scale: float  # bits
    decay: float  # characters, or the exponent
    aic: float  # Akaike's information criterion; the smaller is the better one


@dataclass(frozen=True)
class MutualInformation:
    """Mutual information of two characters of a text by their distance.

    Estimates may be negative: the mean of a text without any order is 0.
    """

    distances: tuple[int, ...]  # characters
    bits: tuple[float, ...]
    low: tuple[float, ...]  # 95% interval
    high: tuple[float, ...]
    control_bits: tuple[float, ...]  # of the text in random order
    reach: int  # longest distance up to which all lower bounds are positive; 0: none
    fits: tuple[DecayFit, ...]  # the better one first; empty with too few distances


def default_distances(chars: int) -> tuple[int, ...]:
    """Return the powers of two for a text of ``chars`` characters, at least 1."""
    longest = min(max(chars // FEWEST_PAIRS, 1), LONGEST)
    return tuple(1 << power for power in range(longest.bit_length()))


def mutual_information(
    ids: np.ndarray,
    vocabulary_size: int,
    distances: Sequence[int],
    *,
    seed: int,
    shuffles: int = SHUFFLES,
) -> MutualInformation:
    """Estimate the mutual information between characters at each distance.

    The estimate is that of the observed frequencies minus its mean in shuffled texts, which removes
    the bias of a finite text (Panzeri et al., "Correcting for the sampling bias problem in spike
    train information measures", 2007). The interval is a jackknife over 20 blocks of the text. An
    exponential and a power law (Lin & Tegmark, "Critical behavior in physics and probabilistic
    formal languages", 2017) are fitted by weighted least squares to the logarithms of the distances
    up to `reach`, and compared by Akaike's information criterion.

    Args:
        ids: The text, ``(L,)``, longer than any distance.
        vocabulary_size: V; all ids are smaller.
        distances: Distances in characters, ascending.
        seed: Random seed of the shuffled texts.
        shuffles: Number of shuffled texts that estimate the bias.
    """
    ids = np.unique(ids, return_inverse=True)[1] if vocabulary_size > 256 else ids
    ids, size = ids.astype(np.int64), int(ids.max()) + 1
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(ids) for _ in range(shuffles + 1)]
    control, *others = ([_pairs(order, size, d)[0] for d in distances] for order in orders[:1])
    biases = np.mean([[_pairs(order, size, d)[0] for d in distances[:1]] for order in orders[1:]])
    found, errors = zip(*(_pairs(ids, size, d, BLOCKS) for d in distances), strict=True)
    raise NotImplementedError
