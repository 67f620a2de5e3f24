"""Intervals that all instruments share: Wilson's, and a bootstrap of blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

Count = Annotated[int, Meta(ge=0)]

Z95 = 1.959963984540054  # standard normal quantile with 2.5% on either side
BOOTSTRAP_DRAWS = 2000
PARTS = 840  # credits are counted in 1/840: exact for ties among up to 8 candidates


def wilson(successes: float, trials: float, z: float = Z95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, by default of 95%.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    1927. Successes are fractional where ties share a trial, trials for an effective number.

    Raises:
        ValueError: ``successes`` is not in 0 .. ``trials``, or there are no trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    share = successes / trials
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
    def of(cls, value: float, draws: np.ndarray) -> Estimate:
        """Return a value with the percentile interval of its bootstrap ``draws``."""
        low, high = np.quantile(draws, [0.025, 0.975])
        # Rounding can put a bound inside the value where all draws are the same.
        return cls(value, min(float(low), value), max(float(high), value))

    def to_json(self, name: str) -> dict[str, float]:
        """Return ``name``, which carries the unit, and its bounds."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


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


def block_bootstrap(
    sums: np.ndarray, counts: np.ndarray, rng: np.random.Generator, draws: int = BOOTSTRAP_DRAWS
) -> np.ndarray:
    """Return bootstrap means over cases, where whole blocks of cases are resampled.

    Neighbouring characters of a text are dependent; blocks of them nearly are not. Source: H. R.
    Künsch, "The jackknife and the bootstrap for general stationary observations", 1989, with
    blocks that do not overlap.

    Args:
        sums: sums of M quantities over the cases of each of K blocks, ``(K, M)``.
        counts: number of cases in each block, ``(K,)``, 1 or more.

    Returns:
        ``(draws, M)``; all quantities share each draw, so that differences are paired.
    """
    K = len(counts)
    times = rng.multinomial(K, np.full(K, 1 / K), size=draws)  # (draws, K)
    means: np.ndarray = (times @ sums) / (times @ counts)[:, None]
    return means


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values with Holm's step-down correction for multiple tests, in the given order."""
    corrected = [0.0] * len(ps)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = largest
    return corrected


def mcnemar(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float:
    """Return the exact two-sided p-value of McNemar's test, with shared credit for ties.

    Under the null hypothesis the credits of the two models in a unit are exchangeable: the p-value
    is the share of all exchanges that put the totals at least as far apart. With credits of 0 and
    1 that is McNemar's exact test (Q. McNemar, Psychometrika 12, 1947).
    The arguments are the models' credits in each of N units, such as sentences, 0 to 1.
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
