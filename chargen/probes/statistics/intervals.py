"""The statistics that instruments share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from chargen.probes.plain import count, number

Count = Annotated[int, Meta(ge=0)]

Z95 = 1.959963984540054  # the standard normal quantile that leaves 2.5 % on either side
BOOTSTRAP_DRAWS = 2000


def wilson(successes: float, trials: int, z: float = Z95) -> tuple[float, float]:
    """The Wilson score interval of a proportion, 95 % unless ``z`` says otherwise.

    ``successes`` in 0 .. ``trials`` may be fractional, where ties shared a trial. Source:
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    share = successes / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2) / scale
    # At a share of 0 or 1 rounding could put a bound a hair inside the share itself.
    return min(max(centre - half, 0.0), share), max(min(centre + half, 1.0), share)


def chance(candidates: int) -> float:
    """The accuracy of guessing among ``candidates``."""
    return 1 / candidates


@dataclass(frozen=True)
class Proportion:
    """How often something came out right, each trial independent of the others."""

    successes: float  # ties count in part
    trials: int

    @property
    def share(self) -> float:
        """Successes a trial, 0 .. 1."""
        return self.successes / self.trials

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of `share`."""
        return wilson(self.successes, self.trials)

    def to_json(self) -> dict[str, float | int]:
        """``accuracy`` with its 95 % interval, shares of 1, and ``frames``, a count."""
        low, high = self.interval
        return {
            "accuracy": self.share,
            "accuracy_low": low,
            "accuracy_high": high,
            "frames": self.trials,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], name: str = "accuracy") -> Proportion:
        """What `to_json` wrote, with the share under ``name``; `ValueError` for what is none."""
        trials = count(values["frames"])
        found = cls(number(values[name]) * trials, trials)
        wilson(found.successes, found.trials)
        return found


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.low > self.value or self.value > self.high:
            raise ValueError(f"{self.value} lies outside its interval")

    @classmethod
    def of(cls, value: float, draws: np.ndarray) -> Estimate:
        """The percentile interval of ``draws``, ``(draws,)``, round ``value``."""
        low, high = np.quantile(draws, [0.025, 0.975])
        # Rounding could put a bound a hair inside the value where all draws are the same.
        return cls(value, min(float(low), value), max(float(high), value))

    def to_json(self, name: str) -> dict[str, float]:
        """``name``, which says the unit, and its bounds ``name_low`` and ``name_high``."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], name: str) -> Estimate:
        """What `to_json` wrote under ``name``; `ValueError` where it lies outside its interval."""
        found = cls(*(number(values[name + end]) for end in ("", "_low", "_high")))
        if not found.low <= found.value <= found.high:
            raise ValueError(f"{name} {found.value} lies outside its interval")
        return found


def flat(values: Any) -> Any:
    """Spell each `Estimate` of built-in values as three keys: ``x``, ``x_low`` and ``x_high``."""
    if isinstance(values, list | tuple):
        return [flat(value) for value in values]
    if not isinstance(values, dict):
        return values
    told: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value.keys() == {"value", "low", "high"}:
            told |= {key: value["value"], f"{key}_low": value["low"], f"{key}_high": value["high"]}
        else:
            told[key] = flat(value)
    return told


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
    """Means a case when whole blocks of cases are drawn anew with replacement: ``(draws, M)``.

    Neighbouring characters of a text are not independent, blocks of them nearly so, and what is
    drawn is therefore blocks. ``sums``, ``(K, M)``, are the sums of M quantities over the cases of
    each of K blocks, ``counts``, ``(K,)``, the cases, at least one a block. All quantities share
    each draw, so that differences between them are paired. Source: H. R. Künsch, "The jackknife
    and the bootstrap for general stationary observations", 1989, with blocks that do not overlap.
    """
    K = len(counts)
    if K < 1 or (counts < 1).any():
        raise ValueError(f"{K} blocks, of which none may be empty")
    times = rng.multinomial(K, np.full(K, 1 / K), size=draws)  # (draws, K)
    means: np.ndarray = (times @ sums) / (times @ counts)[:, None]
    return means
