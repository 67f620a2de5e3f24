"""The statistics that instruments share."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z95 = 1.959963984540054  # the standard normal quantile that leaves 2.5 % on either side


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
