"""What the comparison of architectures, `chargen.probes.cells.measure`, found."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from chargen.probes.cells.tasks import SOLVED
from chargen.probes.statistics.intervals import Estimate, Proportion
from chargen.probes.statistics.span50 import FEWEST_SPANS, Span50, fit
from chargen.render.text import counted


@dataclass(frozen=True)
class Answers:
    """What one trained model won in one variant of a task, span by span."""

    variant: str  # empty for a task that has but one
    chance: float
    spans: tuple[int, ...]  # ascending, characters
    credits: tuple[tuple[float, ...], ...]  # by span: what each trial won, 0 .. 1
    untrained: tuple[Proportion, ...] = ()  # by span: a network of the same shape; () if not asked

    @property
    def accuracy(self) -> tuple[float, ...]:
        """The share that is right, by span."""
        return tuple(sum(won) / len(won) for won in self.credits)

    def span50(self, seed: int) -> Span50 | None:
        """See `chargen.probes.statistics.span50`; None where too few spans were asked."""
        if len(self.spans) < FEWEST_SPANS:
            return None
        return fit(self.spans, self.credits, self.chance, seed)

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values; `from_json` reads it back."""
        untrained = [[one.successes, one.trials] for one in self.untrained]
        return {**vars(self), "untrained": untrained}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Answers:
        """Answers from plain values; `KeyError`, `TypeError` or `ValueError` for others."""
        return cls(
            str(values["variant"]),
            float(values["chance"]),
            tuple(map(int, values["spans"])),
            tuple(tuple(map(float, won)) for won in values["credits"]),
            tuple(Proportion(float(won), int(trials)) for won, trials in values["untrained"]),
        )


@dataclass(frozen=True)
class Training:
    """One model: how it was trained and what it can do."""

    cell: str
    seed: int
    bits_per_char: float  # the best over the held-out text
    chars: int  # read in training
    seconds: float
    diverged: bool  # its loss was no number any more: asked were the weights validated as best, or
    # those that it began with, where none ever were
    answers: tuple[Answers, ...]  # by variant


@dataclass(frozen=True)
class VariantResult:
    """What one cell won in one variant, over all its seeds."""

    answers: tuple[Answers, ...]  # by seed
    accuracy: tuple[Estimate, ...]  # by span, the mean over seeds
    span50: str  # the median over seeds with its interval, as text
    span50_chars: tuple[float, float, float] | None  # and in characters; None where none fits
    solved: tuple[bool, ...]  # by seed
    trials: tuple[int, ...]  # by span: of one seed, and the same for all

    @property
    def first(self) -> Answers:
        """Any seed's answers: variant, spans and chance are the same for all."""
        return self.answers[0]

    @property
    def solved_share(self) -> float:
        """The share of seeds that are right in `SOLVED` at every span of the trained length."""
        return sum(self.solved) / len(self.solved)

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; shares are of 1, spans in characters."""
        chars = self.span50_chars or (None, None, None)
        ends = zip(("", "_low", "_high"), chars, strict=True)
        on_grid = {
            f"span50_chars{end}": round(x, 1)
            if x is not None and self.first.spans[0] <= x <= self.first.spans[-1]
            else None
            for end, x in ends
        }
        untrained = next((one.untrained for one in self.answers if one.untrained), ())
        return {
            "variant": self.first.variant,
            "chance": self.first.chance,
            "solved_share": self.solved_share,
            "solved": list(self.solved),
            "span50": self.span50,
            **on_grid,
            "spans": [
                {
                    "span_chars": span,
                    **self.accuracy[place].to_json("accuracy"),
                    "accuracy_by_seed": [one.accuracy[place] for one in self.answers],
                    "trials_a_seed": self.trials[place],
                    "untrained": untrained[place].to_json() if untrained else None,
                }
                for place, span in enumerate(self.first.spans)
            ],
        }


@dataclass(frozen=True)
class CellResult:
    """One cell, trained with several seeds."""

    cell: str
    units: tuple[int, ...]
    parameters: int
    learning_rate: float
    tuning: Mapping[float, float | None]  # learning rate → bits a character, None if it diverged
    trainings: tuple[Training, ...]  # by seed
    variants: tuple[VariantResult, ...]
    bits_per_char: Estimate  # mean over seeds

    @cached_property
    def chars_per_second(self) -> float:
        """In training, validation included: the median over the seeds that read any, or 0."""
        rates = [one.chars / one.seconds for one in self.trainings if one.seconds > 0]
        return statistics.median(rates) if rates else 0.0

    @property
    def diverged(self) -> int:
        """How many of the trainings did."""
        return sum(one.diverged for one in self.trainings)

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; keys carry their units."""
        tuning = [
            {"learning_rate": rate, "bits_per_char": bits} for rate, bits in self.tuning.items()
        ]
        return {
            "cell": self.cell,
            "units": list(self.units),
            "parameters": self.parameters,
            "learning_rate": self.learning_rate,
            "tuning": tuning,
            **self._bits_json(),
            "chars_per_second": round(self.chars_per_second),
            "diverged": self.diverged,
            "trainings": [
                {
                    "seed": one.seed,
                    "bits_per_char": one.bits_per_char,
                    "chars": one.chars,
                    "seconds": round(one.seconds, 1),
                    "diverged": one.diverged,
                }
                for one in self.trainings
            ],
            "variants": [variant.to_json() for variant in self.variants],
        }

    def _bits_json(self) -> dict[str, float | None]:
        """One training tells nothing of others: there is no interval then."""
        told: dict[str, float | None] = {**self.bits_per_char.to_json("bits_per_char")}
        if len(self.trainings) == 1:
            told |= {"bits_per_char_low": None, "bits_per_char_high": None}
        return told


@dataclass(frozen=True)
class CompareResult:
    """Cells side by side."""

    task: str
    budget: str  # as a person says it: "2 minutes"
    seed: int  # of the trials
    trained_timesteps: int
    longest_trained_span: int  # characters: no span of the corpus is longer
    threads: int  # of the processor, to each training
    cells: tuple[CellResult, ...]

    @property
    def seeds(self) -> int:
        """Trainings of each cell."""
        return len(self.cells[0].trainings)

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary of everything that tables and pictures show."""
        return {
            "task": self.task,
            "budget": self.budget,
            "seed": self.seed,
            "trained_timesteps": self.trained_timesteps,
            "longest_trained_span_chars": self.longest_trained_span,
            "threads": self.threads,
            "solved_at": SOLVED,
            "finding": self.finding(),
            "cells": [cell.to_json() for cell in self.cells],
        }

    def finding(self) -> str:
        """One sentence: which cells solve it, and how far each remembers."""
        said = "; ".join(map(_said, self.cells))
        return f"{self.task}: {said}; trained on {counted(self.trained_timesteps, 'timestep')}"


def _said(cell: CellResult) -> str:
    parts = []
    for variant in cell.variants:
        solved = f"solved by {sum(variant.solved)} of {counted(len(variant.solved), 'seed')}"
        named = f"{variant.first.variant}: " if variant.first.variant else ""
        parts.append(f"{named}{solved}, span50 {variant.span50}")
    diverged = [f"{counted(cell.diverged, 'training')} diverged"] if cell.diverged else []
    return f"{cell.cell}: {', '.join([*parts, *diverged])}"
