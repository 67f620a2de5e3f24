"""Surprisal of one text under one or several models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import Struct, to_builtins

from chargen.evaluation import nats_to_bits
from chargen.probes.statistics.intervals import Estimate, flat, holm
from chargen.probes.statistics.text_means import FEWEST_BLOCKS, text_mean
from chargen.render.text import counted, listed

BLOCK = 32  # characters of the shortest blocks
GROWTH = 0.25  # see `text_mean`; natural text changes its subject at every length
LEVEL = 0.05  # probability of a false claim about equal models


@dataclass(frozen=True, eq=False)
class Score:
    """Surprisal under one model of each character but the first, arrays ``(L - 1,)`` float64."""

    run: str
    nats: np.ndarray
    expected: str  # the character with the highest probability at each place
    expected_nats: np.ndarray  # its surprisal

    @property
    def total_nats(self) -> float:
        """The negative log-likelihood of the text, given its first character."""
        return float(self.nats.sum())

    @property
    def loss_nats(self) -> float:
        """Nats per character."""
        return self.total_nats / len(self.nats)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object without the arrays."""
        return {
            "run": self.run,
            "loss_nats": self.loss_nats,
            "bits_per_char": nats_to_bits(self.loss_nats),
            "total_nats": self.total_nats,
            "chars": len(self.nats),
        }


class LossDifference(
    Struct, frozen=True, omit_defaults=True, rename={"difference": "difference_nats_per_char"}
):
    """Paired difference in loss between two models."""

    first: str
    second: str
    difference: Estimate | None = None  # nats per character; None: the text is too short
    p_holm: float | None = None  # of equal loss, corrected for the number of differences


class PlaceScore(Struct, frozen=True):
    """Surprisal of one character under one model."""

    run: str
    nats: float
    expected: str
    expected_nats: float


class SurprisingPlace(Struct, frozen=True):
    """A character of the text; position, line and column count from 1."""

    position: int
    line: int
    column: int
    character: str
    runs: tuple[PlaceScore, ...]


@dataclass(frozen=True)
class Scores:
    """One text under several models."""

    text: str  # the characters that all models know
    left_out: int  # number of other characters
    runs: tuple[Score, ...]  # by ascending loss
    differences: tuple[LossDifference, ...]  # of each other model and the first

    def surprising(self, most: int) -> list[SurprisingPlace]:
        """Return the ``most`` places of the highest mean surprisal, the highest first."""
        nats = np.sum([one.nats for one in self.runs], axis=0)
        return [self._place(1 + int(i)) for i in np.argsort(-nats, kind="stable")[:most]]

    def _place(self, at: int) -> SurprisingPlace:
        line, column = self.text.count("\n", 0, at) + 1, at - self.text.rfind("\n", 0, at)
        scores = (
            PlaceScore(
                one.run,
                float(one.nats[at - 1]),
                one.expected[at - 1],
                float(one.expected_nats[at - 1]),
            )
            for one in self.runs
        )
        return SurprisingPlace(at + 1, line, column, self.text[at], tuple(scores))

    @property
    def finding(self) -> str:
        """The model that fits the text best, if the intervals separate them."""
        if not self.differences:
            return ""
        first = self.runs[0].run
        if any(one.p_holm is None for one in self.differences):
            needed = counted(FEWEST_BLOCKS * BLOCK, "character")
            return f"The text is too short to compare the runs: give at least {needed}."
        unsure = [one.first for one in self.differences if (one.p_holm or 0) > LEVEL]
        if unsure:
            return f"{first} is not significantly better than {listed(unsure)}."
        return f"{first} predicts the text best."

    def _repr_html_(self) -> str:
        from chargen.probes.surprisal.report import score_tables
        from chargen.render.report import Text, fragment

        return fragment(*score_tables(self), Text(self.finding))

    def to_json(self, most: int) -> dict[str, Any]:
        """Return a JSON object with the ``most`` surprising places."""
        return {
            "chars": len(self.text),
            "left_out_chars": self.left_out,
            "runs": [one.to_json() for one in self.runs],
            "differences": flat(to_builtins(self.differences)),
            "surprising": to_builtins(self.surprising(most)),
        }


def compare(text: str, left_out: int, scores: Sequence[Score]) -> Scores:
    """Compare each model with the best one, character by character.

    Intervals and p-values, which Holm's method corrects for the number of models, are from the
    means of blocks, see `text_mean`; texts with under 20 blocks of `BLOCK` characters have none.
    They hold for more text of the same source as this one and not for other works of its author.
    """
    first, *others = ordered = sorted(scores, key=lambda one: one.total_nats)
    edges = np.arange(0, len(first.nats), BLOCK)
    counts = np.diff(np.append(edges, len(first.nats)))
    sums = [np.add.reduceat(one.nats - first.nats, edges) for one in others]
    means = [text_mean(apart, counts, GROWTH) for apart in sums]
    corrected = holm([mean.p for mean in means if mean]) if all(means) else [None] * len(means)
    differences = (
        LossDifference(other.run, first.run, mean.estimate() if mean else None, p)
        for other, mean, p in zip(others, means, corrected, strict=True)
    )
    return Scores(text, left_out, tuple(ordered), tuple(differences))
