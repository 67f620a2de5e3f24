"""Surprisal of one text under one or several models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import Struct, to_builtins

from chargen.evaluation import nats_to_bits
from chargen.probes.statistics.intervals import Estimate, flat
from chargen.probes.statistics.text_means import FEWEST_BLOCKS
from chargen.render.text import counted, listed

BLOCK = 32  # characters of the shortest blocks
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
        places = []
        for i in np.argsort(-nats, kind="stable")[:most].tolist():
            at, text = i + 1, self.text
            line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
            scores = (
                PlaceScore(
                    one.run, float(one.nats[i]), one.expected[i], float(one.expected_nats[i])
                )
                for one in self.runs
            )
            places.append(SurprisingPlace(at + 1, line, column, text[at], tuple(scores)))
        return places

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
        runs = [
            {
                "run": one.run,
                "loss_nats": one.loss_nats,
                "bits_per_char": nats_to_bits(one.loss_nats),
                "total_nats": one.total_nats,
                "chars": len(one.nats),
            }
            for one in self.runs
        ]
        return {
            "chars": len(self.text),
            "left_out_chars": self.left_out,
            "runs": runs,
            "differences": flat(to_builtins(self.differences)),
            "surprising": to_builtins(self.surprising(most)),
        }
