"""What the units of a network did on a text, and which of them follow something readable.

Imports no torch. Axes: T characters, H units, K likeliest characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chargen.probes.statistics.intervals import Estimate


@dataclass(frozen=True)
class LayerRecord:
    """Every value of one layer after each character that it read."""

    layer: int  # 1 reads the characters
    units: int
    parts: Mapping[str, np.ndarray]  # (T, H) float32: the state's tensors, h first, then the gates


@dataclass(frozen=True)
class Recording:
    """A text as the network read it from the state of no text."""

    text: str  # T characters
    cell: str
    layers: tuple[LayerRecord, ...]
    next_characters: tuple[str, ...]  # T times the K likeliest next characters, the likeliest first
    next_shares: np.ndarray  # (T, K) their probabilities


@dataclass(frozen=True)
class Follower:
    """A unit, chosen on one half of a text, and how well it follows a feature on the other."""

    layer: int  # from 1
    unit: int  # from 1
    rises: bool  # with the feature, or else it falls
    score: Estimate

    @property
    def way(self) -> str:
        """What its value does where the feature holds or grows."""
        return "rises" if self.rises else "falls"

    def to_json(self, metric: str) -> dict[str, Any]:
        """Plain values; the score is called ``metric``."""
        place = {"layer": self.layer, "unit": self.unit, "rises": self.rises}
        return place | self.score.to_json(metric)


@dataclass(frozen=True)
class Followed:
    """A feature, the units that follow it best, and what must stand beside them."""

    feature: str
    graded: bool
    share: float | None  # of the scored characters at which it holds; None for a graded one
    units: tuple[Follower, ...]  # as the first half ranked them
    untrained: float  # the score of the best unit of the untrained network
    shifted: tuple[float, ...]  # and of the best unit against the feature shifted along the text

    @property
    def metric(self) -> str:
        """``auc``, where 0.5 is chance, or ``spearman_rho``, where 0 is."""
        return "spearman_rho" if self.graded else "auc"

    @property
    def luck(self) -> float:
        """The highest of the scores against a shifted feature."""
        return max(self.shifted)

    @property
    def stands_out(self) -> bool:
        """Whether the best unit's interval lies above luck and the untrained network."""
        return self.units[0].score.low > max(self.luck, self.untrained)

    def to_json(self) -> dict[str, Any]:
        """Plain values; scores are without a unit."""
        return {
            "feature": self.feature,
            "metric": self.metric,
            "share_of_chars": self.share,
            "units": [unit.to_json(self.metric) for unit in self.units],
            "untrained_best": self.untrained,
            "shifted_best": list(self.shifted),
            "stands_out": self.stands_out,
        }


@dataclass(frozen=True)
class UnitsResult:
    """Which units follow what, on held-out text."""

    cell: str
    part: str  # of the state that was scored: c where there is one, else h
    seed: int
    chars: int  # of each half: units are chosen on the first and scored on the second
    followed: tuple[Followed, ...]
    left_out: tuple[str, ...]  # features that the text cannot show, each with why

    def finding(self) -> str:
        """What was found, in one sentence."""
        found = [one for one in self.followed if one.stands_out]
        if not found:
            return "no unit follows any of the features better than luck and an untrained network"
        told = (
            f"unit {one.units[0].unit} of layer {one.units[0].layer} follows “{one.feature}” "
            f"({score_text(one.graded, one.units[0].score.value)})"
            for one in found
        )
        return "; ".join(told)

    def to_json(self) -> dict[str, Any]:
        """Plain values, the same for the same network, text and seed."""
        return {
            "cell": self.cell,
            "part": self.part,
            "seed": self.seed,
            "chosen_on_chars": self.chars,
            "scored_on_chars": self.chars,
            "features": [one.to_json() for one in self.followed],
            "left_out": list(self.left_out),
            "finding": self.finding(),
        }


@dataclass(frozen=True)
class Memory:
    """All that a page about a run's memory shows."""

    run: str
    recording: Recording
    units: UnitsResult | None  # None where there is no held-out text to score on
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The scores, without the recording."""
        return {
            "run": self.run,
            "shown_chars": len(self.recording.text),
            "memory_units": self.units and self.units.to_json(),
            "notes": list(self.notes),
        }


def score_text(graded: bool, score: float) -> str:
    """``AUC 0.94`` or ``rho 0.94``."""
    return f"{'rho' if graded else 'AUC'} {score:.2f}"
