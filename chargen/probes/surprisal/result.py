"""Surprisal of one text under one or several models, and its report."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import Struct, to_builtins

from chargen.evaluation import nats_to_bits
from chargen.probes.statistics.intervals import FEWEST_BLOCKS, Estimate, flat
from chargen.render.report import NO_NUMBER, Table, Text, aligned, between, fragment, table_text
from chargen.render.text import counted, listed, visible_line

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


@dataclass(frozen=True)
class Scores:
    """One text under several models."""

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
            "surprising": self.surprising(most),
        }


BEFORE, AFTER = 60, 30  # characters shown around a place
INDENT = "  "


def score_table(found: Scores) -> str:
    """Return a row per run, the differences to the best run, and the finding."""
    tables = "\n".join(map(table_text, score_tables(found)))
    return f"{tables}\n{visible_line(found.finding)}\n" if found.differences else tables


def score_tables(found: Scores) -> list[Table]:
    """Return a table with a row per run, and one of the differences to the best run."""
    rows = []
    for one in found.runs:
        loss, bits = (round(x, 4) + 0.0 for x in (one.loss_nats, nats_to_bits(one.loss_nats)))
        total, chars = f"{one.total_nats:,.1f}", f"{len(one.nats):,}"
        rows.append([one.run, f"{loss:.4f}", f"{bits:.4f}", total, chars, ""])
    tables = [Table(["run", "nats/char", "bits/char", "nats", "characters", ""], rows)]
    rows = []
    for pair in found.differences:
        by = pair.difference
        cells = [f"{by.value:+.4f}", between(by, 4)] if by else [NO_NUMBER] * 2
        cells.append(NO_NUMBER if pair.p_holm is None else f"{pair.p_holm:.2g}")
        rows.append([f"{pair.first} − {pair.second}", *cells])
    header = ["nats/char at the same places", "difference", "95%", "p, Holm"]
    return [*tables, *([Table(header, rows)] if rows else [])]


def place_text(text: str, place: dict[str, Any]) -> tuple[str, str, str]:
    """Return what precedes a place, its character, and what follows: three parts of one text.

    The text has a heading, the line around the character, a mark below it, and a row per run.
    """
    at, column = place["position"] - 1, place["column"]
    end = text.find("\n", at)
    before = INDENT + visible_line(text[at - min(column - 1, BEFORE) : at])
    after = visible_line(text[at + 1 : min(len(text) if end < 0 else end, at + 1 + AFTER)])
    character = visible_line(place["character"])
    rows = []
    for one in place["runs"]:
        expected = f"expected {visible_line(repr(one['expected']))}"
        share, best = (f"{100 * math.exp(-one[x]):.2g}%" for x in ("nats", "expected_nats"))
        rows.append([one["run"], f"{share}, {one['nats']:.1f} nats", f"{expected}, {best}"])
    pointer = " " * _columns(before) + "^" * max(1, _columns(character))
    heading = f"line {place['line']:,}, character {column:,}"
    below = [after, pointer, *(INDENT + row for row in aligned(rows))]
    return f"{heading}\n{before}", character, "\n".join(below)


def _columns(text: str) -> int:
    """Return the width in a terminal: 2 columns for wide characters, 0 for combining marks."""
    shown = [char for char in text if unicodedata.category(char) not in ("Mn", "Me")]
    return len(shown) + sum(unicodedata.east_asian_width(char) in "WF" for char in shown)
