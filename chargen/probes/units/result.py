"""Recorded hidden units, and scores of the units that track a readable feature.

Axes: T characters, H units, K most probable characters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import Struct, field, to_builtins

from chargen.probes.statistics.intervals import Estimate, flat


@dataclass(frozen=True)
class Recording:
    """A text and the hidden units while the network reads it from the initial state."""

    text: str  # T characters
    cell: str
    # by layer, from the input: (T, H) float32 of the state's tensors, h first, then of the gates
    layers: tuple[Mapping[str, np.ndarray], ...]
    next_characters: tuple[str, ...]  # (T,) the K most probable next characters, in order
    next_shares: np.ndarray  # (T, K) their probabilities


class UnitScore(Struct, frozen=True, rename={"score": "auc"}):
    """A unit that was selected on one half of a text, and its score on the other half."""

    layer: int  # from 1
    unit: int  # from 1
    rises: bool  # with the feature; otherwise it falls
    score: Estimate

    @property
    def direction(self) -> str:
        return "rises" if self.rises else "falls"


class FeatureScores(Struct, frozen=True, tag="auc", tag_field="metric"):
    """A feature, the units that track it best, and the baselines; a score is an AUC."""

    feature: str
    share: float = field(name="share_of_chars")  # of the scored characters where it holds
    units: tuple[UnitScore, ...]  # in the order of the first half
    untrained: float = field(name="untrained_best")  # best unit of the untrained network
    shifted: float = field(name="shifted_best")  # highest of the best units for shifted features

    @property
    def baseline(self) -> float:
        return max(self.untrained, self.shifted)

    @property
    def stands_out(self) -> bool:
        """Return True if the interval of the best unit lies above both baselines."""
        return self.units[0].score.low > self.baseline


class UnitsResult(Struct, frozen=True):
    cell: str
    part: str  # scored part of the state: c if the cell has one, otherwise h
    seed: int
    chars: int  # of each half: units are selected on the first and scored on the second
    features: tuple[FeatureScores, ...]
    left_out: tuple[str, ...]  # features that cannot be scored, with the reason

    def finding(self) -> str:
        """Return the features whose best unit stands out, in one sentence."""
        findings = (
            f"unit {one.units[0].unit} of layer {one.units[0].layer} tracks “{one.feature}” "
            f"(AUC {one.units[0].score.value:.2f})"
            for one in self.features
            if one.stands_out
        )
        return "; ".join(findings) or "no unit tracks any of the features better than the baselines"

    def leader(self) -> FeatureScores | None:
        """Return the feature whose best unit leads most over the baselines; None without any."""
        return max(
            self.features,
            key=lambda one: (one.stands_out, one.units[0].score.value - one.baseline),
            default=None,
        )

    def ranked(self) -> list[tuple[FeatureScores, UnitScore]]:
        pairs = [(one, unit) for one in self.features for unit in one.units]
        return sorted(pairs, key=lambda pair: -pair[1].score.value)

    def to_json(self) -> dict[str, Any]:
        values = flat(to_builtins(self))
        for row, one in zip(values["features"], self.features, strict=True):
            row["stands_out"] = one.stands_out
        chars = {"chosen_on_chars": self.chars, "scored_on_chars": values.pop("chars")}
        return {**values, **chars, "finding": self.finding()}


@dataclass(frozen=True)
class HiddenUnits:
    run: str
    recording: Recording
    units: UnitsResult | None  # None without a held-out text
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "shown_chars": len(self.recording.text),
            "memory_units": self.units and self.units.to_json(),
            "notes": list(self.notes),
        }
