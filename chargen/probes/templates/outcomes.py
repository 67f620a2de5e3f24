"""How frames came out, one by one and counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from chargen.datasets.longrange import Frame, Place
from chargen.evaluation import CandidateScores
from chargen.probes.statistics.intervals import Proportion, chance
from chargen.probes.templates.cases import Batch

PLACES: tuple[Place, ...] = get_args(Place)
NO_DECOY = -1  # in the place of one of `PLACES`


@dataclass(frozen=True)
class Tally:
    """How some frames came out."""

    choice: Proportion  # the right target was the likeliest of the K
    greedy: Proportion  # taking the likeliest character each time wrote the right target

    def to_json(self) -> dict[str, Any]:
        """The choice's accuracy and interval, and ``greedy_accuracy`` with its own."""
        low, high = self.greedy.interval
        greedy = {"": self.greedy.share, "_low": low, "_high": high}
        return self.choice.to_json() | {f"greedy_accuracy{end}": x for end, x in greedy.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Tally:
        """What `to_json` wrote."""
        read = Proportion.from_json
        return cls(read(values), read(values, "greedy_accuracy"))


@dataclass(frozen=True)
class Decoyed:
    """How some frames with a decoy came out."""

    tally: Tally
    to_decoy: float | None  # the share of the errors that chose the decoy; None without errors

    def to_json(self) -> dict[str, Any]:
        """As a `Tally`, and ``errors_to_decoy``, of 1."""
        return self.tally.to_json() | {"errors_to_decoy": self.to_decoy}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Decoyed:
        """What `to_json` wrote."""
        return cls(Tally.from_json(values), values["errors_to_decoy"])


@dataclass(frozen=True)
class Outcome:
    """How N frames came out, one by one."""

    credit: np.ndarray  # (N,) the share of the choice that the right target won
    greedy: np.ndarray  # (N,) whether the right target was written
    decoy_credit: np.ndarray  # (N,) the share that the decoy's target won, 0 without decoy
    places: np.ndarray  # (N,) where the decoy stands, an index of `PLACES`, or `NO_DECOY`
    chances: np.ndarray  # (N,) what guessing would win

    @classmethod
    def of(cls, batch: Batch, scores: CandidateScores) -> Outcome:
        """The outcome of a batch whose candidates are its facts' targets, in their order."""
        rows, answers = np.arange(len(batch.frames)), batch.answers
        decoys = np.array([f.decoy.fact if f.decoy else -1 for f in batch.frames])
        credit = scores.credit
        return cls(
            credit=credit[rows, answers],
            greedy=scores.greedy[rows, answers],
            decoy_credit=np.where(decoys >= 0, credit[rows, decoys], 0.0),
            places=np.array([_place(frame) for frame in batch.frames]),
            chances=np.full(len(rows), chance(len(batch.facts.cues))),
        )

    @classmethod
    def join(cls, parts: Iterable[Outcome]) -> Outcome:
        """All frames of ``parts``, one after the other."""
        columns = zip(*(part._arrays() for part in parts), strict=True)
        return cls(*map(np.concatenate, columns))

    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self.credit, self.greedy, self.decoy_credit, self.places, self.chances

    def where(self, kept: np.ndarray) -> Outcome:
        """The frames for which ``kept``, ``(N,)``, is true."""
        return Outcome(*(array[kept] for array in self._arrays()))

    @property
    def has_decoy(self) -> np.ndarray:
        """Which frames have a decoy: ``(N,)``."""
        there: np.ndarray = self.places != NO_DECOY
        return there

    @property
    def chance(self) -> float:
        """What guessing would win a frame."""
        return float(self.chances.mean())

    def tally(self) -> Tally:
        """The frames counted."""
        N = len(self.credit)
        right = min(float(self.credit.sum()), float(N))
        return Tally(Proportion(right, N), Proportion(int(self.greedy.sum()), N))

    def by_place(self) -> dict[str, Decoyed]:
        """The frames with a decoy by where it stands, as far as there are any."""
        parts = {name: self.where(self.places == place) for place, name in enumerate(PLACES)}
        return {
            name: Decoyed(part.tally(), part.to_decoy())
            for name, part in parts.items()
            if len(part.credit)
        }

    def to_decoy(self) -> float | None:
        """The share of the errors among frames with a decoy that chose it; None without errors."""
        wrong = float((1 - self.credit[self.has_decoy]).sum())
        return float(self.decoy_credit.sum()) / wrong if wrong > 0 else None


def _place(frame: Frame) -> int:
    return PLACES.index(frame.decoy.place) if frame.decoy else NO_DECOY
