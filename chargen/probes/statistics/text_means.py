"""Means over dependent text, with standard errors from blocks whose length the data choose."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chargen.probes.statistics.intervals import Z95, Estimate

FEWEST_BLOCKS = 20  # no interval is drawn from fewer
Z90 = 1.6448536269514722  # standard normal quantile with 5% on either side


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


def text_mean(sums: np.ndarray, counts: np.ndarray, growth: float = 0.0) -> TextMean | None:
    """Return the mean over all cases of K consecutive blocks, None below `FEWEST_BLOCKS`.

    Neighbouring blocks are dependent: the variance of the mean is also estimated from 2, 4, 8 …
    blocks together, as long as `FEWEST_BLOCKS` remain, and the largest estimate counts (batch
    means: B. Schmeiser, "Batch size effects in the analysis of simulation output", 1982).

    Args:
        sums: sums over the cases of each block, in the order of the text, ``(K,)``.
        counts: number of cases in each block, ``(K,)``; 0 is allowed.
        growth: assume that ``length * variance of the mean`` grows at least with this power of the
            length, beyond the longest blocks up to the whole text.
    """
    K, total = len(sums), counts.sum()
    if K < FEWEST_BLOCKS:
        return None
    mean = sums.sum() / total
    apart = sums - mean * counts
    variances = []
    size, n = 1, K
    while K // size >= FEWEST_BLOCKS:
        n = K // size
        merged = apart[: n * size].reshape(n, size).sum(axis=1)
        variances.append((merged @ merged) / (n - 1) * K / size / total**2)
        size *= 2
    power = growth
    if growth and len(variances) > 2:
        known = np.array(variances[-5:])
        octaves = np.arange(len(known)) * math.log(2)
        if known.min() > 0:
            power = max(growth, float(np.polyfit(octaves, np.log(known), 1)[0]))
    return TextMean(float(mean), math.sqrt(max(variances) * n**power), n)
