"""Intervals over few independent units: seeds, and rounds of trials.

Exact or classical methods: a bootstrap of five values covers far less than it states, because the
five are often equal.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from chargen.probes.statistics.intervals import BOOTSTRAP_DRAWS, Z95, Estimate, wilson

OUTSIDE = 0.05  # probability outside an interval, and level of the test
POWER = 0.8  # probability that the test finds the difference
MOST_SEEDS = 200
FEWEST_FOR_MEDIAN = 5  # below, the extremes of a sample cover its median in under 90% of cases


def clopper_pearson(successes: int, trials: int) -> Estimate:
    """Return the share of successes with its exact 95% interval.

    Source: C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits", 1934.
    """
    share = successes / trials

    def bound(low: float, high: float, tail: range) -> float:
        """Return where the probability of ``tail`` is 2.5%; it grows from ``low`` to ``high``."""
        for _ in range(60):
            middle = (low + high) / 2
            found = sum(
                math.comb(trials, k) * middle**k * (1 - middle) ** (trials - k) for k in tail
            )
            low, high = (middle, high) if found < OUTSIDE / 2 else (low, middle)
        return low

    low = bound(0.0, share, range(successes, trials + 1)) if successes else 0.0
    high = bound(1.0, share, range(successes + 1)) if successes < trials else 1.0
    return Estimate(share, low, high)


def t_interval(values: Sequence[float] | np.ndarray) -> Estimate:
    """Return the mean with Student's 95% interval; one value has an infinite one."""
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Estimate(mean, -math.inf, math.inf)
    half = t_quantile(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half)


def t_quantile(freedom: int) -> float:
    """Return the 97.5% quantile of Student's t, by Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        odd, cosine = freedom % 2, math.cos(angle)
        term = cosine if odd else 1.0
        total = term if freedom > 1 else 0.0
        for k in range(2 + odd, freedom - 1, 2):
            term *= cosine**2 * (k - 1) / k
            total += term
        inside = math.sin(angle) * total
        inside = 2 / math.pi * (angle + inside) if odd else inside
        low, high = (angle, high) if inside < 1 - OUTSIDE else (low, angle)
    return math.tan(low) * math.sqrt(freedom)


def clustered(means: Sequence[float], size: int) -> Estimate:
    """Return the mean of R clusters of ``size`` dependent trials with its 95% interval.

    Wilson's interval for the number of independent trials that would vary as the clusters do,
    after E. L. Korn and B. I. Graubard, "Confidence intervals for proportions with small expected
    number of positive counts", 1998. Where all clusters agree, each counts as one trial.
    """
    R, share = len(means), float(np.mean(means))
    variance = float(np.var(means, ddof=1)) / R if R > 1 else 0.0
    trials = float(R) if share in (0, 1) or R < 3 else R * size
    if variance:
        trials = min(share * (1 - share) / variance, trials)
        trials *= (Z95 / t_quantile(R - 1)) ** 2
    trials = max(trials, 1.0)
    return Estimate(share, *wilson(min(share * trials, trials), trials))


def cluster_bootstrap(
    sums: np.ndarray, counts: np.ndarray, rng: np.random.Generator, draws: int = BOOTSTRAP_DRAWS
) -> np.ndarray:
    """Return bootstrap means over units in few clusters, such as the sentences about 16 facts.

    A drawn cluster keeps all its units: to draw them again would count their variance twice (A. C.
    Davison, D. V. Hinkley, "Bootstrap methods and their application", 1997, section 3.8). The
    deviations from the mean are widened by sqrt(K / (K - 1)) and by the ratio of the t to the
    normal quantile, since K is small.

    Args:
        sums: sums of M quantities over the units of each of K clusters, ``(K, M)``, K >= 2.
        counts: number of units in each cluster, ``(K, M)``, 1 or more.

    Returns:
        ``(draws, M)``; all quantities share each draw.
    """
    K = len(sums)
    times = rng.multinomial(K, np.full(K, 1 / K), size=draws)
    mean = sums.sum(axis=0) / counts.sum(axis=0)
    wider = math.sqrt(K / (K - 1)) * t_quantile(K - 1) / Z95
    widened: np.ndarray = mean + wider * ((times @ sums) / (times @ counts) - mean)
    return widened


def median_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the lower median over the last axis and its distribution-free 95% interval.

    The bounds are order statistics, those of the sign test; with five values, which cover 93.75%,
    they are the extremes. Values may be infinite.

    Raises:
        ValueError: There are fewer than `FEWEST_FOR_MEDIAN` values.
    """
    n = values.shape[-1]
    if n < FEWEST_FOR_MEDIAN:
        raise ValueError(f"{n} values: at least {FEWEST_FOR_MEDIAN} are needed")
    below = np.cumsum([math.comb(n, k) / 2**n for k in range(n // 2)])
    outer = max(0, int(np.searchsorted(below, OUTSIDE / 2, side="right")) - 1)
    ordered = np.sort(values, axis=-1)
    return ordered[..., (n - 1) // 2], ordered[..., outer], ordered[..., n - 1 - outer]


def seeds_needed(one: float, other: float) -> int | None:
    """Return the fewest seeds of each of two models that show a difference of their shares.

    Fisher's exact test at 5% then finds it with a probability of 80%, if the shares are ``one`` and
    ``other``. None: more than `MOST_SEEDS` are needed.
    """
    found = bisect_left(range(MOST_SEEDS + 1), POWER, 1, key=lambda n: _power(n, one, other))
    return found if found <= MOST_SEEDS else None


def seeds_for_share(least: float) -> int:
    """Return how many seeds must all succeed to show that more than the share ``least`` do."""
    return math.ceil(math.log(OUTSIDE / 2) / math.log(least))


def _power(n: int, one: float, other: float) -> float:
    """Return the probability that Fisher's exact test of two times ``n`` outcomes is under 5%."""
    ways = np.array([math.comb(n, k) / 2**n for k in range(n + 1)])
    successes = np.arange(n + 1)
    first, second = (
        ways * 2.0**n * share**successes * (1 - share) ** (n - successes) for share in (one, other)
    )
    power = 0.0
    for total in range(2 * n + 1):
        k = np.arange(max(0, total - n), min(n, total) + 1)
        table = ways[k] * ways[total - k]
        p = table @ (table[:, None] <= table * (1 + 1e-9)) / table.sum()
        power += float((first[k] * second[total - k])[p <= OUTSIDE].sum())
    return power
