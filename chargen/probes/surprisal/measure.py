"""What each character of a text costs a model, and which of several it costs the least.

Axes: L characters of text, S stretches read side by side, V characters of a vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chargen.evaluation import WARM_UP, Segments, nats_to_bits, predictions
from chargen.predictors import NextCharPredictor
from chargen.probes.statistics.intervals import Estimate, block_bootstrap
from chargen.render.text import listed

STREAM = 16 * WARM_UP  # characters of a stretch at least, so that a text of two is read in one
STREAMS = 64  # stretches at most
BLOCK = 32  # characters; the bootstrap resamples whole blocks
FEWEST_BLOCKS = 8  # of which an interval can be told


@dataclass(frozen=True)
class Score:
    """What a text's characters, but the first, cost one model; each array ``(L - 1,)``."""

    run: str
    nats: np.ndarray  # of each character, float64
    expected: str  # the character that was the likeliest in each place
    expected_nats: np.ndarray  # what that one would have cost

    @property
    def total_nats(self) -> float:
        """Of the whole text: what its probability, given its first character, is the log of."""
        return float(self.nats.sum())

    @property
    def loss_nats(self) -> float:
        """Nats a character."""
        return self.total_nats / len(self.nats)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without those of each character."""
        return {
            "run": self.run,
            "loss_nats": self.loss_nats,
            "bits_per_char": nats_to_bits(self.loss_nats),
            "total_nats": self.total_nats,
            "chars": len(self.nats),
        }


def score(run: str, predictor: NextCharPredictor, ids: np.ndarray) -> Score:
    """Predict each character of ``ids``, ``(L,)`` with L > 1, from all that stand before it.

    A text of under `STREAM` * 2 characters is read as that says. A longer one is read in stretches
    side by side, each warmed on the `WARM_UP` characters before it, as
    `chargen.evaluation.evaluate` does.
    """
    L = len(ids)
    S = min(STREAMS, max(1, L // STREAM))
    bounds = 1 + np.arange(S + 1) * (L - 1) // S
    begins, ends = bounds[:-1], bounds[1:]
    starts = np.maximum(begins - WARM_UP, 0) if S > 1 else begins - 1
    nats, least, likeliest = np.empty(L), np.empty(L), np.empty(L, dtype=np.int64)
    for found in predictions(predictor, ids, Segments(starts, begins, ends)):
        nats[found.places] = found.nats
        likeliest[found.places] = found.likeliest
        least[found.places] = -found.log_probs.max(axis=1).astype(np.float64)
    expected = predictor.vocabulary.decode(likeliest[1:])
    return Score(run, nats[1:], expected, least[1:])


@dataclass(frozen=True)
class Dearer:
    """What a text costs one model more than another, by name."""

    first: str
    second: str
    difference: Estimate | None  # nats a character, with its interval; None of too short a text

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        told = self.difference.to_json("difference_nats_per_char") if self.difference else {}
        return {"first": self.first, "second": self.second, **told}


@dataclass(frozen=True)
class Scores:
    """One text as several models see it."""

    text: str  # all characters that all models know
    left_out: int  # characters that one of them does not
    runs: tuple[Score, ...]  # the one that the text costs the least first
    dearer: tuple[Dearer, ...]  # each other one beside the first

    def surprising(self, most: int) -> list[int]:
        """Where in the text the ``most`` characters stand that cost the most, the mean of all runs.

        The dearest first; of equally dear ones the earlier.
        """
        nats = np.sum([one.nats for one in self.runs], axis=0)
        return [1 + int(place) for place in np.argsort(-nats, kind="stable")[:most]]

    @property
    def finding(self) -> str:
        """Which run the text is more like, as far as it can be told."""
        if not self.dearer:
            return ""
        first = self.runs[0].run
        if any(other.difference is None for other in self.dearer):
            return "The text is too short to tell which run it is more like."
        unsure = [one.first for one in self.dearer if one.difference and one.difference.low <= 0]
        if unsure:
            return f"The text may be as much like {listed(unsure)} as like {first}."
        return f"The text is most like {first}."


def compare(text: str, left_out: int, scores: Sequence[Score], seed: int = 0) -> Scores:
    """Models beside the one that ``text`` costs the least, character by character.

    Intervals are from a bootstrap of blocks of `BLOCK` characters, all models at the same.
    """
    first, *others = ordered = sorted(scores, key=lambda one: one.total_nats)
    L = len(first.nats)
    edges = np.arange(0, L, BLOCK)
    counts = np.diff(np.append(edges, L))
    apart = [np.add.reduceat(one.nats - first.nats, edges) for one in others]
    found: list[Estimate | None] = [None] * len(others)
    if others and len(edges) >= FEWEST_BLOCKS:
        draws = block_bootstrap(np.stack(apart, axis=1), counts, np.random.default_rng(seed))
        found = [
            Estimate.of(one.loss_nats - first.loss_nats, draws[:, place])
            for place, one in enumerate(others)
        ]
    dearer = (Dearer(o.run, first.run, each) for o, each in zip(others, found, strict=True))
    return Scores(text, left_out, tuple(ordered), tuple(dearer))
