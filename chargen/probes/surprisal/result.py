"""Surprisal of one text under one or several models."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import Struct, to_builtins

from chargen.evaluation import nats_to_bits
from chargen.probes.statistics.intervals import FEWEST_BLOCKS, Estimate, flat
from chargen.render.report import Text, fragment
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
        return self.total_nats / len(self.nats)


class LossDifference(
    Struct, frozen=True, omit_defaults=True, rename={"difference": "difference_nats_per_char"}
):
    first: str
    second: str
    difference: Estimate | None = None  # nats per character; None: the text is too short
    p_holm: float | None = None  # of equal loss, corrected for the number of differences


@dataclass(frozen=True)
class Scores:
    text: str  # the characters that all models know
    left_out: int  # number of other characters
    runs: tuple[Score, ...]  # by ascending loss
    differences: tuple[LossDifference, ...]  # of each other model and the first

    def surprising(self, most: int) -> list[dict[str, Any]]:
        """Return the ``most`` places of the highest mean surprisal, the highest first.

        Each is a JSON object; position, line and column count from 1.
        """
        nats = np.sum([one.nats for one in self.runs], axis=0)
        return [
            {
                "position": at + 1,
                "line": self.text.count("\n", 0, at) + 1,
                "column": at - self.text.rfind("\n", 0, at),
                "character": self.text[at],
                "runs": [
                    {
                        "run": one.run,
                        "nats": float(one.nats[at - 1]),
                        "expected": one.expected[at - 1],
                        "expected_nats": float(one.expected_nats[at - 1]),
                    }
                    for one in self.runs
                ],
            }
            for at in (1 + np.argsort(-nats, kind="stable")[:most]).tolist()
        ]

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

        return fragment(*score_tables(self), Text(self.finding))

    def to_json(self, most: int) -> dict[str, Any]:
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
            "surprising": self.surprising(most),
        }
