"""Intervals and tests that all instruments share.

For few independent units, such as seeds, they are exact or classical: a bootstrap of five values
covers far less than it states, because the five are often equal.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

Count = Annotated[int, Meta(ge=0)]

Z95 = 1.959963984540054  # standard normal quantile with 2.5% on either side
Z90 = 1.6448536269514722  # with 5% on either side
FEWEST_BLOCKS = 20  # of text; no interval is drawn from fewer
OUTSIDE = 0.05  # probability outside an interval, and level of the test
Z_POWER = 0.8416212335729143  # standard normal quantile of 80%, the probability to find it
MOST_SEEDS = 200
FEWEST_FOR_MEDIAN = 5  # below, the extremes of a sample cover its median in under 90% of cases
BOOTSTRAP_DRAWS = 2000
PARTS = 840  # credits are counted in 1/840: exact for ties among up to 8 candidates


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Return the 95% Wilson score interval of a proportion.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    1927. Both may be fractional. `ValueError` for no trials, or successes not in 0 .. ``trials``.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    share, z = successes / trials, Z95
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2) / scale
    # At a share of 0 or 1, rounding can put a bound inside the share itself.
    return min(max(centre - half, 0.0), share), max(min(centre + half, 1.0), share)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.low > self.value or self.value > self.high:
            raise ValueError(f"{self.value} lies outside its interval")

    @classmethod
    def of(cls, value: float, draws: np.ndarray) -> "Estimate":
        """Return a value with the percentile interval of its bootstrap ``draws``."""
        low, high = np.quantile(draws, [0.025, 0.975])
        # Rounding can put a bound inside the value where all draws are the same.
        return cls(value, min(float(low), value), max(float(high), value))


def flat(values: Any) -> Any:
    """Spell each `Estimate` of built-in values as three keys: ``x``, ``x_low`` and ``x_high``."""
    if isinstance(values, list | tuple):
        return [flat(value) for value in values]
    if not isinstance(values, dict):
        return values
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value.keys() == {"value", "low", "high"}:
            found |= {key: value["value"], f"{key}_low": value["low"], f"{key}_high": value["high"]}
        else:
            found[key] = flat(value)
    return found


def nested(values: Any) -> Any:
    """Collect the three keys of each `Estimate` in one dictionary: the inverse of `flat`."""
    if isinstance(values, list):
        return [nested(value) for value in values]
    if not isinstance(values, dict):
        return values
    return {
        key: {"value": value, "low": values[f"{key}_low"], "high": values[f"{key}_high"]}
        if {f"{key}_low", f"{key}_high"} <= values.keys()
        else nested(value)
        for key, value in values.items()
    }


def block_bootstrap(sums: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return bootstrap means ``(draws, M)`` of M quantities, where whole blocks are resampled.

    ``sums`` over the cases of each block and their ``counts`` are ``(K, M)``; the quantities share
    each draw. Source: H. R. Künsch, "The jackknife and the bootstrap for general stationary
    observations", 1989, with blocks that do not overlap.
    """
    K = len(counts)
    times = rng.multinomial(K, np.full(K, 1 / K), size=BOOTSTRAP_DRAWS)  # (draws, K)
    return np.asarray((times @ sums) / (times @ counts))


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values with Holm's step-down correction for multiple tests, in the given order."""
    order, corrected = np.argsort(ps, kind="stable"), np.array(ps, dtype=float)
    scaled = corrected[order] * np.arange(len(ps), 0, -1)
    corrected[order] = np.maximum.accumulate(scaled.clip(max=1.0))
    return corrected.tolist()


