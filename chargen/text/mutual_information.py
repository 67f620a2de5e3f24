"""Mutual information between the characters of a text at a distance, and how it decays."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

BLOCKS = 20  # of the jackknife
T95 = 2.093  # quantile of Student's t with BLOCKS - 1 degrees of freedom
SHUFFLES = 4  # texts that estimate the bias
FEWEST_PAIRS = 64  # per unit of the longest default distance
LONGEST = 2**16  # default distance, in characters
FEWEST_FITTED = 4  # distances
MODEL_ERROR = 0.1  # standard deviation of the logarithm of the bits, beside that of the estimate


@dataclass(frozen=True)
class Decay:
    """A law of decay: ``scale * exp(-d / rate)`` or ``scale * d ** -rate`` bits at distance d."""

    law: str  # "exponential" or "power law"
    scale_bits: float
    rate: float  # characters of an exponential, the exponent of a power law
    aic: float  # Akaike's information criterion; the smaller, the better


@dataclass(frozen=True)
class MutualInformation:
    """Mutual information of two characters by distance; 0 is the mean without any order."""

    distances: tuple[int, ...]  # characters
    bits: tuple[float, ...]
    low: tuple[float, ...]  # bounds of the 95% interval
    high: tuple[float, ...]
    control_bits: tuple[float, ...]  # of the characters in random order
    reach: int  # the distance before the first one whose lower bound is not positive; 0: none
    fits: tuple[Decay, ...]  # the better one first; none with few distances


def default_distances(chars: int) -> tuple[int, ...]:
    """Return the powers of two that a text of ``chars`` characters allows, at least 1."""
    longest = min(max(chars // FEWEST_PAIRS, 1), LONGEST)
    return tuple(1 << power for power in range(longest.bit_length()))


def mutual_information(
    ids: np.ndarray, vocabulary_size: int, distances: Sequence[int], *, seed: int
) -> MutualInformation:
    """Estimate the mutual information between characters at each distance.

    The estimate is that of the observed frequencies less its mean in shuffled texts, which corrects
    the bias of a finite text (Panzeri et al., "Correcting for the sampling bias problem in spike
    train information measures", 2007). The interval is from a jackknife over blocks. An exponential
    and a power law (Lin & Tegmark, "Critical behavior in physics and probabilistic formal
    languages", 2017) are fitted to the logarithm of the bits at the distances within `reach`, by
    least squares weighted with the intervals, and compared by Akaike's information criterion.

    The text ``ids`` ``(L,)`` is longer than each of the ascending ``distances`` in characters.
    """
    rng, ids = np.random.default_rng(seed), ids.astype(np.int64)
    control, *others = (rng.permutation(ids) for _ in range(SHUFFLES + 1))
    at_one = [_information(other, vocabulary_size, 1)[0] for other in others]
    rows = []
    for distance in distances:
        # The bias is inversely proportional to the number of pairs.
        bias = float(np.mean(at_one)) * (len(ids) - 1) / (len(ids) - distance)
        bits, error = _information(ids, vocabulary_size, distance)
        random, _ = _information(control, vocabulary_size, distance)
        rows.append((bits - bias, error, random - bias))
    bits, errors, controls = np.array(rows).T
    low, high = bits - T95 * errors, bits + T95 * errors
    within = np.cumprod(low > 0).astype(bool)
    reach = max(np.array(distances)[within].tolist(), default=0)
    fits = _fits(np.array(distances)[within], bits[within], errors[within])
    estimates, least, most, shuffled = (tuple(row.tolist()) for row in (bits, low, high, controls))
    return MutualInformation(tuple(distances), estimates, least, most, shuffled, reach, fits)


def _information(ids: np.ndarray, size: int, distance: int) -> tuple[float, float]:
    """Return the mutual information of the observed frequencies, and its standard error."""
    first, second = ids[:-distance], ids[distance:]
    both = first * size + second
    if size**2 > len(both):  # most pairs do not occur
        both = np.unique(both, return_inverse=True)[1]
    bounds = np.arange(BLOCKS + 1) * len(both) // BLOCKS
    total, left_out = 0.0, np.zeros(BLOCKS)
    for values, sign in ((first, -1), (second, -1), (both, 1)):
        counts = np.bincount(values)
        total += sign * sum_of_logs(counts)
        blocks = (np.bincount(values[a:b], minlength=len(counts)) for a, b in pairwise(bounds))
        left_out += [sign * sum_of_logs(counts - block) for block in blocks]
    pairs = len(both) - np.diff(bounds)
    jackknife = np.log2(pairs) + left_out / pairs
    error = np.sqrt((BLOCKS - 1) * jackknife.var())
    return float(np.log2(len(both)) + total / len(both)), float(error)


def sum_of_logs(counts: np.ndarray) -> float:
    """Return the sum of c log2 c over the positive counts."""
    return float((counts * np.log2(np.maximum(counts, 1))).sum())


def _fits(distances: np.ndarray, bits: np.ndarray, errors: np.ndarray) -> tuple[Decay, ...]:
    if len(distances) < FEWEST_FITTED:
        return ()
    weights = 1 / np.hypot(errors / bits, MODEL_ERROR)
    fits = []
    for law, abscissa in (("exponential", distances), ("power law", np.log(distances))):
        slope, intercept = np.polyfit(abscissa, np.log(bits), 1, w=weights)
        residuals = (np.log(bits) - slope * abscissa - intercept) * weights
        rate = -1 / slope if law == "exponential" else -slope
        aic = float(residuals @ residuals) + 2 * 2  # of two parameters
        fits.append(Decay(law, float(np.exp(intercept)), float(rate), aic))
    return tuple(sorted(fits, key=lambda fit: fit.aic))