def mcnemar(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float:
    """Return the exact two-sided p-value of McNemar's test, with shared credit for ties.

    The arguments are the credits of two models in each of N units, 0 to 1, exchangeable under the
    null hypothesis: the p-value is the share of all exchanges that put the totals at least as far
    apart. With credits of 0 and 1 that is the test of Q. McNemar, Psychometrika 12, 1947.
    """
    parts = np.rint(PARTS * (np.asarray(first) - np.asarray(second))).astype(np.int64)
    parts = parts[parts != 0]
    if not len(parts):
        return 1.0
    parts //= np.gcd.reduce(parts)
    total, steps = abs(int(parts.sum())), np.abs(parts).tolist()
    # The distribution of the sum of those steps whose sign is positive.
    shares = np.ones(1)
    for step in steps:
        grown = np.zeros(len(shares) + step)
        grown[: len(shares)] = shares / 2
        grown[step:] += shares / 2
        shares = grown
    # A sum of signed steps of at most -total is a positive part of at most (all - total) / 2.
    tail = shares[: (sum(steps) - total) // 2 + 1].sum()
    return min(1.0, 2 * float(tail))


@dataclass(frozen=True)
class TextMean:
    """A mean over text and its standard error."""

    value: float
    error: float
    blocks: int  # independent blocks, which give the degrees of freedom

    def estimate(self, z: float = Z95) -> Estimate:
        """Return the mean with Student's interval; ``z`` is the normal quantile of its level."""
        v = self.blocks - 1
        t = z / math.sqrt((1 - 1 / (4 * v)) ** 2 - z * z / (2 * v))
        return Estimate(self.value, self.value - t * self.error, self.value + t * self.error)

    @property
    def p(self) -> float:
        """The two-sided p-value of a mean of zero (Abramowitz and Stegun, 26.7.8)."""
        if not self.error:
            return float(not self.value)
        t, v = self.value / self.error, self.blocks - 1
        return math.erfc(abs(t) * (1 - 1 / (4 * v)) / math.sqrt(2 + t * t / v))


def text_mean(sums: np.ndarray, counts: np.ndarray, growth: float = 0.0) -> TextMean:
    """Return the mean over all cases of K consecutive blocks, at least `FEWEST_BLOCKS`.

    Its variance is estimated from 1, 2, 4 … blocks together, which are lengthened until it grows no
    further or `FEWEST_BLOCKS` remain (batch means: B. Schmeiser, "Batch size effects in the
    analysis of simulation output", 1982). ``sums`` and ``counts`` are ``(K,)``. With a ``growth``
    the largest estimate counts, and beyond the longest blocks ``length * variance`` grows at least
    with that power.
    """
    K, total = len(sums), counts.sum()
    mean = sums.sum() / total
    apart = sums - mean * counts
    variances: list[float] = []
    size = 1
    while (batches := K // size) >= FEWEST_BLOCKS:
        merged = apart[: batches * size].reshape(batches, size).sum(axis=1)
        variance = (merged @ merged) / (batches - 1) * K / size / total**2
        if variances and not growth and variance <= variances[-1]:
            break
        n, size = batches, 2 * size
        variances.append(variance)
    power, known = growth, np.array(variances[-5:])
    if growth and len(known) > 2 and known.min() > 0:
        octaves = np.arange(len(known)) * math.log(2)
        power = max(growth, float(np.polyfit(octaves, np.log(known), 1)[0]))
    return TextMean(float(mean), math.sqrt(max(variances) * n**power), n)


def clopper_pearson(successes: int, trials: int) -> Estimate:
    """Return the share of successes with its exact 95% interval.

    Source: C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits", 1934.
    """
    share = successes / trials

    def bound(low: float, high: float, tail: range) -> float:
        """Return where the probability of ``tail`` is 2.5%; it grows from ``low`` to ``high``."""
        for _ in range(60):
            p = middle = (low + high) / 2
            found = sum(math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in tail)
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

    Wilson's interval for the number of independent trials that would vary as the clusters do, after
    E. L. Korn and B. I. Graubard, "Confidence intervals for proportions with small expected number
    of positive counts", 1998. Where all clusters agree, each counts as one trial.
    """
    R, share = len(means), float(np.mean(means))
    variance = float(np.var(means, ddof=1)) / R if R > 1 else 0.0
    trials = float(R) if share in (0, 1) or R < 3 else R * size
    if variance:
        trials = min(share * (1 - share) / variance, trials)
        trials *= (Z95 / t_quantile(R - 1)) ** 2
    trials = max(trials, 1.0)
    return Estimate(share, *wilson(min(share * trials, trials), trials))


def cluster_bootstrap(sums: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return bootstrap means over units in few clusters, such as the sentences about 16 facts.

    See `block_bootstrap`. A drawn cluster keeps all its units: to draw them again would count their
    variance twice (A. C. Davison, D. V. Hinkley, "Bootstrap methods and their application", 1997,
    section 3.8). Deviations are widened by sqrt(K / (K - 1)) and by the ratio of the t to the
    normal quantile, since K is small.
    """
    K = len(sums)
    mean = sums.sum(axis=0) / counts.sum(axis=0)
    wider = math.sqrt(K / (K - 1)) * t_quantile(K - 1) / Z95
    return mean + wider * (block_bootstrap(sums, counts, rng) - mean)


def median_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the lower median over the last axis and its distribution-free 95% interval.

    The bounds are order statistics, those of the sign test; with five values, which cover 93.75%,
    they are the extremes. Values may be infinite; `ValueError` below `FEWEST_FOR_MEDIAN` values.
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

    Fisher's exact test at 5% then finds it with a probability of about 80%, if the shares are
    ``one`` and ``other`` (J. T. Casagrande, M. C. Pike, P. G. Smith, "An improved approximate
    formula for calculating sample sizes for comparing two binomial distributions", 1978). None:
    more than `MOST_SEEDS` are needed.
    """
    apart, mean = abs(one - other), (one + other) / 2
    if not apart:
        return None
    half = Z95 * math.sqrt(2 * mean * (1 - mean))
    half += Z_POWER * math.sqrt(one * (1 - one) + other * (1 - other))
    seeds = math.ceil(half**2 / 4 * (1 + math.sqrt(1 + 4 * apart / half**2)) ** 2 / apart**2)
    return seeds if seeds <= MOST_SEEDS else None


def seeds_for_share(least: float) -> int:
    """Return how many seeds must all succeed to show that more than the share ``least`` do."""
    return math.ceil(math.log(OUTSIDE / 2) / math.log(least))
